"""Several replicas and one Lease: at no time do two act, and soon one does, whatever happens to them.

`World` is the API server; each replica sees the Lease through a watch, some milliseconds late. Somebody looks all the
time who may write.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from listener.core.leases import HELD_SECONDS, LIFE_SECONDS, RENEW_SECONDS, Lease
from listener.core.outcomes import End, Outcome
from listener.errors import ClusterRefused, ClusterUnavailable
from listener.flow.leadership import Endless, Leadership, during

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ("ns", "ours")
A_MOMENT = 0.2


def _time() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Replica:
    """`answer_takes` seconds more when a write is stored; with `stale_after` each is answered so late, and in vain.
    `trouble` is what becomes of its requests: "" nothing, "cut" no answer, "hangs" none either, and no end, "lost"
    they are stored and no answer comes, "forbidden" they are refused. `is_deaf` keeps the watch from it.
    """

    world: World
    name: str
    wrong_by: timedelta = timedelta()
    trouble: str = ""
    is_deaf: bool = False
    slept: float = 0.0
    answer_takes: float = 0.0
    stale_after: float | None = None
    has_no_namespace: bool = False
    tries: list[float] = field(default_factory=list)
    leadership: Leadership = field(init=False)
    task: asyncio.Task[None] = field(init=False)

    def __post_init__(self) -> None:
        self.leadership = Leadership(
            self, KEY, self.name, lambda: START + timedelta(seconds=_time()) + self.wrong_by, self.clock
        )

    def clock(self) -> float:
        return _time() + self.slept

    def start(self) -> None:
        self.task = asyncio.create_task(self.leadership.run())

    async def kill(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.is_deaf = True
        self.slept = 10**6  # it never writes again

    # What it asks the API server

    async def get_lease(self, *key: str) -> Lease | None:
        assert key == KEY
        await asyncio.sleep(0.01)
        await self._may_hang()
        if self.trouble in ("cut", "lost"):
            raise ClusterUnavailable("no route")
        if self.trouble == "forbidden":
            raise ClusterRefused("leases is forbidden", status=403)
        return self.world.lease

    async def create_lease(self, lease: Lease) -> Outcome[Lease]:
        return await self._write(lease, None)

    async def store_lease(self, lease: Lease) -> Outcome[Lease]:
        return await self._write(lease, lease.resource_version)

    async def _write(self, lease: Lease, version: str | None) -> Outcome[Lease]:
        self.tries.append(_time())
        await asyncio.sleep(0.01)
        if self.stale_after is not None:
            await asyncio.sleep(self.stale_after)
            return Outcome(End.STALE, message="it has changed")
        await self._may_hang()
        if self.has_no_namespace:
            return Outcome(End.GONE, message='namespaces "ns" not found')
        if self.trouble == "cut":
            return Outcome(End.UNREACHABLE, message="no route")
        if self.trouble == "forbidden":
            return Outcome(End.REFUSED, message="leases is forbidden", may_pass=True)
        there = self.world.lease
        if there is None and version is not None:
            return Outcome(End.GONE, message="not found")
        if (there.resource_version if there else None) != version:
            return Outcome(End.STALE, message="it has changed")
        stored = self.world.put(lease)
        await asyncio.sleep(self.answer_takes)
        if self.trouble == "lost":
            return Outcome(End.UNREACHABLE, message="the answer broke off")
        return Outcome(End.APPLIED, stored)

    async def _may_hang(self) -> None:
        while self.trouble == "hangs":  # noqa: ASYNC110 - trouble comes and goes by a word
            await asyncio.sleep(0.5)


@dataclass
class World:
    replicas: list[Replica] = field(default_factory=list)
    lease: Lease | None = None
    version: int = 7
    written: asyncio.Event = field(default_factory=asyncio.Event)
    led: list[tuple[float, str]] = field(default_factory=list)  # each time that another one may write ("" nobody)

    def put(self, lease: Lease) -> Lease:
        self.version += 1
        self.lease = replace(lease, resource_version=str(self.version))
        self.written.set()
        for replica in self.replicas:
            asyncio.get_running_loop().call_later(0.02, self._show, replica, self.lease)
        return self.lease

    def delete(self) -> None:
        self.lease = None
        for replica in self.replicas:
            asyncio.get_running_loop().call_later(0.02, self._show, replica, None)

    def _show(self, replica: Replica, lease: Lease | None) -> None:
        if replica.is_deaf:
            return
        if lease is None:
            replica.leadership.discard(KEY)
        else:
            replica.leadership.put(lease)

    def look(self) -> str:
        leaders = [replica.name for replica in self.replicas if replica.leadership.may_write()]
        assert len(leaders) <= 1, f"at {_time():.2f} both {leaders} may write"
        leader = leaders[0] if leaders else ""
        if not self.led or self.led[-1][1] != leader:
            self.led.append((_time(), leader))
        return leader

    async def look_all_the_time(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(0.05)

    async def until_written(self, so: Callable[[Lease], bool]) -> None:
        """Wait for the next write that makes the Lease so."""
        while True:
            self.written.clear()
            await self.written.wait()
            if self.lease and so(self.lease):
                return

    async def until(self, who: Callable[[str], bool], *, within: float) -> float:
        """Wait until one leads of whom that is true; how long that took."""
        started = _time()
        while not who(self.look()):
            assert _time() - started < within, self.led
            await asyncio.sleep(0.05)
        return _time() - started


@asynccontextmanager
async def world(*names: str) -> AsyncIterator[tuple[World, dict[str, Replica]]]:
    """Replicas of those names, the first one leads."""
    made = World()
    replicas = {name: Replica(made, name) for name in names}
    made.replicas += replicas.values()
    watching = asyncio.create_task(made.look_all_the_time())
    try:
        for replica in made.replicas:
            replica.start()
            await asyncio.sleep(A_MOMENT)
        assert made.look() == names[0]
        yield made, replicas
    finally:
        for replica in made.replicas:
            replica.task.cancel()
        watching.cancel()
        ended = await asyncio.gather(watching, *(replica.task for replica in made.replicas), return_exceptions=True)
    assert [each for each in ended if not isinstance(each, asyncio.CancelledError)] == []


@contextmanager
def logs() -> Iterator[Callable[[str], list[str]]]:
    with capture_logs() as found:
        yield lambda event: [str(each.get("hint") or each.get("reason")) for each in found if each["event"] == event]


async def test_the_first_one_leads_at_once_and_goes_on() -> None:
    async with world("a", "b", "c") as (made, _):
        await asyncio.sleep(600)
        assert made.led == [(made.led[0][0], ""), (made.led[1][0], "a")]
        assert made.led[1][0] < A_MOMENT


async def test_who_ends_hands_over_at_once() -> None:
    async with world("a", "b") as (made, replicas):
        await asyncio.sleep(7.3)
        leadership = replicas["a"].leadership
        leadership.resign()
        assert (leadership.is_on, leadership.may_write()) == (False, True)
        await asyncio.sleep(30)  # what is under way may take its time
        assert leadership.may_write()
        replicas["a"].task.cancel()
        await leadership.release()
        assert await made.until(lambda leader: leader == "b", within=1) < A_MOMENT
        assert made.lease is not None
        assert (made.lease.holder, made.lease.transitions) == ("b", 2)


async def test_who_ends_while_its_last_renewal_was_not_answered_hands_over_too() -> None:
    async with world("a", "b") as (made, replicas):
        replicas["a"].leadership.resign()
        replicas["a"].task.cancel()
        assert made.lease is not None
        replicas["a"].is_deaf = True
        made.put(replace(made.lease, renewed="a moment ago"))
        await replicas["a"].leadership.release()
        assert await made.until(lambda leader: leader == "b", within=1) < A_MOMENT


async def test_who_does_not_lead_ends_without_a_word() -> None:
    async with world("a", "b") as (made, replicas):
        replicas["b"].leadership.resign()
        replicas["b"].task.cancel()
        await replicas["b"].leadership.release()
        await asyncio.sleep(60)
        assert made.look() == "a"


async def test_who_is_killed_is_waited_for() -> None:
    async with world("a", "b") as (made, replicas):
        await asyncio.sleep(61)
        await replicas["a"].kill()
        took = await made.until(lambda leader: leader == "b", within=LIFE_SECONDS + 1)
        assert took > LIFE_SECONDS - RENEW_SECONDS - 1


@pytest.mark.parametrize("trouble", ["cut", "hangs", "lost", "forbidden"])
async def test_who_cannot_renew_has_ended_before_another_begins(trouble: str) -> None:
    async with world("a", "b") as (made, replicas):
        await asyncio.sleep(61)
        replicas["a"].trouble, replicas["a"].is_deaf = trouble, True
        ended = await made.until(lambda leader: leader == "", within=HELD_SECONDS + A_MOMENT)
        began = ended + await made.until(lambda leader: leader == "b", within=LIFE_SECONDS)
        assert began - ended > LIFE_SECONDS - HELD_SECONDS - 1
        replicas["a"].trouble, replicas["a"].is_deaf = "", False
        await asyncio.sleep(120)
        assert made.look() == "b"


async def test_who_renews_but_never_hears_of_it_keeps_nobody_else_from_it() -> None:
    async with world("a", "b") as (made, replicas):
        replicas["a"].trouble = "lost"
        await made.until(lambda leader: leader == "b", within=4 * LIFE_SECONDS)
        await asyncio.sleep(60)
        assert made.look() == "b"


async def test_a_short_trouble_ends_no_term() -> None:
    async with world("a", "b") as (made, replicas):
        for trouble in ("cut", "hangs", "lost", "forbidden"):
            replicas["a"].trouble = trouble
            await asyncio.sleep(HELD_SECONDS - RENEW_SECONDS - 1.5)
            replicas["a"].trouble = ""
            await asyncio.sleep(10)
        assert [leader for _, leader in made.led] == ["", "a"]


async def test_a_machine_that_slept_does_not_write_when_it_wakes() -> None:
    async with world("a", "b") as (made, replicas):
        replicas["a"].slept = 20
        assert not replicas["a"].leadership.may_write()
        await asyncio.sleep(60)
        assert made.look() != ""


async def test_no_clock_of_another_is_believed() -> None:
    async with world("a", "b") as (made, replicas):
        replicas["a"].wrong_by = timedelta(hours=-9)
        replicas["b"].wrong_by = timedelta(days=400)
        await asyncio.sleep(300)
        assert made.look() == "a"


async def test_a_deleted_lease_is_taken_by_nobody_while_its_holder_may_not_know() -> None:
    async with world("a", "b") as (made, replicas):
        replicas["a"].is_deaf = True
        await asyncio.sleep(1)
        made.delete()
        assert await made.until(lambda leader: leader == "", within=RENEW_SECONDS + A_MOMENT) > 0
        assert await made.until(bool, within=LIFE_SECONDS + 1) > LIFE_SECONDS - RENEW_SECONDS - 1
        made.delete()
        await asyncio.sleep(A_MOMENT)
        assert made.look() == ""
        await made.until(bool, within=LIFE_SECONDS + 1)


async def test_a_label_ends_no_term() -> None:
    async with world("a", "b") as (made, _):
        for _ in range(20):
            await asyncio.sleep(1.7)
            assert made.lease is not None
            made.put(made.lease)
        assert [leader for _, leader in made.led] == ["", "a"]


async def test_who_is_deposed_by_hand_ends_as_soon_as_it_sees_that() -> None:
    async with world("a", "b") as (made, _):
        assert made.lease is not None
        made.put(replace(made.lease, holder="somebody"))
        await asyncio.sleep(0.05)
        assert made.look() == ""
        assert await made.until(bool, within=LIFE_SECONDS + 1) > LIFE_SECONDS - 1


async def test_what_the_watch_tells_late_ends_no_term() -> None:
    async with world("a", "b") as (made, replicas):
        assert made.lease is not None
        old = replace(made.lease, holder="somebody", resource_version="3")
        await asyncio.sleep(10)
        replicas["a"].leadership.put(old)
        assert made.look() == "a"


async def test_a_missing_right_is_told_once() -> None:
    with logs() as told:
        made = World()
        alone = Replica(made, "a", trouble="forbidden")
        made.replicas.append(alone)
        alone.start()
        await asyncio.sleep(60)
        assert made.look() == ""
        (hint,) = told("leader.unrenewed")
        assert "get, list, watch and patch" in hint
        alone.trouble = ""
        await asyncio.sleep(2)
        assert made.look() == "a"
        alone.task.cancel()


@pytest.mark.parametrize("seed", range(20))
async def test_at_no_time_do_two_act_and_in_the_end_one_does(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - stories, no secrets
    async with world("a", "b", "c") as (made, replicas):
        for _ in range(40):
            replica = dice.choice(list(replicas.values()))
            match dice.randrange(6):
                case 0 | 1 | 2:
                    replica.trouble = dice.choice(["", "cut", "hangs", "lost"])
                case 3:
                    replica.is_deaf = not replica.is_deaf
                case 4:
                    replica.slept += dice.uniform(0, 30)
                case 5:
                    replica.wrong_by = timedelta(seconds=dice.uniform(-1e6, 1e6))
            await asyncio.sleep(dice.uniform(0, 20))
        for replica in replicas.values():
            replica.trouble, replica.is_deaf = "", False
        await made.until(bool, within=2 * LIFE_SECONDS)


async def test_a_namespace_that_is_gone_is_told_and_not_asked_for_all_the_time() -> None:
    made = World()
    alone = Replica(made, "a", has_no_namespace=True)
    made.replicas.append(alone)
    with logs() as told:
        alone.start()
        await asyncio.sleep(10)
        alone.task.cancel()
    assert 5 < len(alone.tries) <= 11
    assert told("leader.unrenewed") == ['namespaces "ns" not found']


@pytest.mark.parametrize("stale_after", [None, 4.9], ids=["hangs", "hangs, after a late answer"])
async def test_work_ends_with_its_term_whatever_the_election_waits_for(stale_after: float | None) -> None:
    async with world("a", "b") as (made, replicas):
        await asyncio.sleep(61.9)
        replica = replicas["a"]
        last = 0.0

        async def work() -> None:
            nonlocal last
            while True:
                last = _time()
                await asyncio.sleep(0.05)

        working = asyncio.create_task(during(replica.leadership, work))
        await asyncio.sleep(1)
        replica.trouble, replica.is_deaf, replica.stale_after = "hangs", True, stale_after
        await made.until(lambda leader: leader == "", within=HELD_SECONDS + A_MOMENT)
        ended = _time()
        await made.until(lambda leader: leader == "b", within=LIFE_SECONDS)
        assert last <= ended
        await working


async def test_an_answer_that_was_long_on_its_way_revives_nobody() -> None:
    async with world("a", "b") as (made, replicas):
        replicas["a"].answer_takes = 1
        await made.until_written(lambda _: True)
        await made.until_written(lambda _: True)
        await asyncio.sleep(0.1)
        assert made.lease is not None
        made.put(replace(made.lease, holder=""))  # by hand, while the answer is on its way
        for _ in range(300):
            await asyncio.sleep(0.01)
            made.look()
        assert made.look() == "b"


async def test_who_ends_while_it_takes_the_lease_leaves_it_to_nobody() -> None:
    async with world("a", "b") as (made, replicas):
        first, second = replicas["a"], replicas["b"]
        second.answer_takes = 0.5
        await first.kill()
        await made.until_written(lambda lease: lease.holder == "b")
        second.leadership.resign()
        second.task.cancel()
        await asyncio.sleep(0)
        await second.leadership.release()
        assert made.lease is not None
        assert made.lease.holder == ""


async def test_a_list_from_before_the_lease_was_made_ends_no_term() -> None:
    async with world("a") as (made, replicas):
        replicas["a"].leadership.discard(KEY)
        await asyncio.sleep(A_MOMENT)
        assert [leader for _, leader in made.led] == ["", "a"]


async def test_who_cannot_release_in_time_ends_all_the_same() -> None:
    async with world("a", "b") as (_, replicas):
        leadership = replicas["a"].leadership
        replicas["a"].trouble = "hangs"
        leadership.resign()
        replicas["a"].task.cancel()
        started = _time()
        await leadership.release()
        assert _time() - started < 3


async def test_who_ends_complains_of_nothing() -> None:
    with logs() as told:
        async with world("a", "b") as (_, replicas):
            replicas["a"].leadership.resign()
            replicas["a"].task.cancel()
            await replicas["a"].leadership.release()
            await asyncio.sleep(1)
    assert told("leader.ended") == []


async def test_work_of_a_term_begins_and_ends_with_it() -> None:
    async with world("a", "b") as (_, replicas):
        steps: list[float] = []

        async def work() -> None:
            while True:
                steps.append(_time())
                await asyncio.sleep(1)

        async def for_ever() -> None:
            while True:
                await during(replicas["b"].leadership, work)

        working = asyncio.create_task(for_ever())
        await asyncio.sleep(5)
        assert steps == []
        await replicas["a"].kill()
        await asyncio.sleep(LIFE_SECONDS + 5)
        assert steps
        replicas["b"].trouble, replicas["b"].is_deaf = "cut", True
        await asyncio.sleep(HELD_SECONDS + 1)
        count = len(steps)
        await asyncio.sleep(20)
        assert len(steps) == count
        replicas["b"].trouble = ""
        await asyncio.sleep(20)
        assert len(steps) > count
        working.cancel()


async def test_what_fails_in_a_term_is_no_end_of_it() -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await during(Endless(), fails)
