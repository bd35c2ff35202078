"""Which stream tags a push concerns, and what the sender is told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from listener.core.events import Parsed, PushEvent, Remark
from listener.core.manifests import OCI_INDEX, Child, Described, Platform
from listener.core.notices import Reason
from listener.core.origins import Origin
from listener.core.outcomes import End, Outcome
from listener.core.receipts import Receipt
from listener.core.references import Reference
from listener.core.streams import Source, SpecTag, Stream, StreamKey
from listener.core.workloads import WorkloadKey
from listener.dialects import DIALECTS
from listener.errors import (
    ClusterUnavailable,
    Deferred,
    RegistryError,
    RegistryRefused,
    RegistryUnavailable,
    Unconfirmed,
)
from listener.flow.bookkeeper import Bookkeeper
from listener.flow.inquiry import Inquiry, PullSecrets
from listener.flow.intake import Intake
from listener.flow.overdue import Overdue
from listener.flow.state import State
from tests.flow.fakes import (
    REPOSITORY,
    WEB,
    FakeCluster,
    FakeRegistry,
    FakeSecrets,
    Meter,
    Notices,
    arrival,
    digest,
    following,
    item,
    now,
    stream,
    unsettled,
    workload,
)

TEAM = Origin("team", "r.example", frozenset({"registry.internal:5000"}))
INTEGRATED = replace(TEAM, integrated=True)
SECRETS = 0.01  # for a namespace's pull secrets, once a minute


@dataclass
class Announcements:
    """An importer that only listens."""

    heard: list[tuple[str, str]] = field(default_factory=list)

    def announced(self, source: Source, digest: str) -> None:
        self.heard.append((str(source), digest))


@dataclass
class World:
    cluster: FakeCluster
    state: State
    registry: FakeRegistry
    secrets: FakeSecrets
    announcements: Announcements
    notices: Notices
    meter: Meter
    intake: Intake

    def put(self, given: Stream) -> None:
        self.state.put_stream(self.cluster.put_stream(given))

    async def take(
        self,
        *pushes: PushEvent,
        origin: Origin = TEAM,
        ignored: tuple[Remark, ...] = (),
        refused: tuple[Remark, ...] = (),
        patience: float = 2,
    ) -> Receipt:
        parsed = Parsed(pushes, ignored, refused)
        return await self.intake.take(origin, parsed, arrival("the delivery"), patience_seconds=patience)

    def head(self, key: StreamKey, tag: str) -> str | None:
        head = self.cluster.streams[key].history(tag).head if key in self.cluster.streams else None
        return head.image if head else None


@pytest.fixture
def build() -> Callable[..., World]:
    def build(*, namespaces: tuple[str, ...] = ()) -> World:
        cluster, state, registry, notices, meter = FakeCluster(), State(), FakeRegistry(), Notices(), Meter()
        secrets = FakeSecrets()
        books = Bookkeeper(cluster, state, unsettled, notices, meter, max_in_flight=10)
        inquiry = Inquiry(registry, PullSecrets(secrets), Platform("linux", "amd64"))
        heard = Announcements()
        intake = Intake(books, state, inquiry, heard, notices, meter, history_limit=50, namespaces=namespaces)
        return World(cluster, state, registry, secrets, heard, notices, meter, intake)

    return build


@pytest.fixture
def world(build: Callable[..., World]) -> World:
    return build()


def push(
    repository: str = "shop/web",
    tag: str = "latest",
    letter: str | None = "a",
    registry: str | None = "r.example",
    *,
    second: int | None = None,
    media_type: str | None = None,
) -> PushEvent:
    """`second` is the registry's time of the push, None where it tells none."""
    pushed = None if second is None else datetime(2025, 12, 31, 12, 0, second, tzinfo=UTC)
    return PushEvent(registry, repository, tag, digest(letter) if letter else None, media_type, pushed, None, None)


def tags(moved: tuple[object, ...]) -> list[str]:
    return [f"{m.stream}:{m.tag}" for m in moved]  # type: ignore[attr-defined]


async def test_a_push_moves_every_stream_that_takes_from_there(world: World) -> None:
    other = StreamKey("prod", "shop")
    world.put(stream())
    world.put(stream(other, repository="", spec_tags=[following("stable", "r.example/shop/web:latest")]))
    world.put(stream(StreamKey("shop", "db"), repository="r.example/shop/db"))
    receipt = await world.take(push())
    assert tags(receipt.moved) == ["prod/shop:stable", "shop/web:latest"]
    assert world.head(WEB, "latest") == world.head(other, "stable") == digest("a")
    assert world.head(StreamKey("shop", "db"), "latest") is None
    assert receipt.outcome == "moved"


async def test_the_item_names_the_image_as_pull_specs_do(world: World) -> None:
    world.put(stream())
    await world.take(push(registry="registry.internal:5000"))
    head = world.cluster.streams[WEB].history("latest").head
    assert head is not None
    assert head.docker_image_reference == f"r.example/shop/web@{digest('a')}"
    assert head.created == "2026-01-01T00:00:00Z"


async def test_an_identical_push_is_unchanged_and_wakes_nobody(world: World) -> None:
    world.put(stream())
    world.state.put_workload(workload("app"))
    await world.take(push())
    while len(world.state.queue):
        world.state.queue.done(await world.state.queue.take())
    receipt = await world.take(push())
    assert (tags(receipt.moved), tags(receipt.unchanged)) == ([], ["shop/web:latest"])
    assert receipt.outcome == "unchanged"
    assert len(world.state.queue) == 0
    assert world.notices.reasons() == ["TagMoved"]


