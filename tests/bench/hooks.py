"""Hooks a second that change nothing, and that move a tag, ÷ what a bare aiohttp handler answers that decodes the same
body.

Aim: at least 0.5 for hooks that change nothing, and no answer but 200 while all connections always wait for one. Both
servers are processes of their own, and are asked in turns. The registry is set to `verify: false`: there is none behind
this bench, and what is measured is what every hook passes through. `--workloads` is how many connections there are.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

from aiohttp import web
from yarl import URL

from listener.cli.options import run as run_on_our_loop
from tests.bench.world import HOST, SECRET, World, digest, service

_ROUNDS = 7
_SECONDS = 3.0
_ID = "320678d8-ca14-430f-8bb6-4ca139cd83f7"


async def run(world: World, connections: int) -> dict[str, object]:
    registry = {
        "name": "bench",
        "host": HOST,
        "dialect": "distribution",
        "integrated": True,
        "verify": False,
        "auth": {"bearer": {"secretEnv": "BENCH_SECRET"}},
    }
    numbers = count(2)

    def same(_connection: int) -> bytes:
        return unchanged

    def moving(connection: int) -> bytes:
        number = next(numbers)
        return _request(port, _event(world.namespace, f"app-{connection}", number))

    async with service(world, registries=[registry]) as running, _bare() as bare_port:
        port = URL(running.hooks).port or 0
        unchanged = _request(port, _event(world.namespace, "web", 1))
        # What moves leaves work behind (Events, watches), so it comes last.
        still = await _rounds(bare_port, port, same, connections)
        moves = await _rounds(bare_port, port, moving, connections)
        stored = await running.metric('listener_hooks_total.*outcome="moved"')
    answers = Counter[int]()
    for _, ours in (*still, *moves):
        answers.update(ours.statuses)
    bares = [bare for bare, _ in (*still, *moves)]
    return {
        "bench": "hooks",
        "ratio": _ratio(still),
        "ratio_moving": _ratio(moves),
        "hooks_a_second": round(statistics.median(ours.a_second for _, ours in still)),
        "moves_a_second": round(statistics.median(ours.a_second for _, ours in moves)),
        "bare_a_second": round(statistics.median(bare.a_second for bare in bares)),
        "p99_ms": round(statistics.median(ours.p99 for _, ours in still) * 1000, 1),
        "p99_moving_ms": round(statistics.median(ours.p99 for _, ours in moves) * 1000, 1),
        "p99_bare_ms": round(statistics.median(bare.p99 for bare in bares) * 1000, 1),
        "answers": answers.total(),
        "not_200": {status: number for status, number in answers.items() if status != 200},
        "moved": round(stored),
        "connections": connections,
        "body_bytes": len(unchanged.partition(b"\r\n\r\n")[2]),
    }


class Load:
    """What one round saw."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []
        self.a_second = 0.0

    @property
    def p99(self) -> float:
        return sorted(self.seconds)[int(0.99 * len(self.seconds))]


class _Sender(asyncio.Protocol):
    """One connection that sends the next request as soon as the last is answered.

    Written by hand: a client library would take longer to ask than the server to answer.
    """

    def __init__(self, load: Load, request: Callable[[], bytes], until: float) -> None:
        self._load = load
        self._request = request
        self._until = until
        self._received = b""
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._received = b""
        self._load.statuses[int(head[9:12])] += 1
        self._load.seconds.append(time.monotonic() - self._sent)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))

    def _send(self) -> None:
        self._sent = time.monotonic()
        if self._sent < self._until:
            self._transport.write(self._request())
        else:
            self.done.set_result(None)
            self._transport.close()


async def load(
    port: int,
    request: Callable[[int], bytes],
    connections: int,
    seconds: float,
    tls: ssl.SSLContext | None = None,
) -> Load:
    found = Load()
    loop = asyncio.get_running_loop()
    started = time.monotonic()

    async def send(number: int) -> None:
        _, sender = await loop.create_connection(
            lambda: _Sender(found, lambda: request(number), started + seconds), "127.0.0.1", port, ssl=tls
        )
        await sender.done

    await asyncio.gather(*(send(number) for number in range(connections)))
    found.a_second = found.statuses.total() / (time.monotonic() - started)
    return found


async def _rounds(bare: int, ours: int, request: Callable[[int], bytes], connections: int) -> list[tuple[Load, Load]]:
    """Ask both servers in turns, after a turn that does not count."""
    rounds = []
    for number in range(_ROUNDS + 1):
        seconds = _SECONDS if number else 1.0
        rounds.append([await load(port, request, connections, seconds) for port in (bare, ours)])
    return [(first, second) for first, second in rounds[1:]]


def _ratio(rounds: list[tuple[Load, Load]]) -> float:
    return round(statistics.median(ours.a_second / bare.a_second for bare, ours in rounds), 3)


def _event(namespace: str, name: str, number: int) -> bytes:
    """A push with all that distribution tells of it."""
    repository = f"{namespace}/{name}"
    target = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "size": 708,
        "digest": digest(number),
        "length": 708,
        "repository": repository,
        "url": f"https://{HOST}/v2/{repository}/manifests/{digest(number)}",
        "tag": "latest",
        "references": [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": 3_000_000, "digest": digest(n)}
            for n in range(4)
        ],
    }
    event = {
        "id": _ID,
        "timestamp": f"2026-01-01T{number // 3_600_000 % 24:02}:{number // 60_000 % 60:02}:{number // 1000 % 60:02}"
        f".{number % 1000:03}Z",
        "action": "push",
        "target": target,
        "request": {"id": _ID, "addr": "10.0.0.7:44016", "host": HOST, "method": "PUT", "useragent": "docker/28.0.4"},
        "actor": {"name": "ci"},
        "source": {"addr": "registry-7d9f:5000", "instanceID": _ID},
    }
    return json.dumps({"events": [event]}).encode()


def _request(port: int, body: bytes) -> bytes:
    head = (
        f"POST /hooks/bench HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {SECRET}\r\n"
        "User-Agent: Go-http-client/1.1\r\nContent-Type: application/vnd.docker.distribution.events.v2+json\r\n"
        f"Accept-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@asynccontextmanager
async def _bare() -> AsyncIterator[int]:
    """The handler that we are compared to, in a process of its own; its port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.hooks"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


async def _serve_bare() -> None:
    async def answer(request: web.Request) -> web.Response:
        found = await request.json()
        return web.json_response({"events": len(found["events"])})

    app = web.Application()
    app.router.add_post("/hooks/{name}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    run_on_our_loop(_serve_bare())
