"""What a stream tells of its fan-outs is what happened, whoever was killed meanwhile, and telling it costs little."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest

from listener.core import pushes
from listener.core.fanouts import Failure, FanOutRecord, Phase
from listener.core.kinds import CRON_JOB, DEPLOYMENT, KINDS, Kind
from listener.core.outcomes import End, Outcome
from listener.core.pushes import Push
from listener.core.references import Reference
from listener.core.streams import Source, Stream
from listener.core.workloads import Container, Workload, WorkloadKey
from listener.flow.bookkeeper import Bookkeeper, Cause
from listener.flow.fanout import FanOut
from listener.flow.ledger import Ledger, opening
from listener.flow.state import State
from listener.flow.throttle import Throttle
from tests.flow import fakes
from tests.flow.fakes import (
    REPOSITORY,
    WEB,
    FakeCluster,
    Notices,
    arrival,
    digest,
    image_of,
    now,
    pull_spec,
    stream,
    unsettled,
    workload,
)

SOURCE = Source.of(Reference("r.example", "shop/web", "latest"))


class Cluster(FakeCluster):
    """What tells of its rollout is not rolled out any more when its image changes. `stored` runs when a patch is
    stored, whose answer comes `answer_seconds` later.
    """

    answer_seconds = 0.0
    stored: Callable[[WorkloadKey], None] = staticmethod(lambda _key: None)

    async def patch_workload(
        self, kind: Kind, key: WorkloadKey, operations: Sequence[Mapping[str, object]]
    ) -> Outcome[Workload]:
        outcome = await super().patch_workload(kind, key, operations)
        if outcome.stored:
            self.stored(key)
        await asyncio.sleep(self.answer_seconds)
        return outcome

    def put_workload(self, given: Workload) -> Workload:
        before = self.workloads.get(given.key)
        if before and given.is_rolled_out is not None and image_of(before) != image_of(given):
            given = replace(given, is_rolled_out=False)
        return super().put_workload(given)


@dataclass
class Meter(fakes.Meter):
    rolled_out_seconds: list[float] = field(default_factory=list)

    def rolled_out_after_hook(self, seconds: float) -> None:
        self.rolled_out_seconds.append(seconds)


async def nothing() -> None:
    """What is ready already."""


class Process:
    """One life of the service: what it knows comes from the cluster. Watches are told by `see` and by its own hands."""

    def __init__(self, cluster: Cluster, *, workers: int = 10) -> None:
        self.cluster = cluster
        self.state = State()
        self.meter = Meter()
        notices = Notices()
        self.books = Bookkeeper(
            cluster, self.state, unsettled, notices, self.meter, max_in_flight=5, account=opening(self.state, now)
        )
        self.ledger = Ledger(self.state, self.books, self.state.queue, self.meter, now, nothing)
        self.state.observer = self.ledger
        self._fan_out = FanOut(
            cluster,
            self.state,
            notices,
            self.meter,
            Throttle(ceiling=workers),
            now,
            kinds=KINDS,
            workers=workers,
            ledger=self.ledger,
        )
        for found in cluster.workloads.values():
            self.state.put_workload(found)
        for known in cluster.streams.values():
            self.state.put_stream(known)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._fan_out.run())
            loops.create_task(self.ledger.run())

    async def push(self, letter: str, *, create: bool = False) -> None:
        def change(known: Stream) -> tuple[Stream, None]:
            image = digest(letter) if len(letter) == 1 else letter
            pushed = Push("latest", SOURCE, REPOSITORY, image, image, "2026-01-01T00:00:00Z", is_there=True)
            return pushes.take(known, pushed, limit=20)[0], None

        await self.books.book(WEB, change, cause=Cause.PUSH, arrival=arrival(f"push of {letter}"), create=create)

    def see(self, given: Workload) -> None:
        """Into the cluster, and the watch sees it."""
        self.state.put_workload(self.cluster.put_workload(given))

    def roll_out(self, *keys: WorkloadKey) -> None:
        for key in keys:
            self.see(replace(self.cluster.workloads[key], is_rolled_out=True))


@asynccontextmanager
async def running(process: Process) -> AsyncIterator[Process]:
    """Run it until the block ends, as a kill would end it."""
    task = asyncio.create_task(process.run())
    try:
        await asyncio.sleep(0)
        yield process
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def fill(cluster: Cluster, count: int, kind: Kind = DEPLOYMENT, *, image: str = "", tag: str = "web:latest") -> None:
    """Workloads `KIND-NUMBER` that follow the tag and are rolled out, where their kind tells."""
    for number in range(count):
        found = workload(f"{kind.plural}-{number}", kind=kind, image=image, tag=tag)
        is_rolled_out = True if kind is DEPLOYMENT else None
        cluster.put_workload(replace(found, is_rolled_out=is_rolled_out))


def key(number: int, kind: Kind = DEPLOYMENT) -> WorkloadKey:
    return WorkloadKey(kind.label, "shop", f"{kind.plural}-{number}")


def records(cluster: Cluster) -> tuple[FanOutRecord, ...]:
    return cluster.streams[WEB].fan_outs


def last(cluster: Cluster) -> FanOutRecord:
    return records(cluster)[0]


def counts(record: FanOutRecord) -> dict[str, int]:
    names = ("matched", "patched", "current", "paused", "waiting", "failed", "rollouts", "rolled_out")
    return {name: value for name in names if (value := getattr(record, name))}


def at(seconds: float) -> str:
    return f"2026-01-01T00:{int(seconds // 60):02}:{seconds % 60:09.6f}Z"


@pytest.fixture
def cluster() -> Cluster:
    """With the stream shop/web, whose tag latest points at image a."""
    cluster = Cluster()
    cluster.put_stream(stream(latest="a"))
    return cluster


async def test_a_fan_out_is_told_when_it_is_patched_and_again_when_it_is_rolled_out(cluster: Cluster) -> None:
    fill(cluster, 3, image=pull_spec("a"))
    fill(cluster, 1, CRON_JOB, image=pull_spec("a"))
    async with running(Process(cluster, workers=2)) as process:
        await asyncio.sleep(5)
        await process.push("b")  # 0.01 s, then two rounds of patches
        await asyncio.sleep(1)
        expected = FanOutRecord(
            tag="latest",
            docker_image_reference=pull_spec("b"),
            image=digest("b"),
            generation=1,
            started=at(5),
            cause="push",
            delivery="push of b",
            phase=Phase.ROLLING_OUT,
            matched=4,
            patched=4,
            rollouts=3,
            first_patched=at(5.02),
            last_patched=at(5.03),
        )
        assert records(cluster) == (expected,)
        for number in range(3):
            await asyncio.sleep(5)
            process.roll_out(key(number))
        await asyncio.sleep(1)
        done = replace(expected, phase=Phase.DONE, rolled_out=3, first_rolled_out=at(11.02), last_rolled_out=at(21.02))
        assert [round_off(record) for record in records(cluster)] == [round_off(done)]
        assert process.meter.rolled_out_seconds == pytest.approx([6.01, 11.01, 16.01], abs=0.02)
        assert cluster.count("store") == 3  # the move itself, and two of ours
        await asyncio.sleep(60)
        assert (cluster.count("store"), process.ledger.followed) == (3, 0)


def round_off(record: FanOutRecord) -> FanOutRecord:
    """What waited for a request is some hundredths later."""
    return replace(record, first_rolled_out=record.first_rolled_out[:19], last_rolled_out=record.last_rolled_out[:19])


async def test_a_push_that_follows_at_once_waits_for_no_record(cluster: Cluster) -> None:
    fill(cluster, 20, image=pull_spec("a"))
    clock = asyncio.get_running_loop().time
    took = []
    async with running(Process(cluster)) as process:
        await asyncio.sleep(5)
        for letter in "bcdefghij":
            began = clock()
            await process.push(letter)
            took.append(clock() - began)
            await process.state.queue.idle()
            await asyncio.sleep(0.005)  # half of what a write takes
        assert took == pytest.approx([0.01] * 9)
        await asyncio.sleep(5)
        assert counts(last(cluster)) == {"matched": 20, "patched": 20, "rollouts": 20}


async def test_who_is_paused_or_right_already_or_waits_is_counted_apart(cluster: Cluster) -> None:
    fill(cluster, 3, image=pull_spec("a"))
    refusal: Outcome[Workload] = Outcome(End.REFUSED, message="not now")
    cluster.fault = lambda verb, found: refusal if (verb, found) == ("patch", key(0)) else None
    cluster.put_workload(workload("paused", annotation=annotation(paused=True)))
    half = workload("half-paused", annotation=annotation(paused=True, also="web:latest"))
    cluster.put_workload(replace(half, is_rolled_out=True))
    cluster.put_workload(workload("no-container", annotation=annotation(container="none")))
    cluster.put_workload(workload("claimed", annotation=annotation(also="web:none")))
    async with running(Process(cluster)) as process:
        await asyncio.sleep(60)
        await process.push("b")
        await asyncio.sleep(0.5)
        assert counts(last(cluster)) == {"matched": 7, "patched": 3, "paused": 1, "failed": 3, "rollouts": 3}
        back = replace(stream(latest="a"), fan_outs=records(cluster))  # where the refused one stayed
        process.state.put_stream(cluster.put_stream(back))
        await asyncio.sleep(5)
    expected = {"matched": 7, "patched": 3, "current": 1, "paused": 1, "failed": 2, "rollouts": 3}
    assert counts(last(cluster)) == expected
    claimed, missing = last(cluster).failures
    assert (claimed.name, "sets container 'app' already" in claimed.reason) == ("claimed", True)
    assert (missing.name, "no container 'none'" in missing.reason) == ("no-container", True)


def annotation(*, container: str = "app", paused: bool = False, also: str = "") -> str:
    def entry(tag: str, path: str, *, paused: bool) -> dict[str, object]:
        return {
            "from": {"kind": "ImageStreamTag", "name": tag},
            "fieldPath": f"spec.template.spec.{path}.image",
            "paused": paused,
        }

    entries = [entry("web:latest", f'containers[?(@.name=="{container}")]', paused=paused)]
    if also:
        entries.insert(0, entry(also, "containers[0]", paused=False))
    return json.dumps(entries)


async def test_failures_are_told_by_name_until_they_are_mended(cluster: Cluster) -> None:
    fill(cluster, 30, image=pull_spec("a"))
    bad = {key(number) for number in range(15)}
    refusal: Outcome[Workload] = Outcome(End.REFUSED, message="no " + "x" * 500)
    cluster.fault = lambda verb, found: refusal if verb == "patch" and found in bad else None
    async with running(Process(cluster)) as process:
        await process.push("b")
        await asyncio.sleep(0.5)
        found = last(cluster)
        assert counts(found) == {"matched": 30, "patched": 15, "failed": 15, "rollouts": 15}
        assert found.phase is Phase.PATCHING  # each is tried again
        assert len(found.failures) == 10
        assert {WorkloadKey(f.kind, f.namespace, f.name) for f in found.failures} < bad
        assert {len(f.reason) for f in found.failures} == {200}
        bad.clear()
        await asyncio.sleep(10)
        assert counts(last(cluster)) == {"matched": 30, "patched": 30, "rollouts": 30}
        assert last(cluster).failures == ()
        process.roll_out(*(key(number) for number in range(30)))
        await asyncio.sleep(5)
    assert (last(cluster).phase, last(cluster).rolled_out) == (Phase.DONE, 30)


async def test_what_can_never_be_patched_holds_up_nothing(cluster: Cluster) -> None:
    fill(cluster, 1, image=pull_spec("a"))
    refusal: Outcome[Workload] = Outcome(End.REFUSED, message="the field is immutable", is_final=True)
    cluster.fault = lambda verb, _: refusal if verb == "patch" else None
    async with running(Process(cluster)) as process:
        await process.push("b")
        await asyncio.sleep(1)
        assert last(cluster).phase is Phase.DONE
        assert last(cluster).failures == (Failure("Deployment", "shop", "deployments-0", "the field is immutable"),)
        assert process.ledger.followed == 0


async def test_who_is_left_to_somebody_else_is_named(cluster: Cluster) -> None:
    fill(cluster, 1, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        await process.push("b")
        for _ in range(10):
            await asyncio.sleep(5)
            process.see(replace(cluster.workloads[key(0)], containers=workload("x", image="theirs").containers))
        await asyncio.sleep(5)
    assert image_of(cluster.workloads[key(0)]) == "theirs"
    assert (last(cluster).phase, last(cluster).failed, len(last(cluster).failures)) == (Phase.DONE, 1, 1)
    assert last(cluster).failures[0].reason.startswith("left to somebody")


async def test_a_move_that_nobody_follows_is_not_recorded(cluster: Cluster) -> None:
    fill(cluster, 1, tag="web:other")
    async with running(Process(cluster)) as process:
        await process.push("b")
        await asyncio.sleep(60)
        assert process.ledger.followed == 0
    assert (records(cluster), cluster.count("store")) == ((), 1)


async def test_neither_a_start_nor_a_workload_that_comes_later_is_a_fan_out(cluster: Cluster) -> None:
    fill(cluster, 3, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        await asyncio.sleep(5)
        process.see(workload("late", image="none-yet"))
        await asyncio.sleep(60)
        assert image_of(cluster.workloads[WorkloadKey("Deployment", "shop", "late")]) == pull_spec("a")
        assert process.ledger.followed == 0
    assert cluster.count("store") == 0


async def test_what_moved_while_nobody_looked_is_a_fan_out_if_somebody_is_patched(cluster: Cluster) -> None:
    fill(cluster, 3, image="before")
    async with running(Process(cluster)):
        await asyncio.sleep(5)
    assert counts(last(cluster)) == {"matched": 3, "patched": 3, "rollouts": 3}


async def test_the_first_push_of_a_new_stream_is_a_fan_out() -> None:
    cluster = Cluster()
    fill(cluster, 2)
    async with running(Process(cluster)) as process:
        await asyncio.sleep(5)
        await process.push("a", create=True)
        await asyncio.sleep(5)
    assert counts(last(cluster)) == {"matched": 2, "patched": 2, "rollouts": 2}
    assert last(cluster).delivery == "push of a"


async def test_a_move_by_somebody_else_is_a_fan_out(cluster: Cluster) -> None:
    fill(cluster, 2, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        await asyncio.sleep(5)
        process.state.put_stream(cluster.put_stream(stream(latest="b")))
        await asyncio.sleep(1)
    assert counts(last(cluster)) == {"matched": 2, "patched": 2, "rollouts": 2}
    assert (last(cluster).cause, last(cluster).delivery) == ("", "")


async def test_another_generation_of_the_same_image_is_no_move(cluster: Cluster) -> None:
    fill(cluster, 1, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        (history,) = stream(latest="a").tags
        again = replace(history, items=(replace(history.items[0], generation=7),))
        process.state.put_stream(cluster.put_stream(replace(stream(), tags=(again,))))
        await asyncio.sleep(30)
    assert cluster.count("store") == 0


@pytest.mark.parametrize("killed_after", [0.025, 0.05, 0.5, 3.5, 6.5])
async def test_after_a_kill_the_next_process_goes_on_with_the_same_record(
    cluster: Cluster, killed_after: float
) -> None:
    """A hundred workloads, ten in a second: the numbers are right up to what was patched after the last write."""
    fill(cluster, 100, image=pull_spec("a"))
    async with running(Process(cluster, workers=1)) as process:
        await process.push("b")
        cluster.latency = 0.1
        await asyncio.sleep(killed_after)
    patched = cluster.count("patch")
    assert patched < 100
    before = last(cluster)
    assert before.phase is Phase.PATCHING
    cluster.latency = 0.01
    for number in range(0, 100, 2):  # half of what was patched rolls out while nobody looks
        found = cluster.workloads[key(number)]
        cluster.put_workload(replace(found, is_rolled_out=found.is_rolled_out or image_of(found) == pull_spec("b")))
    await asyncio.sleep(60)
    async with running(Process(cluster)) as process:
        await asyncio.sleep(5)
        (after,) = records(cluster)
        assert (after.started, after.delivery, after.phase) == (before.started, "push of b", Phase.ROLLING_OUT)
        assert after.patched == before.patched + 100 - patched
        assert after.patched + after.current == after.matched == 100
        assert after.waiting == 0
        process.roll_out(*(key(number) for number in range(100)))
        await asyncio.sleep(5)
        (done,) = records(cluster)
        assert (done.phase, done.rolled_out) == (Phase.DONE, done.rollouts)
        assert done.rollouts >= done.patched
        assert process.ledger.followed == 0


async def test_what_was_over_at_a_kill_stays_as_it_is(cluster: Cluster) -> None:
    fill(cluster, 2, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        await process.push("b")
        await asyncio.sleep(1)
        process.roll_out(key(0), key(1))
        await asyncio.sleep(5)
    before = records(cluster)
    assert before[0].phase is Phase.DONE
    cluster.put_workload(workload("created-meanwhile"))
    async with running(Process(cluster)):
        await asyncio.sleep(30)
    assert records(cluster) == before


async def test_a_record_that_was_left_open_is_closed_if_the_tag_has_moved_on_meanwhile(cluster: Cluster) -> None:
    fill(cluster, 2, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        await process.push("b")
        await asyncio.sleep(1)
    for found in list(cluster.workloads.values()):
        cluster.put_workload(replace(found, containers=workload("x", image=pull_spec("c")).containers))
    cluster.put_stream(replace(stream(latest="c"), fan_outs=records(cluster)))
    async with running(Process(cluster)):
        await asyncio.sleep(5)
    assert [(record.phase, record.patched) for record in records(cluster)] == [(Phase.SUPERSEDED, 2)]


async def test_a_tag_that_moves_on_closes_its_record_with_its_counts(cluster: Cluster) -> None:
    fill(cluster, 10, image=pull_spec("a"))
    async with running(Process(cluster, workers=1)) as process:
        await process.push("b")
        await asyncio.sleep(0.035)  # three of them
        await process.push("c")
        await asyncio.sleep(5)
        assert process.ledger.followed == 1
    newest, older = records(cluster)
    assert (newest.image, newest.phase) == (digest("c"), Phase.ROLLING_OUT)
    assert counts(newest) == {"matched": 10, "patched": 10, "rollouts": 10}
    assert (older.image, older.phase) == (digest("b"), Phase.SUPERSEDED)
    assert counts(older) == {"matched": 10, "patched": 4, "waiting": 6, "rollouts": 4}


async def test_a_patch_of_a_place_that_the_tag_has_left_counts_for_nothing_newer(cluster: Cluster) -> None:
    fill(cluster, 1, image=pull_spec("a"))
    cluster.answer_seconds = 1
    async with running(Process(cluster)) as process:
        await process.push("b")
        await asyncio.sleep(0.5)
        await process.push("c")
        await asyncio.sleep(5)
    assert counts(last(cluster)) == {"matched": 1, "patched": 1, "rollouts": 1}
    assert last(cluster).first_patched == last(cluster).last_patched


async def test_a_rollout_that_is_seen_before_its_patch_is_answered_counts(cluster: Cluster) -> None:
    fill(cluster, 1, image=pull_spec("a"))
    process = Process(cluster)
    cluster.stored = process.roll_out
    async with running(process):
        await process.push("b")
        await asyncio.sleep(1)
    assert (last(cluster).phase, last(cluster).rolled_out) == (Phase.DONE, 1)


async def test_an_older_state_tells_of_no_rollout(cluster: Cluster) -> None:
    fill(cluster, 1, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        await process.push("b")
        await asyncio.sleep(1)
        old = replace(cluster.workloads[key(0)], is_rolled_out=True, resource_version="1")
        process.state.put_workload(old)
        assert process.meter.rolled_out_seconds == []


async def test_a_rollout_of_another_image_is_not_ours(cluster: Cluster) -> None:
    fill(cluster, 1, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        await process.push("b")
        await asyncio.sleep(1)
        theirs = replace(cluster.workloads[key(0)], containers=workload("x", image="theirs").containers)
        process.see(theirs)
        process.state.put_workload(cluster.put_workload(replace(theirs, is_rolled_out=True)))
        assert process.meter.rolled_out_seconds == []
        await asyncio.sleep(5)  # it is put right
        process.roll_out(key(0))
        assert len(process.meter.rolled_out_seconds) == 1


async def test_a_rollout_that_never_ends_is_followed_no_longer_after_ten_minutes(cluster: Cluster) -> None:
    fill(cluster, 2, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        await process.push("b")
        await asyncio.sleep(300)
        process.roll_out(key(0))
        await asyncio.sleep(590)
        assert (last(cluster).phase, last(cluster).rolled_out) == (Phase.ROLLING_OUT, 1)
        await asyncio.sleep(60)
        assert (last(cluster).phase, last(cluster).rolled_out) == (Phase.TIMED_OUT, 1)
        assert process.ledger.followed == 0
        process.roll_out(key(1))
        await asyncio.sleep(60)
        assert last(cluster).rolled_out == 1
        assert cluster.count("store") == 4


async def test_what_is_paused_is_not_waited_for(cluster: Cluster) -> None:
    fill(cluster, 3, image=pull_spec("a"))
    cluster.put_workload(replace(cluster.workloads[key(0)], is_rolled_out=None))
    async with running(Process(cluster)) as process:
        await process.push("b")
        await asyncio.sleep(1)
        process.roll_out(key(1))
        await asyncio.sleep(5)
        assert last(cluster).phase is Phase.ROLLING_OUT
        process.see(replace(cluster.workloads[key(2)], is_rolled_out=None))  # by a person who saw the rollout begin
        await asyncio.sleep(5)
        done = {"matched": 3, "patched": 3, "rollouts": 1, "rolled_out": 1}
        assert (last(cluster).phase, counts(last(cluster)), process.ledger.followed) == (Phase.DONE, done, 0)
        process.see(replace(cluster.workloads[key(2)], is_rolled_out=False))
        process.roll_out(key(2))
        await asyncio.sleep(60)
        assert counts(last(cluster)) == done


async def test_a_workload_that_is_deleted_is_not_waited_for(cluster: Cluster) -> None:
    fill(cluster, 2, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        await process.push("b")
        await asyncio.sleep(1)
        process.roll_out(key(0))
        del cluster.workloads[key(1)]
        process.state.discard_workload(key(1))
        await asyncio.sleep(5)
    assert (last(cluster).phase, last(cluster).rolled_out) == (Phase.DONE, 1)


async def test_a_burst_of_moves_costs_few_writes_and_leaves_few_records(cluster: Cluster) -> None:
    fill(cluster, 5, CRON_JOB, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        for number in range(1000):
            await process.push(f"sha256:{number:064x}")
            await asyncio.sleep(0.02)
        ended = asyncio.get_running_loop().time()
        await asyncio.sleep(60)
        moves = 1000
        assert cluster.count("store") - moves <= ended / 3 + 2
        assert process.ledger.followed == 0
    assert len(records(cluster)) == 10
    assert (last(cluster).image, last(cluster).phase) == (f"sha256:{999:064x}", Phase.DONE)


async def test_moves_that_come_at_once_are_one_fan_out(cluster: Cluster) -> None:
    fill(cluster, 5, CRON_JOB, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        await asyncio.gather(*(process.push(f"sha256:{number:064x}") for number in range(1000)))
        await asyncio.sleep(10)
    assert cluster.count("store") <= 4
    assert [record.image for record in records(cluster) if record.phase is Phase.DONE] == [f"sha256:{999:064x}"]


async def test_a_long_fan_out_is_told_of_every_few_seconds(cluster: Cluster) -> None:
    fill(cluster, 100, CRON_JOB, image=pull_spec("a"))
    async with running(Process(cluster, workers=1)) as process:
        await process.push("b")
        cluster.latency = 0.1
        await asyncio.sleep(4)
        assert last(cluster).phase is Phase.PATCHING
        assert last(cluster).patched == pytest.approx(30, abs=3)
        assert last(cluster).patched + last(cluster).waiting == 100
        await asyncio.sleep(20)
    assert counts(last(cluster)) == {"matched": 100, "patched": 100}
    assert 3 <= cluster.count("store") - 1 <= 5


async def test_what_cannot_be_written_goes_with_the_next_write(cluster: Cluster) -> None:
    fill(cluster, 2, CRON_JOB, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        await process.push("b")
        down: Outcome[Stream] = Outcome(End.UNREACHABLE, message="connection refused")
        cluster.fault = lambda verb, _: down if verb == "store" else None
        await asyncio.sleep(20)
        assert last(cluster).phase is Phase.PATCHING  # as the move itself wrote it
        cluster.fault = lambda *_: None
        await asyncio.sleep(40)
        assert (last(cluster).phase, last(cluster).patched) == (Phase.DONE, 2)


async def test_a_record_wakes_nobody(cluster: Cluster) -> None:
    fill(cluster, 2, CRON_JOB, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        await process.push("b")
        await asyncio.sleep(0.5)
        tried = len(cluster.tried)
        assert last(cluster).phase is Phase.DONE
        process.state.put_stream(cluster.put_stream(cluster.streams[WEB]))  # its echo, and more
        await asyncio.sleep(60)
        assert (len(cluster.tried), cluster.count("store")) == (tried, 2)


async def test_a_stream_that_goes_takes_its_account_along(cluster: Cluster) -> None:
    fill(cluster, 2, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        await process.push("b")
        await asyncio.sleep(1)
        del cluster.streams[WEB]
        process.state.discard_stream(WEB)
        process.roll_out(key(0))
        await asyncio.sleep(60)
        assert process.ledger.followed == 0
        assert process.meter.rolled_out_seconds == []


async def test_a_record_that_waits_is_written_at_the_end(cluster: Cluster) -> None:
    fill(cluster, 2, image=pull_spec("a"))
    process = Process(cluster)
    async with running(process):
        await asyncio.sleep(1)
        await process.push("b")
        await asyncio.sleep(0.5)
        process.roll_out(key(0), key(1))
        await process.ledger.flush()
        assert last(cluster).phase is Phase.DONE


async def test_one_that_was_rolling_at_a_restart_may_be_patched_again() -> None:
    cluster = Cluster()
    cluster.put_stream(stream(latest="a"))
    fill(cluster, 1, image=pull_spec("a"))
    async with running(Process(cluster)) as process:
        await process.push("b")
        await asyncio.sleep(5)
    assert last(cluster).phase is Phase.ROLLING_OUT
    async with running(Process(cluster)) as process:
        await asyncio.sleep(5)
        process.see(replace(cluster.workloads[key(0)], containers=(Container("app", "by-hand"),)))
        await asyncio.sleep(5)
        assert image_of(cluster.workloads[key(0)]) == pull_spec("b")
        process.roll_out(key(0))
        await asyncio.sleep(5)
    assert (last(cluster).phase, last(cluster).rolled_out) == (Phase.DONE, 1)
