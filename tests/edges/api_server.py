"""An API server that says what a test wrote down, over real HTTP: for answers that no healthy one gives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from listener.edges.cluster import Cluster

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass
class ApiServer:
    """A running one: a client of ours, and what it has asked."""

    cluster: Cluster
    asked: list[Asked]


@asynccontextmanager
async def api_server(folder: Path, *answers: Answer) -> AsyncIterator[ApiServer]:
    """Run one on loopback that gives these answers in turn, the last one for ever."""
    asked: list[Asked] = []
    waiting = list(answers)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(
            Asked(request.method, request.rel_url.raw_path, dict(request.query), request.headers, await request.read())
        )
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return await answer(request)

    server = web.Server(handle)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    file = folder / "kubeconfig"
    file.write_text(kubeconfig_for(f"http://127.0.0.1:{port}"))
    try:
        async with await Cluster.connect(kubeconfig=str(file)) as cluster:
            yield ApiServer(cluster, asked)
    finally:
        await runner.cleanup()


def says(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """One answer; a body that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, body=data, headers={"Content-Type": "application/json", **(headers or {})})

    return answer


def refuses(status: int, message: str, headers: Mapping[str, str] | None = None, **rest: Any) -> Answer:
    """A Kubernetes Status; `reason` and `details` as given."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status, **rest}
    return says(status, body, headers)


def streams(*chunks: bytes, then: str = "end") -> Answer:
    """A watch: the chunks one by one, then `end` the answer, `cut` the connection, or `hang` on it."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0)
        if then == "hang":
            await asyncio.sleep(3600)
        if then == "cut":
            assert request.transport is not None
            request.transport.abort()
        return response

    return answer


def hangs() -> Answer:
    """Takes the request, and never answers."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    return answer


def kubeconfig_for(url: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "users": [{"name": "test", "user": {"token": "the-token"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
    )
