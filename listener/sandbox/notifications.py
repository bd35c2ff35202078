"""How the sandbox's registry tells somebody that something happened: distribution's notifications, over real HTTP.

One queue, one request at a time, one event per envelope, and the same event again until it is answered 2xx, so one bad
answer holds up everything behind it, as with the original. Three things differ from distribution 2.8, on purpose:

- The original makes some attempts within milliseconds before it starts to wait; here every pause is the same.
- The original follows 301, 302 and 303 with a GET without a body, and takes its 2xx for a delivery: the event is gone.
  Here a redirect is not followed; it is one more answer that is not 2xx.
- The original's queue has no limit and dies with the process. This one holds `MAX_PENDING` events, and closing waits a
  bounded time for it to run empty.

This module must not know what an event says, what a registry holds, or who listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

CONTENT_TYPE = "application/vnd.docker.distribution.events.v1+json"
MAX_PENDING = 10_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who is told, and how patiently.

    `headers` go with every request as they are: that is how distribution carries a secret. An answer slower than
    `timeout_seconds` counts as none, so the event is sent again although the receiver may have handled it.
    """

    url: str
    headers: Mapping[str, str]
    backoff_seconds: float
    timeout_seconds: float


class Notifications:
    """The queue of events and the task that delivers them in order.

    `endpoint` may be set and replaced at any time: every attempt from then on, also for events that wait, goes to it.
    Without an endpoint events are not kept: a registry that nobody asked to notify does not.
    """

    def __init__(self) -> None:
        self.endpoint: Endpoint | None = None
        self._pending: asyncio.Queue[Mapping[str, object]] = asyncio.Queue(MAX_PENDING)
        self._delivering: asyncio.Task[None] | None = None

    def publish(self, event: Mapping[str, object]) -> None:
        """Queue an event and return at once: whoever pushes never waits for whoever listens."""
        if self.endpoint is None:
            return
        try:
            self._pending.put_nowait(event)
        except asyncio.QueueFull:
            logger.warning("%d events wait for %s: one more was dropped", MAX_PENDING, self.endpoint.url)

    def start(self) -> None:
        self._delivering = asyncio.create_task(self._deliver(), name="sandbox registry notifications")

    async def close(self, drain_seconds: float) -> None:
        """Wait until every event is accepted, at most `drain_seconds`, then give up on the rest."""
        if self._delivering is None:
            return
        drained = asyncio.create_task(self._pending.join(), name="sandbox registry notifications drain")
        # A delivery that broke (our bug) never drains: end the wait with it, and let `await` below raise what it was.
        await asyncio.wait({drained, self._delivering}, timeout=drain_seconds, return_when=asyncio.FIRST_COMPLETED)
        if not drained.done():
            logger.warning("the registry closed before its last events were accepted")
        for task in (drained, self._delivering):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._delivering = None

    async def _deliver(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                event = await self._pending.get()
                body = json.dumps({"events": [event]}, indent=3).encode()  # laid out as distribution does it
                await self._insist(session, body)
                self._pending.task_done()

    async def _insist(self, session: aiohttp.ClientSession, body: bytes) -> None:
        while endpoint := self.endpoint:
            if await _accepted(session, endpoint, body):
                return
            await asyncio.sleep(endpoint.backoff_seconds)


async def _accepted(session: aiohttp.ClientSession, endpoint: Endpoint, body: bytes) -> bool:
    try:
        async with session.post(
            endpoint.url,
            data=body,
            headers={**endpoint.headers, "Content-Type": CONTENT_TYPE},
            timeout=aiohttp.ClientTimeout(total=endpoint.timeout_seconds),
            allow_redirects=False,
        ) as response:
            if 200 <= response.status < 300:
                return True
            logger.debug("%s answered %d, will try again", endpoint.url, response.status)
    except (aiohttp.ClientError, TimeoutError) as error:
        logger.debug("%s did not answer (%r), will try again", endpoint.url, error)
    return False
