"""What benches share: a cluster, a bare client, the service as a process of its own, and objects of the size people
have.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from listener.cli.playground import install_image_streams
from listener.edges.cluster import Cluster

IN_FLIGHT = 100
HOST = "registry.example.com"
SECRET = "bench"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, slots=True)
class World:
    """`namespace` is this run's own. `client` is the bare client: one session, raw bytes, nothing else."""

    kubeconfig: Path
    client: Cluster
    folder: Path
    namespace: str


@asynccontextmanager
async def world(kubeconfig: Path | None, folder: Path) -> AsyncIterator[World]:
    """Use the cluster of a kubeconfig, or a sandbox in a process of its own; remove the namespace at the end."""
    if kubeconfig is None:
        kubeconfig = folder / "kubeconfig"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "listener",
            "sandbox",
            "--no-serve",
            "--kubeconfig-out",
            str(kubeconfig),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        await process.stdout.readuntil(b"Ctrl-C")
    else:
        process = None
    try:
        async with await Cluster.connect(kubeconfig=str(kubeconfig), max_connections=2 * IN_FLIGHT) as client:
            await install_image_streams(client)
            async with _namespace(client) as namespace:
                yield World(kubeconfig, client, folder, namespace)
    finally:
        if process is not None:
            process.terminate()
            await process.wait()


@asynccontextmanager
async def beside(world: World) -> AsyncIterator[World]:
    """The same world, with a namespace that the service does not look at."""
    async with _namespace(world.client) as namespace:
        yield replace(world, namespace=namespace)