@pytest.mark.parametrize(
    ("pushed", "is_answered"),
    [
        pytest.param([push(second=1)], True, id="recorded with its time"),
        pytest.param([push(second=2)], False, id="pushed again"),
        pytest.param([push()], False, id="nobody knows when"),
        pytest.param([push(second=1), push(tag="v1", second=1)], False, id="another beside it"),
    ],
)
async def test_what_is_recorded_already_needs_no_cluster(
    world: World, pushed: list[PushEvent], is_answered: bool
) -> None:
    world.put(stream())
    await world.take(push(second=1))
    world.cluster.read_error = ClusterUnavailable("down")
    world.cluster.fault = lambda _verb, _key: Outcome(End.UNREACHABLE, message="down")
    if is_answered:
        assert (await world.take(*pushed)).outcome == "unchanged"
    else:
        with pytest.raises(ClusterUnavailable):
            await world.take(*pushed)


async def test_what_is_recorded_behind_the_head_needs_no_cluster_either(world: World) -> None:
    world.put(stream())
    await world.take(push(letter="a", second=1))
    await world.take(push(letter="b", second=2))
    world.cluster.read_error = ClusterUnavailable("down")
    world.cluster.fault = lambda _verb, _key: Outcome(End.UNREACHABLE, message="down")
    assert (await world.take(push(letter="a", second=1))).outcome == "unchanged"


async def test_what_is_recorded_is_told_beside_what_moves_and_both_are_looked_up(world: World) -> None:
    world.put(stream())
    await world.take(push(second=1))
    world.announcements.heard.clear()
    receipt = await world.take(push(tag="v1", letter="b", second=2), push(second=1))
    assert (tags(receipt.moved), tags(receipt.unchanged)) == (["shop/web:v1"], ["shop/web:latest"])
    assert sorted(world.announcements.heard) == [
        ("r.example/shop/web:latest", digest("a")),
        ("r.example/shop/web:v1", digest("b")),
    ]


async def test_a_push_that_is_known_is_looked_up_in_a_moment_all_the_same(world: World) -> None:
    world.put(stream())
    pushed = push(letter="a", second=5)
    assert (await world.take(pushed)).outcome == "moved"
    world.announcements.heard.clear()
    receipt = await world.take(pushed)
    assert (tags(receipt.moved), tags(receipt.unchanged)) == ([], ["shop/web:latest"])
    assert world.announcements.heard == [("r.example/shop/web:latest", digest("a"))]


async def test_what_is_recorded_moves_nothing_back_where_our_view_is_behind(world: World) -> None:
    world.put(stream())
    await world.take(push(letter="a", second=1))
    seen = world.cluster.streams[WEB]
    await world.take(push(letter="b", second=2))
    world.state.put_stream(seen)  # as a replica has it whose watch is late
    assert (await world.take(push(letter="a", second=1))).outcome == "unchanged"
    assert world.head(WEB, "latest") == digest("b")


async def test_many_tags_in_one_delivery_are_all_taken_in_their_order(world: World) -> None:
    world.put(stream())
    receipt = await world.take(push(letter="a"), push(tag="v1", letter="b"), push(letter="c"))
    assert tags(receipt.moved) == ["shop/web:latest", "shop/web:v1", "shop/web:latest"]
    assert world.head(WEB, "latest") == digest("c")
    assert world.head(WEB, "v1") == digest("b")
    assert world.cluster.count("store") == 1


async def test_a_move_wakes_the_workloads_before_the_answer(world: World) -> None:
    world.put(stream())
    world.state.put_workload(workload("app"))
    world.state.queue.done(await world.state.queue.take())
    await world.take(push())
    assert await world.state.queue.take() == WorkloadKey("Deployment", "shop", "app")


async def test_nobody_takes_it(world: World) -> None:
    receipt = await world.take(push("shop/unheard-of"))
    assert receipt.outcome == "ignored"
    assert receipt.ignored == (
        Remark("push of shop/unheard-of:latest", "no ImageStream takes images from r.example/shop/unheard-of:latest"),
    )


@pytest.mark.parametrize("host", ["r.example", "registry.internal:5000", None])
async def test_a_registry_may_name_itself_as_its_settings_say(world: World, host: str | None) -> None:
    world.put(stream())
    assert (await world.take(push(registry=host))).outcome == "moved"


@pytest.mark.parametrize("told", ["docker.io", "index.docker.io", "registry-1.docker.io", None])
@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io"])
async def test_docker_hub_s_names_are_one_registry(world: World, host: str, told: str | None) -> None:
    world.put(stream(repository="", spec_tags=[following("latest", "docker.io/library/redis:latest")]))
    world.registry.put("a", repository="docker.io/library/redis")
    receipt = await world.take(push("redis", registry=told), origin=Origin("hub", host))
    assert (receipt.outcome, receipt.refused) == ("moved", ())


async def test_another_host_is_refused_and_the_rest_goes_on(world: World) -> None:
    world.put(stream())
    receipt = await world.take(push(registry="evil.example", letter="b"), push(tag="v1"))
    assert tags(receipt.moved) == ["shop/web:v1"]
    [remark] = receipt.refused
    assert "evil.example is neither host nor alias of registry 'team'" in remark.why
    assert world.head(WEB, "latest") is None
    assert receipt.outcome == "refused"


async def test_what_the_dialect_said_is_handed_on(world: World) -> None:
    ignored, refused = Remark("pull x", "only a push moves a tag"), Remark("push y", "no tag")
    receipt = await world.take(ignored=(ignored,), refused=(refused,))
    assert (receipt.ignored, receipt.refused) == ((ignored,), (refused,))


async def test_an_integrated_registry_makes_the_stream_on_the_first_push(world: World) -> None:
    receipt = await world.take(push(), origin=INTEGRATED)
    assert tags(receipt.moved) == ["shop/web:latest"]
    assert world.head(WEB, "latest") == digest("a")


async def test_an_integrated_push_moves_other_followers_too_and_its_own_stream_once(world: World) -> None:
    other = StreamKey("prod", "web")
    world.put(stream())
    world.put(stream(other, repository="", spec_tags=[following("live", "r.example/shop/web:latest")]))
    receipt = await world.take(push(), origin=INTEGRATED)
    assert tags(receipt.moved) == ["prod/web:live", "shop/web:latest"]


