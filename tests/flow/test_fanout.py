"""Every workload ends with the image its tag names: many at once, one never twice at once, each failure alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from listener.core import runs, triggers
from listener.core.actions import LAST_TRIGGERED, Operation
from listener.core.build_configs import BuildTrigger
from listener.core.history import TagHistory
from listener.core.kinds import DEPLOYMENT, JOB, KINDS, SHIPWRIGHT_BUILD, Form, Kind
from listener.core.managers import Manager
from listener.core.notices import Reason
from listener.core.outcomes import End, Outcome
from listener.core.streams import Stream, StreamKey
from listener.core.triggers import Triggers
from listener.core.workloads import Container, Record, Workload, WorkloadKey
from listener.errors import ClusterUnavailable
from listener.flow.fanout import FanOut
from listener.flow.state import State
from listener.flow.throttle import Throttle
from tests.flow.fakes import (
    WEB,
    FakeCluster,
    Meter,
    Notices,
    arrival,
    deployment_config,
    digest,
    image_of,
    item,
    named,
    now,
    pull_spec,
    stream,
    with_last,
    workload,
)


def clock() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class World:
    cluster: FakeCluster
    state: State
    notices: Notices
    meter: Meter
    throttle: Throttle

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
async def world() -> World:
    return World(FakeCluster(), State(), Notices(), Meter(), Throttle(ceiling=10))


@asynccontextmanager
async def running(world: World, **options: Any) -> AsyncIterator[FanOut]:
    fan_out = FanOut(
        world.cluster, world.state, world.notices, world.meter, world.throttle, now, kinds=KINDS, workers=100, **options
    )
    task = asyncio.create_task(fan_out.run())
    try:
        yield fan_out
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
        if kind.form is Form.POD_SPEC
        for n in range(50)
    ]
    bystander = world.put(workload("bystander", tag="web:v1", image="untouched"))
    async with running(world):
        world.move("a", 1)
        await world.state.queue.idle()
    assert {world.image(key) for key in keys} == {pull_spec("a")}
    assert world.image(bystander) == "untouched"
    assert world.cluster.count("patch") == len(keys) == 400
    assert world.throttle.in_flight == 0


async def test_events_for_which_there_is_no_room_are_counted_and_the_workloads_patched(world: World) -> None:
    keys = [world.put(workload(f"web-{n}")) for n in range(3)]
    world.notices.is_full = True
    async with running(world):
        world.move("a", 1)
        await world.state.queue.idle()
    assert {world.image(key) for key in keys} == {pull_spec("a")}
    assert (world.notices.given, world.notices.dropped) == ([], 3)


def from_shop(path: tuple[str, ...]) -> str:
    return (
        '[{"from":{"kind":"ImageStreamTag","namespace":"shop","name":"web:latest"},'
        f'"fieldPath":"{".".join(path)}.containers[0].image"}}]'
    )


@pytest.mark.parametrize("limit", [1, 7, 40])
async def test_many_at_once_but_not_more_than_allowed(world: World, limit: int) -> None:
    for n in range(100):
        world.put(workload(f"app-{n}"))
    world.throttle = Throttle(ceiling=limit)
    async with running(world):
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
        await asyncio.sleep(10)  # the next round is held for a while
    assert world.image(key) == pull_spec("abcdef"[10 % 6])
    assert world.cluster.count("patch") == 2
    assert world.cluster.overlapped == set()


async def test_one_workload_of_two_streams_is_never_patched_twice_at_once(world: World) -> None:
    keys = [world.put(workload(f"app-{n}")) for n in range(10)]
    world.throttle = Throttle(ceiling=50)
    async with running(world):
        for version in range(1, 60):
            world.move("abcdef"[version % 6], version)
            await asyncio.sleep(0.004)
        await asyncio.sleep(10)  # the next round is held for a while
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
    world.throttle = Throttle(ceiling=2)
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(1.5)  # a 429 stops everybody for a second
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
    world.throttle = Throttle(ceiling=1)
    async with running(world):
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
    assert world.throttle.in_flight == 0


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
        delivery = arrival("the delivery")
        await asyncio.sleep(0.5)
        with world.state.bringing(WEB, {"latest": (digest("a"), delivery)}):
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
    assert notice.message == f"shop/web:latest is followed; app: old:1 -> {pull_spec('a')}"


async def test_why_an_image_is_set_is_told_by_what_happened(world: World) -> None:
    def messages() -> list[str]:
        return [notice.message for notice in world.notices.of(Reason.IMAGE_TRIGGERED)]

    key = world.put(workload("app", image=pull_spec("a")))
    edited = "shop/web:latest has not moved, so an edit is put back (pause the trigger to keep it)"
    async with running(world):
        world.state.put_stream(replace(stream(version=2), tags=(TagHistory("latest", (item("b"), item("a"))),)))
        await world.state.queue.idle()
        assert messages()[0] == f"shop/web:latest moved; app: {pull_spec('a')} -> {pull_spec('b')}"
        world.put(workload("new", image="new:1"))
        await world.state.queue.idle()
        assert messages()[1] == f"shop/web:latest is followed; app: new:1 -> {pull_spec('b')}"
        for image in ("edited", pull_spec("a")):  # the second as `kubectl rollout undo` does
            by_hand(world, key, image)
            await world.state.queue.idle()
            assert messages()[-1] == f"{edited}; app: {image} -> {pull_spec('b')}"
        items = (item("c"), item("b"), item("a"))
        world.state.put_stream(replace(stream(version=3), tags=(TagHistory("latest", items),)))
        await asyncio.sleep(10)
        moved = f"shop/web:latest moved; app: {pull_spec('b')} -> {pull_spec('c')}"
        assert messages()[4:] == [moved, moved]


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


async def test_a_patch_that_never_fits_is_told_from_the_third_time_on(world: World) -> None:
    key = world.put(workload("app"))
    world.cluster.fault = lambda *_: Outcome(End.STALE, message="the object has been modified")
    async with running(world):
        with capture_logs() as logs:
            world.move("a", 1)
            while len(world.tries(key)) < 3:
                assert world.notices.given == []
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.1)
            [notice] = world.notices.given
            assert (notice.reason, notice.subject.name) == ("TriggerFailed", "app")
            assert "conflict" in notice.message
            assert "the object has been modified" in notice.message
            assert [line["end"] for line in logs if line["event"] == "patch.failed"] == ["stale"]
            await asyncio.sleep(3600)
        assert set(world.notices.given) == {notice}, "one Event, with a count"
        world.cluster.fault = lambda *_: None
        await asyncio.sleep(301)
        assert world.image(key) == pull_spec("a")
        told = len(world.notices.of(Reason.TRIGGER_FAILED))
        answers = iter([Outcome[Any](End.STALE)] * 2)
        world.cluster.fault = lambda *_: next(answers, None)
        world.move("b", 2)
        await asyncio.sleep(60)
        assert world.image(key) == pull_spec("b")
        assert len(world.notices.of(Reason.TRIGGER_FAILED)) == told, "the next row begins with the first"


async def test_what_was_stored_in_an_outage_is_no_patch_that_never_fits(world: World) -> None:
    world.put(workload("app"))
    ends = iter([End.UNREACHABLE] * 5 + [End.STALE] * 2)
    world.cluster.fault = lambda *_: Outcome(end) if (end := next(ends, None)) else None
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(3600)
    assert world.notices.reasons() == ["ImageTriggered"]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        pytest.param(
            'Internal error occurred: failed calling webhook "a.example.com": failed to call webhook: Post "https://'
            'policy.ops.svc:443/": dial tcp 10.0.0.1:443: connect: connection refused',
            True,
            id="webhook",
        ),
        pytest.param("PATCH /apis/apps/v1/…: no answer from https://10.0.0.1: Connection refused", False, id="server"),
    ],
)
async def test_a_webhook_that_does_not_answer_is_told_when_it_lasts_and_an_outage_never(
    world: World, message: str, told: bool
) -> None:
    key = world.put(workload("app"))
    world.cluster.fault = lambda *_: Outcome(End.UNREACHABLE, message=message)
    async with running(world):
        world.move("a", 1)
        while len(world.tries(key)) < 3:
            assert world.notices.given == []
            await asyncio.sleep(0.1)
        await asyncio.sleep(3600)
    assert set(world.notices.reasons()) == ({"TriggerFailed"} if told else set())
    assert all("a.example.com" in notice.message for notice in world.notices.given)


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


def by_hand(world: World, key: WorkloadKey, image: str) -> None:
    """Somebody sets the image, and the watch sees it."""
    there = world.cluster.workloads[key]
    world.put(replace(there, containers=(Container("app", image),)))


async def test_an_edit_by_hand_is_put_back(world: World) -> None:
    key = world.put(workload("app"))
    async with running(world):
        world.move("a", 1)
        await world.state.queue.idle()
        by_hand(world, key, "edited")
        await world.state.queue.idle()
    assert world.image(key) == pull_spec("a")


async def test_an_edit_by_hand_of_a_paused_container_stays(world: World) -> None:
    key = world.put(workload("app", annotation=from_shop(DEPLOYMENT.pod_spec_path)[:-2] + ',"paused":true}]'))
    async with running(world):
        world.move("a", 1)
        by_hand(world, key, "edited")
        await world.state.queue.idle()
    assert world.image(key) == "edited"


class Fight:
    """A controller that wants its own image, and writes it as soon as it sees another."""

    def __init__(self, world: World, key: WorkloadKey) -> None:
        self.world, self.key, self.rounds, self.is_on = world, key, 0, True
        world.cluster.field_managers[key] = [
            Manager("argocd-controller", "Apply", "2026-01-01T00:00:00Z", owns_image("app"))
        ]

    async def rage(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            if self.is_on and self.world.image(self.key) != "from-git":
                self.rounds += 1
                by_hand(self.world, self.key, "from-git")


def owns_image(container: str) -> dict[str, Any]:
    containers: dict[str, Any] = {f'k:{{"name":"{container}"}}': {"f:image": {}, "f:name": {}}}
    return {"f:spec": {"f:template": {"f:spec": {"f:containers": containers}}}}


@asynccontextmanager
async def fighting(world: World, key: WorkloadKey) -> AsyncIterator[Fight]:
    fight = Fight(world, key)
    task = asyncio.create_task(fight.rage())
    yield fight
    task.cancel()


async def test_a_fight_ends_and_is_told_with_its_other_side(world: World) -> None:
    key = world.put(workload("app"))
    async with running(world), fighting(world, key):
        world.move("a", 1)
        await asyncio.sleep(600)
        assert world.image(key) == "from-git"
        assert world.cluster.count("patch") == 4
        assert world.state.contests.counts() == {"Deployment": 1}
        (told,) = world.notices.of(Reason.TRIGGER_CONTESTED)
        assert "container app: field manager 'argocd-controller' set the image back 4 times" in told.message
        assert "ignoreDifferences" in told.message


FAILURES = [
    pytest.param(Outcome(End.STALE), id="stale"),
    pytest.param(Outcome(End.REFUSED, message="quota"), id="refused"),
    pytest.param(Outcome(End.THROTTLED, retry_after_seconds=1), id="throttled"),
    pytest.param(Outcome(End.UNREACHABLE, message="no answer"), id="unreachable"),
]


@pytest.mark.parametrize("failure", [pytest.param(None, id="applied"), *FAILURES])
async def test_a_lost_fight_is_tried_once_more_when_the_tag_moves(world: World, failure: Outcome[Any] | None) -> None:
    """However the first patch after the move ends."""
    key = world.put(workload("app"))
    async with running(world), fighting(world, key) as fight:
        world.move("a", 1)
        await asyncio.sleep(600)
        before = world.cluster.count("patch")
        if failure:
            world.cluster.fault = once(failure)
        world.move("b", 2)
        await asyncio.sleep(600)
        assert (world.image(key), world.cluster.count("patch") - before) == ("from-git", 1)
        _, told = world.notices.of(Reason.TRIGGER_CONTESTED)
        assert pull_spec("b") in told.message
        fight.is_on = False  # now Git has learnt to ignore the field
        if failure:
            world.cluster.fault = once(failure)
        world.move("c", 3)
        await asyncio.sleep(5)
        assert world.image(key) == pull_spec("c")
        assert world.state.contests.counts() == {}
        assert len(world.notices.of(Reason.TRIGGER_CONTESTED)) == 2


async def test_a_lost_fight_is_over_though_the_answer_to_the_patch_was_lost(world: World) -> None:
    """It was stored, and the watch shows it before we give up waiting."""
    key = world.put(workload("app"))
    async with running(world), fighting(world, key) as fight:
        world.move("a", 1)
        await asyncio.sleep(60)
        fight.is_on = False

        def stores(*_: object) -> Outcome[Any]:
            world.cluster.fault = lambda *_: None
            by_hand(world, key, pull_spec("b"))
            return Outcome(End.UNREACHABLE, message="no answer")

        world.cluster.fault = stores
        world.move("b", 2)
        await asyncio.sleep(60)
        assert world.image(key) == pull_spec("b")
        world.move("a", 3)
        await asyncio.sleep(60)
        assert world.image(key) == pull_spec("a")


async def test_what_is_set_back_before_the_patch_is_answered_is_told_and_left(world: World) -> None:
    """The watch shows our image and the other one, and then the answer comes."""
    key = world.put(workload("app"))
    async with running(world), fighting(world, key) as fight:
        world.move("a", 1)
        await asyncio.sleep(60)
        fight.is_on = False
        patch = world.cluster.patch_workload

        async def patch_slowly(kind: Kind, key: WorkloadKey, operations: Sequence[Operation]) -> Outcome[Workload]:
            outcome = await patch(kind, key, operations)
            assert outcome.stored
            world.state.put_workload(outcome.stored)
            by_hand(world, key, "from-git")
            return outcome

        world.cluster.patch_workload = patch_slowly  # type: ignore[method-assign]
        before = world.cluster.count("patch")
        world.move("b", 2)
        await asyncio.sleep(600)
        assert (world.image(key), world.cluster.count("patch") - before) == ("from-git", 1)
        _, told = world.notices.of(Reason.TRIGGER_CONTESTED)
        assert pull_spec("b") in told.message


async def test_one_edit_by_hand_after_each_move_never_costs_a_trigger(world: World) -> None:
    key = world.put(workload("app"))
    async with running(world):
        for version, letter in enumerate("abcdef", start=1):
            world.move(letter, version)
            await asyncio.sleep(10)
            by_hand(world, key, f"edited:{version}")
            await asyncio.sleep(4 * 3600)
            assert world.image(key) == pull_spec(letter)
    assert world.notices.of(Reason.TRIGGER_CONTESTED) == []


async def test_a_fight_over_a_deployment_config_ends(world: World) -> None:
    """Git's manifest says nothing of what its trigger did last, so that is wiped together with the image."""
    manifest = deployment_config("app", "from-git")
    key = world.put(manifest)

    async def apply_hourly() -> None:
        while True:
            await asyncio.sleep(3600)
            if replace(world.cluster.workloads[key], resource_version="1") != manifest:
                world.put(manifest)

    async with running(world):
        task = asyncio.create_task(apply_hourly())
        world.move("a", 1)
        await asyncio.sleep(12 * 3600)
        assert world.image(key) == "from-git"
        assert world.cluster.count("patch") == 4
        assert world.state.contests.counts() == {"DeploymentConfig": 1}
        assert len(world.notices.of(Reason.TRIGGER_CONTESTED)) == 1
        task.cancel()
        world.move("b", 2)
        await asyncio.sleep(60)
        assert world.cluster.workloads[key] == replace(
            with_last(deployment_config("app", pull_spec("b")), pull_spec("b")),
            resource_version=world.cluster.workloads[key].resource_version,
        )


