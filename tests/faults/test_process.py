"""What can happen to the process: a kill, a stop, and a clock that is set."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from listener.core.leases import Lease
from listener.sandbox.cluster import Fault
from tests.end_to_end.parts import Listener, eventually, push_event
from tests.faults.clock import Clock
from tests.faults.world import DIGESTS, HOST, World, tried

pytestmark = pytest.mark.sandbox_only(reason="both the fault and the service without its protection are ours alone")

AN_HOUR = 3600
ON_THEIR_WAY = b"/deployments/web-2"  # and web-20 to web-29


async def killed_in_a_fan_out(world: World) -> None:
    await world.deploy(*(f"web-{number}" for number in range(40)))
    async with world.serve("first", fanOut={"maxPerSecond": 10}) as listener:
        await listener.ready()
        await world.push(listener, DIGESTS[0])
        await eventually(lambda: world.count(DIGESTS[0]), what="the fan-out has begun")
        await listener.kill()
    assert await world.count(DIGESTS[0]) < 40
    history = await world.api.history(world.namespace, "web", "latest")
    world.promise(history == [DIGESTS[0]], f"what was acknowledged is stored; the history is {history}")
    async with world.serve("second"):
        await world.until_all_run(DIGESTS[0])


async def test_a_kill_in_the_middle_of_a_fan_out_loses_neither_the_push_nor_a_workload(tmp_path: Path) -> None:
    without = {"acknowledged_before_stored": "what was acknowledged", "first_sight_is_no_news": "all run"}
    await tried(killed_in_a_fan_out, without=without, folder=tmp_path)


@asynccontextmanager
async def _replicas(world: World) -> AsyncIterator[tuple[Listener, Listener]]:
    """Two of them; the first one leads."""
    settings = {"leaderElection": {"lease": world.namespace}, "fanOut": {"maxPerSecond": 20}}

    async def leading() -> list[Listener]:
        return [each for each in found if await each.metric("listener_leader ") == 1]

    async with AsyncExitStack() as running:
        both = [running.enter_async_context(world.serve(name, **settings)) for name in ("a", "b")]
        found = await asyncio.gather(*both)
        await asyncio.gather(*(each.ready() for each in found))
        (leader,) = await eventually(leading, what="one of them leads")
        yield leader, found[1 - found.index(leader)]


async def stopped_in_a_fan_out(world: World) -> None:
    await world.deploy(*(f"web-{number}" for number in range(30)))

    async def held() -> int:
        return world.line.held(about=ON_THEIR_WAY)

    async with _replicas(world) as (leader, other):

        async def follows() -> bool:
            return await leader.metric("listener_leader ") == 0 or bool(_gone_back(world))

        world.line.cut(about=ON_THEIR_WAY)
        await world.push(other, DIGESTS[0])
        await eventually(lambda: world.count(DIGESTS[0]), what="the fan-out has begun")
        await eventually(held, what="a patch is on its way")
        world.line.freeze(about=ON_THEIR_WAY)
        world.line.clear()
        leader.process.send_signal(signal.SIGSTOP)
        try:
            for told in (b"/imagestreams?watch", b"/leases?watch"):  # the others' doings, when it goes on
                world.line.freeze(about=told)
            await world.until_all_run(DIGESTS[0])
            await world.push(other, DIGESTS[1])
            await world.until_all_run(DIGESTS[1])
            world.faults.set((Fault("error", resources=("leases",)),))
            world.line.thaw(about=ON_THEIR_WAY)
        finally:
            leader.process.send_signal(signal.SIGCONT)
        await eventually(follows, what="the former leader knows by itself that it leads no more")
        world.faults.clear()
        world.line.mend()
        await world.push(other, DIGESTS[2])
        await world.until_all_run(DIGESTS[2])
    world.promise(not _gone_back(world), f"no workload goes back; these did: {_gone_back(world)}")


def _gone_back(world: World) -> dict[str, list[str]]:
    return {name: seen for name, seen in world.images.items() if len(set(seen)) < len(seen)}


async def test_a_leader_that_was_stopped_and_goes_on_takes_nothing_back(tmp_path: Path) -> None:
    """Neither with what was on its way, nor with what it begins. A Lease is free after 2 s here instead of 15."""
    without = {"patches_test_no_image": "no workload goes back"}
    await tried(stopped_in_a_fan_out, without=without, folder=tmp_path, shorter=("short_leases",))


async def jumps_of_the_clock(world: World) -> None:
    clock = Clock(world.folder / "clock")
    await world.deploy("web")

    async def lease() -> Lease:
        found = msgspec.json.decode(await world.api.client.get("/apis/coordination.k8s.io/v1/leases"))
        (place,) = [each["metadata"] for each in found["items"] if each["metadata"]["name"] == world.namespace]
        held = await world.api.client.get_lease(place["namespace"], place["name"])
        assert held is not None
        return held

    settings: dict[str, Any] = {"leaderElection": {"lease": world.namespace}, "env": {**world.program.env, **clock.env}}
    async with world.serve(**settings) as listener:
        await listener.ready()
        for digest, seconds in zip(DIGESTS, (0, AN_HOUR, -AN_HOUR, 0), strict=False):
            clock.set(seconds)
            push = push_event(HOST, f"{world.namespace}/web", "latest", digest)
            status, answer = await listener.deliver({**push, "timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"})
            assert status == 200, answer
            await world.until_runs("web", digest)
            before = await lease()

            async def renewed(before: Lease = before) -> bool:
                return (await lease()).resource_version != before.resource_version

            await world.until(renewed, "the Lease is renewed")
        assert (await lease()).holder
    history = await world.api.history(world.namespace, "web", "latest")
    world.promise(history == DIGESTS[3::-1], f"the history is in the order of the pushes; it is {history}")
    world.promise((await lease()).transitions == 1, "the Lease is kept")


async def test_a_clock_that_is_set_changes_neither_the_order_of_pushes_nor_who_leads(tmp_path: Path) -> None:
    """An hour ahead, then an hour behind, then right. A Lease is free after 2 s here instead of 15."""
    without = {"terms_go_by_the_wall_clock": "the Lease is"}
    await tried(jumps_of_the_clock, without=without, folder=tmp_path, shorter=("short_leases",))
