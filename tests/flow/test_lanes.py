"""Each host has a lane of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from listener.flow.lanes import Lanes
from listener.flow.queue import KeyQueue


@dataclass
class World:
    """Keys are `host/number`, or `host/owner/number`; work on one takes a second."""

    queue: KeyQueue[str] = field(default_factory=KeyQueue)
    done: list[tuple[float, str]] = field(default_factory=list)
    running: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    lanes: Lanes[str] = field(init=False)

    def __post_init__(self) -> None:
        self.lanes = Lanes(self.queue, self.place, self.work, width=2)

    def place(self, key: str) -> tuple[str, str]:
        host, *owner, _ = key.split("/")
        return host, "".join(owner)

    async def work(self, key: str) -> None:
        host = key.partition("/")[0]
        self.running[host] += 1
        self.most[host] = max(self.most[host], self.running[host])
        await asyncio.sleep(1)
        self.running[host] -= 1
        self.done.append((asyncio.get_running_loop().time(), key))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.lanes.run())
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_busy_host_holds_up_nobody_else_and_keeps_its_order(world: World) -> None:
    async with world.open():
        for number in range(10):
            world.queue.add(f"busy/{number}")
        world.queue.add("other/0")
        await asyncio.sleep(10)
    assert world.most == {"busy": 2, "other": 1}
    assert (1, "other/0") in world.done
    assert [key for _, key in world.done if key.startswith("busy")] == [f"busy/{number}" for number in range(10)]


async def test_owners_take_turns(world: World) -> None:
    async with world.open():
        for number in range(100):
            world.queue.add(f"host/many/{number}")
        await asyncio.sleep(0.5)
        world.queue.add("host/few/0")
        world.queue.add("host/few/1")
        await asyncio.sleep(4)
    first = [key for _, key in world.done[:8]]
    assert [key for key in first if "/few/" in key] == ["host/few/0", "host/few/1"]
    assert [key for key in first if "/many/" in key] == [f"host/many/{number}" for number in range(6)]


async def test_a_paused_host_begins_nothing_new(world: World) -> None:
    async with world.open():
        for number in range(4):
            world.queue.add(f"slow/{number}")
        await asyncio.sleep(0.5)
        world.lanes.pause("slow", 60)
        world.lanes.pause("slow", 1)  # the longer one counts
        world.queue.add("other/0")
        await asyncio.sleep(90)
    assert [at for at, key in world.done if key.startswith("slow")] == [1, 1, 61.5, 61.5]


async def test_what_is_asked_for_while_it_waits_in_its_lane_is_done_once(world: World) -> None:
    async with world.open():
        for number in range(3):
            world.queue.add(f"busy/{number}")
        await asyncio.sleep(0.5)
        world.queue.add("busy/2")  # taken, and not begun
        world.queue.add("busy/0")  # begun: it may have missed what is new
        await asyncio.sleep(10)
    assert Counter(key for _, key in world.done) == {"busy/0": 2, "busy/1": 1, "busy/2": 1}


async def test_lanes_go_when_nobody_uses_them(world: World) -> None:
    async with world.open():
        for number in range(100):
            world.queue.add(f"host{number}/0")
        await asyncio.sleep(5)
        assert world.lanes._lanes == {}
        assert len(world.queue) == 0
