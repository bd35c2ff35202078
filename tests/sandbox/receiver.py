"""Somebody who is notified: an HTTP server on loopback that records deliveries and answers as it is told."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Received:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int

    @property
    def event(self) -> dict[str, Any]:
        """The one event of the envelope."""
        (event,) = json.loads(self.body)["events"]
        assert isinstance(event, dict)
        return event


class Receiver:
    """`answers` are used up from the left, one a delivery; then each is 200. An answer of 0 is silence."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: deque[int] = deque()
        self.deliveries: list[Received] = []
        self._arrived = asyncio.Condition()

    async def events(self, count: int) -> list[dict[str, Any]]:
        """Wait until `count` deliveries were accepted and return their events. Fails after ten seconds."""
        async with asyncio.timeout(10), self._arrived:
            await self._arrived.wait_for(lambda: len(self.accepted) >= count)
        return [delivery.event for delivery in self.accepted]

    async def attempts(self, count: int) -> list[Received]:
        """Wait until `count` deliveries arrived, accepted or not."""
        async with asyncio.timeout(10), self._arrived:
            await self._arrived.wait_for(lambda: len(self.deliveries) >= count)
        return self.deliveries

    @property
    def accepted(self) -> list[Received]:
        return [delivery for delivery in self.deliveries if 200 <= delivery.status < 300]

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        status = self.answers.popleft() if self.answers else 200
        async with self._arrived:
            self.deliveries.append(Received(request.method, request.path, dict(request.headers), body, status))
            self._arrived.notify_all()
        if status == 0:
            await asyncio.Event().wait()
        return web.Response(status=status, headers={"Location": "/elsewhere"})


@asynccontextmanager
async def listening() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    # A client that gives up ends its handler too: a silent answer must not outlive the test.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/team"
    try:
        yield receiver
    finally:
        await runner.cleanup()
