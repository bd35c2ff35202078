"""Ended in any phase, the service ends by itself, in time and without an error in its log; and started again it goes on
with what the other left.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from listener.core.leases import HELD_SECONDS
from listener.sandbox.cluster import Fault
from listener.sandbox.images import make_image, push
from listener.sandbox.registry import Registry
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.objects import images, trigger, workload
from tests.end_to_end.parts import Api, Listener, eventually, push_event, registry, serve
from tests.end_to_end.test_imports import condition, importing, stream
from tests.end_to_end.test_leadership import leads
from tests.faults.line import Line, to_cluster

HOST = "registry.example.com"
DIGESTS = [f"sha256:{number:064x}" for number in range(1, 4)]
INTEGRATED = [registry(HOST, integrated=True, verify=False)]
GRACE_SECONDS = 30.0  # from SIGTERM to SIGKILL, as Kubernetes has it
PROMPT_SECONDS = 4.0
ANSWERED_SECONDS = 10.0  # a hook, whatever happens: few senders wait longer

on_the_sandbox = pytest.mark.sandbox_only(reason="a real cluster cannot be told to fail")


async def ends(listener: Listener, within: float, number: signal.Signals = signal.SIGTERM) -> None:
    """End it, and find nothing in its log that somebody would have to look into."""
    clock = asyncio.get_running_loop().time
    began = clock()
    listener.process.send_signal(number)
    async with asyncio.timeout(GRACE_SECONDS):
        assert await listener.process.wait() == 0
    assert clock() - began < within
    assert listener.logged("listener.stopped")
    text = listener.log.read_text()
    assert "Traceback" not in text
    assert '"level":"error"' not in text
    assert "never retrieved" not in text  # and other last words of asyncio
    assert all(line.startswith("{") for line in text.splitlines()), text


@dataclass(frozen=True, slots=True)
class Fleet:
    """Deployments that follow web:latest in a namespace of their own."""

    api: Api
    cluster: ClusterUnderTest
    namespace: str
    names: Sequence[str]

    def serve(self, folder: Path, **settings: Any) -> Any:
        return serve(self.cluster, folder, **{"registries": INTEGRATED, "namespaces": [self.namespace], **settings})

    async def push(self, listener: Listener, digest: str) -> int:
        event = push_event(HOST, f"{self.namespace}/web", "latest", digest)
        return (await listener.deliver(event))[0]

    async def running(self, digest: str) -> int:
        found = [await self.api.workload("Deployment", self.namespace, name) for name in self.names]
        return sum(images(one)["web"].endswith(digest) for one in found)

    async def all_run(self, digest: str) -> None:
        async def look() -> bool:
            return await self.running(digest) == len(self.names)

        await eventually(look, seconds=30, what=f"all run {digest}")


async def fleet(api: Api, cluster: ClusterUnderTest, many: int) -> Fleet:
    namespace = await cluster.namespace("shutdown")
    names = [f"web-{number}" for number in range(many)]
    for name in names:
        await api.create(workload("Deployment", namespace, name, trigger("web:latest")))
    return Fleet(api, cluster, namespace, names)


@asynccontextmanager
async def through_a_line(cluster: ClusterUnderTest, folder: Path) -> AsyncIterator[tuple[ClusterUnderTest, Line]]:
    """The cluster, as it is reached through a line that can be cut."""
    kubeconfig = folder / "line.kubeconfig"
    async with to_cluster(cluster.kubeconfig, kubeconfig) as line:
        yield replace(cluster, kubeconfig=kubeconfig), line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_before_anything_was_listed(
    number: signal.Signals, cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    """The API server takes connections and never answers."""
    found = await fleet(api, cluster, 3)
    async with through_a_line(cluster, tmp_path) as (reached, line):
        line.cut()
        async with replace(found, cluster=reached).serve(tmp_path) as listener:
            assert await found.push(listener, DIGESTS[0]) == 503
            assert (await listener.get("/readyz"))[0] == 503
            await ends(listener, PROMPT_SECONDS, number)
    async with found.serve(tmp_path) as listener:
        await listener.ready()
        assert await found.push(listener, DIGESTS[0]) == 200
        await found.all_run(DIGESTS[0])


@on_the_sandbox
async def test_while_a_list_is_under_way(cluster: ClusterUnderTest, api: Api, tmp_path: Path) -> None:
    """At the start, and once more after the watch was told that it is too old: what came meanwhile is not lost."""
    assert cluster.sandbox is not None
    found = await fleet(api, cluster, 3)
    slow = Fault("latency", verbs=("list",), resources=("deployments",), seconds=60)
    cluster.sandbox.faults.set((slow,))
    async with found.serve(tmp_path) as listener:
        await eventually(lambda: struck(cluster), what="the list is waited for")
        await ends(listener, PROMPT_SECONDS)
    cluster.sandbox.faults.clear()
    async with found.serve(tmp_path) as listener:
        await listener.ready()
        assert await found.push(listener, DIGESTS[0]) == 200
        await found.all_run(DIGESTS[0])
        cluster.sandbox.faults.set(
            (Fault("expired-event", verbs=("watch",), resources=("deployments",), count=1), slow)
        )
        await eventually(lambda: struck(cluster, 2), what="it lists again")
        await api.create(workload("Deployment", found.namespace, "late", trigger("web:latest")))
        assert await found.push(listener, DIGESTS[1]) == 200  # what is known is patched meanwhile
        await ends(listener, PROMPT_SECONDS)
    cluster.sandbox.faults.clear()
    async with found.serve(tmp_path):
        await replace(found, names=[*found.names, "late"]).all_run(DIGESTS[1])


async def struck(cluster: ClusterUnderTest, times: int = 1) -> bool:
    assert cluster.sandbox is not None
    return cluster.sandbox.faults.hits >= times


async def test_in_the_middle_of_a_fan_out_which_it_finishes(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    found = await fleet(api, cluster, 40)
    async with found.serve(tmp_path, fanOut={"maxPerSecond": 20}) as listener:
        await listener.ready()
        assert await found.push(listener, DIGESTS[0]) == 200
        await eventually(lambda: found.running(DIGESTS[0]), what="the fan-out has begun")
        await ends(listener, GRACE_SECONDS)
        (told,) = listener.logged("listener.stopped")
        assert (told["drained"], told["workloads_left"], told["workloads_delayed"]) == (True, 0, 0)
    assert await found.running(DIGESTS[0]) == len(found.names)


@on_the_sandbox
async def test_in_the_middle_of_a_fan_out_which_it_cannot_finish(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    """The API server takes no patch any more: the next one goes on with those that are left, and with no other."""
    assert cluster.sandbox is not None
    found = await fleet(api, cluster, 12)
    async with found.serve(tmp_path) as listener:
        await listener.ready()
        refused = Fault("throttle", verbs=("patch",), resources=("deployments",), names=tuple(found.names[6:]))
        cluster.sandbox.faults.set((refused,))
        assert await found.push(listener, DIGESTS[0]) == 200
        await eventually(lambda: found.running(DIGESTS[0]), what="the fan-out has begun")
        await ends(listener, GRACE_SECONDS)
        (told,) = listener.logged("listener.stopped")
        assert told["workloads_left"] + told["workloads_delayed"] == 6
    cluster.sandbox.faults.clear()
    async with found.serve(tmp_path):
        await found.all_run(DIGESTS[0])
    states = [await api.workload("Deployment", found.namespace, name) for name in found.names]
    assert [one["metadata"]["generation"] for one in states] == [2] * len(states)


async def test_while_a_registry_is_asked(cluster: ClusterUnderTest, api: Api, tmp_path: Path) -> None:
    """By an import, and by a hook: the one is made again, the other is answered that it must come again."""
    found = await fleet(api, cluster, 1)
    image = make_image(found.namespace)
    async with Registry() as real, aiohttp.ClientSession() as session:
        repository = f"{found.namespace}/web"
        await push(session, f"http://{real.host}", repository, "latest", image)
        line = Line(URL(f"http://{real.host}"))
        async with line.listen() as url:
            line.cut()
            host = url.authority
            settings = {"registries": [registry(host, integrated=True, insecure=True)]}
            await api.create(stream(found.namespace, importing("tool", f"{host}/{repository}:latest"), name="tools"))
            event = push_event(host, repository, "latest", image.digest)
            async with found.serve(tmp_path, **settings) as listener:
                await listener.ready()
                delivery = asyncio.create_task(listener.deliver(event))
                await eventually(lambda: connected(line, 2), what="the registry is asked for both")
                await ends(listener, GRACE_SECONDS)
                assert (await delivery)[0] == 503
            assert await condition(api, found.namespace, "tool", "tools") is None
            line.mend()
            async with found.serve(tmp_path, **settings) as listener:
                await listener.ready()
                assert (await listener.deliver(event))[0] == 200
                await found.all_run(image.digest)

                async def imported() -> bool:
                    return await api.history(found.namespace, "tools", "tool") == [image.digest]

                await eventually(imported, what="the import was made")


async def connected(line: Line, times: int) -> bool:
    return line.connections >= times


async def test_while_it_loses_leadership(cluster: ClusterUnderTest, api: Api, tmp_path: Path) -> None:
    """Cut off it cannot give its Lease back; it ends all the same, before it knows that it leads no more, and after."""

    async def cut_off(folder: Path, *, is_lost: bool) -> None:
        folder.mkdir()
        found = await fleet(api, cluster, 5)
        settings = {"leaderElection": {"lease": found.namespace}}
        async with (
            through_a_line(cluster, folder) as (reached, line),
            replace(found, cluster=reached).serve(folder, **settings) as listener,
        ):
            await leads(listener)
            assert await found.push(listener, DIGESTS[0]) == 200
            await found.all_run(DIGESTS[0])
            line.cut()
            if is_lost:
                await eventually(lambda: lost(listener), seconds=HELD_SECONDS + PROMPT_SECONDS, what="it leads no more")
            else:
                async with asyncio.timeout(ANSWERED_SECONDS):
                    assert await found.push(listener, DIGESTS[1]) == 503
            await ends(listener, GRACE_SECONDS)
        assert await api.history(found.namespace, "web", "latest") == [DIGESTS[0]]

    await asyncio.gather(cut_off(tmp_path / "before", is_lost=False), cut_off(tmp_path / "after", is_lost=True))


async def lost(listener: Listener) -> bool:
    return await listener.metric("listener_leader ") == 0


async def test_at_any_moment_of_its_start(cluster: ClusterUnderTest, api: Api, tmp_path: Path) -> None:
    found = await fleet(api, cluster, 1)

    async def started_and_ended(number: int) -> None:
        folder = tmp_path / str(number)
        async with found.serve(folder) as listener:
            await asyncio.sleep(number / 50)  # a different moment each, all of them within the first lists
            await ends(listener, GRACE_SECONDS)

    await asyncio.gather(*(started_and_ended(number) for number in range(4)))
