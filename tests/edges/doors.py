"""A hook's door to knock at: a real server, a real client, and a handler of the test's own."""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp

from listener import dialects
from listener.core import authentication
from listener.core.events import Parsed
from listener.core.receipts import Arrival, Moved, Receipt
from listener.core.spans import NO_TRACER, Tracer
from listener.core.streams import StreamKey
from listener.dialects import Dialect
from listener.edges.secrets import Secret, SecretGate
from listener.edges.web import Address, Gate, Hook, Hooks, Limits, Server

LOOPBACK = Address("127.0.0.1", 0)
SECRET = "zebra-crossing"
DIGEST = "sha256:" + "a" * 64
MOVED = Moved(StreamKey("shop", "web"), "latest", DIGEST)
ENVELOPE = json.dumps(
    {
        "events": [
            {
                "action": "push",
                "target": {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "repository": "shop/web",
                    "tag": "latest",
                    "digest": DIGEST,
                },
                "request": {"host": "r.example"},
            }
        ]
    }
).encode()
JSON = {"Content-Type": "application/json"}
BEARER = {"Authorization": f"Bearer {SECRET}"}
HEAD = b"POST /hooks/team HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

Take = Callable[[Parsed, Arrival], Awaitable[Receipt]]


@dataclass
class Answered:
    """A meter: every delivery's labels."""

    labels: list[tuple[str, str]] = field(default_factory=list)

    def hook_answered(self, registry: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.labels.append((registry, outcome))


@dataclass
class Door:
    """A running server, a client, and what the handler was given."""

    url: str
    client: aiohttp.ClientSession
    hooks: Hooks
    server: Server
    meter: Answered
    taken: list[tuple[Parsed, Arrival]]
    port: int

    async def post(
        self, body: Any = ENVELOPE, *, name: str = "team", headers: Mapping[str, str] = JSON
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        """POST a body; return status, the JSON of the answer, and its headers."""
        data = io.BytesIO(body) if isinstance(body, bytes) else body
        async with self.client.post(f"{self.url}/hooks/{name}", data=data, headers=headers) as response:
            return response.status, await response.json(), response.headers

    async def raw(self, request: bytes, *, then_hang_up: bool = True) -> bytes:
        """Send bytes as they are; return the beginning of what comes back, b"" for nothing."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            if then_hang_up:
                writer.write_eof()
            return await reader.read(4096)
        finally:
            writer.close()


async def store(_parsed: Parsed, _arrival: Arrival) -> Receipt:
    return Receipt(moved=(MOVED,))


def _secret() -> Secret:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_text(SECRET)
        return Secret(file=Path(file.name))  # it stays, though its file is gone


@asynccontextmanager
async def door(
    take: Take = store,
    *,
    scheme: authentication.Scheme | None = None,
    gate: Gate | None = None,
    dialect: Dialect | str | None = None,
    confirm: Callable[[str], Awaitable[None]] | None = None,
    proxies: Sequence[str] = (),
    limits: Limits | None = None,
    tracer: Tracer = NO_TRACER,
) -> AsyncIterator[Door]:
    """Open the doors `team` and `other`, which are the same. With a scheme, their secret is SECRET; or with a gate."""
    meter = Answered()
    taken: list[tuple[Parsed, Arrival]] = []

    async def noted(parsed: Parsed, arrival: Arrival, _seconds: float) -> Receipt:
        taken.append((parsed, arrival))
        return await take(parsed, arrival)

    def hook(name: str) -> Hook:
        own = gate or SecretGate(name, scheme or authentication.Open(), _secret() if scheme else None)
        found = dialects.DIALECTS[dialect] if isinstance(dialect, str) else dialect
        return Hook(name, found, own, noted, confirm, is_open=scheme is None and gate is None)

    networks = [ip_network(network) for network in proxies]
    named = {name: hook(name) for name in ("team", "other")}
    hooks = Hooks(named, meter, proxies=networks, limits=limits, tracer=tracer)
    server = Server(hooks.connections())
    port = await server.start(LOOPBACK)
    async with aiohttp.ClientSession() as client:
        try:
            yield Door(f"http://127.0.0.1:{port}", client, hooks, server, meter, taken, port)
        finally:
            hooks.close()
            await server.close()