@asynccontextmanager
async def _namespace(client: Cluster) -> AsyncIterator[str]:
    name = f"bench-{secrets.token_hex(3)}"
    await _create(client, "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        yield name
    finally:
        await client.delete(f"/api/v1/namespaces/{name}")


@dataclass(frozen=True, slots=True)
class Service:
    """A running `listener serve`."""

    session: aiohttp.ClientSession
    hooks: str
    monitoring: str
    pid: int
    log: Path

    async def push(self, repository: str, tag: str, digest: str) -> None:
        """Deliver one push as distribution does; returns when it is stored."""
        event = {
            "id": secrets.token_hex(8),
            "timestamp": datetime.now(UTC).isoformat(),
            "action": "push",
            "target": {"mediaType": _MANIFEST_TYPE, "digest": digest, "repository": repository, "tag": tag},
            "request": {"host": HOST, "method": "PUT"},
        }
        headers = {"Authorization": f"Bearer {SECRET}"}
        async with self.session.post(
            f"{self.hooks}/hooks/bench", json={"events": [event]}, headers=headers
        ) as response:
            answer = await response.json()
        if response.status != 200 or not answer["moved"]:
            raise RuntimeError(f"the push was not taken: {response.status} {answer}")

    async def metric(self, pattern: str) -> float:
        """The sum of the samples whose line matches. Only those of its name are asked for: all of them take long."""
        name = re.match(r"\w+", pattern)
        assert name is not None
        async with self.session.get(f"{self.monitoring}/metrics", params={"name[]": name[0]}) as response:
            text = await response.text()
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(pattern, line))

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Nothing of it runs meanwhile."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def memory_mib(self, field: str = "VmRSS") -> float:
        """Resident memory (VmRSS), or its peak (VmHWM), as Linux counts it."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"{field}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024


@asynccontextmanager
async def service(world: World, *, host: str = HOST, **settings: Any) -> AsyncIterator[Service]:
    """Run `listener serve` for this run's namespace, until it is ready; end it with SIGTERM.

    Its registry is at `host`, over plain http. At the usual one there is none, and it is not asked about pushes.
    """
    registry = {
        "name": "bench",
        "host": host,
        "insecure": True,
        "dialect": "distribution",
        "integrated": True,
        "verify": host != HOST,
        "auth": {"bearer": {"secretEnv": "BENCH_SECRET"}},
    }
    log = world.folder / "serve.log"
    listen = {"hooks": "127.0.0.1:0", "monitoring": "127.0.0.1:0"}
    found = {"listen": listen, "registries": [registry], "leaderElection": {"enabled": False}, **settings}
    config = _write(world.folder / "config.yaml", yaml.safe_dump(found))
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "listener", "serve", "--config", str(config)),
            *("--kubeconfig", str(world.kubeconfig), "-n", world.namespace),
            env={**os.environ, "BENCH_SECRET": SECRET},
            stderr=output,
        )
    try:
        async with aiohttp.ClientSession() as session:
            started = await until(lambda: _logged(log, "listener.started"))
            running = Service(
                session,
                f"http://127.0.0.1:{started['hooks']}",
                f"http://127.0.0.1:{started['monitoring']}",
                process.pid,
                log,
            )
            await until(lambda: _is_ready(running))
            yield running
    finally:
        process.terminate()
        await process.wait()


def _write(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


async def _logged(log: Path, event: str) -> Mapping[str, Any] | None:
    for line in log.read_text().splitlines():
        if f'"{event}"' in line:
            found: Mapping[str, Any] = json.loads(line)
            return found
    return None


async def _is_ready(service: Service) -> bool:
    async with service.session.get(f"{service.monitoring}/readyz") as response:
        return response.status == 200


async def until(
    look: Callable[[], Awaitable[Any]], *, every_seconds: float = 0.02, patience_seconds: float = 120
) -> Any:
    """Look until there is something to see."""
    async with asyncio.timeout(patience_seconds):
        while True:
            if seen := await look():
                return seen
            await asyncio.sleep(every_seconds)


async def many(work: Sequence[Callable[[], Awaitable[None]]], in_flight: int = IN_FLIGHT) -> None:
    """Run all, so many at once."""
    waiting = iter(work)

    async def worker() -> None:
        for do in waiting:
            await do()

    async with asyncio.TaskGroup() as workers:
        for _ in range(in_flight):
            workers.create_task(worker())


async def create_deployments(world: World, count: int, tag: str, image: str) -> list[str]:
    """Create Deployments of some 5 KB with no replicas that follow a tag; return their names."""
    names = [f"web-{number:05}" for number in range(count)]

    async def create(name: str) -> None:
        path = f"/apis/apps/v1/namespaces/{world.namespace}/deployments"
        await _create(world.client, path, deployment(name, world.namespace, tag, image))

    await many([partial(create, name) for name in names])
    return names


async def create_stream(world: World) -> None:
    body = {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": "web", "namespace": world.namespace},
    }
    path = f"/apis/image.openshift.io/v1/namespaces/{world.namespace}/imagestreams"

    async def created() -> bool:
        return (await world.client.create(path, body)).end == "applied"

    await until(created)


async def _create(client: Cluster, path: str, body: Mapping[str, Any]) -> None:
    outcome = await client.create(path, body)
    if outcome.end != "applied":
        raise RuntimeError(f"POST {path}: {outcome.end}: {outcome.message}")


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def pull_spec(world: World, number: int) -> str:
    return f"{HOST}/{world.namespace}/web@{digest(number)}"


def deployment(name: str, namespace: str, tag: str, image: str) -> Mapping[str, Any]:
    """Some 5 KB that follow the tag `web:TAG`, or `STREAM:TAG` if `tag` names a stream."""
    trigger = {
        "from": {"kind": "ImageStreamTag", "name": tag if ":" in tag else f"web:{tag}"},
        "fieldPath": 'spec.template.spec.containers[?(@.name=="web")].image',
    }
    # Twenty variables bring the object to the 5 KB that Deployments have in clusters at work.
    env = [{"name": f"SETTING_{number:02}", "value": "x" * 90} for number in range(20)]
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": {"image.openshift.io/triggers": json.dumps([trigger])},
        },
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": image, "env": env}]},
            },
        },
    }