@pytest.mark.parametrize("how", ["another trigger", "another object"])
async def test_a_lost_fight_begins_anew_with(world: World, how: str) -> None:
    key = world.put(workload("app"))
    async with running(world), fighting(world, key) as fight:
        world.move("a", 1)
        await asyncio.sleep(60)
        assert world.image(key) == "from-git"
        fight.is_on = False
        if how == "another object":
            world.put(workload("app", image="from-git", uid="u2"))
        else:
            world.put(workload("app", image="from-git", annotation=from_shop(DEPLOYMENT.pod_spec_path)))
        await asyncio.sleep(5)
        assert world.image(key) == pull_spec("a")
        assert world.state.contests.counts() == {}


async def test_what_can_never_be_changed_is_told_and_not_tried_again_until_the_tag_moves(world: World) -> None:
    key = world.put(workload("job", kind=JOB))
    world.cluster.fault = lambda *_: Outcome(End.REFUSED, message="field is immutable", is_final=True)
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(3600)
        assert len(world.tries(key)) == 1
        (told,) = world.notices.of(Reason.TRIGGER_FAILED)
        assert "put the trigger on what creates it" in told.message
        world.move("b", 2)
        await asyncio.sleep(1)
        assert len(world.tries(key)) == 2


async def test_a_long_fan_out_does_not_hold_up_a_workload_of_another_stream(world: World) -> None:
    for n in range(1000):
        world.put(workload(f"app-{n}"))
    other = StreamKey("shop", "other")
    lonely = world.put(workload("lonely", tag="other:latest"))
    world.throttle = Throttle(ceiling=1)
    world.cluster.latency = 1
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(10)
        world.state.put_stream(stream(other, latest="b"))
        await asyncio.sleep(5)
        assert world.image(lonely) == pull_spec("b")
        assert world.cluster.count("patch") < 20


