"""Events come behind the work they tell of, together where they are the same, and never in a flood."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from listener.core.kinds import DEPLOYMENT
from listener.core.notices import Notice, Reason, about_workload
from listener.core.outcomes import End, Outcome
from listener.core.workloads import WorkloadKey
from listener.flow.queue import KeyQueue
from listener.flow.recorder import Recorder
from tests.flow.fakes import Meter, now


@dataclass
class Sent:
    """An Event as the cluster holds it."""

    notice: Notice
    count: int
    first: str
    last: str


@dataclass
class FakeEvents:
    """Keeps Events by name, as the API server does. `answers` come first, one for each request."""

    kept: dict[str, Sent] = field(default_factory=dict)
    requests: list[tuple[float, str]] = field(default_factory=list)
    answers: list[Outcome[Any]] = field(default_factory=list)

    async def create_event(self, name: str, notice: Notice, *, count: int, first: str, last: str) -> Outcome[None]:
        if answer := self._answer("create"):
            return answer
        assert name not in self.kept
        self.kept[name] = Sent(notice, count, first, last)
        return Outcome(End.APPLIED)

    async def repeat_event(self, name: str, notice: Notice, *, count: int, last: str) -> Outcome[None]:
        if answer := self._answer("repeat"):
            return answer
        if name not in self.kept:
            return Outcome(End.GONE)
        assert self.kept[name].notice == notice
        self.kept[name].count = count
        self.kept[name].last = last
        return Outcome(End.APPLIED)

    def _answer(self, verb: str) -> Outcome[Any] | None:
        self.requests.append((asyncio.get_running_loop().time(), verb))
        return self.answers.pop(0) if self.answers else None

    def counts(self) -> list[tuple[str, int]]:
        return [(sent.notice.message, sent.count) for sent in self.kept.values()]


def notice(message: str = "it moved", name: str = "app", reason: Reason = Reason.IMAGE_TRIGGERED) -> Notice:
    key = WorkloadKey("Deployment", "shop", name)
    return Notice(about_workload(key, DEPLOYMENT, "uid"), reason, message)


@pytest.fixture
def events() -> FakeEvents:
    return FakeEvents()


@pytest.fixture
def work() -> KeyQueue[str]:
    return KeyQueue()


@pytest.fixture
def meter() -> Meter:
    return Meter()


@asynccontextmanager
async def running(events: FakeEvents, work: KeyQueue[str], meter: Meter, **options: float) -> AsyncIterator[Recorder]:
    recorder = Recorder(events, work, meter, now, **options)  # type: ignore[arg-type]
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder
        assert not task.done(), "the loop ended"
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_sends_what_it_is_given(events: FakeEvents, work: KeyQueue[str], meter: Meter) -> None:
    async with running(events, work, meter) as recorder:
        recorder.record(notice())
        await asyncio.sleep(1)
    [(name, sent)] = events.kept.items()
    assert name.startswith("app.")
    assert sent == Sent(notice(), 1, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")


async def test_waits_until_no_workload_waits_for_its_patch(
    events: FakeEvents, work: KeyQueue[str], meter: Meter
) -> None:
    async with running(events, work, meter) as recorder:
        work.add("a workload")
        recorder.record(notice())
        await asyncio.sleep(60)
        key = await work.take()
        await asyncio.sleep(60)
        assert events.kept == {}
        work.done(key)
        await asyncio.sleep(1)
        assert len(events.kept) == 1


async def test_work_that_comes_in_between_goes_first(events: FakeEvents, work: KeyQueue[str], meter: Meter) -> None:
    async with running(events, work, meter) as recorder:
        for number in range(100):
            recorder.record(notice(f"{number}"))
        await asyncio.sleep(1)
        work.add("a workload")
        await asyncio.sleep(0.2)
        before = len(events.kept)
        assert 0 < before < 100
        await asyncio.sleep(60)
        assert len(events.kept) == before


async def test_sends_no_more_than_so_many_a_second(events: FakeEvents, work: KeyQueue[str], meter: Meter) -> None:
    async with running(events, work, meter, per_second=5) as recorder:
        for number in range(50):
            recorder.record(notice(f"{number}"))
        await asyncio.sleep(60)
    assert [message for message, _ in events.counts()] == [f"{number}" for number in range(50)]
    gaps = [after - before for (before, _), (after, _) in pairwise(events.requests)]
    assert min(gaps) >= 0.2 - 1e-6


async def test_the_same_while_it_waits_is_one_event_with_a_count(
    events: FakeEvents, work: KeyQueue[str], meter: Meter
) -> None:
    async with running(events, work, meter) as recorder:
        work.add("busy")
        for _ in range(5):
            recorder.record(notice())
            await asyncio.sleep(10)
        work.done(await work.take())
        await asyncio.sleep(1)
    [sent] = events.kept.values()
    assert sent == Sent(notice(), 5, "2026-01-01T00:00:00Z", "2026-01-01T00:00:40Z")
    assert len(events.requests) == 1


async def test_the_same_later_raises_the_count_of_the_event(
    events: FakeEvents, work: KeyQueue[str], meter: Meter
) -> None:
    async with running(events, work, meter) as recorder:
        for _ in range(3):
            recorder.record(notice())
            await asyncio.sleep(60)
    [sent] = events.kept.values()
    assert (sent.count, sent.first, sent.last) == (3, "2026-01-01T00:00:00Z", "2026-01-01T00:02:00Z")


async def test_another_object_or_sentence_is_another_event(
    events: FakeEvents, work: KeyQueue[str], meter: Meter
) -> None:
    async with running(events, work, meter) as recorder:
        for given in (notice("a"), notice("b"), notice("a", name="other")):
            recorder.record(given)
        await asyncio.sleep(60)
    assert len(events.kept) == 3


async def test_an_event_that_the_server_forgot_is_written_anew(
    events: FakeEvents, work: KeyQueue[str], meter: Meter
) -> None:
    async with running(events, work, meter) as recorder:
        recorder.record(notice())
        await asyncio.sleep(60)
        events.kept.clear()  # after an hour, say
        recorder.record(notice())
        await asyncio.sleep(60)
        recorder.record(notice())
        await asyncio.sleep(60)
    assert events.counts() == [("it moved", 2)]


async def test_what_does_not_fit_is_dropped_counted_and_said(
    events: FakeEvents, work: KeyQueue[str], meter: Meter
) -> None:
    with capture_logs() as logs:
        async with running(events, work, meter, queue_limit=10) as recorder:
            work.add("busy")
            for number in range(25):
                recorder.record(notice(f"{number}"))
            recorder.record(notice("3"))  # waits already: no room is needed
            assert len(recorder) == 10
            work.done(await work.take())
            await asyncio.sleep(60)
    assert meter.dropped == 15
    assert [message for message, _ in events.counts()] == [f"{number}" for number in range(10)]
    assert dict(events.counts())["3"] == 2
    assert [line["count"] for line in logs if line["event"] == "events.dropped"] == [15]


async def test_what_is_not_even_written_is_counted_and_said(
    events: FakeEvents, work: KeyQueue[str], meter: Meter
) -> None:
    with capture_logs() as logs:
        async with running(events, work, meter, queue_limit=1) as recorder:
            was_full = [recorder.is_full]
            work.add("busy")
            recorder.record(notice())
            was_full.append(recorder.is_full)
            for _ in range(3):
                recorder.drop()
            work.done(await work.take())
            await asyncio.sleep(1)
            was_full.append(recorder.is_full)
    assert was_full == [False, True, False]
    assert meter.dropped == 3
    assert [line["count"] for line in logs if line["event"] == "events.dropped"] == [3]


async def test_a_warning_goes_before_the_rest_and_takes_its_place(
    events: FakeEvents, work: KeyQueue[str], meter: Meter
) -> None:
    async with running(events, work, meter, queue_limit=10) as recorder:
        work.add("busy")
        for number in range(15):
            recorder.record(notice(f"{number}"))
        for warning in ("broken", "refused", "broken"):
            recorder.record(notice(warning, reason=Reason.TRIGGER_FAILED))
        recorder.record(notice("too late"))
        assert len(recorder) == 10
        work.done(await work.take())
        await asyncio.sleep(60)
    assert events.counts() == [("broken", 2), ("refused", 1), *((f"{number}", 1) for number in range(8))]
    assert meter.dropped == 8


async def test_warnings_that_do_not_fit_are_dropped_too(events: FakeEvents, work: KeyQueue[str], meter: Meter) -> None:
    async with running(events, work, meter, queue_limit=10) as recorder:
        work.add("busy")
        for number in range(15):
            recorder.record(notice(f"{number}", reason=Reason.TRIGGER_FAILED))
        assert len(recorder) == 10
        work.done(await work.take())
        await asyncio.sleep(60)
    assert [message for message, _ in events.counts()] == [f"{number}" for number in range(10)]
    assert meter.dropped == 5


@pytest.mark.parametrize("end", [End.REFUSED, End.UNREACHABLE, End.GONE, End.THROTTLED])
async def test_one_that_is_not_taken_is_not_tried_again_and_holds_nothing_up(
    events: FakeEvents, work: KeyQueue[str], meter: Meter, end: End
) -> None:
    events.answers = [Outcome(end, message="no")]
    async with running(events, work, meter) as recorder:
        recorder.record(notice("lost"))
        recorder.record(notice("next"))
        await asyncio.sleep(60)
    assert events.counts() == [("next", 1)]
    assert len(events.requests) == 2


async def test_slows_down_when_the_server_asks_for_it(events: FakeEvents, work: KeyQueue[str], meter: Meter) -> None:
    events.answers = [Outcome(End.THROTTLED, retry_after_seconds=30)]
    async with running(events, work, meter) as recorder:
        recorder.record(notice("lost"))
        recorder.record(notice("next"))
        await asyncio.sleep(60)
    (first, _), (second, _) = events.requests
    assert second - first >= 30


@pytest.mark.parametrize("end", [End.UNREACHABLE, End.THROTTLED, End.REFUSED])
async def test_a_count_that_could_not_be_raised_costs_no_second_request(
    events: FakeEvents, work: KeyQueue[str], meter: Meter, end: End
) -> None:
    async with running(events, work, meter) as recorder:
        recorder.record(notice())
        await asyncio.sleep(10)
        events.answers = [Outcome(end)]
        recorder.record(notice())
        await asyncio.sleep(10)
        recorder.record(notice())
        await asyncio.sleep(10)
    assert [verb for _, verb in events.requests] == ["create", "repeat", "repeat"]
    assert events.counts() == [("it moved", 3)]


async def test_forgets_the_events_it_sent_long_ago(events: FakeEvents, work: KeyQueue[str], meter: Meter) -> None:
    async with running(events, work, meter, remembered=2) as recorder:
        for message in ("a", "b", "c", "a"):
            recorder.record(notice(message))
            await asyncio.sleep(10)
    assert events.counts() == [("a", 1), ("b", 1), ("c", 1), ("a", 1)]