@pytest.mark.parametrize(
    "repository",
    ["web", "shop/web/deep", "shop_x/web", "shop/my_app", f"{'n' * 64}/web"],
    ids=["no namespace", "three parts", "no namespace name", "no object name", "namespace too long"],
)
async def test_an_integrated_repository_must_be_a_namespace_and_a_name(world: World, repository: str) -> None:
    receipt = await world.take(push(repository), push(), origin=INTEGRATED)
    assert tags(receipt.moved) == ["shop/web:latest"]
    [remark] = receipt.refused
    assert "NAMESPACE/NAME" in remark.why


async def test_a_repository_that_cannot_be_a_stream_may_still_feed_one(world: World) -> None:
    world.put(stream(repository="r.example/my_app"))
    receipt = await world.take(push("my_app"), origin=INTEGRATED)
    assert tags(receipt.moved) == ["shop/web:latest"]
    assert receipt.refused == ()


async def test_an_integrated_registry_makes_streams_in_the_namespaces_of_the_settings_only(
    build: Callable[..., World],
) -> None:
    world = build(namespaces=("prod",))
    receipt = await world.take(push(), origin=INTEGRATED)
    assert world.cluster.streams == {}
    [remark] = receipt.refused
    assert "`namespaces`" in remark.why


async def test_a_missing_namespace_is_refused_and_the_rest_goes_on(world: World) -> None:
    receipt = await world.take(push("nowhere/web"), push(), origin=INTEGRATED)
    assert tags(receipt.moved) == ["shop/web:latest"]
    [remark] = receipt.refused
    assert "'nowhere' does not exist" in remark.why


async def test_what_the_cluster_will_never_take_is_told_on_the_stream(world: World) -> None:
    world.put(stream())
    world.cluster.fault = lambda *_: Outcome(End.REFUSED, message="denied by policy")
    receipt = await world.take(push())
    assert receipt.outcome == "refused"
    [notice] = world.notices.given
    assert (notice.reason, notice.subject.name) == ("PushRefused", "web")
    assert "denied by policy" in notice.message


async def test_a_part_that_could_not_be_stored_now_brings_the_whole_delivery_back(world: World) -> None:
    db = StreamKey("shop", "db")
    world.put(stream())
    world.put(stream(db, repository="r.example/shop/db"))
    world.cluster.fault = lambda _verb, key: Outcome(End.UNREACHABLE, message="down") if key == db else None
    pushes = push(), push("shop/db")
    with pytest.raises(ClusterUnavailable, match="shop/db"):
        await world.take(*pushes)
    assert world.head(WEB, "latest") == digest("a")  # what could be stored is
    world.cluster.fault = lambda *_: None
    receipt = await world.take(*pushes)
    assert (tags(receipt.moved), tags(receipt.unchanged)) == (["shop/db:latest"], ["shop/web:latest"])


@pytest.mark.parametrize("patience", sorted({dialect.patience_seconds for dialect in DIALECTS.values()}))
@pytest.mark.parametrize("registry_latency", [0.01, 60], ids=["registry answers", "registry is silent too"])
async def test_a_silent_cluster_does_not_keep_the_sender_waiting_and_may_store_it_yet(
    world: World, patience: float, registry_latency: float
) -> None:
    world.put(stream())
    world.cluster.latency = 40
    world.registry.latency = registry_latency
    believing = replace(TEAM, believes_unverified=True)
    began = asyncio.get_running_loop().time()
    with pytest.raises(ClusterUnavailable, match="not stored within"):
        await world.take(push(), origin=believing, patience=patience)
    assert asyncio.get_running_loop().time() - began < patience
    await asyncio.sleep(40)
    assert world.head(WEB, "latest") == digest("a")


async def test_a_bug_goes_before_come_again(world: World) -> None:
    db = StreamKey("shop", "db")
    world.put(stream())
    world.put(stream(db, repository="r.example/shop/db"))

    def fault(_verb: str, key: object) -> Outcome[None]:
        if key == db:
            raise ZeroDivisionError
        return Outcome(End.UNREACHABLE)

    world.cluster.fault = fault
    with pytest.raises(ZeroDivisionError):
        await world.take(push(), push("shop/db"))


async def test_moves_are_counted_timed_and_told_on_the_stream(world: World) -> None:
    world.put(stream())
    await world.take(push(), push(tag="v1"))
    assert world.meter.moves == ["push", "push"]
    assert world.meter.stored_seconds == [pytest.approx(SECRETS + world.registry.latency + world.cluster.latency)]
    assert [(n.reason, n.subject.kind, n.subject.uid) for n in world.notices.given] == [
        ("TagMoved", "ImageStream", "stream-uid")
    ] * 2
    assert world.notices.given[0].message == f"web:latest moved to r.example/shop/web@{digest('a')} by a push"


async def test_streams_of_one_delivery_are_written_together(world: World) -> None:
    for number in range(8):
        world.put(stream(StreamKey("shop", f"s{number}")))
    started = asyncio.get_running_loop().time()
    receipt = await world.take(push())
    assert len(receipt.moved) == 8
    assert world.cluster.most_at_once == 8
    took = asyncio.get_running_loop().time() - started
    assert took == pytest.approx(SECRETS + world.registry.latency + world.cluster.latency)


def history(world: World, tag: str = "latest") -> str:
    """The letters of a tag's images, newest first."""
    return "".join(item.image[-1] for item in world.cluster.streams[WEB].history(tag).items)


