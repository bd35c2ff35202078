"""One key is at one place at a time, and no change is missed."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from listener.flow.queue import KeyQueue


def clock() -> float:
    return asyncio.get_running_loop().time()


async def taken(queue: KeyQueue[str], seconds: float = 1) -> str | None:
    """What can be taken within a while."""
    try:
        return await asyncio.wait_for(queue.take(), seconds)
    except TimeoutError:
        return None


async def test_first_come_first_served() -> None:
    queue = KeyQueue[str]()
    for key in "cab":
        queue.add(key)
    assert [await queue.take() for _ in range(3)] == ["c", "a", "b"]


async def test_a_key_that_waits_is_not_queued_twice_and_keeps_its_place() -> None:
    queue = KeyQueue[str]()
    for key in ("a", "b", "a", "a"):
        queue.add(key)
    assert len(queue) == 2
    assert [await queue.take(), await queue.take()] == ["a", "b"]
    assert await taken(queue) is None


async def test_a_key_added_while_it_is_worked_on_comes_again_once_that_is_done() -> None:
    queue = KeyQueue[str]()
    queue.add("a")
    key = await queue.take()
    for _ in range(10):
        queue.add("a")
    assert await taken(queue) is None
    queue.done(key)
    assert await taken(queue) == "a"
    queue.done("a")
    assert await taken(queue) is None


async def test_many_workers_never_hold_one_key_twice_and_see_every_change() -> None:
    queue = KeyQueue[int]()
    newest: Counter[int] = Counter()
    seen: dict[int, int] = {}
    running: set[int] = set()

    async def work() -> None:
        while True:
            key = await queue.take()
            assert key not in running
            running.add(key)
            state = newest[key]  # the newest state is read when the work begins
            await asyncio.sleep(0.05)
            seen[key] = state
            running.discard(key)
            queue.done(key)

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(work()) for _ in range(8)]
        for step in range(300):
            key = step * 7 % 20
            newest[key] += 1
            queue.add(key)
            await asyncio.sleep(0.003)
        await queue.idle()
        for worker in workers:
            worker.cancel()
    assert seen == newest


async def test_a_delayed_key_comes_when_its_time_has_come() -> None:
    queue = KeyQueue[str]()
    queue.add_after("late", 120)
    queue.add_after("soon", 60)
    assert len(queue) == 0
    assert await queue.take() == "soon"
    assert clock() == pytest.approx(60)
    assert await queue.take() == "late"
    assert clock() == pytest.approx(120)


@pytest.mark.parametrize(("first", "second"), [(60, 10), (10, 60)], ids=["shorter later", "longer later"])
async def test_of_two_delays_the_shorter_counts_and_the_key_comes_once(first: float, second: float) -> None:
    queue = KeyQueue[str]()
    queue.add_after("a", first)
    queue.add_after("a", second)
    assert await queue.take() == "a"
    assert clock() == pytest.approx(10)
    queue.done("a")
    assert await taken(queue, 1000) is None


async def test_news_void_a_delay() -> None:
    queue = KeyQueue[str]()
    queue.add_after("a", 60)
    queue.add("a")
    queue.done(await queue.take())
    assert clock() == 0
    assert await taken(queue, 1000) is None


async def test_a_key_that_waits_already_is_not_delayed() -> None:
    queue = KeyQueue[str]()
    queue.add("a")
    queue.add_after("a", 60)
    queue.done(await queue.take())
    assert await taken(queue, 1000) is None


async def test_a_delay_that_ends_while_the_key_is_worked_on_brings_it_again() -> None:
    queue = KeyQueue[str]()
    queue.add("a")
    await queue.take()
    queue.add_after("a", 10)
    await asyncio.sleep(30)
    queue.done("a")
    assert await taken(queue) == "a"


async def test_a_worker_that_is_cancelled_as_it_is_woken_loses_no_key() -> None:
    queue = KeyQueue[str]()
    first = asyncio.create_task(queue.take())
    second = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add("a")  # wakes the first
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"
    assert first.cancelled()


async def test_a_worker_that_was_cancelled_before_is_passed_over() -> None:
    queue = KeyQueue[str]()
    first = asyncio.create_task(queue.take())
    second = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    queue.add("a")
    assert await asyncio.wait_for(second, 1) == "a"


async def test_idle_waits_for_what_waits_and_what_is_worked_on_but_not_for_delays() -> None:
    queue = KeyQueue[str]()
    queue.add_after("delayed", 60)
    await asyncio.wait_for(queue.idle(), 1)

    queue.add("a")
    idle = asyncio.create_task(queue.idle())
    key = await queue.take()
    queue.add("a")
    await asyncio.sleep(1)
    assert not idle.done()
    queue.done(key)
    await asyncio.sleep(1)
    assert not idle.done()  # it came again
    queue.done(await queue.take())
    await asyncio.wait_for(idle, 1)


async def test_quiet_waits_until_it_has_been_idle_for_so_long() -> None:
    queue = KeyQueue[str]()
    began = clock()
    await queue.quiet(5)
    assert clock() == began  # nothing was ever asked for
    queue.add("a")
    quiet = asyncio.create_task(queue.quiet(5))
    await asyncio.sleep(10)
    queue.done(await queue.take())
    await asyncio.sleep(4)
    queue.add("a")
    await asyncio.sleep(3)
    ended = clock()
    queue.done(await queue.take())
    await quiet
    assert clock() == ended + 5
    await asyncio.sleep(1)
    await queue.quiet(5)
    assert clock() == ended + 6  # it still is


async def test_timers_that_were_voided_do_not_pile_up() -> None:
    queue = KeyQueue[str]()
    for _ in range(1000):
        queue.add_after("a", 1e9)
        queue.add("a")
        queue.done(await queue.take())
    queue.add_after("a", 5)
    assert len(queue._timers) < 100
    await asyncio.sleep(6)
    assert await queue.take() == "a"


async def test_owners_take_turns_and_each_ones_keys_keep_their_order() -> None:
    queue = KeyQueue[str]()
    for key in ("a1", "a2", "a3"):
        queue.add(key, "a")
    queue.add("b1", "b")
    queue.add("c1", "c")
    queue.add("c2", "c")
    assert [await queue.take() for _ in range(6)] == ["a1", "b1", "c1", "a2", "c2", "a3"]


async def test_a_key_that_two_owners_asked_for_is_taken_once_and_at_the_earlier_turn() -> None:
    queue = KeyQueue[str]()
    for key in ("a1", "a2", "both"):
        queue.add(key, "a")
    queue.add("both", "b")
    queue.add("both", "b")
    assert len(queue) == 3
    assert [await queue.take() for _ in range(3)] == ["a1", "both", "a2"]
    for key in ("a1", "both", "a2"):
        queue.done(key)
    await asyncio.wait_for(queue.idle(), 1)
    queue.add("both", "a")
    assert await queue.take() == "both"


async def test_who_asked_is_remembered_while_a_key_runs_and_while_it_waits_for_its_time() -> None:
    queue = KeyQueue[str]()
    queue.add("x", "b")
    await queue.take()
    queue.add("a1", "a")
    queue.add("a2", "a")
    queue.add("x", "b")
    queue.done("x")
    queue.add_after("y", 1, "c")
    await asyncio.sleep(2)
    assert [await queue.take() for _ in range(4)] == ["a1", "x", "y", "a2"]


async def test_what_is_given_back_is_the_next_to_be_taken() -> None:
    queue = KeyQueue[str]()
    for key in "abc":
        queue.add(key, "many")
    queue.add("x", "one")
    assert await queue.take() == "a"
    queue.give_back("a")
    assert len(queue) == 4
    assert [await queue.take() for _ in range(4)] == ["a", "x", "b", "c"]
    for key in "abcx":
        queue.done(key)
    await asyncio.wait_for(queue.idle(), 1)


async def test_what_is_given_back_is_waited_for_by_whoever_asked_meanwhile() -> None:
    queue = KeyQueue[str]()
    queue.add("a", "first")
    await queue.take()
    queue.add("a", "second")
    queue.give_back("a")
    assert await queue.take() == "a"
    queue.done("a")
    assert await taken(queue) is None


async def test_what_is_given_back_wakes_one_who_waits_for_a_key() -> None:
    queue = KeyQueue[str]()
    queue.add("a")
    await queue.take()
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.give_back("a")
    assert await asyncio.wait_for(waiting, 1) == "a"


async def test_it_tells_how_many_are_looked_at_later() -> None:
    queue = KeyQueue[str]()
    queue.add("now")
    queue.add_after("a", 60)
    queue.add_after("b", 60)
    assert (len(queue), queue.delayed) == (1, 2)
    queue.add("a")
    queue.forget("b")
    assert (len(queue), queue.delayed) == (2, 0)
