"""What the line to the API server can do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.end_to_end.parts import eventually
from tests.faults.world import DIGESTS, World, tried

pytestmark = pytest.mark.sandbox_only(reason="both the fault and the service without its protection are ours alone")

WATCHES = b"watch=true"
APART_SECONDS = 0.5  # so that each echo is taken in before the next one comes


async def late_echoes(world: World) -> None:
    clock = asyncio.get_running_loop().time
    await world.deploy("web")
    async with world.serve() as listener:
        await listener.ready()
        began = clock()
        world.line.delay(60, about=WATCHES)
        for digest in DIGESTS[:2]:
            await world.push(listener, digest)
            await world.until_runs("web", digest)
            await asyncio.sleep(APART_SECONDS)
        world.line.delay(clock() - began, about=WATCHES)  # the first echo comes now, the others as they left
        await world.deploy("witness")  # whoever knows of it has been told of all that was before
        await world.until_runs("witness", DIGESTS[1])
    seen = world.images["web"]
    world.promise(len(set(seen)) == len(seen), f"web never goes back; it had {seen}")


async def test_latency_of_what_is_told_takes_nothing_back(tmp_path: Path) -> None:
    """Our own writes are answered at once, the watches tell of them later."""
    await tried(late_echoes, without={"older_news_counts": "web never goes back"}, folder=tmp_path)


async def resets_in_a_fan_out(world: World) -> None:
    await world.deploy(*(f"web-{number}" for number in range(30)))
    async with world.serve() as listener:
        await listener.ready()

        async def some_failed() -> bool:
            return await listener.metric('listener_patches_total{kind="Deployment",outcome="unreachable"}') >= 3

        world.line.reset(about=b"/deployments/web-2")  # and web-20 to web-29
        await world.push(listener, DIGESTS[0])
        await eventually(some_failed, what="patches fail")
        world.line.reset()
        await world.deploy("late")
        world.line.mend()
        await world.until_all_run(DIGESTS[0])
    world.promise(await world.generations() == {2}, "each is patched once")


async def test_what_a_reset_broke_off_is_done_again_and_what_it_hid_is_found(tmp_path: Path) -> None:
    await tried(resets_in_a_fan_out, without={"failed_patches_are_left": "all run"}, folder=tmp_path)


async def half_of_a_deletion(world: World) -> None:
    async with world.serve() as listener:
        await listener.ready()
        for stream in ("gone", "stays"):
            await world.push(listener, DIGESTS[0], stream=stream)

        async def broke_off() -> bool:
            return any(line["resource"] == "imagestreams" for line in listener.logged("watch.interrupted"))

        world.line.halve(about=WATCHES)
        await world.delete_stream("gone")
        await eventually(broke_off, what="the watch of streams has broken off")
        world.line.mend()
        await world.told_of_streams(listener, left=1)
        await world.deploy("of-gone", tag="gone:latest")
        await world.deploy("of-stays", tag="stays:latest")
        await world.until_runs("of-stays", DIGESTS[0], stream="stays")
        seen = world.images["of-gone"]
        world.promise(len(seen) == 1, f"nothing runs what no tag says; it had {seen}")


async def test_a_watch_of_which_half_a_line_came_goes_on_from_where_it_was(tmp_path: Path) -> None:
    await tried(half_of_a_deletion, without={"watches_begin_anew": "what no tag says"}, folder=tmp_path)


async def dead_watches(world: World) -> None:
    async with world.serve() as listener:
        await listener.ready()
        await world.push(listener, DIGESTS[0])
        world.line.freeze(about=WATCHES)
        await world.deploy("web")
        await world.until_runs("web", DIGESTS[0])


async def test_a_watch_in_a_black_hole_is_given_up(tmp_path: Path) -> None:
    """Its silence is 1 s here instead of 100, and bookmarks come more often than that, as they do in a cluster."""
    await tried(
        dead_watches,
        without={"silence_is_patience": "web runs"},
        folder=tmp_path,
        shorter=("short_silence",),
        bookmark_seconds=0.3,
    )


async def a_trickle(world: World) -> None:
    async with world.serve() as listener:
        await listener.ready()
        await world.push(listener, DIGESTS[0])
        world.line.throttle(10_000, about=WATCHES)
        await world.deploy("web", "api", "worker")
        await world.until_all_run(DIGESTS[0])


async def test_what_trickles_in_is_put_together(tmp_path: Path) -> None:
    await tried(a_trickle, without={"chunks_are_lines": "all run"}, folder=tmp_path)