@pytest.mark.parametrize(
    ("pushes", "expected"),
    [
        pytest.param([("a", 1), ("b", 2)], "ba", id="in order"),
        pytest.param([("b", 2), ("a", 1)], "ba", id="swapped"),
        pytest.param([("a", 1), ("a", 1)], "a", id="the same hook twice"),
        pytest.param([("a", 1), ("b", 2), ("a", 1)], "ba", id="an old hook once more"),
        pytest.param([("a", 1), ("b", 2), ("a", 3)], "aba", id="pushed back to an older image"),
        pytest.param([("c", 3), ("a", 1), ("b", 2)], "cba", id="two late ones go where they belong"),
        pytest.param([("b", 2), ("a", 1), ("a", 1)], "ba", id="a late one twice"),
        pytest.param([("a", 1), ("b", 1)], "ba", id="no order in their times, so that of arrival"),
    ],
)
async def test_the_registrys_time_orders_pushes(world: World, pushes: list[tuple[str, int]], expected: str) -> None:
    world.put(stream())
    for letter, second in pushes:
        receipt = await world.take(push(letter=letter, second=second))
        assert receipt.outcome in ("moved", "unchanged")
    assert history(world) == expected
    assert world.registry.by_tag() == []


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        pytest.param("a", "aba", id="it was pushed back"),
        pytest.param("b", "ba", id="it was an old hook"),
        pytest.param("c", "cba", id="the registry is somewhere else by now"),
    ],
)
async def test_without_a_time_the_registry_decides_about_an_image_the_tag_had_before(
    world: World, there: str, expected: str
) -> None:
    world.put(stream())
    await world.take(push(letter="a"), push(letter="b"))
    world.registry.put(there)
    await world.take(push(letter="a"))
    assert history(world) == expected


async def test_a_tag_that_moves_a_moment_after_its_hook_is_waited_for(world: World) -> None:
    world.put(stream())
    await world.take(push(letter="a"), push(letter="b"))
    world.registry.put("b")
    asyncio.get_running_loop().call_later(0.1, world.registry.put, "a")
    await world.take(push(letter="a"))
    assert history(world) == "aba"


async def test_the_importer_hears_of_each_push_to_a_registry_that_may_be_asked(world: World) -> None:
    world.put(stream())
    await world.take(push(letter="a"), push("shop/unheard-of"))
    await world.take(push(letter="b"), origin=replace(TEAM, verify=False))
    assert world.announcements.heard == [("r.example/shop/web:latest", digest("a"))]


async def test_a_held_tag_keeps_its_place_and_the_push_is_acknowledged(world: World) -> None:
    world.put(stream(latest="a", spec_tags=[SpecTag("latest", hold="")]))
    receipt = await world.take(push(letter="b"), push(letter="c"))
    assert receipt.outcome == "unchanged"  # stored, and nothing has moved
    found = world.cluster.streams[WEB].history("latest")
    assert [item.image for item in found.items] == [digest("a")]
    assert [item.image for item in found.waiting] == [digest("c"), digest("b")]


@pytest.mark.parametrize(
    ("mode", "expected"), [("Legacy", "d"), ("PreserveOriginal", "a")], ids=["of its platform", "the whole index"]
)
async def test_a_tag_takes_of_a_pushed_index_what_its_import_would(world: World, mode: str, expected: str) -> None:
    children = (
        Child(digest("c"), "", Platform("linux", "arm64")),
        Child(digest("d"), "", Platform("linux", "amd64")),
    )
    world.registry.put_index("a", *children)
    world.put(stream(repository="", spec_tags=[following("latest", f"{REPOSITORY}:latest", import_mode=mode)]))
    await world.take(push(letter="a", media_type=OCI_INDEX))
    found = world.cluster.streams[WEB].history("latest")
    assert [item.image for item in found.items] == [digest(expected)]
    assert found.resolved is not None
    assert found.resolved.followed == digest("a")


async def test_a_time_that_is_yet_to_come_orders_nothing(world: World) -> None:
    """A registry whose clock is hours ahead would otherwise make every later push seem late, once it is set right."""
    world.put(stream())
    ahead = push(letter="a")._replace(timestamp=datetime(2026, 1, 1, 8, tzinfo=UTC))
    await world.take(ahead)
    world.registry.put("b")
    await world.take(push(letter="b", second=1))
    assert history(world) == "ba"


async def test_however_many_tags_follow_the_sender_waits_once(world: World) -> None:
    """The registry is silent; one question for all who ask alike, and one deadline for all questions."""
    for number in range(20):
        tag = following("latest", f"{REPOSITORY}:latest")
        world.put(stream(StreamKey("shop", f"s{number}"), repository="", spec_tags=[tag]))
    world.put(stream())
    await world.take(push(letter="b"))
    await world.take(push(letter="c"))
    world.registry.latency = 600
    world.registry.asked.clear()
    started = asyncio.get_running_loop().time()
    receipt = await world.take(push(letter="a", media_type=OCI_INDEX), push(letter="d"), origin=BELIEVING)
    assert asyncio.get_running_loop().time() - started < 2
    assert len(receipt.moved) >= 21
    assert len(world.registry.asked) <= 3


# What the registry says

VERIFIED = TEAM
BELIEVING = replace(TEAM, believes_unverified=True)
UNVERIFIED = replace(TEAM, verify=False)


def unavailable(_: str) -> RegistryError:
    return RegistryUnavailable("down", retry_after_seconds=7)


def unauthorized(_: str) -> RegistryError:
    return RegistryRefused("no access", reason="Unauthorized")


async def test_an_image_is_seen_in_its_repository_before_the_tag_moves(world: World) -> None:
    world.put(stream())
    seen: list[str] = []
    world.cluster.meanwhile = lambda _: seen.append(world.registry.by_digest())
    await world.take(push())
    assert seen == ["a"]
    assert world.registry.asked == [(f"{REPOSITORY}@{digest('a')}", "")]


async def test_what_is_there_already_is_not_asked_about(world: World) -> None:
    world.put(stream(latest="a"))
    receipt = await world.take(push(second=1), push(second=2))
    assert receipt.outcome == "unchanged"
    assert world.registry.asked == []


