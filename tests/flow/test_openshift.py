"""On OpenShift itself: which tags a push has imported, and what the sender is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from listener.core.events import Parsed, PushEvent
from listener.core.history import TagHistory, TagItem
from listener.core.imports import ImportAnswer, Imported
from listener.core.index import StreamIndex
from listener.core.origins import Origin
from listener.core.outcomes import End, Outcome
from listener.core.receipts import Moved, Receipt
from listener.core.streams import SpecTag, Stream, StreamKey
from listener.errors import ClusterError, ClusterRefused, ClusterUnavailable
from listener.flow.openshift import OpenShift, StreamSink, Turns, is_openshift
from tests.flow.fakes import REPOSITORY, WEB, Meter, arrival, digest, following, item, stream

TEAM = Origin("team", "r.example", frozenset({"registry.internal:5000"}))
OPEN = replace(TEAM, is_proven=False)
LATEST = f"{REPOSITORY}:latest"
PROD = StreamKey("prod", "shop")


@dataclass
class FakeOpenShift:
    """Imports what `registry` has by name: a digest, or a failure's reason.

    `early` is what it has at first, `refusals` what is answered instead, both one a request.
    """

    streams: dict[StreamKey, Stream] = field(default_factory=dict)
    registry: dict[str, str] = field(default_factory=dict)
    early: dict[str, list[str]] = field(default_factory=dict)
    refusals: list[Outcome[ImportAnswer]] = field(default_factory=list)
    seconds: float = 0.1
    asked: list[tuple[StreamKey, list[SpecTag]]] = field(default_factory=list)
    running: set[StreamKey] = field(default_factory=set)
    version: int = 10

    async def import_images(self, stream: Stream, spec_tags: Sequence[SpecTag]) -> Outcome[ImportAnswer]:
        assert stream.key not in self.running, "two at once"
        self.asked.append((stream.key, list(spec_tags)))
        self.running.add(stream.key)
        await asyncio.sleep(self.seconds)
        self.running.remove(stream.key)
        if self.refusals:
            return self.refusals.pop(0)
        images = tuple(self._imported(spec_tag) for spec_tag in spec_tags)
        self.version += 1
        after = replace(self.streams[stream.key], resource_version=str(self.version))
        for spec_tag, image in zip(spec_tags, images, strict=True):
            if image.digest:
                new = TagItem("", f"{REPOSITORY}@{image.digest}", image.digest, 1)
                after = after.with_history(TagHistory(spec_tag.name, (new, *after.history(spec_tag.name).items)))
        self.streams[stream.key] = after
        return Outcome(End.APPLIED, ImportAnswer(images, after))

    def _imported(self, spec_tag: SpecTag) -> Imported:
        name = spec_tag.from_name
        found = self.early[name].pop(0) if self.early.get(name) else self.registry.get(name, "NotFound")
        return Imported(found) if found.startswith("sha256:") else Imported(reason=found, message=f"{name}: {found}")

    def imported(self) -> list[tuple[str, list[str]]]:
        return [(str(key), [f"{tag.from_name} -> {tag.name}" for tag in tags]) for key, tags in self.asked]


@dataclass
class World:
    cluster: FakeOpenShift
    streams: StreamIndex
    meter: Meter
    openshift: OpenShift

    def put(self, *given: Stream) -> None:
        for each in given:
            self.cluster.streams[each.key] = each
            self.streams.put(each)

    async def take(self, *pushes: PushEvent, origin: Origin = TEAM, patience: float = 10) -> Receipt:
        return await self.openshift.take(origin, Parsed(pushes), arrival(), patience_seconds=patience)


@pytest.fixture
def world() -> World:
    cluster, streams, meter = FakeOpenShift(registry={LATEST: digest("b")}), StreamIndex(), Meter()
    return World(cluster, streams, meter, OpenShift(cluster, streams, meter, Turns()))


def push(
    tag: str = "latest",
    letter: str | None = "b",
    *,
    repository: str = "shop/web",
    registry: str | None = "r.example",
    event_id: str | None = None,
    second: int | None = None,
) -> PushEvent:
    pushed = None if second is None else datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)
    return PushEvent(registry, repository, tag, digest(letter) if letter else None, None, pushed, None, event_id)


def followers(*spec_tags: SpecTag, key: StreamKey = WEB, **heads: str) -> Stream:
    found = stream(key, repository="", spec_tags=spec_tags)
    for tag, letter in heads.items():
        found = found.with_history(TagHistory(tag, (item(letter),)))
    return found


def places(found: Iterable[Moved]) -> list[str]:
    return [f"{each.stream}:{each.tag}" for each in found]


async def test_a_push_imports_every_tag_that_it_feeds_with_one_request_a_stream(world: World) -> None:
    world.cluster.registry[f"{REPOSITORY}:v1"] = digest("c")
    world.put(
        followers(following("prod", LATEST), following("one", f"{REPOSITORY}:v1"), following("two", LATEST), prod="a"),
        followers(following("stable", LATEST), key=PROD),
        followers(following("latest", "r.example/shop/db:latest"), key=StreamKey("shop", "db")),
    )
    receipt = await world.take(push(), push("v1", "c"))
    assert sorted(places(receipt.moved)) == ["prod/shop:stable", "shop/web:one", "shop/web:prod", "shop/web:two"]
    assert sorted(world.cluster.imported()) == [
        ("prod/shop", [f"{LATEST} -> stable"]),
        ("shop/web", [f"{LATEST} -> prod", f"{LATEST} -> two", f"{REPOSITORY}:v1 -> one"]),
    ]
    assert world.meter.moves == ["push"] * 4
    assert len(world.meter.stored_seconds) == 2


async def test_a_tag_is_asked_for_as_its_owner_wrote_it(world: World) -> None:
    wish = following("prod", "R.example/shop/web", insecure=True, scheduled=True, import_mode="PreserveOriginal")
    wish = replace(wish, from_name="r.example/shop/web", reference_policy="Local")
    world.cluster.registry["r.example/shop/web"] = digest("b")
    world.put(followers(wish))
    assert places((await world.take(push(registry="registry.internal:5000"))).moved) == ["shop/web:prod"]
    assert world.cluster.asked == [(WEB, [wish])]


async def test_of_a_whole_repository_the_pushed_tag_is_imported(world: World) -> None:
    """Its import mode is left to OpenShift's own settings."""
    world.put(replace(stream(), insecure_repository=True))
    assert places((await world.take(push())).moved) == ["shop/web:latest"]
    ((_, tags),) = world.cluster.asked
    assert tags == [SpecTag("latest", "DockerImage", "", LATEST, insecure=True, import_mode="")]


