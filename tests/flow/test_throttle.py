"""Who waits for what, how long, and in which order; what the limit does is `core.concurrency`'s."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from listener.flow.throttle import Admission, Throttle

FIRST = 33


def clock() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Server:
    """Answers after a tenth of a second. `refuses` tells, by when it was sent, whether it answers 429 instead."""

    throttle: Throttle
    refuses: Callable[[float], bool] = lambda _sent: False
    advice: float | None = None
    sent: list[float] = field(default_factory=list)
    refused: int = 0
    most_at_once: int = 0
    running: int = 0

    async def patch(self) -> None:
        """What a worker does that has a patch to send."""
        with await entered(self.throttle) as admission:
            await self.answer(admission)

    async def answer(self, admission: Admission) -> None:
        sent = clock()
        self.sent.append(sent)
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        await asyncio.sleep(0.1)
        self.running -= 1
        refuses = self.refuses(sent)
        self.refused += refuses
        admission.ended(clock() - sent, throttled=refuses, retry_after_seconds=self.advice if refuses else None)


async def entered(throttle: Throttle) -> Admission:
    """Wait until the door is open, and go through."""
    while True:
        await throttle.opens()
        if admission := throttle.enter():
            return admission


async def all_of(count: int, work: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(_run(work))


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def test_no_more_at_once_than_the_limit_and_first_come_first_served() -> None:
    throttle = Throttle(ceiling=2)
    order: list[int] = []

    async def work(number: int) -> None:
        with await entered(throttle) as admission:
            order.append(number)
            assert throttle.in_flight <= 2
            await asyncio.sleep(1)
            admission.ended(1)

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(work(number))
    assert throttle.limit == 2
    assert order == [0, 1, 2, 3, 4, 5]
    assert clock() == pytest.approx(3)


async def test_nobody_is_called_in_vain() -> None:
    """Each that is called finds the door open, but for a few: those who are on the way when the limit shrinks."""
    throttle = Throttle(ceiling=10)
    server = Server(throttle)
    in_vain = 0

    async def work() -> None:
        nonlocal in_vain
        for _ in range(20):
            await throttle.opens()
            if (admission := throttle.enter()) is None:
                in_vain += 1
                continue
            with admission:
                await server.answer(admission)

    await all_of(50, work)
    assert len(server.sent) == 1000 - in_vain
    assert in_vain <= 10


async def test_the_limit_grows_with_a_server_that_takes_more() -> None:
    throttle = Throttle(ceiling=100)
    server = Server(throttle)
    assert throttle.limit == FIRST
    await all_of(2000, server.patch)
    assert throttle.limit == server.most_at_once == 100


async def test_a_server_that_is_out_of_order_is_not_taken_for_a_quick_one() -> None:
    throttle = Throttle(ceiling=100)

    async def fail() -> None:
        with await entered(throttle) as admission:
            await asyncio.sleep(0.001)
            admission.ended(0.001, failed=True)

    await all_of(2000, fail)
    assert throttle.limit == FIRST


@pytest.mark.parametrize(
    ("advice", "seconds"),
    [
        pytest.param(None, 1, id="none given"),
        pytest.param(7.0, 7, id="as given"),
        pytest.param(0.0, 0, id="none needed"),
        pytest.param(3600.0, 60, id="too much"),
    ],
)
async def test_after_a_429_nobody_sends_until_the_advice_has_passed(advice: float | None, seconds: float) -> None:
    throttle = Throttle(ceiling=100)
    server = Server(throttle, refuses=lambda sent: sent == 0, advice=advice)
    await all_of(500, server.patch)
    late = [sent for sent in server.sent if sent > 0]
    assert min(late) == pytest.approx(0.1 + seconds)
    assert server.refused == FIRST


async def test_a_429_halves_the_limit_and_what_waited_does_not_come_all_at_once() -> None:
    throttle = Throttle(ceiling=100)
    server = Server(throttle, refuses=lambda sent: sent == 0)
    await all_of(500, server.patch)
    opened = sorted(sent for sent in server.sent if sent > 0)
    assert sum(sent == opened[0] for sent in opened) == FIRST // 2
    assert opened[FIRST // 2] >= opened[0] + 0.1


async def test_those_who_waited_for_a_key_when_the_limit_shrank_do_not_exceed_it() -> None:
    throttle = Throttle(ceiling=100)
    keys = asyncio.Event()
    server = Server(throttle, refuses=lambda sent: sent == 0)

    async def idle_worker() -> None:
        await throttle.opens()
        await keys.wait()
        await server.patch()

    async with asyncio.TaskGroup() as group:
        for _ in range(99):
            group.create_task(idle_worker())
        await asyncio.sleep(0)
        await server.patch()
        assert throttle.limit == FIRST // 2
        keys.set()
    assert server.refused == 1
    assert sum(sent == 1.1 for sent in server.sent) == FIRST // 2


async def test_one_who_was_called_and_waits_for_a_key_does_not_keep_the_others_out() -> None:
    throttle = Throttle(ceiling=1)
    admission = await entered(throttle)
    never = asyncio.Event()

    async def idle_worker() -> None:
        await throttle.opens()
        await never.wait()

    async with asyncio.TaskGroup() as group:
        idle = [group.create_task(idle_worker()) for _ in range(3)]
        await asyncio.sleep(0.1)
        last = group.create_task(entered(throttle))
        await asyncio.sleep(0.1)
        admission.ended(0.2)
        assert await asyncio.wait_for(last, 1)
        for worker in idle:
            worker.cancel()


@pytest.mark.parametrize("per_second", [1000.0, 50.0, 2.0, 0.5])
async def test_patches_are_spaced_evenly(per_second: float) -> None:
    throttle = Throttle(ceiling=250, per_second=per_second)
    times: list[float] = []

    async def patch() -> None:
        with await entered(throttle) as admission:
            times.append(clock())
            admission.ended(0.0)

    await all_of(300, patch)
    # No stretch of time, long or short, holds more than its share, and one, and a tenth of a second's worth.
    for first, start in enumerate(times):
        for last in range(first, 300):
            assert last - first <= (times[last] - start + 0.1) * per_second + 1e-6
    assert times[-1] == pytest.approx(299 / per_second - 0.1)


async def test_a_pace_that_is_kept_does_not_pay_for_the_time_before() -> None:
    throttle = Throttle(ceiling=100, per_second=10)
    server = Server(throttle)
    await all_of(20, server.patch)
    await asyncio.sleep(3600)
    since = clock()
    await all_of(20, server.patch)
    assert sum(sent == since for sent in server.sent) == 2
    assert max(server.sent) == pytest.approx(since + 1.8)  # nineteen more, the first of them at once


async def test_the_pace_goes_on_while_the_limit_is_one() -> None:
    throttle = Throttle(ceiling=1, per_second=2)
    server = Server(throttle)
    await all_of(6, server.patch)
    assert server.most_at_once == 1
    assert max(server.sent) == pytest.approx(2.4)


async def test_a_patch_that_ended_without_a_word_is_over() -> None:
    throttle = Throttle(ceiling=1)
    for _ in range(50):
        with await entered(throttle):
            assert throttle.in_flight == 1
    assert (throttle.in_flight, throttle.limit) == (0, 1)


async def test_shut_means_shut() -> None:
    throttle = Throttle(ceiling=1)
    admission = throttle.enter()
    assert admission
    assert throttle.enter() is None
    admission.ended(0.1, throttled=True, retry_after_seconds=5)
    assert throttle.enter() is None
    await asyncio.sleep(5)
    assert throttle.enter()


@pytest.mark.parametrize("cancelled_at", [0.05, 0.1, 0.15], ids=["while it waits", "as it is let in", "while it runs"])
async def test_a_cancelled_worker_loses_nobodys_place(cancelled_at: float) -> None:
    throttle = Throttle(ceiling=1)
    server = Server(throttle)
    workers = [asyncio.create_task(server.patch()) for _ in range(4)]
    asyncio.get_running_loop().call_at(cancelled_at, workers[1].cancel)
    await asyncio.gather(*workers, return_exceptions=True)
    assert workers[1].cancelled()
    assert [worker.exception() for worker in (workers[0], *workers[2:])] == [None, None, None]
    await asyncio.wait_for(server.patch(), 1)


@pytest.mark.parametrize("is_called", [False, True], ids=["while it waits", "in the moment it is called"])
async def test_a_place_whose_waiter_was_cancelled_is_free_for_the_next(is_called: bool) -> None:
    throttle = Throttle(ceiling=1)
    admission = await entered(throttle)
    waiting = [asyncio.create_task(entered(throttle)) for _ in range(2)]
    await asyncio.sleep(0.1)
    if is_called:
        admission.ended(0.1)
    waiting[0].cancel()
    await asyncio.sleep(0)
    if not is_called:
        admission.ended(0.1)
    assert await asyncio.wait_for(waiting[1], 1)
    assert waiting[0].cancelled()


async def test_cancelled_before_a_closed_door_the_others_come_when_it_opens() -> None:
    throttle = Throttle(ceiling=10, per_second=10)
    (await entered(throttle)).ended(0.1, throttled=True, retry_after_seconds=5)
    waiting = [asyncio.create_task(entered(throttle)) for _ in range(5)]
    await asyncio.sleep(1)
    waiting[0].cancel()
    waiting[3].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert [task.cancelled() for task in waiting] == [True, False, False, True, False]
    assert 5 <= clock() <= 5.2
