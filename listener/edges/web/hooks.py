"""The hooks: a registry delivers, and is answered when all it moved is stored.

A hook's answer, by what became of it: 200 stored (or nothing to store, or what `intake` says of the one case in which
nothing can be; the body says which), 400 the body is not what
its dialect sends, 401 the secret is missing or wrong, 404 no registry of that name, 405 no POST, 408 too slow, 413 too
large, 415 compressed in a way we do not read, 429 too much from this sender, 503 come again.

The order of the work is what a stranger can make us do: nothing for a hook that is not there; nothing but a comparison
for a wrong secret, where that can be told without the body; and where it cannot, as many bodies as `Limits` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec
import structlog
from aiohttp import web
from multidict import MultiMapping

from listener import dialects
from listener.core import events
from listener.core.events import LARGEST_BODY, LARGEST_PROVEN_BODY, UNREAD, Delivery, Parsed, Remark
from listener.core.receipts import Arrival, Moved, Receipt
from listener.core.spans import NO_TRACER, Tracer
from listener.dialects import Dialect, payload
from listener.edges.listening import Bounds, Connections
from listener.edges.web import bodies
from listener.edges.web.limits import Limits, Network, Places, QuietLog, RefusalLog, Refused, Sources
from listener.errors import (
    BadInput,
    Deferred,
    Limited,
    MalformedDelivery,
    NotPosted,
    SignerUnavailable,
    UnknownHook,
)

log = structlog.get_logger()

_RETRY_AFTER_SECONDS = 5
_REMARKS_SHOWN = 100
_REMARKS_LOGGED = 10

JSON: Final = "application/json"
_PATH = "/hooks/"
_PROCESS: Final = uuid.uuid4().hex[:20]  # and a number make a delivery's id, which is nothing to be guessed
_ORIGIN = re.compile(r"[A-Za-z0-9.:_-]{1,253}")
_NOT_STORED: Final = "not stored, deliver again"
_NO_PLACE: Final = contextlib.nullcontext()
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
    asks a URL that a sender wants to be asked, where the gate makes sure whose it is. `is_open`: the gate lets in
    everybody, so that it proves nothing.
    """

    name: str
    dialect: Dialect | None
    gate: Gate
    take: Callable[[Parsed, Arrival, float], Awaitable[Receipt]]
    confirm: Callable[[str], Awaitable[None]] | None = None
    is_open: bool = False


@dataclass(slots=True)
class _Visit:
    """One request on its way. `label` is the hook's name, and no word of a stranger's."""

    request: web.BaseRequest
    hook: Hook | None
    label: str
    arrival: Arrival
    is_proven: bool = False


_Answer = tuple[web.Response, str]


