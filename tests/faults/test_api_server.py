"""What the API server can do: refuse everybody, forget what was, and come back with an older view."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from listener.sandbox.cluster import Fault
from tests.end_to_end.parts import eventually, push_event
from tests.faults.world import DIGESTS, HOST, World, tried

pytestmark = pytest.mark.sandbox_only(reason="both the fault and the service without its protection are ours alone")

AWAY_SECONDS = 3
NOTED_SECONDS = 2  # of them at least: it is noted late that they have begun. Without advice we stay away for one.


async def full_429_weather(world: World) -> None:
    clock = asyncio.get_running_loop().time
    await world.deploy(*(f"web-{number}" for number in range(20)))
    async with world.serve() as listener:
        await listener.ready()

        async def throttled() -> float:
            return await listener.metric('listener_patches_total{kind="Deployment",outcome="throttled"}')

        async def nobody_is_under_way() -> bool:
            return await listener.metric("listener_fan_out_in_flight ") == 0

        world.faults.set((Fault("throttle", verbs=("patch",), resources=("deployments",), retry_after=AWAY_SECONDS),))
        await world.push(listener, DIGESTS[0])
        await eventually(throttled, what="the API server has asked us to stay away")
        began = clock()
        world.faults.set((Fault("throttle", retry_after=AWAY_SECONDS),))
        late = push_event(HOST, f"{world.namespace}/web", "latest", DIGESTS[1])
        status, _, _ = await listener.deliver_once(late)
        assert status == 503
        await eventually(nobody_is_under_way, what="all who were under way have been sent away")
        away = await throttled()

        async def more_came() -> bool:
            return await throttled() > away

        await world.until(more_came, "who was sent away comes again")
        came = clock() - began
        world.promise(came > NOTED_SECONDS, f"nobody comes before it may; some came after {came:.2f} s")
        world.faults.clear()
        await world.until_all_run(DIGESTS[0])


async def test_in_429_weather_we_stay_away_as_long_as_we_are_asked_to_and_come_back(tmp_path: Path) -> None:
    await tried(full_429_weather, without={"advice_is_not_heard": "before it may"}, folder=tmp_path)


async def storm_of_410(world: World) -> None:
    async with world.serve() as listener:
        await listener.ready()
        for stream in ("web", "gone"):
            await world.push(listener, DIGESTS[0], stream=stream)

        async def interrupted() -> bool:
            found = {line["resource"] for line in listener.logged("watch.interrupted")}
            return {"deployments", "imagestreams"} <= found

        world.faults.set(
            (
                Fault("expired", verbs=("watch",)),
                Fault("expired-event", verbs=("watch",)),
                Fault("error", verbs=("list",)),  # until we have done what only a list can tell
            )
        )
        await eventually(interrupted, what="no watch goes on")
        await world.deploy("web")
        await world.delete_stream("gone")
        world.sandbox.compact()
        world.faults.clear()
        await world.until_runs("web", DIGESTS[0])
        await world.told_of_streams(listener, left=1)
        await world.deploy("of-gone", tag="gone:latest")
        await world.deploy("witness")
        await world.until_runs("witness", DIGESTS[0])
        seen = world.images["of-gone"]
        world.promise(len(seen) == 1, f"nothing runs what no tag says; it had {seen}")


async def test_what_was_missed_in_a_storm_of_410_is_found_by_listing_again(tmp_path: Path) -> None:
    without = {"lists_tell_nothing": "web runs", "lists_forget_nothing": "what no tag says"}
    await tried(storm_of_410, without=without, folder=tmp_path)


async def restored_from_a_backup(world: World) -> None:
    await world.deploy("web")
    async with world.serve() as listener:
        await listener.ready()
        await world.push(listener, DIGESTS[0])
        await world.until_runs("web", DIGESTS[0])
        backup = world.sandbox.backup()
        # More than will be done again until the service has noticed. What it knows is later than that, so that nothing
        # of the restored cluster looks newer, not even a status that the cluster had yet to write.
        await world.make_history()
        await world.push(listener, DIGESTS[1])
        await world.until_runs("web", DIGESTS[1])
        await world.told_of_streams(listener, left=1)
        await world.deploy("witness")
        await world.until_runs("witness", DIGESTS[1])
        world.line.reset()
        world.sandbox.restore(backup)
        # The same object at the same resourceVersion with another content would deceive everybody, the API server too.
        await world.make_history(changes=20)
        world.line.mend()
        await world.push(listener, DIGESTS[2])
        await world.until_runs("web", DIGESTS[2])
        await world.push(listener, DIGESTS[3])
        await world.until_runs("web", DIGESTS[3])
    history = await world.api.history(world.namespace, "web", "latest")
    world.promise(history == [DIGESTS[n] for n in (3, 2, 0)], f"each push is in the history; it is {history}")


async def test_an_api_server_that_comes_back_with_an_older_view_is_followed(tmp_path: Path) -> None:
    """Its resourceVersions are those of an earlier time, and it waits in silence for the one that we had come to.

    Silence is 1 s here instead of 100, and bookmarks come more often than that, as they do in a cluster.
    """
    without = {"silence_is_always_a_dead_line": "web runs", "time_goes_forwards_only": "web runs"}
    await tried(
        restored_from_a_backup, without=without, folder=tmp_path, shorter=("short_silence",), bookmark_seconds=0.3
    )
