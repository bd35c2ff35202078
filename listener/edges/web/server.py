"""Listening: one application on one address, and what a connection may cost before a request came out of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http import HttpProcessingError

from listener.edges.web.limits import Limits, Sources

log = structlog.get_logger()

# The request's line with its URL, and each header. Tokens of 4 KiB are known.
_LINE_LIMIT = 8190
_HEADERS_LIMIT = 64
# How long the rest of a body that was refused is read and thrown away, so that its sender finds the answer.
_LINGER_SECONDS = 1


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

    async def start(self, address: Address) -> int:
        """Listen. Returns the port, which the system chose if it was 0. Raises OSError."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, address.host, address.port)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def close(self) -> None:
        await self._runner.cleanup()


class Connections(web.Server):
    """The connections of a door to strangers, without routes: every request goes to `handler`.

    aiohttp bounds lines, headers and idle connections, and answers 400 to what is no HTTP; this adds how many
    connections one address may hold, and how long the first request may take to come. A proxy's are not counted: it
    holds them for many.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        sources: Sources,
        limits: Limits,
        garbled: Callable[[str, str], None],
    ) -> None:
        """`garbled` is told the address and the kind of what was no HTTP."""
        super().__init__(
            handler,
            handler_cancellation=False,
            access_log=None,
            auto_decompress=False,  # what is signed is what came, and only who may come in has a body decompressed
            # A connection that began a further request and never ends its headers counts as idle too.
            keepalive_timeout=limits.idle_seconds,
            lingering_time=_LINGER_SECONDS,
            max_line_size=_LINE_LIMIT,
            max_field_size=_LINE_LIMIT,
            max_headers=_HEADERS_LIMIT,
            logger=_Complaints(garbled),
        )
        self._sources = sources
        self._limits = limits
        self._open: Counter[str] = Counter()
        self._counted: dict[web.RequestHandler, str] = {}
        self._silent: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        peer = (transport.get_extra_info("peername") or ("",))[0]
        if not self._sources.is_proxy(peer):
            source = self._sources.key(peer)
            if self._open[source] >= self._limits.connections_per_source:
                transport.abort()
                return
            self._open[source] += 1
            self._counted[handler] = source
        loop = asyncio.get_running_loop()
        self._silent[handler] = loop.call_later(self._limits.head_seconds, transport.abort)

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

    def __init__(self, garbled: Callable[[str, str], None]) -> None:
        self._garbled = garbled

    def exception(self, message: str, *args: object, exc_info: Any = None) -> None:
        if isinstance(exc_info, HttpProcessingError):
            self._garbled(str(args[0]) if args else "", type(exc_info).__name__)
        else:
            log.error("hook.bug", what=message % args, exc_info=exc_info)

    debug = warning = exception  # what no HTTP client sends is told at the level debug