async def test_without_verification_nothing_is_asked(world: World) -> None:
    world.put(stream())
    world.registry.lacks = "a"
    assert (await world.take(push(), origin=UNVERIFIED)).outcome == "moved"
    assert world.registry.asked == []
    assert world.announcements.heard == []


async def test_one_question_serves_all_who_ask_alike(world: World) -> None:
    """However many streams and tags: one for each set of pull secrets."""
    world.secrets.users = {"prod": "ann"}
    for namespace in ("shop", "prod"):
        world.cluster.namespaces.add(namespace)
        for number in range(5):
            world.put(stream(StreamKey(namespace, f"s{number}")))
    receipt = await world.take(push(), push(tag="v1"))
    assert len(receipt.moved) == 20
    assert sorted(world.registry.asked) == [(f"{REPOSITORY}@{digest('a')}", user) for user in ("", "ann")]


async def test_an_image_that_is_there_in_a_moment_is_waited_for(world: World) -> None:
    world.put(stream())
    world.registry.late = {"a": 0.5}
    assert (await world.take(push())).outcome == "moved"
    assert world.head(WEB, "latest") == digest("a")


@pytest.mark.parametrize("origin", [VERIFIED, BELIEVING], ids=["verified", "believing"])
async def test_an_image_that_is_not_there_moves_nothing_and_is_told(world: World, origin: Origin) -> None:
    """The sender must not repeat it for ever; the importer looks again."""
    world.put(stream(latest="b"))
    world.registry.lacks = "a"
    started = asyncio.get_running_loop().time()
    receipt = await world.take(push(), push(tag="v1", letter="c"), origin=origin)
    assert 0.8 < asyncio.get_running_loop().time() - started < 1.3  # of the two seconds that the sender waits
    [remark] = receipt.refused
    assert remark.what == "ImageStream shop/web"
    assert "r.example does not have it. If it is private, namespace shop needs a pull secret" in remark.why
    assert (world.head(WEB, "latest"), world.head(WEB, "v1")) == (digest("b"), digest("c"))
    [notice] = world.notices.of(Reason.PUSH_REFUSED)
    assert f"{REPOSITORY}@{digest('a')}" in notice.message
    assert ("r.example/shop/web:latest", digest("a")) in world.announcements.heard


async def test_what_was_waited_for_in_vain_is_not_waited_for_again_at_once(world: World) -> None:
    """A sender whose own time is shorter than ours would otherwise come again for ever."""
    world.put(stream(latest="b"))
    world.registry.lacks = "a"
    await world.take(push())
    started = asyncio.get_running_loop().time()
    assert (await world.take(push())).outcome == "refused"
    assert asyncio.get_running_loop().time() - started < 0.1
    world.registry.lacks = ""
    assert (await world.take(push())).outcome == "moved"


async def test_a_namespace_without_a_pull_secret_does_not_keep_others_from_the_push(world: World) -> None:
    other = StreamKey("prod", "web")
    world.cluster.namespaces.add("prod")
    world.secrets.users = {"prod": "ann"}
    world.put(stream())
    world.put(stream(other))
    world.registry.refuses = lambda _, user: None if user == "ann" else unauthorized("")
    receipt = await world.take(push())
    assert tags(receipt.moved) == ["prod/web:latest"]
    [remark] = receipt.refused
    assert remark.what == "ImageStream shop/web"
    assert "needs a pull secret for r.example" in remark.why
    [notice] = world.notices.of(Reason.PUSH_REFUSED)
    assert (notice.subject.namespace, notice.message) == ("shop", "no access")


async def test_a_registry_that_the_settings_forbid_refuses_the_push(world: World) -> None:
    world.put(stream())
    world.registry.error = lambda _: RegistryRefused("importing images from r.example is forbidden", reason="Forbidden")
    [remark] = (await world.take(push())).refused
    assert "is forbidden" in remark.why


@pytest.mark.parametrize("letter", ["c", "a", None], ids=["a new image", "one it had before", "no digest"])
async def test_while_the_registry_cannot_say_the_sender_comes_again(world: World, letter: str | None) -> None:
    world.put(stream())
    await world.take(push(letter="a"), push(letter="b"))
    world.registry.error = unavailable
    with pytest.raises(Unconfirmed, match=r"r\.example/shop/web:latest cannot be confirmed: down") as caught:
        await world.take(push(letter=letter))
    assert caught.value.retry_after_seconds == 7
    assert history(world) == "ba"
    world.registry.error = lambda _: None
    world.registry.put(letter or "c")
    assert (await world.take(push(letter=letter))).outcome == "moved"


async def test_what_could_be_confirmed_is_stored_before_the_sender_comes_again(world: World) -> None:
    world.put(stream())
    db = StreamKey("shop", "db")
    world.put(stream(db, repository="r.example/shop/db"))
    world.registry.error = lambda name: unavailable(name) if "/db" in name else None
    with pytest.raises(Unconfirmed):
        await world.take(push(), push("shop/db"))
    assert (world.head(WEB, "latest"), world.head(db, "latest")) == (digest("a"), None)


async def test_a_secret_that_cannot_be_read_now_is_trouble_too(world: World) -> None:
    world.put(stream())
    world.secrets.error = ClusterUnavailable("the API server is away")
    with pytest.raises(Unconfirmed, match="the API server is away"):
        await world.take(push())


async def test_a_registry_that_trips_over_the_push_it_is_storing_is_asked_again(world: World) -> None:
    """distribution answers 500 while it writes a tag: seen in one push of twenty."""
    world.put(stream())
    await world.take(push(letter="a"), push(letter="b"))
    world.registry.put("a")
    asyncio.get_running_loop().call_later(0.03, setattr, world.registry, "error", lambda _: None)
    world.registry.error = lambda _: RegistryUnavailable("it answered 500")
    assert (await world.take(push(letter="a"))).outcome == "moved"