@pytest.mark.parametrize(
    ("pushed", "head", "outcome", "requests"),
    [
        pytest.param("b", "a", "moved", 1, id="a new image"),
        pytest.param("b", "", "moved", 1, id="the first image"),
        pytest.param("b", "b", "unchanged", 1, id="what is there"),
        pytest.param("c", "b", "unchanged", 3, id="what never shows at the tag"),
        pytest.param(None, "b", "unchanged", 3, id="nobody knows what"),
        pytest.param("c", "a", "moved", 1, id="an index of which one image is taken"),
    ],
)
async def test_what_openshift_finds_is_what_the_sender_is_told(
    world: World, pushed: str | None, head: str, outcome: str, requests: int
) -> None:
    follower = following("prod", LATEST)
    world.put(followers(follower, prod=head) if head else followers(follower))
    receipt = await world.take(push(letter=pushed))
    assert receipt.outcome == outcome
    assert [each.digest for each in (*receipt.moved, *receipt.unchanged)] == [digest("b")]
    assert len(world.cluster.asked) == requests


@pytest.mark.parametrize("early", ["NotFound", digest("a")])
async def test_a_registry_that_tells_before_it_moves_its_tag_is_asked_again(world: World, early: str) -> None:
    world.cluster.early[LATEST] = [early]
    world.put(followers(following("prod", LATEST), following("done", f"{REPOSITORY}:v1"), prod="a", done="a"))
    world.cluster.registry[f"{REPOSITORY}:v1"] = digest("c")
    assert sorted(places((await world.take(push(), push("v1", "c"))).moved)) == ["shop/web:done", "shop/web:prod"]
    assert world.cluster.imported()[1:] == [("shop/web", [f"{LATEST} -> prod"])]


