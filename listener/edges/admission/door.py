"""`POST /lookup`: API servers ask what becomes of an object, and are answered from memory.

200 with an AdmissionReview that lets the object pass, also where an error of ours kept us from looking. Else nothing
is answered and `failurePolicy` decides: 400 the body is no review, 408 too slow, 413 too large, 415 no JSON, 503 come
again. 404 another path, 405 no POST.

Who asks is not asked. Every Pod that can reach the port can send a review of its own, and learn of any namespace
whether it has a stream of some name, which digest a tag of it points at, and where that is pulled from: no image, no
secret, and nothing changes. An API server has a certificate to show only where a file on the control plane names one
(`--admission-control-config-file`), which clusters that others run do not offer; so none is asked for. What keeps
others away is a NetworkPolicy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from aiohttp import StreamReader, web
from aiohttp.http import HttpProcessingError

from listener.core import admission
from listener.core.admission import Outcome
from listener.core.kinds import Kind
from listener.core.streams import Stream, StreamKey
from listener.edges.admission import reviews
from listener.edges.admission.reviews import Review
from listener.edges.listening import Bounds, Connections
from listener.errors import BadInput, IncompleteDelivery, Limited, MalformedReview, TooLarge

log = structlog.get_logger()

PATH: Final = "/lookup"
_JSON: Final = "application/json"
_TOLD_SECONDS: Final = 60
_RETRY_AFTER_SECONDS: Final = 1
_BROKEN: Final = (web.RequestPayloadError, HttpProcessingError, ConnectionError)
_Streams = Callable[[StreamKey], Stream | None]


class Meter(Protocol):
    def lookup_answered(self, outcomes: Iterable[Outcome], seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process takes. API servers send a review at once, and wait two seconds for the answer."""

    body: int = 8 * 1024 * 1024
    """They take requests of 3 MiB, as JSON or packed; a review holds the object as it was too, all as JSON."""
    bodies: int = 64 * 1024 * 1024
    """All that came in part."""
    body_seconds: float = 5
    connections_per_source: int = 256
    """An API server has one for each review under way: 25 in stock, more if need be. A tunnel to the control plane
    brings those of all of them."""
    head_seconds: float = 5
    idle_seconds: float = 120
    """API servers keep a connection for 90 s: who closes first must be they, for what is sent as we close is lost."""
    ready_seconds: float = 1
    """How long a review waits for the streams to be known: less than it is waited for."""


