"""Listening: one application on one address, and what a connection may cost before a request came out of it."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.http import HttpProcessingError

log = structlog.get_logger()

# The request's line with its URL, and each header. Tokens of 4 KiB are known.
_LINE_LIMIT = 8190
_HEADERS_LIMIT = 64
# How long the rest of a body that was refused is read and thrown away, so that its sender finds the answer.
_LINGER_SECONDS = 1
# A connection is counted from its first byte of HTTP on; until then nothing but this bounds it.
_HANDSHAKE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int


class Server:
    """One application, or bare `Connections`, on one address."""

    def __init__(self, app: web.Application | Connections) -> None:
        # Requests go on when their sender hangs up: what was begun is stored, and the sender's retry finds it
        # unchanged.
        self._runner: web.BaseRunner = (
            web.ServerRunner(app, shutdown_timeout=1)
            if isinstance(app, Connections)
            else web.AppRunner(app, access_log=None, handler_cancellation=False, shutdown_timeout=1)
        )
        self._listening: asyncio.Server | None = None

    async def start(self, address: Address, tls: ssl.SSLContext | None = None) -> int:
        """Listen. Returns the port, which the system chose if it was 0. Raises OSError."""
        await self._runner.setup()
        self._listening = await asyncio.get_running_loop().create_server(
            cast(web.Server, self._runner.server),
            address.host,
            address.port,
            ssl=tls,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS if tls else None,
            backlog=128,
        )
        port: int = self._listening.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()


@dataclass(frozen=True, slots=True)
class Bounds:
    """`per_source` is how many connections one source may hold, `head_seconds` the time from the connection to the end
    of its first request's headers, `idle_seconds` from an answer to the end of the next request's headers.
    """

    per_source: int
    head_seconds: float
    idle_seconds: float


class Connections(web.Server):
    """The connections of a door to strangers, without routes: every request goes to `handler`.

    aiohttp bounds lines, headers and idle connections, and answers 400 to what is no HTTP; this adds how many
    connections one source may hold, and how long the first request may take to come.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        source: Callable[[str], str | None],
        bounds: Bounds,
        garbled: Callable[[str, str], None],
        *,
        bug: str,
    ) -> None:
        """`source` tells whose the connections of an address are, None for one whose are not counted. `garbled` is told
        the address and the kind of what was no HTTP. `bug` is the event that an error of ours is logged as.
        """
        super().__init__(
            handler,
            handler_cancellation=False,
            access_log=None,
            auto_decompress=False,  # what is signed is what came, and only who may come in has a body decompressed
            # A connection that began a further request and never ends its headers counts as idle too.
            keepalive_timeout=bounds.idle_seconds,
            lingering_time=_LINGER_SECONDS,
            max_line_size=_LINE_LIMIT,
            max_field_size=_LINE_LIMIT,
            max_headers=_HEADERS_LIMIT,
            logger=_Complaints(garbled, bug),
        )
        self._source = source
        self._bounds = bounds
        self._open: Counter[str] = Counter()
        self._counted: dict[web.RequestHandler, str] = {}
        self._silent: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        source = self._source((transport.get_extra_info("peername") or ("",))[0])
        if source is not None:
            if self._open[source] >= self._bounds.per_source:
                transport.abort()
                return
            self._open[source] += 1
            self._counted[handler] = source
        loop = asyncio.get_running_loop()
        self._silent[handler] = loop.call_later(self._bounds.head_seconds, transport.abort)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.spoke(handler)
        source = self._counted.pop(handler, None)
        if source is not None:
            self._open[source] -= 1
            if not self._open[source]:
                del self._open[source]

    def spoke(self, handler: web.RequestHandler) -> None:
        """A request came out of the connection."""
        if timer := self._silent.pop(handler, None):
            timer.cancel()


class _Complaints:
    """What aiohttp logs about a connection.

    Of what is no HTTP it would log each as an error with a traceback, and a piece of it, in which a secret may be.
    """

    def __init__(self, garbled: Callable[[str, str], None], bug: str) -> None:
        self._garbled = garbled
        self._bug = bug

    def exception(self, message: str, *args: object, exc_info: Any = None) -> None:
        if isinstance(exc_info, HttpProcessingError):
            self._garbled(str(args[0]) if args else "", type(exc_info).__name__)
        else:
            log.error(self._bug, what=message % args, exc_info=exc_info)

    debug = warning = exception  # what no HTTP client sends is told at the level debug