async def test_a_believed_push_moves_the_tag_and_is_looked_up_later(world: World) -> None:
    world.put(stream())
    world.registry.error = unavailable
    for letter in "ab":
        assert (await world.take(push(letter=letter), origin=BELIEVING)).outcome == "moved"
    assert history(world) == "ba"
    assert world.announcements.heard[-1] == ("r.example/shop/web:latest", digest("b"))


async def test_what_may_be_an_old_push_is_not_believed(world: World) -> None:
    """It would move the tag backwards, and who has recorded it could do so at each outage."""
    world.put(stream())
    await world.take(push(letter="a"), push(letter="b"))
    world.registry.error = unavailable
    with pytest.raises(Unconfirmed):
        await world.take(push(letter="a"), origin=BELIEVING)
    assert history(world) == "ba"


async def test_without_a_digest_nothing_can_be_believed(world: World) -> None:
    world.put(stream())
    world.registry.error = unavailable
    with pytest.raises(Unconfirmed):
        await world.take(push(letter=None), origin=BELIEVING)


@pytest.mark.parametrize("origin", [VERIFIED, BELIEVING], ids=["verified", "believing"])
async def test_a_registry_that_hangs_does_not_hold_up_the_sender(world: World, origin: Origin) -> None:
    world.put(stream())
    await world.take(push(letter="a"), push(letter="b"))
    world.registry.latency = 600
    for letter in "ac":
        started = asyncio.get_running_loop().time()
        if origin.believes_unverified and letter == "c":
            await world.take(push(letter=letter), origin=origin)
        else:
            with pytest.raises(Unconfirmed, match=r"did not answer within 1\.2 s"):
                await world.take(push(letter=letter), origin=origin)
        assert asyncio.get_running_loop().time() - started < 1.3
    assert history(world) == ("cba" if origin.believes_unverified else "ba")


async def test_a_slow_registry_has_answered_when_the_sender_comes_again(world: World) -> None:
    world.put(stream())
    world.registry.latency = 1.5
    with pytest.raises(Unconfirmed):
        await world.take(push())
    await asyncio.sleep(1)
    assert (await world.take(push())).outcome == "moved"
    assert world.registry.by_digest() == "a"


# Who proved nothing


async def test_a_stranger_only_says_that_something_was_pushed(world: World) -> None:
    """The repository holds the image of another tag too; a stranger's word does not bring it to this one."""
    world.put(stream())
    world.registry.put("b")
    receipt = await world.take(push(letter="a", second=59), origin=replace(TEAM, is_proven=False))
    assert [moved.digest for moved in receipt.moved] == [digest("b")]
    assert history(world) == "b"


async def test_a_stranger_has_no_more_than_a_hundred_pushes_looked_up(world: World) -> None:
    world.put(stream())
    pushed = [push(tag=f"t{number}", letter=None) for number in range(9_999)]
    for number in range(9_999):
        world.registry.put("a", tag=f"t{number}")
    receipt = await world.take(*pushed, origin=replace(TEAM, is_proven=False))
    assert len({name for name, _ in world.registry.asked}) <= 100
    assert Remark(
        "9899 pushes more", "of who proved nothing, 100 pushes of a delivery are looked up; set a secret in auth"
    ) in (receipt.refused)


async def test_a_large_delivery_asks_a_few_questions_at_once(world: World) -> None:
    world.put(stream())
    for number in range(500):
        world.registry.put("a", tag=f"t{number}")
    await world.take(*(push(tag=f"t{number}", letter=None) for number in range(500)))
    assert world.registry.most_at_once <= 32


async def test_a_registry_that_answers_404_slowly_does_not_bring_the_sender_back(world: World) -> None:
    world.put(stream(latest="b"))
    world.registry.lacks = "a"
    world.registry.latency = 0.5  # the third answer would come too late
    assert (await world.take(push())).outcome == "refused"


async def test_an_invented_late_push_does_not_get_into_the_history(world: World) -> None:
    world.put(stream())
    await world.take(push(letter="b", second=5))
    world.registry.lacks = "e"
    assert (await world.take(push(letter="e", second=1))).outcome == "refused"
    assert history(world) == "b"


async def test_the_same_image_in_a_repository_that_lacks_it_does_not_move_the_tag_there(world: World) -> None:
    """The tag would name a pull spec that does not exist."""
    world.put(stream(latest="a", spec_tags=[following("latest", "r.example/mirror/web:latest")]))
    world.registry.lacks = "a"
    assert (await world.take(push("mirror/web"))).outcome == "refused"
    assert world.cluster.streams[WEB].history("latest").head == item("a")


async def test_a_push_that_an_import_overtook_does_not_move_the_tag_back(world: World) -> None:
    """The registry was asked after the push, and names what came after it."""
    world.put(stream(latest="b"))
    world.registry.put("b")
    receipt = await world.take(push(letter="a", second=1))
    assert receipt.outcome == "unchanged"
    assert history(world) == "b"
    assert world.registry.by_tag() == ["web:latest"]  # so long after the push, once is enough


async def test_a_push_after_an_import_is_confirmed_by_tag(world: World) -> None:
    world.put(stream(latest="b"))
    world.registry.put("b")
    asyncio.get_running_loop().call_later(0.1, world.registry.put, "a")
    assert (await world.take(push(letter="a")._replace(timestamp=now()))).outcome == "moved"
    head = world.cluster.streams[WEB].history("latest").head
    assert head
    assert head.pushed  # it orders what comes next
    assert world.registry.by_tag() == ["web:latest"] * 2


async def test_an_answer_that_the_tag_has_overtaken_is_not_believed(world: World) -> None:
    """While one hook asks where the tag is, another one moves it: what was heard is older than that."""
    world.put(stream())
    await world.take(push(letter="a"), push(letter="b"))
    world.registry.put("a")
    asking = asyncio.create_task(world.take(push(letter="a")))
    await asyncio.sleep(0.005)
    world.registry.put("c")
    world.registry.latency = 0.001
    await world.take(push(letter="c"))
    world.registry.latency = 0.01
    await asking
    assert history(world) == "cba"


