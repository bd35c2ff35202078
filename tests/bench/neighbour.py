"""How long others wait for the API server while we patch: a client that asks for little, twenty times a second.

It is measured alone, during our fan-out, and during the same patches from a bare client with a hundred in flight.
On a cluster whose accounts have tokens each of the three has an account of its own, as they have at work: a
kubeconfig's administrator would pass by the server's priority and fairness.

`python -m tests.bench.neighbour KUBECONFIG NAMESPACE` is that client, a process of its own so that it waits for nobody
but the server. It prints for each request when it was due (monotonic clock), how long it took from then and whether it
succeeded, until it is terminated.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from kubernetes_asyncio import client as kubernetes
from kubernetes_asyncio import config

from listener.edges.cluster import Cluster
from tests.bench.fanout import NOTHING_YET, patch_all, push_to_all
from tests.bench.world import (
    IN_FLIGHT,
    World,
    beside,
    create_deployments,
    create_stream,
    service,
    until,
)

_ROUNDS = 3
_QUIET_SECONDS = 8.0
_CALM_SECONDS = 3.0  # for the controllers to be done with what was patched
_EVERY_SECONDS = 0.05
_CONFIG_MAPS = 50  # in turn: many changes of one object at once would wait for each other, and not for the server


@dataclass
class _Phase:
    """The samples of all rounds; `seconds` is how long each of them was."""

    samples: list[float] = field(default_factory=list)
    failures: int = 0
    seconds: list[float] = field(default_factory=list)

    def told(self) -> dict[str, object]:
        cuts = statistics.quantiles(self.samples, n=100, method="inclusive")
        return {
            "median_ms": round(cuts[49] * 1000, 1),
            "p95_ms": round(cuts[94] * 1000, 1),
            "p99_ms": round(cuts[98] * 1000, 1),
            "requests": len(self.samples),
            "failures": self.failures,
            "seconds": round(statistics.median(self.seconds), 2),
        }


async def run(world: World, workloads: int) -> dict[str, object]:
    """The service runs all the time, at rest while the others are measured; the bare client has its own namespace."""
    alone, ours, bare = _Phase(), _Phase(), _Phase()
    limits = []
    async with beside(world) as other:
        names = await create_deployments(world, workloads, "latest", NOTHING_YET)
        await create_deployments(other, workloads, "latest", NOTHING_YET)
        await create_stream(world)
        async with (
            _accounts(world) as (kubeconfigs, is_own),
            await Cluster.connect(kubeconfig=str(kubeconfigs["bare"]), max_connections=2 * IN_FLIGHT) as client,
            _neighbour(kubeconfigs["neighbour"], world.namespace) as neighbour,
            service(replace(world, kubeconfig=kubeconfigs["service"])) as running,
        ):
            elsewhere = replace(other, client=client)
            for number in range(1, _ROUNDS + 1):
                await neighbour.during(alone, partial(asyncio.sleep, _QUIET_SECONDS))
                await neighbour.during(ours, partial(push_to_all, world, running, workloads, number))
                limits.append(int(await running.metric("listener_fan_out_limit")))
                await neighbour.during(bare, partial(patch_all, elsewhere, names, number))
    return {
        "bench": "neighbour",
        "workloads": workloads,
        "accounts": "own" if is_own else "shared",
        "alone": alone.told(),
        "ours": ours.told(),
        "bare": bare.told(),
        "ours_to_alone": _ratios(ours, alone),
        "bare_to_alone": _ratios(bare, alone),
        "ours_to_bare": _ratios(ours, bare),
        "limit_after_fan_out": limits,
    }


def _ratios(of: _Phase, to: _Phase) -> dict[str, float]:
    ours = statistics.quantiles(of.samples, n=100, method="inclusive")
    theirs = statistics.quantiles(to.samples, n=100, method="inclusive")
    return {name: round(ours[cut] / theirs[cut], 2) for name, cut in (("median", 49), ("p95", 94), ("p99", 98))}


@asynccontextmanager
async def _accounts(world: World) -> AsyncIterator[tuple[dict[str, Path], bool]]:
    """A kubeconfig for each of the three, and whether it is an account of its own. The sandbox knows one token only."""
    names = ("neighbour", "service", "bare")
    binding = f"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{world.namespace}"
    body = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": world.namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [
            {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Group",
                "name": f"system:serviceaccounts:{world.namespace}",
            }
        ],
    }
    await world.client.create(binding.rpartition("/")[0], body)
    try:
        tokens = {name: await _token(world, name) for name in names}
        is_own = all(tokens.values())
        yield (
            {
                name: _kubeconfig(world, name, token) if token and is_own else world.kubeconfig
                for name, token in tokens.items()
            },
            is_own,
        )
    finally:
        await world.client.delete(binding)


async def _token(world: World, name: str) -> str | None:
    """Create an account; return a token for it, or None where there are none."""
    accounts = f"/api/v1/namespaces/{world.namespace}/serviceaccounts"
    await world.client.create(accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
    outcome = await world.client.create(f"{accounts}/{name}/token", request)
    if not outcome.stored:
        return None
    token: str | None = json.loads(outcome.stored).get("status", {}).get("token")
    return token


def _kubeconfig(world: World, name: str, token: str) -> Path:
    """The world's, with another user."""
    content: dict[str, Any] = yaml.safe_load(world.kubeconfig.read_text())
    used = next(c["context"] for c in content["contexts"] if c["name"] == content["current-context"])
    cluster = next(c for c in content["clusters"] if c["name"] == used["cluster"])
    file = world.folder / f"kubeconfig-{name}"
    file.touch(mode=0o600)
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [cluster],
                "users": [{"name": name, "user": {"token": token}}],
                "contexts": [{"name": name, "context": {"cluster": cluster["name"], "user": name}}],
                "current-context": name,
            }
        )
    )
    return file