async def test_a_move_while_the_pace_holds_a_patch_back_costs_no_second_one(world: World) -> None:
    keys = [world.put(workload(f"app-{n}")) for n in range(5)]
    world.throttle = Throttle(ceiling=100, per_second=1)
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(0.5)
        world.move("b", 2)
        await asyncio.sleep(30)
    assert {world.image(key) for key in keys} == {pull_spec("b")}
    assert world.cluster.count("patch") == 6  # the first one ran the image of before


@pytest.mark.parametrize(("ceiling", "per_second"), [(1, 10), (100, 10), (100, 100)])
async def test_a_pace_holds_up_a_workload_of_another_stream_for_two_patches_at_most(
    world: World, ceiling: int, per_second: float
) -> None:
    for n in range(1000):
        world.put(workload(f"app-{n}"))
    other = StreamKey("shop", "other")
    lonely = world.put(workload("lonely", tag="other:latest"))
    world.throttle = Throttle(ceiling=ceiling, per_second=per_second)
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(3)
        world.state.put_stream(stream(other, latest="b"))
        await asyncio.sleep(2 / per_second + 0.02)
        assert world.image(lonely) == pull_spec("b")
        assert world.cluster.count("patch") <= (clock() + 0.1) * per_second + 1


async def test_a_pace_is_not_spent_on_looks_that_send_nothing(world: World) -> None:
    """Every other workload is right already when its turn comes."""
    keys = [world.put(workload(f"app-{n}", image=pull_spec("a") if n % 2 else "")) for n in range(200)]
    world.throttle = Throttle(ceiling=50, per_second=10)
    async with running(world):
        world.move("a", 1)
        await world.state.queue.idle()
    assert {world.image(key) for key in keys} == {pull_spec("a")}
    assert world.cluster.count("patch") == 100
    assert clock() == pytest.approx(9.8, abs=0.1)