class Door:
    """Answers reviews of objects of some kinds.

    `stream` tells what is known of a stream. `ready` returns once all are known; it is asked until it returned, and
    only about objects with an image that may be a name.
    """

    def __init__(
        self,
        kinds: Iterable[Kind],
        stream: _Streams,
        ready: Callable[[], Awaitable[object]],
        meter: Meter,
        *,
        limits: Limits | None = None,
    ) -> None:
        self._reader = reviews.Reader(kinds)
        self._stream = stream
        self._ready = ready
        self._is_ready = False
        self._meter = meter
        self._limits = limits = limits or Limits()
        self._held = 0
        self._closing = False
        self._told: dict[str, float] = {}
        self._clock = asyncio.get_running_loop().time
        bounds = Bounds(limits.connections_per_source, limits.head_seconds, limits.idle_seconds)
        # Within a cluster each client has one address, and neighbours in a network are not the same.
        self._connections = Connections(self._answer, str, bounds, self._garbled, bug="lookup.bug")

    def connections(self) -> Connections:
        """What a `Server` listens with."""
        return self._connections

    def close(self) -> None:
        """Answer on, but end each connection with its answer: API servers hold theirs until then."""
        self._closing = True

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._connections.spoke(request.protocol)
        started = self._clock()
        try:
            response = await self._answered(request, started)
        except BadInput as error:
            response = self._refused(error.status, str(error))
        except Limited as error:
            response = self._refused(503, str(error))
        except Exception:
            log.exception("lookup.bug")
            response = _error(503, "an error of ours; it is in our log")
        if self._closing:
            response.force_close()
        return response

    async def _answered(self, request: web.BaseRequest, started: float) -> web.Response:
        if request.rel_url.raw_path != PATH:
            return self._refused(404, f"reviews are answered at {PATH}")
        if request.method != "POST":
            response = self._refused(405, "an API server sends a POST here")
            response.headers["Allow"] = "POST"
            return response
        headers = request.headers
        if not _is_json(headers.get("Content-Type", "")) or "Content-Encoding" in headers:
            return self._refused(415, f"a review is sent as {_JSON}, not compressed")
        review = self._reader.read(await self._body(request))
        try:
            written, outcomes = await self._reviewed(review)
        except TimeoutError:
            return self._refused(503, "starting up, not all streams are known yet")
        except Exception:
            log.exception("lookup.bug", kind=review.kind and review.kind.label)
            written, outcomes = reviews.unchanged(review.uid), ()
        self._meter.lookup_answered(outcomes, self._clock() - started)
        return web.Response(body=written, content_type=_JSON)

    async def _reviewed(self, review: Review) -> tuple[bytes, Iterable[Outcome]]:
        """Raises TimeoutError if what must be known is not known in time."""
        if review.subject is None or review.kind is None:
            if review.kind is not None and self._tell(review.kind.label):
                log.warning("lookup.unreadable", kind=review.kind.label, reason=review.problem)
            return reviews.unchanged(review.uid), ()
        asked = (review.kind, review.namespace, review.subject, review.before)
        try:
            verdict = admission.judge(*asked, self._stream if self._is_ready else _unknown)
        except _Unknown:
            async with asyncio.timeout(self._limits.ready_seconds):
                await self._ready()
            self._is_ready = True
            verdict = admission.judge(*asked, self._stream)
        if verdict.outcomes:
            log.debug("lookup.answered", kind=review.kind.label, namespace=review.namespace, outcomes=verdict.outcomes)
        return reviews.answer(review.uid, verdict), verdict.outcomes

    async def _body(self, request: web.BaseRequest) -> bytes:
        """Raises TooLarge, IncompleteDelivery, MalformedReview, or Limited if too much came in part already."""
        if (request.content_length or 0) > self._limits.body:
            raise self._too_large()
        content = request.content
        try:
            if content.is_eof():  # it came along with the headers
                body = content.read_nowait()
                if len(body) > self._limits.body:
                    raise self._too_large()
                return body
            async with asyncio.timeout(self._limits.body_seconds):
                return await self._rest(content)
        except TimeoutError as error:
            raise IncompleteDelivery(f"the body did not arrive within {self._limits.body_seconds} s") from error
        except _BROKEN as error:
            kind = type(error).__name__
            raise MalformedReview(f"the body broke off, or is not written as its headers say: {kind}") from error

    async def _rest(self, content: StreamReader) -> bytes:
        body = bytearray()
        try:
            while chunk := await content.readany():
                body += chunk
                self._held += len(chunk)
                if len(body) > self._limits.body:
                    raise self._too_large()
                if self._held > self._limits.bodies:
                    raise Limited("too many large reviews at once", retry_after_seconds=_RETRY_AFTER_SECONDS)
        finally:
            self._held -= len(body)
        return bytes(body)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._limits.body} bytes; no API server sends such a review")

    def _garbled(self, _address: str, kind: str) -> None:
        self._refused(400, f"no HTTP request: {kind}")

    def _refused(self, status: int, reason: str) -> web.Response:
        if self._tell(str(status)):
            log.warning("lookup.refused", status=status, reason=reason)
        response = _error(status, reason)
        if status == 503:
            response.headers["Retry-After"] = str(_RETRY_AFTER_SECONDS)
        return response

    def _tell(self, what: str) -> bool:
        """Whether it is time to tell of it again. `what` comes from a closed set."""
        now = self._clock()
        if now < self._told.get(what, now):
            return False
        self._told[what] = now + _TOLD_SECONDS
        return True


class _Unknown(Exception):
    """A stream was asked for before any is known."""


def _unknown(_: StreamKey) -> Stream | None:
    raise _Unknown


def _is_json(content_type: str) -> bool:
    return content_type == _JSON or content_type.partition(";")[0].strip().lower() == _JSON


def _error(status: int, reason: str) -> web.Response:
    return web.Response(status=status, text=f"{reason}\n")