@pytest.mark.parametrize("reason", ["NotFound", "Unauthorized", "Forbidden", "Invalid", "BadRequest", "NotV2Registry"])
async def test_what_the_registry_would_repeat_is_refused_and_the_rest_is_taken(world: World, reason: str) -> None:
    world.cluster.registry[f"{REPOSITORY}:v1"] = reason
    world.put(followers(following("prod", LATEST), following("one", f"{REPOSITORY}:v1")))
    receipt = await world.take(push(), push("v1"))
    assert places(receipt.moved) == ["shop/web:prod"]
    (remark,) = receipt.refused
    assert (remark.what, remark.why) == ("tag one of ImageStream shop/web", f"{REPOSITORY}:v1: {reason}")


@pytest.mark.parametrize("reason", ["InternalError", "TooManyRequests", "Timeout", ""])
async def test_what_may_pass_brings_the_sender_back(world: World, reason: str) -> None:
    world.cluster.registry[LATEST] = reason
    world.put(followers(following("prod", LATEST)))
    with pytest.raises(ClusterUnavailable, match="cannot import tag prod"):
        await world.take(push())
    world.cluster.registry[LATEST] = digest("b")
    assert (await world.take(push())).outcome == "moved"


def refused(end: End, *, may_pass: bool = False) -> Outcome[ImportAnswer]:
    return Outcome(end, message="it said no", may_pass=may_pass)


@pytest.mark.parametrize(
    ("refusals", "outcome"),
    [
        pytest.param([refused(End.STALE)], "moved", id="somebody wrote to the stream"),
        pytest.param([refused(End.GONE)], "moved", id="another stream of that name, which is seen later"),
        pytest.param([refused(End.GONE)] * 3, "refused", id="the stream is gone"),
        pytest.param([refused(End.REFUSED)], "refused", id="a registry that OpenShift does not allow"),
        pytest.param([refused(End.STALE)] * 3, None, id="others write all the time"),
        pytest.param([refused(End.REFUSED, may_pass=True)], None, id="a right is missing"),
        pytest.param([refused(End.THROTTLED)], None, id="slow down"),
        pytest.param([refused(End.UNREACHABLE)], None, id="no answer"),
    ],
)
async def test_a_request_that_fails(world: World, refusals: list[Outcome[ImportAnswer]], outcome: str | None) -> None:
    world.cluster.refusals = list(refusals)
    world.put(followers(following("prod", LATEST)))
    if outcome is None:
        with pytest.raises(ClusterUnavailable, match="it said no"):
            await world.take(push())
    else:
        assert (await world.take(push())).outcome == outcome


async def test_one_stream_that_fails_does_not_keep_the_others_from_being_imported(world: World) -> None:
    world.cluster.refusals = [refused(End.UNREACHABLE)]
    world.put(followers(following("prod", LATEST)), followers(following("stable", LATEST), key=PROD))
    with pytest.raises(ClusterUnavailable):
        await world.take(push())
    assert {key for key, found in world.cluster.streams.items() if found.tags} in ({WEB}, {PROD})


@pytest.mark.parametrize(
    ("event", "origin", "outcome", "why"),
    [
        pytest.param(push(registry="evil.example"), TEAM, "refused", "neither host nor alias", id="another host"),
        pytest.param(push(repository="shop/none"), TEAM, "ignored", "no ImageStream takes", id="nobody's"),
        pytest.param(push("held"), TEAM, "ignored", "is held", id="held"),
        pytest.param(push(letter=None), replace(TEAM, verify=False), "moved", "", id="no digest, unverified"),
        pytest.param(push(), OPEN, "moved", "", id="a stranger's"),
        pytest.param(push("new"), OPEN, "refused", "no new tags", id="a new tag of a stranger"),
        pytest.param(push("new"), TEAM, "moved", "", id="a new tag"),
    ],
)
async def test_who_may_have_what_imported(
    world: World, event: PushEvent, origin: Origin, outcome: str, why: str
) -> None:
    world.cluster.registry |= {f"{REPOSITORY}:new": digest("c"), f"{REPOSITORY}:held": digest("c")}
    tags = [following("latest", LATEST), following("held", f"{REPOSITORY}:held", hold="")]
    world.put(stream(spec_tags=tags))
    receipt = await world.take(event, origin=origin)
    assert receipt.outcome == outcome
    assert why in "".join(remark.why for remark in (*receipt.ignored, *receipt.refused))
    assert bool(world.cluster.asked) is (outcome == "moved")