async def test_a_tag_that_others_keep_moving_brings_the_sender_back(world: World) -> None:
    world.put(stream())
    await world.take(push(letter="a"), push(letter="b"))
    world.registry.put("a")
    letters = itertools.cycle("cd")

    def move(_: str) -> None:
        there = world.cluster.streams[WEB]
        known = there.history("latest")
        world.put(there.with_history(replace(known, items=(item(next(letters)), *known.items))))

    world.registry.meanwhile = move
    with pytest.raises(Unconfirmed, match="was moved by others"):
        await world.take(push(letter="a"))


class TestWithoutDigest:
    """Quay, Docker Hub, Nexus, Gitea: only the registry knows what was pushed."""

    async def test_it_is_resolved_by_tag_with_the_pull_secrets_of_the_stream(self, world: World) -> None:
        world.put(stream())
        world.secrets.users = {"shop": "ann"}
        world.registry.put("a")
        receipt = await world.take(push(letter=None))
        assert tags(receipt.moved) == ["shop/web:latest"]
        assert world.head(WEB, "latest") == digest("a")
        assert world.registry.asked == [(f"{REPOSITORY}:latest", "ann")]
        assert world.announcements.heard == [("r.example/shop/web:latest", digest("a"))]

    async def test_of_an_index_a_tag_takes_what_its_import_would(self, world: World) -> None:
        world.registry.put_index("a", Child(digest("d"), "", Platform("linux", "amd64")))
        world.put(stream(repository="", spec_tags=[following("latest", f"{REPOSITORY}:latest")]))
        await world.take(push(letter=None))
        found = world.cluster.streams[WEB].history("latest")
        assert [each.image for each in found.items] == [digest("d")]
        assert found.resolved
        assert found.resolved.followed == digest("a")

    async def test_a_tag_that_moves_a_moment_after_its_hook_is_waited_for(self, world: World) -> None:
        world.put(stream(latest="a"))
        world.registry.put("a")
        asyncio.get_running_loop().call_later(0.5, world.registry.put, "b")
        assert (await world.take(push(letter=None))).outcome == "moved"
        assert history(world) == "ba"

    async def test_an_image_the_tag_had_before_must_be_named_more_than_once(self, world: World) -> None:
        world.put(stream(latest="a"))
        world.registry.put("b")
        await world.take(push(letter=None))
        world.registry.put("a")
        asyncio.get_running_loop().call_later(0.1, world.registry.put, "c")
        await world.take(push(letter=None))
        assert history(world) == "cba"
        world.registry.put("a")
        await world.take(push(letter=None))
        assert history(world) == "acba"

    async def test_where_nothing_moves_it_is_unchanged_in_a_moment(self, world: World) -> None:
        world.put(stream(latest="a"))
        world.registry.put("a")
        started = asyncio.get_running_loop().time()
        receipt = await world.take(push(letter=None))
        assert receipt.outcome == "unchanged"
        assert asyncio.get_running_loop().time() - started < 1.2

    async def test_a_tag_that_the_registry_does_not_have_is_refused(self, world: World) -> None:
        world.put(stream(latest="a"))
        receipt = await world.take(push(tag="foo", letter=None))
        [remark] = receipt.refused
        assert "r.example does not have it" in remark.why
        assert "A test button sends such pushes" in remark.why
        assert world.announcements.heard == [("r.example/shop/web:foo", "")]

    async def test_a_registry_that_is_not_to_be_asked_cannot_send_such(self, world: World) -> None:
        world.put(stream())
        receipt = await world.take(push(letter=None), push(tag="v1"), origin=UNVERIFIED)
        assert tags(receipt.moved) == ["shop/web:v1"]
        [remark] = receipt.refused
        assert "names no digest" in remark.why
        assert "verify: false" in remark.why

    async def test_one_question_serves_all_streams(self, world: World) -> None:
        world.registry.put("a")
        for number in range(5):
            world.put(stream(StreamKey("shop", f"s{number}")))
        assert len((await world.take(push(letter=None))).moved) == 5
        assert len(world.registry.asked) == 1


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "user@r.example",
        "r.example@evil.example",
        "r.example:5000",
        "r.example.evil.example",
        "localhost",
        "127.0.0.1",
        "127.0.0.1.nip.example",
        "169.254.169.254",
        "[::1]",
        "[::ffff:169.254.169.254]",
        "0x7f000001",
    ],
)
@pytest.mark.parametrize("letter", ["a", None], ids=["digest", "no digest"])
async def test_no_payload_makes_us_ask_a_host_of_its_choice(world: World, host: str, letter: str | None) -> None:
    world.put(stream())
    world.put(stream(StreamKey("shop", "other"), repository=f"{host}/shop/web"))
    receipt = await world.take(push(registry=host, letter=letter), origin=replace(INTEGRATED, believes_unverified=True))
    assert receipt.outcome == "refused"
    assert (world.registry.asked, world.announcements.heard) == ([], [])
    assert set(world.cluster.streams) == {WEB, StreamKey("shop", "other")}


async def test_what_strangers_make_up_fills_no_queue(world: World) -> None:
    """Names of tags cost a stranger nothing, where anybody may call; what is remembered of them is bounded."""
    world.put(stream())
    world.registry.lacks = "a"
    for batch in range(30):
        await world.take(*(push(tag=f"t{batch}-{number}") for number in range(50)))
    assert len(world.announcements.heard) == 1000
    world.registry.lacks = ""
    await world.take(push())
    assert len(world.announcements.heard) == 1001  # what is taken is always confirmed


# A registry that cannot speak about one image


