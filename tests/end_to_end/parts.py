"""The service as a process of its own, and eyes on the cluster: what every end-to-end test uses."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec
import pytest
import yaml

from listener.edges.cluster import STREAMS_PATH, Cluster
from tests import programs
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end import accounts, objects

T = TypeVar("T")

SECRET = "a secret of these tests"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


async def eventually(look: Callable[[], Awaitable[T]], *, seconds: float = 20, what: str = "") -> T:
    """Look again and again until there is something to see; what was seen last is in the failure."""
    seen: T | None = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                seen = await look()
                if seen:
                    return seen
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not seen within {seconds} s: {what or look}; last: {seen!r}")


def free_port() -> int:
    """A port that nobody listens on now. The service must be named in a registry's configuration before it starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Api:
    """The cluster as these tests see it: objects as JSON, by their own names."""

    client: Cluster
    under_test: ClusterUnderTest

    async def create(self, body: Mapping[str, Any]) -> None:
        metadata = body["metadata"]
        kind = body["kind"]
        if kind == "ImageStream":
            path = f"{STREAMS_PATH}/namespaces/{metadata['namespace']}/imagestreams"
        else:
            path = objects.path_of(kind, metadata["namespace"])
        outcome = await self.client.create(path, body)
        assert outcome.end == "applied", f"{kind} {metadata['name']}: {outcome.message}"

    async def workload(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(await self.client.get(objects.path_of(kind, namespace, name)))
        return found

    async def stream(self, namespace: str, name: str) -> dict[str, Any]:
        path = f"{STREAMS_PATH}/namespaces/{namespace}/imagestreams/{name}"
        found: dict[str, Any] = msgspec.json.decode(await self.client.get(path))
        return found

    async def history(self, namespace: str, name: str, tag: str) -> list[str]:
        """The digests of a tag, newest first."""
        tags = (await self.stream(namespace, name)).get("status", {}).get("tags", [])
        return [item["image"] for found in tags if found["tag"] == tag for item in found["items"]]

    async def events(self, namespace: str, reason: str) -> list[dict[str, Any]]:
        path = f"/api/v1/namespaces/{namespace}/events"
        found = msgspec.json.decode(await self.client.get(path))
        return [event for event in found["items"] if event["reason"] == reason]


@dataclass(slots=True)
class Listener:
    """A `listener serve` of its own process."""

    session: aiohttp.ClientSession
    process: programs.Process
    hooks: str
    monitoring: str
    log: Path

    async def deliver(self, *events: Mapping[str, Any], hook: str = "team", secret: str = SECRET) -> tuple[int, Any]:
        """Post an envelope; return the status and the answer."""
        return await self.post(json.dumps({"events": events}).encode(), hook=hook, secret=secret)

    async def deliver_once(self, event: Mapping[str, Any]) -> tuple[int, Mapping[str, str], Any]:
        """Post one event; return the status, the headers and the answer."""
        headers = {"Authorization": f"Bearer {SECRET}"}
        async with self.session.post(f"{self.hooks}/hooks/team", json={"events": [event]}, headers=headers) as response:
            return response.status, response.headers, await response.json()

    async def post(self, body: bytes, *, hook: str = "team", secret: str = SECRET) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {secret}"}
        async with self.session.post(f"{self.hooks}/hooks/{hook}", data=BytesIO(body), headers=headers) as response:
            return response.status, await response.json()

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(self.monitoring + path) as response:
            return response.status, await response.text()

    async def metric(self, line_start: str) -> float:
        _, text = await self.get("/metrics")
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(line_start))

    async def ready(self) -> None:
        async def is_ready() -> bool:
            return (await self.get("/readyz"))[0] == 200

        await eventually(is_ready, what="the service is ready")

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    async def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 30)

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


def push_event(host: str, repository: str, tag: str, digest: str, **target: object) -> dict[str, Any]:
    """A push as distribution tells of it."""
    return {
        "id": secrets.token_hex(8),
        "timestamp": "2026-01-01T00:00:00.123456789Z",
        "action": "push",
        "target": {"mediaType": MANIFEST_TYPE, "digest": digest, "repository": repository, "tag": tag, **target},
        "request": {"host": host, "method": "PUT"},
    }


@asynccontextmanager
async def serve(
    cluster: ClusterUnderTest,
    folder: Path,
    *,
    registries: Sequence[Mapping[str, Any]],
    namespaces: Sequence[str],
    hooks_port: int = 0,
    module: str = "listener",
    env: Mapping[str, str] | None = None,
    rbac: Mapping[str, bool] | None = None,
    **settings: Any,
) -> AsyncIterator[Listener]:
    """Run `listener serve` until the block ends; it must then end by itself on SIGTERM, if nobody killed it before.

    It may do what the chart lets it with these settings, and with `rbac` among the chart's values. To have asked for
    more is a failure. `module` is what Python runs instead: the same program with something changed in it. `env` is
    added to the environment.
    """
    assert namespaces or cluster.sandbox, "on a real cluster it would patch what other tests look at"
    rbac = rbac or {}
    folder.mkdir(exist_ok=True)
    config, log = folder / "config.yaml", folder / "serve.log"
    found = {
        "listen": {"hooks": f"127.0.0.1:{hooks_port}", "monitoring": "127.0.0.1:0"},
        "registries": list(registries),
        "namespaces": list(namespaces),
        "leaderElection": {"enabled": False},
        **settings,
    }
    config.write_text(yaml.safe_dump(found))
    cluster = await accounts.as_installed(cluster, folder, found, rbac)
    options = ("--config", config, "--kubeconfig", cluster.kubeconfig)
    environment = {**os.environ, "TEAM_SECRET": SECRET, **(env or {})}
    process = await programs.start(module, "serve", *options, env=environment, stdout=log, stderr=log)
    async with aiohttp.ClientSession() as session:
        listener = Listener(session, process, "", "", log)
        try:

            async def started() -> list[dict[str, Any]]:
                assert process.returncode is None, log.read_text()
                return listener.logged("listener.started")

            (line,) = await eventually(started, what="the service has started")
            listener.hooks = f"http://127.0.0.1:{line['hooks']}"
            listener.monitoring = f"http://127.0.0.1:{line['monitoring']}"
            yield listener
            if process.returncode is None:
                assert await listener.terminate() == 0, log.read_text()
            beyond = accounts.refused(cluster, log, rbac)
            assert not beyond, f"asked for without a right to it: {sorted(beyond)}"
        finally:
            if process.returncode is None:
                await listener.kill()
            sys.stdout.write(log.read_text())  # pytest shows it with a test that failed


def registry(host: str, **more: Any) -> dict[str, Any]:
    """Settings of the registry whose hook is /hooks/team."""
    return {"name": "team", "host": host, "auth": {"bearer": {"secretEnv": "TEAM_SECRET"}}, **more}
