"""The doors: hooks for registries, and health and metrics for those who watch us. Bytes in, status codes out.

A hook's answer, by what became of it: 200 stored (or nothing to store; the body says which), 400 the body is not what
its dialect sends, 401 the secret is missing or wrong, 404 no registry of that name, 408 too slow, 413 too large, 503
come again.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import msgspec
import structlog
from aiohttp import web

from listener import dialects
from listener.core.events import Delivery, Parsed
from listener.core.receipts import Arrival, Moved, Receipt
from listener.dialects import Dialect
from listener.errors import (
    BadInput,
    ClusterUnavailable,
    IncompleteDelivery,
    MalformedDelivery,
    SignerUnavailable,
    UnknownHook,
)

log = structlog.get_logger()

BODY_LIMIT = 1024 * 1024  # distribution sends one event at a time, some 2 KiB; the largest batches known are 100 KiB
_RETRY_AFTER_SECONDS = 5
_MAX_IN_FLIGHT = 250  # with bodies at their limit: 250 MiB, and far more than registries send at once

JSON = "application/json"
_encode = msgspec.json.Encoder().encode


class Gate(Protocol):
    """Who may come in. With `needs_body` nothing can be said before the body was read; else it is empty."""

    needs_body: bool

    async def admit(self, delivery: Delivery) -> None:
        """Raises Unauthenticated, or SignerUnavailable if that cannot be told now."""


class Meter(Protocol):
    def hook_answered(self, registry: str, outcome: str, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Hook:
    """One registry's door.

    `dialect` None: found from each delivery. `take` is told how many seconds the sender waits for an answer. `confirm`
    asks a URL that a sender wants to be asked, where the gate makes sure whose it is.
    """

    name: str
    dialect: Dialect | None
    gate: Gate
    take: Callable[[Parsed, Arrival, float], Awaitable[Receipt]]
    confirm: Callable[[str], Awaitable[None]] | None = None


class Hooks:
    """`POST /hooks/NAME`."""

    def __init__(self, hooks: Mapping[str, Hook], meter: Meter, *, body_timeout_seconds: float = 30) -> None:
        self._hooks = hooks
        self._meter = meter
        self._body_timeout_seconds = body_timeout_seconds
        self._closed = False
        self._in_flight = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=BODY_LIMIT)
        app.router.add_post("/hooks/{name}", self._answer)
        return app

    def close(self) -> None:
        """Take nothing more: whoever comes now is told to come again (to another replica, or after the restart)."""
        self._closed = True

    async def drained(self) -> None:
        """Wait until every delivery that was taken is answered."""
        await self._empty.wait()

    async def _answer(self, request: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        arrival = Arrival(uuid.uuid4().hex, loop.time(), datetime.now(UTC))
        name = request.match_info["name"]
        # A stranger's words become no metric label and no log field.
        label = name if name in self._hooks else "unknown"
        self._in_flight += 1
        self._empty.clear()
        with structlog.contextvars.bound_contextvars(delivery=arrival.delivery_id, registry=label):
            try:
                response, outcome = await self._outcome(request, name, arrival)
            finally:
                self._in_flight -= 1
                if not self._in_flight:
                    self._empty.set()
        self._meter.hook_answered(label, outcome, loop.time() - arrival.received)
        return response

    async def _outcome(self, request: web.Request, name: str, arrival: Arrival) -> tuple[web.Response, str]:
        started = arrival.received
        try:
            if self._closed:
                raise ClusterUnavailable("shutting down; deliver again")
            if self._in_flight > _MAX_IN_FLIGHT:
                raise ClusterUnavailable(f"{_MAX_IN_FLIGHT} deliveries are being taken already; deliver again")
            receipt = await self._take(request, name, arrival)
        except BadInput as error:
            log.warning("hook.refused", status=error.status, reason=str(error))
            return _error(error.status, str(error), arrival), _OUTCOMES.get(error.status, "malformed")
        except web.HTTPRequestEntityTooLarge:
            reason = f"the body is larger than {BODY_LIMIT} bytes; a registry's delivery is a few KiB"
            log.warning("hook.refused", status=413, reason=reason)
            return _error(413, reason, arrival), "too_large"
        except (ClusterUnavailable, SignerUnavailable) as error:
            log.warning("hook.deferred", reason=str(error))
            seconds = max(1, round(getattr(error, "retry_after_seconds", None) or _RETRY_AFTER_SECONDS))
            response = _error(503, f"not stored, deliver again: {error}", arrival)
            response.headers["Retry-After"] = str(seconds)
            return response, "unavailable"
        except Exception:
            log.exception("hook.bug")
            return _error(500, "an error of ours; it is in our log under this delivery", arrival), "error"
        for remark in receipt.refused:
            log.warning("hook.push_refused", what=remark.what, why=remark.why)
        log.info(
            "hook.answered",
            outcome=receipt.outcome,
            moved=len(receipt.moved),
            unchanged=len(receipt.unchanged),
            ignored=len(receipt.ignored),
            refused=len(receipt.refused),
            seconds=round(asyncio.get_running_loop().time() - started, 4),
        )
        return web.Response(body=_encode(_body(receipt, arrival)), content_type=JSON), receipt.outcome

    async def _take(self, request: web.Request, name: str, arrival: Arrival) -> Receipt:
        hook = self._hooks.get(name)
        if hook is None:
            raise UnknownHook(
                "no registry of this name is configured; a hook is POST /hooks/NAME, NAME from `registries`"
            )
        headers = {key.lower(): value for key, value in request.headers.items()}
        query = dict(request.query)
        if not hook.gate.needs_body:
            await hook.gate.admit(Delivery(headers, query, b""))
        delivery = Delivery(headers, query, await self._read(request))
        if hook.gate.needs_body:
            await hook.gate.admit(delivery)
        dialect = hook.dialect or dialects.detect(delivery)
        if dialect is None:
            raise MalformedDelivery(_unrecognised(delivery.body))
        return await hook.take(dialect.parse(delivery), arrival, dialect.patience_seconds)

    async def _read(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._body_timeout_seconds):
                return await request.read()
        except TimeoutError as error:
            raise IncompleteDelivery(f"the body did not arrive within {self._body_timeout_seconds} s") from error
        except (web.RequestPayloadError, ConnectionError) as error:
            raise MalformedDelivery(f"the body broke off, or is not encoded as its headers say: {error}") from error


def _unrecognised(body: bytes) -> str:
    try:
        msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        return f"the body is no JSON: {error}"
    known = ", ".join(dialects.DIALECTS)
    return f"the body is written in no dialect we know ({known}); if it is one of them, set the registry's `dialect`"


_OUTCOMES = {401: "unauthenticated", 404: "unknown", 408: "incomplete"}


def _body(receipt: Receipt, arrival: Arrival) -> dict[str, object]:
    return {
        "delivery": arrival.delivery_id,
        "outcome": receipt.outcome,
        "moved": [_tag(m) for m in receipt.moved],
        "unchanged": [_tag(m) for m in receipt.unchanged],
        "ignored": [{"what": remark.what, "why": remark.why} for remark in receipt.ignored],
        "refused": [{"what": remark.what, "why": remark.why} for remark in receipt.refused],
    }


def _tag(moved: Moved) -> dict[str, str]:
    return {
        "namespace": moved.stream.namespace,
        "stream": moved.stream.name,
        "tag": moved.tag,
        "digest": moved.digest,
    }


def _error(status: int, message: str, arrival: Arrival) -> web.Response:
    body = _encode({"delivery": arrival.delivery_id, "error": message})
    return web.Response(status=status, body=body, content_type=JSON)


class Health(Protocol):
    """What the probes ask. Each answer is a list of complaints; none means well."""

    def not_alive(self) -> list[str]: ...

    def not_ready(self) -> list[str]: ...


def monitoring_app(health: Health, expose: Callable[[], bytes], metrics_type: str) -> web.Application:
    """`/livez`, `/readyz`, `/healthz` (both together) and `/metrics`."""

    def probe(*questions: Callable[[], list[str]]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(_: web.Request) -> web.Response:
            complaints = [complaint for question in questions for complaint in question()]
            return web.Response(status=503 if complaints else 200, text="\n".join(complaints or ["ok"]) + "\n")

        return answer

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=expose(), headers={"Content-Type": metrics_type})

    app = web.Application()
    app.router.add_get("/livez", probe(health.not_alive))
    app.router.add_get("/readyz", probe(health.not_ready))
    app.router.add_get("/healthz", probe(health.not_alive, health.not_ready))
    app.router.add_get("/metrics", metrics)
    return app


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int


class Server:
    """One application on one address."""

    def __init__(self, app: web.Application) -> None:
        # Requests go on when their sender hangs up: what was begun is stored, and the sender's retry finds it
        # unchanged.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=False, shutdown_timeout=1)

    async def start(self, address: Address) -> int:
        """Listen. Returns the port, which the system chose if it was 0. Raises OSError."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, address.host, address.port)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def close(self) -> None:
        await self._runner.cleanup()