async def test_a_closed_door_keeps_no_key(world: World) -> None:
    """A 429 closes it for half a minute; what is moved meanwhile takes the newest image, at once when it opens."""
    keys = [world.put(workload(f"app-{n}")) for n in range(20)]
    world.throttle = Throttle(ceiling=50)
    world.cluster.fault = once(Outcome(End.THROTTLED, retry_after_seconds=30))
    other = StreamKey("shop", "other")
    late = world.put(workload("late", tag="other:latest"))
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(1)
        tried = world.cluster.count("patch")
        world.state.put_stream(stream(other, latest="a"))
        await asyncio.sleep(10)
        world.state.put_stream(stream(other, version=2, latest="b"))
        assert world.cluster.count("patch") == tried
        await asyncio.sleep(20)
        assert world.image(late) == pull_spec("b")
        assert len(world.tries(late)) == 1
        await asyncio.sleep(10)
    assert {world.image(key) for key in keys} == {pull_spec("a")}


def build(name: str = "image", *, uid: str = "uid of image", record: Record | None = None) -> Workload:
    """A Shipwright Build whose runs are told the base image."""
    text = (
        '[{"from":{"kind":"ImageStreamTag","name":"web:latest"},'
        '"fieldPath":"spec.paramValues[?(@.name==\\"BASE\\")].value"}]'
    )
    key = WorkloadKey("Build", "shop", name)
    return Workload(
        key, uid, "1", triggers.parse(text, namespace="shop", kind=SHIPWRIGHT_BUILD), (), (), record=record or Record()
    )