def trips_over(letter: str, tag: str = "latest") -> Callable[[str], RegistryError | None]:
    """The registry answers 500 about one image, by digest and by tag, and about all others as always."""
    names = (f"{REPOSITORY}@{digest(letter)}", f"{REPOSITORY}:{tag}")
    return lambda name: RegistryUnavailable("it answered 500") if name in names else None


async def delivered(world: World, *pushes: PushEvent, seconds: float = 900, **more: Any) -> dict[str, float]:
    """Deliver as distribution does, the first until it is taken; return when each was, by its digest's letter."""
    taken: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            for each in pushes:
                while (name := each.digest[-1] if each.digest else "-") not in taken:
                    try:
                        await world.take(each, **more)
                        taken[name] = loop.time()
                    except Deferred:
                        await asyncio.sleep(1)
    return taken


@pytest.fixture
def lacking(world: World) -> World:
    """A registry that says of what nobody has that it is not there."""
    world.registry.lacks = "0"
    world.put(stream())
    return world


@pytest.mark.parametrize("before", ["", "ab"], ids=["a new image", "one it had before"])
async def test_one_image_that_a_registry_trips_over_for_ever_does_not_keep_others_away(
    lacking: World, before: str
) -> None:
    await lacking.take(*(push(letter=letter) for letter in before))
    lacking.registry.error = trips_over("a")
    taken = await delivered(lacking, push(letter="a"), push("shop/web", "v2", "c"))
    assert 300 <= taken["a"] < 310
    assert taken["c"] - taken["a"] < 1
    assert lacking.head(WEB, "v2") == digest("c")
    assert lacking.head(WEB, "latest") == (digest("b") if before else None)


async def test_a_push_that_is_given_up_is_told_and_left_to_the_importer(lacking: World) -> None:
    lacking.registry.error = trips_over("a")
    await delivered(lacking, push())
    lacking.announcements.heard.clear()
    receipt = await lacking.take(push())
    assert (receipt.outcome, len(receipt.unanswered), receipt.moved) == ("unanswered", 1, ())
    assert "it answered 500" in receipt.unanswered[0].why
    assert lacking.announcements.heard == [(f"{REPOSITORY}:latest", digest("a"))]
    notice, again = lacking.notices.of(Reason.PUSH_UNANSWERED)
    assert f"{REPOSITORY}:latest is not stored" in notice.message
    assert notice == again


async def test_an_integrated_stream_is_made_though_its_first_push_is_given_up(lacking: World) -> None:
    """Only for streams that exist is a registry asked."""
    lacking.cluster.namespaces.add("team")
    name = f"r.example/team/app@{digest('a')}"
    lacking.registry.error = lambda asked: RegistryUnavailable("it answered 500") if asked == name else None
    assert await delivered(lacking, push("team/app"), origin=INTEGRATED)
    assert StreamKey("team", "app") in lacking.cluster.streams


async def test_without_a_digest_too(lacking: World) -> None:
    lacking.registry.error = trips_over("a")
    assert 300 <= (await delivered(lacking, push(letter=None)))["-"] < 320


async def test_an_image_that_a_registry_hangs_over_too(lacking: World) -> None:
    head = lacking.registry.head

    async def hanging(reference: Reference, credentials: Any, *, insecure: bool) -> Described:
        if reference.digest == digest("a"):
            await asyncio.sleep(3600)
        return await head(reference, credentials, insecure=insecure)

    lacking.registry.head = hanging  # type: ignore[method-assign]
    assert 300 <= (await delivered(lacking, push()))["a"] < 310


async def test_a_repository_that_a_registry_trips_over_does_not_keep_others_away(lacking: World) -> None:
    lacking.put(stream(StreamKey("shop", "db"), repository="r.example/shop/db"))
    lacking.registry.error = lambda name: unavailable(name) if name.startswith(REPOSITORY) else None
    taken = await delivered(lacking, push(), push("shop/db", letter="c"))
    assert 300 <= taken["a"] < taken["c"] < 310


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(lambda _: RegistryUnavailable("it answered 500"), id="500 about everything"),
        pytest.param(
            lambda name: unauthorized(name) if name.endswith("0") else RegistryUnavailable("it answered 500"),
            id="only its door answers",
        ),
    ],
)
async def test_while_a_registry_as_a_whole_is_away_its_senders_keep_what_they_have(
    lacking: World, error: Callable[[str], RegistryError]
) -> None:
    lacking.put(stream(StreamKey("shop", "db"), repository="r.example/shop/db"))
    lacking.registry.error = error
    assert await delivered(lacking, push(), seconds=1200) == {}
    lacking.registry.error = lambda _: None
    assert (await lacking.take(push())).outcome == "moved"


async def test_a_cluster_that_is_away_gives_nothing_up(lacking: World) -> None:
    lacking.secrets.error = ClusterUnavailable("the API server is away")
    assert await delivered(lacking, push(), seconds=1200) == {}


async def test_a_registry_that_spoke_in_between_has_its_time_again(lacking: World) -> None:
    lacking.registry.error = trips_over("a")
    assert await delivered(lacking, push(), seconds=200) == {}
    lacking.registry.error = lambda _: None
    await lacking.take(push())
    await lacking.take(push(letter="b"))
    lacking.registry.error = trips_over("a")
    assert await delivered(lacking, push(), seconds=200) == {}


async def test_what_is_remembered_of_pushes_in_trouble_is_bounded() -> None:
    overdue = Overdue(seconds=10, kept_seconds=60, most=2)
    a, b, c = ((WEB, Source("r.example", "shop/web", "latest", ""), letter) for letter in "abc")
    assert [overdue.note(each) for each in (a, b, a)] == [False] * 3
    await asyncio.sleep(10)
    assert overdue.note(c) is False  # b, which was seen least lately, is forgotten for it
    assert [overdue.note(a), overdue.note(b)] == [True, False]
    await asyncio.sleep(61)
    assert overdue.note(b) is False
