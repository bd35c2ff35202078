"""Every workload ends with the image its tag names: many at once, one never twice at once, each failure alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from listener.core.outcomes import End, Outcome
from listener.core.workloads import KINDS, Container, Workload, WorkloadKey
from listener.errors import ClusterUnavailable
from listener.flow.fanout import FanOut
from listener.flow.state import State
from tests.flow.fakes import (
    WEB,
    FakeCluster,
    Meter,
    Notices,
    arrival,
    digest,
    image_of,
    now,
    pull_spec,
    stream,
    workload,
)


@dataclass
class World:
    cluster: FakeCluster
    state: State
    notices: Notices
    meter: Meter

    def put(self, given: Workload) -> WorkloadKey:
        """Into the cluster, and the watch sees it."""
        self.state.put_workload(self.cluster.put_workload(given))
        return given.key

    def move(self, letter: str, version: int) -> None:
        self.state.put_stream(stream(version=version, latest=letter))

    def image(self, key: WorkloadKey) -> str:
        return image_of(self.cluster.workloads[key])

    def tries(self, key: WorkloadKey) -> list[float]:
        return [moment for moment, tried in self.cluster.tried if tried == key]


def once(outcome: Outcome[Any]) -> Callable[..., Outcome[Any] | None]:
    """A fault that answers the next write only."""
    answers = iter([outcome])
    return lambda *_: next(answers, None)


@pytest.fixture
def world() -> World:
    return World(FakeCluster(), State(), Notices(), Meter())


@asynccontextmanager
async def running(world: World, *, max_in_flight: int = 10) -> AsyncIterator[None]:
    fan_out = FanOut(world.cluster, world.state, world.notices, world.meter, now, max_in_flight=max_in_flight)
    task = asyncio.create_task(fan_out.run())
    try:
        yield
        assert not task.done(), "the loop ended"
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_every_kind_of_workload_in_every_namespace_is_brought_to_its_tag(world: World) -> None:
    keys = [
        world.put(
            workload(f"{kind.plural}-{n}", kind=kind, namespace=f"ns{n % 20}", annotation=from_shop(kind.pod_spec_path))
        )
        for kind in KINDS
        for n in range(50)
    ]
    bystander = world.put(workload("bystander", tag="web:v1", image="untouched"))
    async with running(world):
        world.move("a", 1)
        await world.state.queue.idle()
    assert {world.image(key) for key in keys} == {pull_spec("a")}
    assert world.image(bystander) == "untouched"
    assert world.cluster.count("patch") == 200
    assert world.meter.now_in_flight == 0


def from_shop(path: tuple[str, ...]) -> str:
    return (
        '[{"from":{"kind":"ImageStreamTag","namespace":"shop","name":"web:latest"},'
        f'"fieldPath":"{".".join(path)}.containers[0].image"}}]'
    )


@pytest.mark.parametrize("limit", [1, 7, 40])
async def test_many_at_once_but_not_more_than_allowed(world: World, limit: int) -> None:
    for n in range(100):
        world.put(workload(f"app-{n}"))
    async with running(world, max_in_flight=limit):
        world.move("a", 1)
        await world.state.queue.idle()
    assert world.cluster.most_at_once == limit
    assert world.cluster.count("patch") == 100


async def test_ten_moves_during_one_patch_cost_one_more_and_never_overlap(world: World) -> None:
    key = world.put(workload("app"))
    world.cluster.latency = 1
    async with running(world):
        for version in range(1, 11):
            world.move("abcdef"[version % 6], version)
            await asyncio.sleep(0.05)
        await world.state.queue.idle()
    assert world.image(key) == pull_spec("abcdef"[10 % 6])
    assert world.cluster.count("patch") == 2
    assert world.cluster.overlapped == set()


async def test_one_workload_of_two_streams_is_never_patched_twice_at_once(world: World) -> None:
    keys = [world.put(workload(f"app-{n}")) for n in range(10)]
    async with running(world, max_in_flight=50):
        for version in range(1, 60):
            world.move("abcdef"[version % 6], version)
            await asyncio.sleep(0.004)
        await world.state.queue.idle()
    assert {world.image(key) for key in keys} == {pull_spec("abcdef"[59 % 6])}
    assert world.cluster.overlapped == set()


async def test_what_is_right_already_is_not_patched(world: World) -> None:
    world.put(workload("app", image=pull_spec("a")))
    async with running(world):
        world.move("a", 1)
        await world.state.queue.idle()
    assert world.cluster.tried == []


async def test_a_service_that_starts_late_converges(world: World) -> None:
    """Streams and workloads were there before, and come in any order."""
    world.move("a", 1)
    early = world.put(workload("early"))
    async with running(world):
        await world.state.queue.idle()
        late = world.put(workload("late"))
        await world.state.queue.idle()
    assert world.image(early) == world.image(late) == pull_spec("a")


async def test_a_patch_of_ours_that_somebody_reverts_is_made_again(world: World) -> None:
    key = world.put(workload("app"))
    async with running(world):
        world.move("a", 1)
        await world.state.queue.idle()
        world.put(replace(world.cluster.workloads[key], containers=(Container("app", "mine"),)))
        await world.state.queue.idle()
    assert world.image(key) == pull_spec("a")


async def test_a_stale_patch_reads_the_workload_again_and_fits_the_next_one_to_it(world: World) -> None:
    key = world.put(workload("app"))
    there = world.cluster.workloads[key]
    world.cluster.put_workload(replace(there, containers=(Container("sidecar", "proxy:1"), Container("app", "old"))))
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(0.1)  # long before any back-off
    assert world.cluster.workloads[key].containers == (
        Container("sidecar", "proxy:1"),
        Container("app", pull_spec("a")),
    )
    assert world.meter.patches == {("Deployment", "stale"): 1, ("Deployment", "applied"): 1}


async def test_a_patch_that_never_fits_is_not_sent_in_a_hot_loop(world: World) -> None:
    key = world.put(workload("app"))
    world.cluster.fault = lambda *_: Outcome(End.STALE)
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(600)
    assert 3 < len(world.tries(key)) < 100


async def test_a_workload_that_is_gone_is_no_failure(world: World) -> None:
    key = world.put(workload("app"))
    del world.cluster.workloads[key]
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(600)
    assert len(world.tries(key)) == 1
    assert world.notices.given == []


async def test_a_workload_that_vanishes_between_patch_and_look_is_forgotten(world: World) -> None:
    key = world.put(workload("app"))

    def fault(*_: object) -> Outcome[None]:
        world.cluster.workloads.pop(key, None)
        return Outcome(End.STALE)

    world.cluster.fault = fault
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(600)
    assert len(world.tries(key)) == 1
    assert world.state.workloads.get(key) is None


async def test_throttled_waits_at_least_as_long_as_the_server_asks(world: World) -> None:
    key = world.put(workload("app"))
    world.cluster.fault = once(Outcome(End.THROTTLED, retry_after_seconds=30))
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(120)
    first, second = world.tries(key)
    assert second - first >= 30
    assert world.image(key) == pull_spec("a")


@pytest.mark.parametrize("end", [End.REFUSED, End.UNREACHABLE, End.THROTTLED])
async def test_one_that_fails_for_ever_backs_off_alone_while_the_others_go_on(world: World, end: End) -> None:
    bad = world.put(workload("bad"))
    good = [world.put(workload(f"good-{n}")) for n in range(30)]
    world.cluster.fault = lambda _, key: Outcome(end, message="no") if key == bad else None
    async with running(world, max_in_flight=2):
        world.move("a", 1)
        await asyncio.sleep(1)
        assert {world.image(key) for key in good} == {pull_spec("a")}
        await asyncio.sleep(3 * 3600)
        assert world.image(bad) == ""
        gaps = [after - before for before, after in pairwise(world.tries(bad))]
        assert min(gaps) >= 1
        assert 60 < max(gaps) <= 301
        assert len(gaps) < 500

        world.cluster.fault = lambda *_: None
        await asyncio.sleep(301)
        assert world.image(bad) == pull_spec("a")


async def test_a_new_move_does_not_wait_for_the_back_off(world: World) -> None:
    key = world.put(workload("app"))
    world.cluster.fault = lambda *_: Outcome(End.REFUSED)
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(3600)
        world.cluster.fault = lambda *_: None
        world.move("b", 2)
        await asyncio.sleep(0.1)
    assert world.image(key) == pull_spec("b")


async def test_success_makes_the_next_back_off_short_again(world: World) -> None:
    key = world.put(workload("app"))
    world.cluster.fault = lambda *_: Outcome(End.UNREACHABLE)
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(3600)
        world.cluster.fault = lambda *_: None
        await asyncio.sleep(301)
        assert world.image(key) == pull_spec("a")
        world.cluster.fault = once(Outcome(End.UNREACHABLE))
        world.move("b", 2)
        await asyncio.sleep(3.5)
        assert world.image(key) == pull_spec("b")


async def test_a_bug_in_one_key_does_not_stop_the_others_and_comes_again(world: World) -> None:
    bad, good = world.put(workload("bad")), world.put(workload("good"))

    def fault(_verb: str, key: object) -> Outcome[None] | None:
        if key == bad:
            raise ZeroDivisionError
        return None

    world.cluster.fault = fault
    async with running(world, max_in_flight=1):
        with capture_logs() as logs:
            world.move("a", 1)
            await asyncio.sleep(0.5)
            assert world.image(good) == pull_spec("a")
            world.cluster.fault = lambda *_: None
            await asyncio.sleep(10)
            assert world.image(bad) == pull_spec("a")
    assert [(line["event"], line["workload"]) for line in logs if line["log_level"] == "error"] == [
        ("fanout.bug", "deployment shop/bad")
    ]
    assert world.meter.now_in_flight == 0


async def test_a_workload_that_cannot_be_read_again_is_tried_later(world: World) -> None:
    key = world.put(workload("app"))
    world.cluster.fault = once(Outcome(End.STALE))
    world.cluster.read_error = ClusterUnavailable("down")
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(10)
    assert world.image(key) == pull_spec("a")


async def test_a_reply_is_taken_in_without_the_watch(world: World) -> None:
    key = world.put(workload("app"))
    async with running(world):
        world.move("a", 1)
        await world.state.queue.idle()
        world.move("b", 2)
        await world.state.queue.idle()
    assert world.image(key) == pull_spec("b")
    assert world.cluster.count("patch") == 2
    assert world.state.workloads.get(key) == world.cluster.workloads[key]


async def test_the_patch_names_the_delivery_that_moved_the_tag(world: World) -> None:
    """And the time since that delivery is measured."""
    world.put(workload("app"))
    async with running(world):
        world.state.remember_arrival(WEB, "latest", digest("a"), arrival("the delivery"))
        await asyncio.sleep(0.5)
        world.move("a", 1)
        await world.state.queue.idle()
    [operations] = world.cluster.sent
    assert any('"delivery":"the delivery"' in str(operation["value"]) for operation in operations)
    assert world.meter.patched_seconds == [pytest.approx(0.51)]


async def test_what_was_done_is_told_on_the_workload(world: World) -> None:
    world.put(workload("app", image="old:1"))
    async with running(world):
        world.move("a", 1)
        await world.state.queue.idle()
    [notice] = world.notices.given
    assert (notice.reason, notice.subject.kind, notice.subject.uid) == ("ImageTriggered", "Deployment", "uid of app")
    assert notice.message == f"shop/web:latest moved; app: old:1 -> {pull_spec('a')}"


async def test_a_refusal_is_told_on_the_workload_and_an_outage_is_not(world: World) -> None:
    world.put(workload("refused"))
    out = world.put(workload("out"))
    world.cluster.fault = lambda _, key: Outcome(End.UNREACHABLE if key == out else End.REFUSED, message="quota")
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(0.5)
    [notice] = world.notices.given
    assert (notice.reason, notice.subject.name) == ("TriggerFailed", "refused")
    assert "quota" in notice.message


BROKEN = "no JSON"


async def test_a_broken_trigger_is_told_once_for_each_state_of_it(world: World) -> None:
    async with running(world):
        world.put(workload("app", annotation=BROKEN))
        await world.state.queue.idle()
        assert world.notices.reasons() == ["TriggerInvalid"]
        world.put(workload("app", annotation=BROKEN, image="other"))  # the same mistake
        await world.state.queue.idle()
        assert world.notices.reasons() == ["TriggerInvalid"]
        world.put(workload("app", annotation="{}"))  # another mistake
        await world.state.queue.idle()
        assert world.notices.reasons() == ["TriggerInvalid"] * 2


@pytest.mark.parametrize(
    "meanwhile",
    [
        pytest.param(lambda world: world.put(workload("app")), id="mended"),
        pytest.param(lambda world: world.put(workload("app", annotation="")), id="annotation removed"),
        pytest.param(lambda world: world.state.discard_workload(workload("app").key), id="deleted"),
    ],
)
async def test_a_broken_trigger_that_comes_back_is_told_again(
    world: World, meanwhile: Callable[[World], object]
) -> None:
    async with running(world):
        world.put(workload("app", annotation=BROKEN))
        await world.state.queue.idle()
        meanwhile(world)
        await world.state.queue.idle()
        world.put(workload("app", annotation=BROKEN))
        await world.state.queue.idle()
    assert world.notices.reasons().count("TriggerInvalid") == 2


async def test_a_broken_trigger_of_a_new_object_is_told_again(world: World) -> None:
    async with running(world):
        for uid in ("first", "second"):
            world.put(workload("app", annotation=BROKEN, uid=uid))
            await world.state.queue.idle()
    assert [notice.subject.uid for notice in world.notices.given] == ["first", "second"]


async def test_a_missing_container_is_told_and_patches_nothing(world: World) -> None:
    key = world.put(replace(workload("app"), containers=(Container("web", "old"),)))
    async with running(world):
        world.move("a", 1)
        await world.state.queue.idle()
    assert world.cluster.workloads[key].containers == (Container("web", "old"),)
    [notice] = world.notices.given
    assert notice.reason == "TriggerInvalid"
    assert "its containers are: web" in notice.message