def told(world: World) -> list[str]:
    """The base images of all runs so far."""
    return [run["spec"]["paramValues"][0]["value"] for run in world.cluster.runs.values()]


async def test_a_build_is_run_once_for_each_move_however_often_we_restart(world: World) -> None:
    world.put(build())
    for version, letter in enumerate("aba", start=1):
        async with running(world):
            world.move(letter, version)
            await world.state.queue.idle()
        world.state = State()  # a restart
        for found in world.cluster.workloads.values():
            world.state.put_workload(found)
        async with running(world):
            world.move(letter, version)
            await world.state.queue.idle()
    assert told(world) == [pull_spec("a"), pull_spec("b"), pull_spec("a")]
    (run, *_) = world.cluster.runs.values()
    assert run["kind"] == "BuildRun"
    assert run["spec"]["build"] == {"name": "image"}


async def test_a_run_that_was_started_before_a_crash_is_found_again(world: World) -> None:
    key = world.put(build())
    world.cluster.fault = lambda verb, _: Outcome(End.UNREACHABLE, message="cut") if verb == "patch" else None
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(0.5)
    assert world.cluster.workloads[key].record == Record()
    world.cluster.fault = lambda _verb, _: None
    world.state = State()
    world.state.put_workload(world.cluster.workloads[key])
    async with running(world):
        world.move("b", 1)  # it moved meanwhile
        await asyncio.sleep(60)
    assert told(world) == [pull_spec("a"), pull_spec("b")]
    assert world.cluster.workloads[key].record == Record(2, {"shop/web:latest": pull_spec("b")})


@pytest.mark.parametrize("told", [{}, {LAST_TRIGGERED: "x"}, {LAST_TRIGGERED: '{"number":7,"images":{}}'}], ids=str)
async def test_a_name_that_somebody_took_is_passed_over(world: World, told: Mapping[str, str]) -> None:
    key = world.put(build())
    world.cluster.runs[runs.run_name(world.cluster.workloads[key], 1)] = {"metadata": {"annotations": told}}
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(60)
    record = world.cluster.workloads[key].record
    assert record is not None
    assert (len(world.cluster.runs), record.number) == (2, 2)


async def test_a_build_config_whose_server_remembers_nothing_is_built_once(world: World) -> None:
    trigger = BuildTrigger(WEB, "latest", False, "spec.triggers[0].imageChange", "")
    key = WorkloadKey("BuildConfig", "shop", "image")
    world.put(Workload(key, "u", "1", Triggers((trigger,)), (), ()))
    async with running(world):
        world.move("a", 1)
        await world.state.queue.idle()
        world.put(world.cluster.workloads[key])
        world.state.queue.add(key)
        await world.state.queue.idle()
        assert len(world.cluster.runs) == 1
        world.move("b", 2)
        await world.state.queue.idle()
    built = [run["triggeredByImage"]["name"] for run in world.cluster.runs.values()]
    assert built == [pull_spec("a"), pull_spec("b")]


async def test_a_build_config_that_was_made_anew_is_built_anew(world: World) -> None:
    trigger = BuildTrigger(WEB, "latest", False, "spec.triggers[0].imageChange", "")
    key = WorkloadKey("BuildConfig", "shop", "image")
    async with running(world):
        world.move("a", 1)
        for uid in ("first", "second"):
            world.put(Workload(key, uid, "1", Triggers((trigger,)), (), ()))
            await world.state.queue.idle()
    assert len(world.cluster.runs) == 2


