"""Two replicas: both take hooks, one fans out, and another goes on in the middle of it, whatever stops the one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from listener.core.leases import HELD_SECONDS, LIFE_SECONDS
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end import objects
from tests.end_to_end.objects import images, trigger, workload
from tests.end_to_end.parts import Api, Listener, eventually, push_event, registry, serve
from tests.faults.line import Line, to_cluster

HOST = "registry.example.com"
DIGESTS = [f"sha256:{number:064x}" for number in range(1, 5)]
MANY = int(os.environ.get("LISTENER_FLEET", "120"))
A_MOMENT = 5.0

Strike = Callable[["Fleet", Listener], Awaitable[None]]


@dataclass(slots=True)
class Fleet:
    """Many Deployments that follow web:latest, and two replicas; the line is that of the first one."""

    api: Api
    namespace: str
    names: Sequence[str]
    line: Line
    replicas: Sequence[Listener]

    async def states(self) -> list[tuple[str, int]]:
        """The image and the generation of each."""
        path = objects.path_of("Deployment", self.namespace)
        found = msgspec.json.decode(await self.api.client.get(path))["items"]
        return [(images(one)["web"], one["metadata"]["generation"]) for one in found]

    async def running(self, digest: str) -> int:
        return [image for image, _ in await self.states()].count(f"{HOST}/{self.namespace}/web@{digest}")

    async def push(self, listener: Listener, digest: str) -> None:
        status, answer = await listener.deliver(push_event(HOST, f"{self.namespace}/web", "latest", digest))
        assert (status, len(answer["moved"])) == (200, 1), answer

    async def all_run(self, digest: str) -> float:
        """Wait until all do; return the longest time in which none came to do so."""
        clock = asyncio.get_running_loop().time
        seen, last, longest = -1, clock(), 0.0

        async def look() -> bool:
            nonlocal seen, last, longest
            count = await self.running(digest)
            longest = max(longest, clock() - last)
            if count != seen:
                seen, last = count, clock()
            return count == len(self.names)

        await eventually(look, seconds=90, what=f"all in {self.namespace} run {digest}")
        return longest


@asynccontextmanager
async def fleet(cluster: ClusterUnderTest, api: Api, folder: Path, many: int) -> AsyncIterator[Fleet]:
    namespace = await cluster.namespace("lead")
    names = [f"web-{number}" for number in range(many)]
    bodies = [workload("Deployment", namespace, name, trigger("web:latest")) for name in names]
    for start in range(0, many, 50):
        await asyncio.gather(*(api.create(body) for body in bodies[start : start + 50]))
    folder.mkdir()
    through_the_line = folder / "kubeconfig"
    async with to_cluster(cluster.kubeconfig, through_the_line) as line:
        settings: dict[str, Any] = {
            "registries": [registry(HOST, integrated=True, verify=False)],
            "namespaces": [namespace],
            "leaderElection": {"lease": namespace},
            "fanOut": {"maxPerSecond": many / 2},  # so that there is a middle
        }
        cut_off = replace(cluster, kubeconfig=through_the_line)
        async with serve(cut_off, folder / "a", **settings) as first:
            await leads(first)
            async with serve(cluster, folder / "b", **settings) as second:
                await second.ready()
                yield Fleet(api, namespace, names, line, (first, second))


async def leads(listener: Listener) -> None:
    await listener.ready()

    async def is_leader() -> bool:
        return await listener.metric("listener_leader ") == 1

    await eventually(is_leader, seconds=2 * LIFE_SECONDS, what="it leads")


async def patches(listener: Listener) -> float:
    return await listener.metric('listener_patches_total{kind="Deployment",outcome="applied"}')


async def test_both_take_hooks_and_one_patches(cluster: ClusterUnderTest, api: Api, tmp_path: Path) -> None:
    async with fleet(cluster, api, tmp_path / "fleet", 20) as found:
        first, second = found.replicas
        for number, digest in enumerate(DIGESTS):
            await found.push(found.replicas[number % 2], digest)
            await found.all_run(digest)
        assert {generation for _, generation in await found.states()} == {1 + len(DIGESTS)}

        async def counted() -> bool:
            return await patches(first) == 20 * len(DIGESTS)

        await eventually(counted, what="the last answers have come")
        assert await patches(second) == 0
        assert await second.metric("listener_leader ") == 0
        one = await api.workload("Deployment", found.namespace, "web-0")
        told = msgspec.json.decode(one["metadata"]["annotations"]["imagestreams.dev/last-triggered"])
        (answered,) = [each for each in second.logged("hook.answered") if each["delivery"] == told["delivery"]]
        assert answered["moved"] == 1


async def terminate(_: Fleet, leader: Listener) -> None:
    assert await leader.terminate() == 0


async def kill(_: Fleet, leader: Listener) -> None:
    await leader.kill()


async def stop(_: Fleet, leader: Listener) -> None:
    leader.process.send_signal(signal.SIGSTOP)


async def cut(found: Fleet, _: Listener) -> None:
    found.line.cut()


async def struck(cluster: ClusterUnderTest, api: Api, folder: Path, strike: Strike) -> float:
    """Strike the leader in the middle of a fan-out; return for how long nobody patched."""
    async with fleet(cluster, api, folder, MANY) as found:
        leader, other = found.replicas
        await found.push(leader, DIGESTS[0])
        await found.all_run(DIGESTS[0])
        await found.push(other, DIGESTS[1])
        await eventually(lambda: found.running(DIGESTS[1]), what="the fan-out has begun")
        await strike(found, leader)
        assert await found.running(DIGESTS[1]) < MANY
        gap = await found.all_run(DIGESTS[1])
        await leads(other)
        if leader.process.returncode is None:  # it comes back, and finds that it leads no more
            found.line.mend()
            leader.process.send_signal(signal.SIGCONT)
            await eventually(lambda: _follows(leader), seconds=2 * LIFE_SECONDS, what="the former leader follows")
        await found.push(other, DIGESTS[2])
        await found.all_run(DIGESTS[2])
        generations = {generation for _, generation in await found.states()}
        assert generations == {4}  # made, and patched once for each push
        assert await api.history(found.namespace, "web", "latest") == DIGESTS[2::-1]
    return gap


async def _follows(listener: Listener) -> bool:
    return (await listener.get("/readyz"))[0] == 200 and await listener.metric("listener_leader ") == 0


async def test_who_ends_hands_over_in_the_middle(cluster: ClusterUnderTest, api: Api, tmp_path: Path) -> None:
    gap = await struck(cluster, api, tmp_path / "fleet", terminate)
    sys.stdout.write(f"terminate: nobody patched for {gap:.1f} s\n")
    assert gap < A_MOMENT


async def test_another_goes_on_where_the_leader_was_stopped(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    """All at once, for most of the time is waiting."""
    strikes: dict[str, Strike] = {"kill": kill, "stop": stop, "cut": cut}
    gaps = await asyncio.gather(*(struck(cluster, api, tmp_path / name, strike) for name, strike in strikes.items()))
    for name, gap in zip(strikes, gaps, strict=True):
        sys.stdout.write(f"{name}: nobody patched for {gap:.1f} s\n")
        assert LIFE_SECONDS - HELD_SECONDS - 1 < gap < LIFE_SECONDS + A_MOMENT