class _Neighbour:
    """The process, and what it has told."""

    def __init__(self) -> None:
        self._told: list[tuple[float, float, bool]] = []

    async def read(self, output: asyncio.StreamReader) -> None:
        while line := await output.readline():
            due, seconds, is_good = json.loads(line)
            self._told.append((due, seconds, is_good))

    async def during(self, phase: _Phase, work: Callable[[], Awaitable[None]]) -> None:
        """Add to a phase what was due while the work was done. It begins when the one before has been got over."""
        await asyncio.sleep(_CALM_SECONDS)
        await until(self._is_calm)
        started = time.monotonic()
        await work()
        ended = time.monotonic()
        await until(partial(self._has_told, started, ended))  # the last may still be waiting for their answer
        found = [(seconds, is_good) for due, seconds, is_good in self._told if started <= due < ended]
        phase.samples += [seconds for seconds, _ in found]
        phase.failures += sum(not is_good for _, is_good in found)
        phase.seconds.append(ended - started)

    async def is_asking(self) -> bool:
        return bool(self._told)

    async def _is_calm(self) -> bool:
        """Whether all but the last of the last second have their answers."""
        now = time.monotonic()
        return await self._has_told(now - 1.2, now - 0.2)

    async def _has_told(self, started: float, ended: float) -> bool:
        found = sum(started <= due < ended for due, _, _ in self._told)
        return found >= int((ended - started) / _EVERY_SECONDS)


@asynccontextmanager
async def _neighbour(kubeconfig: Path, namespace: str) -> AsyncIterator[_Neighbour]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.neighbour", str(kubeconfig), namespace), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    found = _Neighbour()
    reader = asyncio.create_task(found.read(process.stdout), name="neighbour")
    try:
        await until(found.is_asking)
        yield found
    finally:
        process.terminate()
        await process.wait()
        await reader


async def _ask(kubeconfig: str, namespace: str) -> None:
    """Ask on time, whether or not the last answer has come: who waits for it would count a stall but once."""
    configuration = kubernetes.Configuration()
    await config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
    async with kubernetes.ApiClient(configuration) as api, asyncio.TaskGroup() as requests:
        core = kubernetes.CoreV1Api(api)
        for number in range(0, 2 * _CONFIG_MAPS, 2):
            await until(partial(_created, core, namespace, number), every_seconds=0.2)
        due, number = time.monotonic(), 0
        while True:
            due += _EVERY_SECONDS
            number += 1
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            requests.create_task(_one(core, namespace, due, number))


async def _created(core: kubernetes.CoreV1Api, namespace: str, number: int) -> bool:
    """The rights of a new account come into force a little later."""
    body = {"metadata": {"name": _name(number)}, "data": {"number": "0"}}
    try:
        await core.create_namespaced_config_map(namespace, body)
    except kubernetes.ApiException as error:
        if error.status != 403:
            raise
        return False
    return True


def _name(number: int) -> str:
    return f"bench-neighbour-{number // 2 % _CONFIG_MAPS}"


async def _one(core: kubernetes.CoreV1Api, namespace: str, due: float, number: int) -> None:
    try:
        if number % 2:
            await core.read_namespaced_config_map(_name(number), namespace)
        else:
            change = {"data": {"number": str(number)}}
            await core.patch_namespaced_config_map(
                _name(number), namespace, change, _content_type="application/merge-patch+json"
            )
        is_good = True
    except (kubernetes.ApiException, OSError):
        is_good = False
    sys.stdout.write(json.dumps([due, time.monotonic() - due, is_good]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_ask(*sys.argv[1:]))
