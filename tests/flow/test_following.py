"""A replica that does not lead: it does what its own hooks need and no more, knows the cluster, and takes over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from listener.core.build_configs import BuildTrigger
from listener.core.kinds import BUILD_CONFIG, JOB, KINDS
from listener.core.notices import Notice, Reason, about_stream
from listener.core.streams import StreamKey
from listener.core.triggers import Triggers
from listener.core.workloads import Workload, WorkloadKey
from listener.flow.fanout import FanOut
from listener.flow.recorder import Recorder
from listener.flow.state import State
from listener.flow.throttle import Throttle
from tests.flow.fakes import WEB, FakeCluster, Meter, Notices, image_of, now, pull_spec, stream, workload
from tests.flow.test_recorder import FakeEvents

A_MOMENT = 2


@dataclass
class Turns:
    """Terms that begin and end by a word."""

    is_on: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, *, on: bool) -> None:
        self.is_on = on
        self._changed.set()
        self._changed = asyncio.Event()

    async def begun(self) -> None:
        while not self.is_on:
            await self._changed.wait()

    async def ended(self) -> None:
        while self.is_on:
            await self._changed.wait()


@dataclass
class Replica:
    term: Turns = field(default_factory=Turns)
    cluster: FakeCluster = field(default_factory=FakeCluster)
    notices: Notices = field(default_factory=Notices)
    meter: Meter = field(default_factory=Meter)
    events: FakeEvents = field(default_factory=FakeEvents)
    state: State = field(init=False)
    fan_out: FanOut = field(init=False)
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.state = State(self.term)
        self.fan_out = FanOut(
            self.cluster,
            self.state,
            self.notices,
            self.meter,
            Throttle(ceiling=10),
            now,
            kinds=KINDS,
            workers=10,
            term=self.term,
        )
        self.recorder = Recorder(self.events, self.state.queue, self.meter, now, term=self.term)

    def put(self, given: Workload) -> WorkloadKey:
        self.state.put_workload(self.cluster.put_workload(given))
        return given.key

    def move(self, letter: str, version: int) -> None:
        self.state.put_stream(stream(version=version, latest=letter))

    def image(self, key: WorkloadKey) -> str:
        return image_of(self.cluster.workloads[key])


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    async with running(Replica()) as replica:
        yield replica


@asynccontextmanager
async def running(replica: Replica) -> AsyncIterator[Replica]:
    tasks = [asyncio.create_task(work) for work in (replica.fan_out.run(), replica.recorder.run())]
    try:
        yield replica
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_it_patches_nothing_until_it_leads_and_then_everything_that_waits(replica: Replica) -> None:
    keys = [replica.put(workload(f"app-{number}")) for number in range(20)]
    replica.move("a", 1)
    await asyncio.sleep(3600)
    assert replica.cluster.tried == []
    replica.term.set(on=True)
    await asyncio.sleep(A_MOMENT)
    assert {replica.image(key) for key in keys} == {pull_spec("a")}
    assert len(replica.cluster.tried) == len(keys)
    replica.term.set(on=False)
    replica.move("b", 2)
    await asyncio.sleep(3600)
    assert {replica.image(key) for key in keys} == {pull_spec("a")}
    replica.term.set(on=True)
    await asyncio.sleep(A_MOMENT)
    assert {replica.image(key) for key in keys} == {pull_spec("b")}


async def test_a_tag_that_moved_often_meanwhile_is_one_round(replica: Replica) -> None:
    keys = [replica.put(workload(f"app-{number}")) for number in range(20)]
    for version, letter in enumerate("abcd", 1):
        replica.move(letter, version)
        await asyncio.sleep(1)
    replica.term.set(on=True)
    await asyncio.sleep(3600)
    assert {replica.image(key) for key in keys} == {pull_spec("d")}
    assert len(replica.cluster.tried) == len(keys)


async def test_its_hooks_are_told_of_in_events_as_any_others(replica: Replica) -> None:
    replica.put(workload("app"))
    replica.move("a", 1)  # waits for a leader
    replica.recorder.record(Notice(about_stream(WEB, "u"), Reason.PUSH_REFUSED, "no such image"))
    await asyncio.sleep(A_MOMENT)
    assert [sent.notice.message for sent in replica.events.kept.values()] == ["no such image"]


async def test_what_comes_and_goes_stays_in_no_queue(replica: Replica) -> None:
    kept = replica.put(workload("kept"))
    for number in range(1000):
        replica.state.discard_workload(replica.put(workload(f"job-{number}")))
        key = StreamKey("shop", f"stream-{number}")
        replica.state.put_stream(stream(key, version=number + 1, latest="a"))
        replica.state.discard_stream(key)
    assert (len(replica.state.queue), len(replica.state.stream_queue)) == (1, 0)
    replica.move("a", 5000)
    replica.term.set(on=True)
    await asyncio.sleep(A_MOMENT)
    assert replica.image(kept) == pull_spec("a")


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_what_ends_or_is_followed_no_more_stays_in_no_queue(replica: Replica, is_deleted: bool) -> None:
    """A Job that ran to its end is read as one without triggers."""
    for number in range(1000):
        key = replica.put(workload(f"job-{number}", kind=JOB))
        replica.put(replace(replica.cluster.workloads[key], triggers=Triggers()))
        if is_deleted:
            replica.state.discard_workload(key)
    assert (len(replica.state.queue), len(replica.state.workloads)) == (0, 0)


async def test_a_workload_that_goes_while_its_round_waits_holds_up_no_later_one(replica: Replica) -> None:
    replica.term.set(on=True)
    kept, gone = replica.put(workload("kept")), replica.put(workload("gone"))
    replica.move("a", 1)
    replica.term.set(on=False)  # before anybody was looked at
    replica.state.discard_workload(gone)
    replica.term.set(on=True)
    replica.move("b", 2)
    await asyncio.sleep(60)
    assert replica.image(kept) == pull_spec("b")


async def test_what_another_builds_meanwhile_is_nothing_that_we_know_of(replica: Replica) -> None:
    key = WorkloadKey(BUILD_CONFIG.label, "shop", "app")

    def built_from(last: str) -> Workload:
        trigger = BuildTrigger(WEB, "latest", False, "spec.triggers[0].imageChange", last)
        return Workload(key, "uid", "1", Triggers((trigger,)), (), ())

    replica.term.set(on=True)
    replica.put(built_from(""))
    replica.move("a", 1)
    await asyncio.sleep(A_MOMENT)
    replica.put(built_from(pull_spec("a")))  # as the server remembers it
    replica.term.set(on=False)
    replica.move("b", 2)
    await asyncio.sleep(A_MOMENT)
    replica.put(built_from(pull_spec("b")))  # by another replica
    replica.term.set(on=True)
    await asyncio.sleep(A_MOMENT)
    assert len(replica.cluster.runs) == 1
    replica.move("a", 3)
    await asyncio.sleep(60)
    assert len(replica.cluster.runs) == 2


async def test_who_does_not_lead_any_more_complains_of_nothing(replica: Replica) -> None:
    replica.term.set(on=True)
    replica.put(workload("app", annotation="nonsense"))
    await asyncio.sleep(A_MOMENT)
    assert dict(replica.fan_out.invalid()) == {"Deployment": 1}
    replica.term.set(on=False)
    await asyncio.sleep(A_MOMENT)
    assert dict(replica.fan_out.invalid()) == {}
    replica.term.set(on=True)
    replica.put(workload("app", annotation="nonsense, still"))
    await asyncio.sleep(A_MOMENT)
    assert dict(replica.fan_out.invalid()) == {"Deployment": 1}


async def test_who_does_not_lead_any_more_misses_no_tag(replica: Replica) -> None:
    replica.term.set(on=True)
    replica.put(workload("app"))
    await asyncio.sleep(600)
    assert dict(replica.fan_out.waiting()) == {"Deployment": 1}
    replica.term.set(on=False)
    await asyncio.sleep(A_MOMENT)
    assert dict(replica.fan_out.waiting()) == {}
    replica.term.set(on=True)
    await asyncio.sleep(600)
    assert replica.notices.reasons() == ["TriggerWaits"] * 2


async def test_what_another_patches_is_no_fight(replica: Replica) -> None:
    """What we know of a stream may be older than what the leader knows: its patch then seems to set an image back."""
    key = replica.put(workload("app", image=pull_spec("a")))
    replica.move("a", 1)
    for letter in "bcdefb":
        replica.put(replace(workload("app", image=pull_spec(letter)), uid=f"uid of {key.name}"))
        replica.put(workload("app", image=pull_spec("a")))
    replica.term.set(on=True)
    replica.move("b", 2)
    await asyncio.sleep(A_MOMENT)
    assert replica.image(key) == pull_spec("b")
    assert dict(replica.state.contests.counts()) == {}
