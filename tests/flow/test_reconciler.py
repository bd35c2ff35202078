"""A stream is brought to what its spec asks, whoever wrote it and whatever got in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from listener.core import tracking
from listener.core.history import TagHistory
from listener.core.outcomes import End, Outcome
from listener.core.streams import SpecTag, Stream, StreamKey
from listener.errors import ClusterRefused
from listener.flow.bookkeeper import Bookkeeper
from listener.flow.reconciler import Reconciler
from listener.flow.state import State
from tests.flow.fakes import WEB, FakeCluster, Meter, Notices, digest, following, item, stream

BASE = StreamKey("shop", "base")
ELSEWHERE = StreamKey("platform", "base")


@dataclass
class Looks:
    """An importer that only remembers what it was shown."""

    seen: list[Stream] = field(default_factory=list)

    def look(self, stream: Stream) -> None:
        self.seen.append(stream)


@dataclass
class World:
    cluster: FakeCluster = field(default_factory=FakeCluster)
    state: State = field(default_factory=State)
    looks: Looks = field(default_factory=Looks)
    notices: Notices = field(default_factory=Notices)
    meter: Meter = field(default_factory=Meter)
    synced: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, given: Stream) -> Stream:
        stored = self.cluster.put_stream(given)
        self.state.put_stream(stored)
        return stored

    def delete(self, key: StreamKey) -> None:
        del self.cluster.streams[key]
        self.state.discard_stream(key)

    def letters(self, tag: str, key: StreamKey = WEB) -> str:
        return "".join(found.image[-1] for found in self.cluster.streams[key].history(tag).items)

    def reason(self, tag: str) -> str:
        return "".join(condition.reason for condition in self.cluster.streams[WEB].history(tag).conditions)

    @asynccontextmanager
    async def running(self, *, synced: bool = True) -> AsyncIterator[None]:
        def settle(found: Stream) -> Stream:
            return tracking.settle(found, self.state.streams.get, now="2026-01-01T00:00:00Z", limit=50)

        async def ready() -> None:
            await self.synced.wait()

        if synced:
            self.synced.set()
        books = Bookkeeper(self.cluster, self.state, settle, self.notices, self.meter, max_in_flight=50)
        reconciler = Reconciler(self.cluster, self.state, books, settle, self.looks, self.notices, ready)
        task = asyncio.create_task(reconciler.run())
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def world() -> World:
    return World()


def alias(source: str = "base:latest", *, namespace: str = "", **more: Any) -> SpecTag:
    return replace(following("prod", source, kind="ImageStreamTag", **more), from_namespace=namespace)


async def test_a_tag_of_another_stream_is_followed_wherever_it_goes(world: World) -> None:
    async with world.running():
        world.put(stream(BASE, latest="a"))
        world.put(stream(spec_tags=[alias()]))
        await asyncio.sleep(1)
        assert world.letters("prod") == "a"
        base = world.cluster.streams[BASE]
        world.put(base.with_history(TagHistory("latest", (item("b"), item("a")))))
        await asyncio.sleep(1)
    assert world.letters("prod") == "ba"
    assert world.meter.moves == ["tag", "tag"]


async def test_a_source_that_appears_later_is_picked_up_and_a_deleted_one_is_told(world: World) -> None:
    async with world.running():
        world.put(stream(spec_tags=[alias()]))
        await asyncio.sleep(1)
        assert (world.letters("prod"), world.reason("prod")) == ("", "NotFound")
        world.put(stream(BASE, latest="a"))
        await asyncio.sleep(1)
        assert (world.letters("prod"), world.reason("prod")) == ("a", "")
        world.delete(BASE)
        await asyncio.sleep(1)
    assert (world.letters("prod"), world.reason("prod")) == ("a", "NotFound")


async def test_another_namespace_must_consent(world: World) -> None:
    world.cluster.namespaces.add("platform")
    async with world.running():
        base = world.put(stream(ELSEWHERE, latest="a"))
        world.put(stream(spec_tags=[alias(namespace="platform")]))
        await asyncio.sleep(1)
        assert (world.letters("prod"), world.reason("prod")) == ("", "Forbidden")
        world.put(replace(base, shared_with=frozenset({"shop"})))
        await asyncio.sleep(1)
    assert (world.letters("prod"), world.reason("prod")) == ("a", "")


async def test_streams_that_follow_each_other_come_to_rest(world: World) -> None:
    async with world.running():
        world.put(stream(BASE, spec_tags=[following("latest", "web:prod", kind="ImageStreamTag")]))
        world.put(stream(spec_tags=[alias()]))
        await asyncio.sleep(60)
        assert world.reason("prod") == "CircularReference"
        writes = len(world.cluster.writes)
        await asyncio.sleep(3600)
    assert len(world.cluster.writes) == writes


async def test_a_chain_over_many_streams_moves_to_its_end(world: World) -> None:
    keys = [StreamKey("shop", f"s{number}") for number in range(10)]
    async with world.running():
        for key, source in zip(keys[1:], keys, strict=False):
            tag = following("latest", f"{source.name}:latest", kind="ImageStreamTag")
            world.put(stream(key, spec_tags=[tag]))
        world.put(stream(keys[0], latest="a"))
        await asyncio.sleep(1)
    assert [world.letters("latest", key) for key in keys] == ["a"] * 10


async def test_nothing_is_missing_only_because_it_was_not_seen_yet(world: World) -> None:
    """After a start the streams come one by one; until all are known, no tag may be told that its source is missing."""
    async with world.running(synced=False):
        world.put(stream(spec_tags=[alias()]))
        await asyncio.sleep(5)
        assert world.cluster.writes == []
        world.put(stream(BASE, latest="a"))
        world.synced.set()
        await asyncio.sleep(1)
    assert world.letters("prod") == "a"
    assert world.cluster.writes == [("store", WEB)]


async def test_a_settled_stream_is_shown_to_the_importer_and_written_no_more(world: World) -> None:
    async with world.running():
        world.put(stream(latest="a", spec_tags=[alias("latest")]))
        await asyncio.sleep(60)
        assert world.looks.seen[-1] == world.cluster.streams[WEB]
        assert len(world.looks.seen) == 2  # as it was written, and its echo
    assert world.cluster.writes == [("store", WEB)]


async def test_generations_are_numbered_once_and_the_same_by_two_replicas(world: World) -> None:
    other = World(world.cluster)
    tags = [SpecTag("a", generation=None), SpecTag("b", generation=7), SpecTag("c", generation=0)]
    given = replace(stream(spec_tags=tags), generation=9)
    async with world.running(), other.running():
        other.state.put_stream(world.put(given))
        await asyncio.sleep(60)
    assert [tag.generation for tag in world.cluster.streams[WEB].spec_tags] == [10, 7, 10]
    assert world.cluster.streams[WEB].generation == 10
    assert world.cluster.count("spec") == 1


async def test_a_spec_that_may_not_be_written_is_told_and_its_tags_are_settled_all_the_same(world: World) -> None:
    refused: Outcome[Any] = Outcome(End.REFUSED, message="imagestreams is forbidden", may_pass=True)
    world.cluster.fault = lambda verb, _: refused if verb == "spec" else None
    async with world.running():
        world.put(stream(latest="a", spec_tags=[replace(alias("latest"), generation=None)]))
        await asyncio.sleep(600)
        assert world.letters("prod") == "a"
        tries = len(world.notices.given)
        assert "StreamRefused" in world.notices.reasons()
        assert tries < 100  # further and further apart, by chance
        world.cluster.fault = lambda *_: None
        await asyncio.sleep(600)
    assert world.cluster.streams[WEB].spec_tags[0].generation == 2


@pytest.mark.parametrize("verb", ["spec", "store"])
async def test_what_cannot_be_written_now_is_written_later(world: World, verb: str) -> None:
    failures: list[Outcome[Any]] = [Outcome(End.UNREACHABLE, message="down")] * 5
    world.cluster.fault = lambda tried, _: failures.pop() if tried == verb and failures else None
    async with world.running():
        world.put(stream(latest="a", spec_tags=[replace(alias("latest"), generation=0)]))
        await asyncio.sleep(600)
    assert world.letters("prod") == "a"


async def test_somebody_elses_write_in_between_is_looked_at_anew(world: World) -> None:
    others = iter([digest("b")])

    def meanwhile(verb: str) -> None:
        if verb == "spec" and next(others, None):
            world.cluster.put_stream(replace(world.cluster.streams[WEB], insecure_repository=True))

    world.cluster.meanwhile = meanwhile
    async with world.running():
        world.put(stream(spec_tags=[SpecTag("a", generation=0)]))
        await asyncio.sleep(1)
    assert world.cluster.streams[WEB].spec_tags[0].generation == 2
    assert world.cluster.streams[WEB].insecure_repository


async def test_a_bug_fails_its_own_stream_and_the_others_go_on(world: World) -> None:
    def fault(verb: str, key: object) -> None:
        if verb == "store" and key == WEB:
            raise ClusterRefused("not what this Protocol may raise", status=400)

    world.cluster.fault = fault
    async with world.running():
        world.put(stream(latest="a", spec_tags=[alias("latest")]))
        world.put(stream(BASE, latest="a", spec_tags=[following("prod", "latest", kind="ImageStreamTag")]))
        await asyncio.sleep(1)
        assert world.letters("prod", BASE) == "a"
        world.cluster.fault = lambda *_: None
        await asyncio.sleep(600)
    assert world.letters("prod") == "a"