async def test_a_run_that_cannot_be_started_is_told_as_such_and_tried_again(world: World) -> None:
    key = world.put(build())
    refused: Outcome[Any] = Outcome(End.REFUSED, message="the cluster does not serve buildruns", may_pass=True)
    world.cluster.fault = lambda verb, _: refused if verb == "start" else None
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(0.5)
        [notice] = world.notices.given
        assert (notice.reason, notice.subject.kind) == (Reason.TRIGGER_FAILED, "Build")
        assert notice.message == "the trigger failed: the cluster does not serve buildruns"
        assert world.cluster.workloads[key].record == Record()
        world.cluster.fault = lambda _verb, _: None
        await asyncio.sleep(10)
    assert told(world) == [pull_spec("a")]


# Tags that are not there


@pytest.mark.parametrize(
    ("tag", "told"),
    [
        pytest.param("wbe:latest", "there is no ImageStream shop/wbe", id="stream"),
        pytest.param("web:x", "ImageStream shop/web has no tag x yet", id="tag"),
    ],
)
async def test_a_tag_that_is_not_there_for_minutes_is_told_once(world: World, tag: str, told: str) -> None:
    world.move("a", 1)
    key = world.put(workload("app", tag=tag))
    async with running(world) as fan_out:
        await asyncio.sleep(240)
        assert (world.notices.given, dict(fan_out.waiting())) == ([], {})
        await asyncio.sleep(120)
        [notice] = world.notices.given
        assert (notice.reason, notice.subject.name) == ("TriggerWaits", "app")
        assert told in notice.message
        assert dict(fan_out.waiting()) == {"Deployment": 1}
        world.put(workload("app", tag=tag, image="by:hand"))
        await asyncio.sleep(24 * 3600)
        assert world.notices.given == [notice]
        world.state.put_stream(stream(StreamKey("shop", tag.partition(":")[0]), version=2, latest="b", x="b"))
        await asyncio.sleep(1)
        assert world.image(key) == pull_spec("b")
        assert dict(fan_out.waiting()) == {}


async def test_a_tag_that_comes_soon_is_told_of_nowhere(world: World) -> None:
    """As people do: the workload first, then the push."""
    world.put(workload("app"))
    async with running(world):
        await asyncio.sleep(240)
        world.move("a", 1)
        await asyncio.sleep(3600)
    assert world.notices.reasons() == ["ImageTriggered"]


async def test_a_paused_trigger_waits_for_nothing(world: World) -> None:
    path = "spec.template.spec.containers[0].image"
    entry = {"from": {"kind": "ImageStreamTag", "name": "wbe:latest"}, "fieldPath": path, "paused": True}
    world.put(workload("app", annotation=json.dumps([entry])))
    async with running(world) as fan_out:
        await asyncio.sleep(3600)
        assert (world.notices.given, dict(fan_out.waiting())) == ([], {})


async def test_a_stream_that_is_deleted_is_missed_after_minutes(world: World) -> None:
    world.put(workload("app"))
    world.move("a", 1)
    async with running(world) as fan_out:
        await asyncio.sleep(3600)
        world.state.discard_stream(WEB)
        await asyncio.sleep(600)
        assert world.notices.reasons() == ["ImageTriggered", "TriggerWaits"]
        assert world.image(workload("app").key) == pull_spec("a")
        world.state.discard_workload(workload("app").key)
        await asyncio.sleep(1)
        assert dict(fan_out.waiting()) == {}


async def test_a_stream_in_a_namespace_that_is_not_watched_is_told_at_once(world: World) -> None:
    world.put(workload("app", annotation=from_shop(DEPLOYMENT.pod_spec_path), namespace="lab"))
    async with running(world, namespaces=frozenset({"lab"})) as fan_out:
        await asyncio.sleep(3600)
        [notice] = world.notices.given
        assert notice.reason == "TriggerInvalid"
        assert "namespace shop is not among the `namespaces` of the settings" in notice.message
        assert (dict(fan_out.invalid()), dict(fan_out.waiting())) == ({"Deployment": 1}, {})


async def test_no_stream_is_missed_until_they_were_all_seen(world: World) -> None:
    seen = asyncio.Event()

    async def streams_known() -> None:
        await seen.wait()

    world.put(workload("app"))
    async with running(world, streams_known=streams_known):
        await asyncio.sleep(3600)
        assert world.notices.given == []
        seen.set()
        await asyncio.sleep(240)
        assert world.notices.given == []
        await asyncio.sleep(600)
    assert world.notices.reasons() == ["TriggerWaits"]