async def test_an_integrated_registry_makes_no_streams(world: World) -> None:
    receipt = await world.take(push(repository="shop/new"), origin=replace(TEAM, integrated=True))
    assert (receipt.outcome, world.cluster.asked) == ("ignored", [])


async def test_an_import_outlives_its_senders_patience_and_who_comes_again_finds_its_answer(world: World) -> None:
    world.cluster.seconds = 5
    world.put(followers(following("prod", LATEST)))
    event = push(event_id="1")
    for _ in range(2):
        with pytest.raises(ClusterUnavailable, match=r"within 1\.6 s"):
            await world.take(event, patience=2)
    assert places((await world.take(event, patience=3)).moved) == ["shop/web:prod"]
    assert len(world.cluster.asked) == 1
    assert world.meter.moves == ["push"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(push(event_id="1"), push(event_id="2"), id="by their names"),
        pytest.param(push(second=1), push(second=2), id="by their times"),
        pytest.param(push(), push(), id="by nothing"),
    ],
)
async def test_a_later_push_is_never_answered_by_an_earlier_import(
    world: World, before: PushEvent, after: PushEvent
) -> None:
    world.put(followers(following("prod", LATEST)))
    first, second = await asyncio.gather(world.take(before), world.take(after))
    assert (places(first.moved), places(second.unchanged)) == (["shop/web:prod"], ["shop/web:prod"])
    assert len(world.cluster.asked) == 2


async def test_the_same_event_of_two_registries_is_two_pushes(world: World) -> None:
    elsewhere = "q.example/shop/web:latest"
    world.cluster.registry[elsewhere] = digest("c")
    world.put(followers(following("prod", LATEST), following("lab", elsewhere)))
    event, other = push(event_id="1", registry=None), replace(TEAM, name="lab", host="q.example", aliases=frozenset())
    assert places((await world.take(event)).moved) == ["shop/web:prod"]
    assert places((await world.take(event, origin=other)).moved) == ["shop/web:lab"]


async def test_a_stranger_who_tells_of_nothing_new_costs_one_request(world: World) -> None:
    world.put(followers(following("prod", LATEST), prod="b"))
    stranger, proven = await asyncio.gather(world.take(push(), origin=OPEN), world.take(push("latest", "c")))
    assert places(stranger.unchanged) == ["shop/web:prod"]
    assert len(world.cluster.asked) == 1 + 3  # who showed a secret may only have been early
    assert places(proven.unchanged) == ["shop/web:prod"]


@dataclass
class Discovery:
    answers: list[bool | ClusterError]

    async def serves(self, api_version: str, resource: str) -> bool:
        assert (api_version, resource) == ("image.openshift.io/v1", "imagestreamimports")
        answer = self.answers.pop(0)
        if isinstance(answer, ClusterError):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ([True], True),
        ([False], False),
        ([ClusterUnavailable("down"), ClusterRefused("no token yet", status=401), True], True),
        ([ClusterRefused("not for you", status=403)], False),
    ],
)
async def test_it_is_known_once_the_api_server_has_answered(answers: list[bool | ClusterError], found: bool) -> None:
    assert await is_openshift(Discovery(answers)) is found
    assert answers == []


async def test_streams_are_seen_and_forgotten(world: World) -> None:
    sink, sight = StreamSink(world.streams), followers(following("prod", LATEST))
    sink.put(sight)
    assert list(sink.known("shop")) == [WEB]
    sink.discard(WEB)
    assert list(sink.known(None)) == []