class Hooks:
    """`POST /hooks/NAME`. `proxies` are the networks of those who are believed about whom they speak for."""

    def __init__(
        self,
        hooks: Mapping[str, Hook],
        meter: Meter,
        *,
        proxies: Sequence[Network] = (),
        limits: Limits | None = None,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._hooks = hooks
        self._meter = meter
        self._tracer = tracer
        self._limits = limits = limits or Limits()
        self._closed = False
        self._in_flight = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._clock = clock = asyncio.get_running_loop().time
        self._sources = Sources(proxies)
        self._refused = Refused(limits, clock)
        deliveries = Places(
            "deliveries", limits.deliveries, limits.deliveries_per_hook, reserved=limits.deliveries_reserved
        )
        self._deliveries = {hook.name: deliveries.place(hook.name) for hook in hooks.values()}
        self._large = Places(f"bodies of more than {LARGEST_BODY} bytes", limits.large_bodies).place()
        # Each hook has its own: who holds those of one keeps nobody from another.
        readers = limits.readers_per_hook * len(hooks)
        self._readers = Places("bodies", readers, limits.readers_per_hook, limits.readers_per_source)
        self._log = RefusalLog(clock)
        self._quiet = QuietLog()
        self._answered = log.bind().info  # a line for each delivery: to find the logger costs a tenth of it
        self._numbers = itertools.count()
        self._told: set[tuple[str, str]] = set()
        self._connections: Connections | None = None

    def connections(self) -> Connections:
        """What a `Server` listens with."""
        limits = self._limits
        bounds = Bounds(limits.connections_per_source, limits.head_seconds, limits.idle_seconds)
        self._connections = Connections(self._answer, self._sources.counted, bounds, self._garbled, bug="hook.bug")
        return self._connections

    def close(self) -> None:
        """Take nothing more: whoever comes now is told to come again (to another replica, or after the restart)."""
        self._closed = True
        self._log.flush()
        self._quiet.flush()

    async def drained(self) -> None:
        """Wait until every delivery that was taken is answered."""
        await self._empty.wait()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._connections is not None:
            self._connections.spoke(request.protocol)
        delivery_id = f"{_PROCESS}{next(self._numbers):012x}"
        received, at = self._clock(), datetime.now(UTC)
        hook = self._hooks.get(_name(request))
        # A stranger's words become no metric label and no log field.
        label = hook.name if hook else "unknown"
        # Never unbound: each request has a task, and with it a context, of its own.
        structlog.contextvars.bind_contextvars(delivery=delivery_id, registry=label)
        arrival = Arrival(delivery_id, received, at)
        self._in_flight += 1
        self._empty.clear()
        try:
            response, outcome = await self._outcome(_Visit(request, hook, label, arrival))
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._empty.set()
        self._meter.hook_answered(label, outcome, self._clock() - received)
        return response

    async def _outcome(self, visit: _Visit) -> _Answer:
        try:
            if self._closed:
                return self._defer(visit, 503, "unavailable", f"{_NOT_STORED}: shutting down")
            return await self._visited(visit)
        except BadInput as error:
            return self._refuse(visit, error)
        except Limited as error:
            return self._defer(visit, 429, "limited", str(error), error.retry_after_seconds)
        except Deferred as error:
            self._charge(visit, is_unsigned=isinstance(error, SignerUnavailable) and not visit.is_proven)
            shown = f"{_NOT_STORED}; our log says why" if visit.hook and visit.hook.is_open else ""
            reason = f"{_NOT_STORED}: {error}"
            return self._defer(visit, 503, "unavailable", reason, error.retry_after_seconds, shown=shown)
        except Exception:
            log.exception("hook.bug")
            return _error(500, "an error of ours; it is in our log under this delivery", visit), "error"

    def _refuse(self, visit: _Visit, error: BadInput) -> _Answer:
        source = self._source(visit)
        # Who proved itself is told what is wrong, however often.
        if not self._refused.spend(source, visit.label) and not visit.is_proven:
            limited = self._refused.limited()
            return self._defer(visit, 429, "limited", str(limited), limited.retry_after_seconds)
        outcome = _OUTCOMES.get(error.status, "malformed")
        self._log.note("hook.refused", source, visit.label, outcome, status=error.status, reason=str(error))
        response = _error(error.status, str(error), visit)
        if error.status == 405:
            response.headers["Allow"] = "POST, OPTIONS"
        return response, outcome

    def _charge(self, visit: _Visit, *, is_unsigned: bool = False) -> None:
        """What a stranger sends to an open hook, and nobody confirms, counts as refused: to ask about it costs.

        So does what nobody knows to be signed: forgeries must not be endless where they cannot be told from the rest.
        """
        if visit.hook and (visit.hook.is_open or is_unsigned):
            self._refused.spend(self._source(visit), visit.label)

    def _defer(
        self, visit: _Visit, status: int, outcome: str, reason: str, seconds: float | None = None, *, shown: str = ""
    ) -> _Answer:
        """`shown` is what the sender is told instead of the reason, which may name what is in the cluster."""
        self._log.note("hook.deferred", self._source(visit), visit.label, outcome, status=status, reason=reason)
        response = _error(status, shown or reason, visit)
        response.headers["Retry-After"] = str(max(1, round(seconds or _RETRY_AFTER_SECONDS)))
        return response, outcome

    def _garbled(self, address: str, kind: str) -> None:
        """Something came that is no HTTP, or more of it than we read; aiohttp answered 400."""
        self._meter.hook_answered("unknown", "malformed", 0)
        source = self._sources.key(address)
        self._log.note("hook.refused", source, "unknown", "malformed", status=400, reason=f"no HTTP request: {kind}")

    async def _visited(self, visit: _Visit) -> _Answer:
        request, hook = visit.request, visit.hook
        if hook is None:
            raise UnknownHook(
                "no registry of this name is configured; a hook is POST /hooks/NAME, NAME from `registries`"
            )
        headers = _by_name(request.headers, str.lower)
        query = _by_name(request.query, str) if request.rel_url.raw_query_string else {}
        if request.method not in ("POST", "OPTIONS"):
            raise NotPosted(
                f"this is the hook of registry {hook.name!r}: its registry sends a POST here with each push;"
                " how to set that up is shown by `listener dialects`"
            )
        if not hook.gate.needs_body:
            await hook.gate.admit(Delivery(headers, query, b""))
            visit.is_proven = not hook.is_open
        if request.method == "OPTIONS":
            return self._allowed(headers, visit)
        if visit.is_proven:
            delivery = None
        else:
            delivery = await self._read_of_a_stranger(visit, hook, headers, query)
        # To knock leaves no trace, and a stranger names none.
        parent = request.headers.get("traceparent", "") if visit.is_proven else ""
        names = {"delivery": visit.arrival.delivery_id, "registry": visit.label}
        with self._tracer.span("hook", parent, **names) as span:
            if span.trace:
                visit.arrival = visit.arrival._replace(trace=span.trace)
            answer = await self._admitted(visit, hook, headers, query, delivery)
            span.note(outcome=answer[1])
        return answer

    async def _admitted(
        self,
        visit: _Visit,
        hook: Hook,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        delivery: Delivery | None,
    ) -> _Answer:
        """Read the delivery of who showed a secret, unless it was read to learn whose it is, and take it."""
        request = visit.request
        is_large = delivery is None and (request.content_length or 0) > LARGEST_BODY
        with self._deliveries[visit.label], self._large if is_large else _NO_PLACE:
            if delivery is None:
                most = LARGEST_PROVEN_BODY if is_large else LARGEST_BODY
                delivery = Delivery(headers, query, await bodies.read(request, self._limits, most=most))
            return await self._delivered(visit, hook, delivery)

    async def _read_of_a_stranger(
        self, visit: _Visit, hook: Hook, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> Delivery:
        """Read a body to learn whose it is; or because anybody may come in."""
        source = self._source(visit)
        if self._refused.is_out(source, visit.label):
            raise self._refused.limited()
        if visit.request.content.is_eof():  # nothing is waited for
            body = await bodies.read(visit.request, self._limits)
        else:
            with self._readers.place(visit.label, source):
                body = await bodies.read(visit.request, self._limits)
        delivery = Delivery(headers, query, body, source)
        if hook.gate.needs_body:
            await hook.gate.admit(delivery)
            visit.is_proven = True
        return delivery

    async def _delivered(self, visit: _Visit, hook: Hook, delivery: Delivery) -> _Answer:
        if encoding := delivery.headers.get("content-encoding"):
            delivery = delivery._replace(body=bodies.decompressed(delivery.body, encoding))
        dialect, parsed = self._parsed(hook, delivery)
        delivery.document = UNREAD  # it may be ten times the body, and what follows may wait for a registry
        if parsed.confirm:
            parsed = await _confirmed(hook, parsed)
        if parsed.pushes or not (parsed.reply or parsed.confirm):
            receipt = await hook.take(parsed, visit.arrival, dialect.patience_seconds)
            if receipt.refused or receipt.unanswered:
                self._charge(visit)
        else:
            receipt = Receipt(ignored=parsed.ignored, refused=parsed.refused)
        outcome = "handshake" if (parsed.reply or parsed.confirm) and not receipt.refused else receipt.outcome
        is_news = outcome not in _NO_NEWS and (parsed.pushes or outcome != "ignored")
        if is_news or self._quiet.has_room(visit.label, outcome):
            self._log_answered(visit, receipt, outcome)
        answer = parsed.reply or _report(receipt, visit.arrival, is_open=hook.is_open)
        return web.Response(body=_encode(answer), content_type=JSON), outcome

    def _allowed(self, headers: Mapping[str, str], visit: _Visit) -> _Answer:
        """The handshake of the CloudEvents' web hooks: may this origin deliver here, and how fast."""
        response = web.Response(headers={"Allow": "POST, OPTIONS"})
        origin = headers.get("webhook-request-origin", "")
        if not origin:
            return response, "handshake"
        if not _ORIGIN.fullmatch(origin):
            raise MalformedDelivery("WebHook-Request-Origin is no host name")
        if self._quiet.has_room(visit.label, "handshake"):
            log.info("hook.handshake", seconds=round(self._clock() - visit.arrival.received, 4))
        response.headers["WebHook-Allowed-Origin"] = origin
        response.headers["WebHook-Allowed-Rate"] = "*"
        return response, "handshake"

    def _parsed(self, hook: Hook, delivery: Delivery) -> tuple[Dialect, Parsed]:
        if hook.dialect is None:
            dialect = dialects.detect(delivery)
            if dialect is None:
                raise MalformedDelivery(_unrecognised(delivery))
            return dialect, dialect.parse(delivery)
        try:
            parsed = hook.dialect.parse(delivery)
        except MalformedDelivery as error:
            other = _other(hook.dialect, delivery)
            if other is None:
                raise
            raise MalformedDelivery(f"{_looks_like(hook, other)}: {error}") from error
        if not (parsed.pushes or parsed.reply or parsed.confirm) and (other := _other(hook.dialect, delivery)):
            told = (hook.name, other.name)
            if told not in self._told:
                self._told.add(told)
                log.warning("hook.other_dialect", reason=_looks_like(hook, other))
        return hook.dialect, parsed

    def _log_answered(self, visit: _Visit, receipt: Receipt, outcome: str) -> None:
        for remark in receipt.refused[:_REMARKS_LOGGED]:
            log.warning("hook.push_refused", what=remark.what, why=remark.why)
        self._answered(
            "hook.answered",
            outcome=outcome,
            moved=len(receipt.moved),
            unchanged=len(receipt.unchanged),
            ignored=len(receipt.ignored),
            refused=len(receipt.refused),
            unanswered=len(receipt.unanswered),
            # Most senders show nobody the answer.
            **({"why": receipt.ignored[0].why} if outcome == "ignored" and receipt.ignored else {}),
            seconds=round(self._clock() - visit.arrival.received, 4),
        )

    def _source(self, visit: _Visit) -> str:
        forwarded = visit.request.headers.getall("X-Forwarded-For", ())
        return self._sources.of(visit.request.remote or "", ",".join(forwarded))


_NO_NEWS: Final = frozenset({"unchanged", "handshake"})
_LIKE_DISTRIBUTION: Final = frozenset({"gitlab", "openshift"})
_OUTCOMES: Final = {
    401: "unauthenticated",
    404: "unknown",
    405: "not_posted",
    408: "incomplete",
    413: "too_large",
}


def _name(request: web.BaseRequest) -> str:
    """The name in /hooks/NAME, with or without a slash behind it: a redirect would lose the body."""
    path = request.rel_url.raw_path
    return path[len(_PATH) :].removesuffix("/") if path.startswith(_PATH) else ""


def _by_name(found: MultiMapping[str], key: Callable[[str], str]) -> dict[str, str]:
    once = {key(name): value for name, value in found.items()}
    return once if len(once) == len(found) else events.joined(found.items(), key)


async def _confirmed(hook: Hook, parsed: Parsed) -> Parsed:
    """Ask the URL that the sender wants to be asked, if it is sure who that is."""
    what = "confirmation of a subscription"
    if hook.confirm is None:
        why = (
            "the sender wants a URL of its choice to be asked, which is done only where its signature is checked;"
            f" set the `auth` of registry {hook.name!r} to `sns`, if it is Amazon SNS that calls"
        )
        return parsed._replace(refused=(*parsed.refused, Remark(what, why)))
    await hook.confirm(parsed.confirm or "")
    return parsed._replace(ignored=(*parsed.ignored, Remark(what, "confirmed")))


def _other(own: Dialect, delivery: Delivery) -> Dialect | None:
    """The dialect that a delivery is written in, if it is not the one that its registry is set to."""
    found = dialects.detect(delivery)
    if found is None or found.name == own.name:
        return None
    return None if found.name == "distribution" and own.name in _LIKE_DISTRIBUTION else found


def _looks_like(hook: Hook, other: Dialect) -> str:
    own = hook.dialect.name if hook.dialect else "auto"
    return f"this looks like {other.name}; registry {hook.name!r} is set to {own}"


def _unrecognised(delivery: Delivery) -> str:
    try:
        payload.document(delivery)
    except payload.Unusable as unusable:
        return str(unusable)
    known = ", ".join(dialects.DIALECTS)
    return f"the body is written in no dialect we know ({known}); if it is one of them, set the registry's `dialect`"


def _report(receipt: Receipt, arrival: Arrival, *, is_open: bool) -> Mapping[str, object]:
    """Strangers need not learn what follows a repository, nor what is in it."""
    tag = _tag_only if is_open else _tag
    if is_open:
        receipt = Receipt(receipt.moved, receipt.unchanged, *map(_outward, receipt[2:]))
    return {
        "delivery": arrival.delivery_id,
        "outcome": receipt.outcome,
        "moved": [tag(m) for m in receipt.moved],
        "unchanged": [tag(m) for m in receipt.unchanged],
        "ignored": _remarks(receipt.ignored),
        "refused": _remarks(receipt.refused),
        "unanswered": _remarks(receipt.unanswered),
    }


def _remarks(found: Sequence[Remark]) -> Sequence[Mapping[str, str]]:
    if not found:
        return ()
    shown = [{"what": remark.what, "why": remark.why} for remark in found[:_REMARKS_SHOWN]]
    if len(found) > _REMARKS_SHOWN:
        shown.append({"what": f"{len(found) - _REMARKS_SHOWN} more", "why": "not shown"})
    return shown


def _tag(moved: Moved) -> Mapping[str, str]:
    return {
        "namespace": moved.stream.namespace,
        "stream": moved.stream.name,
        "tag": moved.tag,
        "digest": moved.digest,
    }


def _tag_only(moved: Moved) -> Mapping[str, str]:
    return {"tag": moved.tag}


def _outward(found: Sequence[Remark]) -> tuple[Remark, ...]:
    return tuple(Remark("a push", "not taken; our log says why") if remark.is_internal else remark for remark in found)


def _error(status: int, message: str, visit: _Visit) -> web.Response:
    body = _encode({"delivery": visit.arrival.delivery_id, "error": message})
    return web.Response(status=status, body=body, content_type=JSON)