async def test_how_many_triggers_are_invalid_is_counted_until_they_are_mended(world: World) -> None:
    key = world.put(workload("app", annotation="no JSON"))
    world.put(workload("lost", annotation=from_shop(DEPLOYMENT.pod_spec_path).replace("[0]", "[7]")))
    async with running(world) as fan_out:
        await world.state.queue.idle()
        assert fan_out.invalid() == {"Deployment": 2}
        world.put(workload("app"))
        world.state.discard_workload(key._replace(name="lost"))
        await world.state.queue.idle()
        assert fan_out.invalid() == {}


async def test_a_burst_of_moves_costs_each_workload_two_patches_and_ends_on_the_last(world: World) -> None:
    keys = [world.put(workload(f"app-{n}")) for n in range(200)]
    world.cluster.latency = 0.1
    async with running(world):
        for version in range(1, 301):
            world.move("abcdef"[version % 6], version)
            await asyncio.sleep(0.01)
        await asyncio.sleep(30)
    assert {world.image(key) for key in keys} == {pull_spec("abcdef"[300 % 6])}
    assert world.cluster.count("patch") <= 2 * len(keys)


async def test_a_retry_or_an_edit_during_a_burst_waits_for_its_next_round(world: World) -> None:
    bad = world.put(workload("bad"))
    world.cluster.fault = lambda *_: Outcome(End.REFUSED, message="no")
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(0.005)
        world.move("b", 2)
        await asyncio.sleep(3)
        world.cluster.fault = lambda *_: None
        await asyncio.sleep(30)
        assert world.image(bad) == pull_spec("b")


async def test_a_tag_that_goes_back_to_an_image_that_was_once_lost_is_followed(world: World) -> None:
    key = world.put(workload("app"))
    async with running(world), fighting(world, key) as fight:
        world.move("a", 1)
        await asyncio.sleep(60)
        assert world.image(key) == "from-git"
        fight.is_on = False
        world.move("b", 2)
        await asyncio.sleep(60)
        world.move("a", 3)
        await asyncio.sleep(60)
        assert world.image(key) == pull_spec("a")


async def test_a_tag_that_goes_back_while_we_patch_is_no_fight_with_ourselves(world: World) -> None:
    key = world.put(workload("app"))
    world.cluster.latency = 0.3
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(5)
        for version in range(2, 12, 2):
            world.move("b", version)
            await asyncio.sleep(0.1)  # our patch to b is under way
            world.move("a", version + 1)
            await asyncio.sleep(30)
        assert world.image(key) == pull_spec("a")
    assert world.notices.of(Reason.TRIGGER_CONTESTED) == []


async def test_one_that_hangs_holds_up_the_next_round_of_nobody(world: World) -> None:
    keys = [world.put(workload(f"app-{n}")) for n in range(50)]
    healthy = world.cluster.patch_workload

    async def patch(kind: Kind, key: WorkloadKey, operations: Sequence[Operation]) -> Outcome[Workload]:
        if key == keys[25]:
            await asyncio.sleep(30)
            return Outcome(End.UNREACHABLE, message="no answer")
        return await healthy(kind, key, operations)

    world.cluster.patch_workload = patch  # type: ignore[method-assign]
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(2)
        world.move("b", 2)
        await asyncio.sleep(3)
        assert {world.image(key) for key in keys if key != keys[25]} == {pull_spec("b")}


async def test_at_the_end_a_burst_is_drained_to_its_last_image(world: World) -> None:
    keys = [world.put(workload(f"app-{n}")) for n in range(20)]
    world.cluster.latency = 0.3
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(0.4)  # some are done, the round goes on
        world.move("b", 2)
        world.state.rounds.flush()
        await world.state.queue.idle()
        assert {world.image(key) for key in keys} == {pull_spec("b")}


async def test_a_patch_that_is_taken_and_undone_at_once_is_told_as_a_failure_and_tried_again(world: World) -> None:
    world.put(workload("app", image="old"))

    async def patch(_kind: Kind, key: WorkloadKey, _operations: object) -> Outcome[Workload]:
        world.cluster.tried.append((0, key))
        return Outcome(End.APPLIED, world.cluster.put_workload(world.cluster.workloads[key]))

    world.cluster.patch_workload = patch  # type: ignore[method-assign, assignment]
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(3600)
    assert 5 < len(world.cluster.tried) < 100
    assert world.notices.of(Reason.IMAGE_TRIGGERED) == []
    assert "does an admission webhook set it back?" in world.notices.of(Reason.TRIGGER_FAILED)[0].message


async def test_what_was_learnt_of_an_object_that_is_gone_says_nothing_of_the_one_made_anew(world: World) -> None:
    key = world.put(workload("app", image="old"))
    world.cluster.fault = lambda *_: Outcome(End.STALE) if world.image(key) == "old" else None

    async def get(_kind: Kind, _key: WorkloadKey) -> Workload | None:
        await asyncio.sleep(0.01)
        world.put(workload("app", image="new", uid="u2"))  # the watch is faster than our answer
        return None

    world.cluster.get_workload = get  # type: ignore[method-assign, assignment]
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(3600)
    assert world.image(key) == pull_spec("a")


async def test_a_server_that_has_built_it_already_is_believed_when_it_is_read_anew(world: World) -> None:
    trigger = BuildTrigger(WEB, "latest", False, "spec.triggers[0].imageChange", "")
    key = world.put(Workload(WorkloadKey("BuildConfig", "shop", "image"), "u", "1", Triggers((trigger,)), (), ()))
    built = Triggers((replace(trigger, last=pull_spec("a")),))
    world.cluster.put_workload(Workload(key, "u", "1", built, (), ()))  # the watch has not told
    tries = []

    def fault(verb: str, _key: object) -> Outcome[Any] | None:
        tries.append(verb)
        return Outcome(End.UNREACHABLE, message="already instantiated")

    world.cluster.fault = fault
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(3600)
    assert tries == ["start"]


async def test_a_paused_parameter_beside_an_active_one_on_the_same_tag_starts_no_runs_of_its_own(world: World) -> None:
    def entry(parameter: str, **more: bool) -> dict[str, Any]:
        path = f'spec.paramValues[?(@.name=="{parameter}")].value'
        return {"from": {"kind": "ImageStreamTag", "name": "web:latest"}, "fieldPath": path, **more}

    text = json.dumps([entry("BASE"), entry("PINNED", paused=True)])
    found = triggers.parse(text, namespace="shop", kind=SHIPWRIGHT_BUILD)
    world.put(replace(build(), triggers=found))
    async with running(world):
        world.move("a", 1)
        await asyncio.sleep(5)
        world.move("b", 2)
        await asyncio.sleep(60)
    assert told(world) == [pull_spec("a"), pull_spec("b")]


# Names of stream tags


def looked_up(letter: str, version: int, *, local: bool = True) -> Stream:
    return replace(stream(version=version, latest=letter), local_lookup=local)


def naming(image: str = "web:latest", name: str = "app") -> Workload:
    """A workload without triggers, whose image is the name of a tag."""
    return named(workload(name, annotation="[]"), Container("app", image))


async def test_a_name_is_set_once_its_tag_is_there_and_follows_it_no_further(world: World) -> None:
    key, other = world.put(naming()), world.put(naming("web:v1", "other"))
    async with running(world):
        await world.state.queue.idle()
        assert world.image(key) == "web:latest"
        world.state.put_stream(looked_up("a", 1))
        await world.state.queue.idle()
        assert (world.image(key), world.image(other)) == (pull_spec("a"), "web:v1")
        world.state.put_stream(looked_up("b", 2))
        await asyncio.sleep(60)
        assert world.image(key) == pull_spec("a")
        assert world.cluster.count("patch") == 1
        (told,) = world.notices.of(Reason.IMAGE_TRIGGERED)
        assert told.message == f"shop/web:latest is what the image names; app: web:latest -> {pull_spec('a')}"


async def test_a_name_is_set_when_the_stream_says_that_it_may_be(world: World) -> None:
    key = world.put(naming())
    async with running(world):
        world.state.put_stream(looked_up("a", 1, local=False))
        await asyncio.sleep(60)
        assert world.image(key) == "web:latest"
        world.state.put_stream(looked_up("a", 2))
        await world.state.queue.idle()
        assert world.image(key) == pull_spec("a")


async def test_a_name_that_came_while_nobody_looked_it_up_is_set(world: World) -> None:
    async with running(world):
        world.state.put_stream(looked_up("a", 1))
        await world.state.queue.idle()
        key = world.put(naming())
        await world.state.queue.idle()
        assert world.image(key) == pull_spec("a")


async def test_a_name_that_is_written_again_and_again_is_left_in_the_end(world: World) -> None:
    """Somebody applies the manifest for ever, and no webhook looks its names up."""
    key = world.put(naming())
    async with running(world):
        world.state.put_stream(looked_up("a", 1))
        for _ in range(20):
            await asyncio.sleep(1)
            if world.image(key) != "web:latest":
                there = world.cluster.workloads[key]
                world.put(named(there, Container("app", "web:latest")))
        await asyncio.sleep(600)
        assert world.image(key) == "web:latest"
        assert world.cluster.count("patch") == 4
        assert world.state.contests.counts() == {"Deployment": 1}
        assert len(world.notices.of(Reason.TRIGGER_CONTESTED)) == 1


async def test_what_had_a_name_is_forgotten_with_its_object(world: World) -> None:
    key = world.put(naming())
    async with running(world):
        world.state.put_stream(looked_up("a", 1))
        await world.state.queue.idle()
        assert len(world.state.workloads) == 1
        assert world.state.workloads.counts() == {}
        world.state.discard_workload(key)
        await world.state.queue.idle()
        assert len(world.state.workloads) == 0
        world.put(workload("app", annotation="[]"))
        assert len(world.state.workloads) == 0
