"""Registries are asked once for each source, on time, and what they say is stored where it is still true."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest

from listener.core import tracking
from listener.core.conditions import IMPORT_SUCCESS
from listener.core.history import TagHistory
from listener.core.manifests import OCI_MANIFEST, Child, Described, Platform
from listener.core.outcomes import End, Outcome
from listener.core.polling import Bounds
from listener.core.references import Reference
from listener.core.streams import Source, SpecTag, Stream, StreamKey
from listener.errors import ClusterRefused, ClusterUnavailable, RegistryRefused, RegistryUnavailable
from listener.flow.bookkeeper import Bookkeeper
from listener.flow.importer import Importer, Known
from listener.flow.inquiry import Inquiry, PullSecrets
from listener.flow.reconciler import Reconciler
from listener.flow.state import State
from tests.flow.fakes import (
    REPOSITORY,
    WEB,
    FakeCluster,
    FakeRegistry,
    FakeSecrets,
    Meter,
    Notices,
    digest,
    following,
    item,
    now,
    stream,
)

LATEST = Source.of(Reference("r.example", "shop/web", "latest"))
MINUTE = 60


@dataclass
class World:
    """A service without hooks: streams are reconciled, and registries asked."""

    cluster: FakeCluster = field(default_factory=FakeCluster)
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    secrets: FakeSecrets = field(default_factory=FakeSecrets)
    state: State = field(default_factory=State)
    notices: Notices = field(default_factory=Notices)
    meter: Meter = field(default_factory=Meter)
    names: dict[str, str] = field(default_factory=lambda: {"r.example": "team"})
    bounds: Bounds = field(default_factory=lambda: Bounds(15 * MINUTE, MINUTE, 60 * MINUTE))
    importer: Importer = field(init=False)
    reconciler: Reconciler = field(init=False)

    def __post_init__(self) -> None:
        def settle(found: Stream) -> Stream:
            time = now().strftime("%Y-%m-%dT%H:%M:%SZ")
            return tracking.settle(found, self.state.streams.get, now=time, limit=50)

        async def ready() -> None:
            return None

        books = Bookkeeper(self.cluster, self.state, settle, self.notices, self.meter, max_in_flight=50)
        inquiry = Inquiry(self.registry, PullSecrets(self.secrets), Platform("linux", "amd64"))
        self.importer = Importer(
            self.cluster,
            self.state,
            books,
            inquiry,
            self.notices,
            self.meter,
            now,
            known=Known(self.names, frozenset({"i.example"})),
            bounds=self.bounds,
            history_limit=50,
            max_tags=3,
            uniform=lambda low, high: (low + high) / 2,
        )
        self.reconciler = Reconciler(self.cluster, self.state, books, settle, self.importer, self.notices, ready)

    def put(self, given: Stream) -> Stream:
        """Somebody writes a stream, and the watch shows it."""
        stored = self.cluster.put_stream(given)
        self.state.put_stream(stored)
        return stored

    def letters(self, tag: str = "latest", key: StreamKey = WEB) -> str:
        """The letters of a tag's images, newest first."""
        return "".join(found.image[-1] for found in self.cluster.streams[key].history(tag).items)

    def condition(self, tag: str = "latest", key: StreamKey = WEB) -> tuple[str, str] | None:
        found = self.cluster.streams[key].history(tag).condition(IMPORT_SUCCESS)
        return (found.status, found.reason) if found else None

    def heads(self) -> list[str]:
        return [reference for reference, _ in self.registry.asked]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.importer.run()), asyncio.create_task(self.reconciler.run())]
        try:
            yield
            await asyncio.sleep(0)
            for task in tasks:
                assert not task.done(), task.exception()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def world() -> World:
    return World()


def importing(
    *, key: StreamKey = WEB, generation: int = 2, source: str = f"{REPOSITORY}:latest", **more: Any
) -> Stream:
    tag = following("latest", source, generation=generation, **more)
    return stream(key, repository="", spec_tags=[tag])


def checked(**heads: str) -> Stream:
    """A stream of a whole repository whose import is long past."""
    return replace(stream(**heads), is_checked=True)  # type: ignore[arg-type]


async def test_a_new_spec_tag_is_imported_at_once_and_says_so(world: World) -> None:
    world.registry.put("a")
    async with world.running():
        world.put(importing())
        await asyncio.sleep(1)
        assert world.letters() == "a"
        await asyncio.sleep(1)
    assert world.condition() == ("True", "")
    assert world.cluster.streams[WEB].is_checked
    assert world.notices.reasons() == ["TagMoved", "ImportSucceeded"]
    assert world.meter.moves == ["import"]
    assert world.meter.imports == {("team", "moved"): 1}
    head = world.cluster.streams[WEB].history("latest").head
    assert head is not None
    assert (head.docker_image_reference, head.generation) == (f"{REPOSITORY}@{digest('a')}", 2)


@pytest.mark.parametrize("generation", [None, 0])
async def test_a_generation_of_none_or_zero_asks_for_it_again_and_is_numbered(
    world: World, generation: int | None
) -> None:
    world.registry.put("a")
    tag = SpecTag("latest", "DockerImage", from_name=f"{REPOSITORY}:latest", generation=generation)
    async with world.running():
        before = world.put(replace(stream(repository="", spec_tags=[tag]), generation=7))
        await asyncio.sleep(1)
        assert world.cluster.streams[WEB].spec_tags[0].generation == 8 == world.cluster.streams[WEB].generation
        assert world.letters() == "a"
        # Asked for once more: the same image, so only the generation is new.
        world.put(replace(world.cluster.streams[WEB], spec_tags=before.spec_tags, generation=9))
        await asyncio.sleep(1)
    found = world.cluster.streams[WEB].history("latest")
    assert [entry.generation for entry in found.items] == [10]
    assert world.meter.imports == {("team", "moved"): 1, ("team", "unchanged"): 1}


async def test_another_source_is_imported_though_its_generation_is_the_old_one(world: World) -> None:
    world.registry.put("a")
    world.registry.put("b", tag="v2")
    async with world.running():
        world.put(importing())
        await asyncio.sleep(1)
        changed = replace(world.cluster.streams[WEB].spec_tags[0], from_name=f"{REPOSITORY}:v2")
        world.put(replace(world.cluster.streams[WEB], spec_tags=(changed,)))
        await asyncio.sleep(1)
    assert world.letters() == "ba"


async def test_one_question_serves_every_stream_that_follows_the_source(world: World) -> None:
    world.registry.put("a")
    keys = [StreamKey("shop", f"s{number}") for number in range(20)]
    for key in keys:
        world.put(importing(key=key, scheduled=True))
    async with world.running():
        await asyncio.sleep(1)
        assert all(world.letters(key=key) == "a" for key in keys)
        world.registry.asked.clear()
        world.registry.put("b")
        await asyncio.sleep(17 * MINUTE)
    assert len(world.registry.asked) == 1
    assert all(world.letters(key=key) == "ba" for key in keys)


async def test_each_credential_asks_for_itself(world: World) -> None:
    world.registry.put("a")
    world.secrets.users = {"shop": "robot", "prod": "robot", "dev": "dave"}
    for namespace in ("shop", "prod", "dev", "public"):
        world.put(importing(key=StreamKey(namespace, "web")))
    async with world.running():
        await asyncio.sleep(1)
    assert sorted(user for _, user in world.registry.asked) == ["", "dave", "robot"]


async def test_a_tag_may_be_imported_over_plain_http_and_its_neighbour_not(world: World) -> None:
    world.registry.put("a")
    world.registry.put("b", tag="v2")
    tags = [following("open", f"{REPOSITORY}:latest", insecure=True), following("closed", f"{REPOSITORY}:v2")]
    async with world.running():
        world.put(stream(repository="", spec_tags=tags))
        await asyncio.sleep(1)
    assert world.registry.insecurely == {f"{REPOSITORY}:latest"}


async def test_a_poll_that_finds_the_same_image_writes_nothing(world: World) -> None:
    world.registry.put("a")
    async with world.running():
        world.put(importing(scheduled=True))
        await asyncio.sleep(2)
        world.cluster.writes.clear()
        await asyncio.sleep(50 * MINUTE)
    assert world.cluster.writes == []
    assert len(world.registry.asked) == 4  # at once, then every 15 minutes


async def test_an_unscheduled_tag_is_left_alone(world: World) -> None:
    world.registry.put("a")
    async with world.running():
        world.put(importing())
        await asyncio.sleep(1)
        world.registry.put("b")
        await asyncio.sleep(24 * 60 * MINUTE)
    assert world.letters() == "a"
    assert len(world.registry.asked) == 1


async def test_a_tag_may_ask_for_another_interval_but_not_below_the_shortest(world: World) -> None:
    world.registry.put("a")
    world.registry.put("a", tag="fast")
    hourly = following("hourly", f"{REPOSITORY}:latest", scheduled=True, import_interval="1h")
    fast = following("fast", f"{REPOSITORY}:fast", scheduled=True, import_interval="1s")
    async with world.running():
        world.put(stream(repository="", spec_tags=[hourly, fast]))
        await asyncio.sleep(2 * 60 * MINUTE + 10)
    asked = world.heads()
    assert asked.count(f"{REPOSITORY}:latest") == 3
    assert asked.count(f"{REPOSITORY}:fast") == 121


async def test_a_shorter_interval_holds_from_now_on(world: World) -> None:
    world.registry.put("a")
    async with world.running():
        world.put(importing(scheduled=True, import_interval="12h"))
        await asyncio.sleep(1)
        tag = replace(world.cluster.streams[WEB].spec_tags[0], import_interval="2m")
        world.put(replace(world.cluster.streams[WEB], spec_tags=(tag,)))
        await asyncio.sleep(5 * MINUTE)
    assert len(world.registry.asked) == 3


async def test_after_a_restart_polls_are_spread_over_the_interval(world: World) -> None:
    spread = iter(range(10, 900, 40))
    world.importer._uniform = lambda low, high: next(spread) if low == 0 else (low + high) / 2
    for number in range(20):
        tag = following("latest", f"r.example/shop/s{number}:latest", scheduled=True)
        known = TagHistory("latest", (replace(item("a"), generation=1),))
        world.put(stream(StreamKey("shop", f"s{number}"), repository="", spec_tags=[tag]).with_history(known))
        world.registry.put("a", repository=f"r.example/shop/s{number}")
    async with world.running():
        await asyncio.sleep(15 * MINUTE)
    assert world.registry.most_at_once == 1
    assert len(world.registry.asked) == 20


async def test_a_pinned_digest_is_asked_for_until_it_was_there(world: World) -> None:
    world.registry.error = lambda _: RegistryUnavailable("down")
    async with world.running():
        world.put(importing(source=f"{REPOSITORY}@{digest('a')}", scheduled=True))
        await asyncio.sleep(1)
        assert world.condition() == ("False", "InternalError")
        world.registry.error = lambda _: None
        await asyncio.sleep(10 * MINUTE)
        assert world.letters() == "a"
        world.registry.asked.clear()
        await asyncio.sleep(60 * MINUTE)
    assert world.registry.asked == []


async def test_a_failure_keeps_the_history_and_is_told_once(world: World) -> None:
    world.registry.put("a")
    async with world.running():
        world.put(importing(scheduled=True))
        await asyncio.sleep(1)
        world.registry.error = lambda _: RegistryUnavailable("Internal error occurred: r.example: down")
        await asyncio.sleep(60 * MINUTE)
        assert world.letters() == "a"
        assert world.condition() == ("False", "InternalError")
        failed = world.cluster.writes.count(("store", WEB))
        world.registry.error = lambda _: None
        await asyncio.sleep(15 * MINUTE)
    assert world.condition() == ("True", "")
    assert failed == 2  # the import, and the failure
    assert world.notices.reasons().count("ImportFailed") == 1
    assert world.notices.reasons().count("ImportSucceeded") == 2
    assert world.meter.imports["team", "failed"] > 3


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        pytest.param(RegistryUnavailable("down"), range(8, 20), id="it may be back in seconds"),
        pytest.param(RegistryRefused("no", reason="NotFound"), range(3, 7), id="somebody may push it"),
        pytest.param(RegistryRefused("no", reason="Unauthorized"), range(3, 7), id="somebody may add a secret"),
        pytest.param(RegistryRefused("no", reason="Forbidden"), range(3, 7), id="somebody may allow it"),
        pytest.param(RegistryRefused("no", reason="BadRequest"), range(3, 7), id="somebody may mend a setting"),
        pytest.param(RegistryRefused("no", reason="NotV2Registry"), range(3, 7), id="a door before it is open"),
        pytest.param(RegistryRefused("no", reason="Invalid"), [1], id="it stays what it is"),
    ],
)
async def test_what_failed_is_tried_again_where_that_can_help(
    world: World, error: Exception, tries: range | list[int]
) -> None:
    world.registry.error = lambda _: error  # type: ignore[assignment,return-value]
    async with world.running():
        world.put(importing())
        await asyncio.sleep(30 * MINUTE)
    assert len(world.registry.asked) in tries
    assert world.condition() is not None


async def test_an_index_that_cannot_be_read_is_asked_for_until_it_can(world: World) -> None:
    children = (Child(digest("c"), "", Platform("linux", "amd64")),)
    world.registry.put_index("a", *children)
    world.registry.error = lambda name: RegistryUnavailable("down") if "@" in name else None
    async with world.running():
        for number in range(3):
            world.put(importing(key=StreamKey("shop", f"s{number}")))
        await asyncio.sleep(30 * MINUTE)
        indexes = [name for name in world.heads() if "@" in name]
        assert 8 <= len(indexes) <= 25  # for all three together
        assert world.meter.imports["team", "unchanged"] == 0
        world.registry.error = lambda _: None
        await asyncio.sleep(10 * MINUTE)
    assert all(world.letters(key=StreamKey("shop", f"s{number}")) == "c" for number in range(3))


async def test_many_followers_of_a_source_do_not_hurry_its_backoff(world: World) -> None:
    """One failure of one source, however many tags and namespaces it concerns."""
    world.secrets.users = {"prod": "robot", "dev": "dave"}
    world.registry.error = lambda _: RegistryUnavailable("down")
    async with world.running():
        for number in range(20):
            for namespace in ("shop", "prod", "dev"):
                world.put(importing(key=StreamKey(namespace, f"s{number}")))
        await asyncio.sleep(60)
    assert 4 <= sum(user == "" for _, user in world.registry.asked) <= 10


async def test_one_who_is_told_to_wait_does_not_make_others_wait(world: World) -> None:
    """The registry throttles one login; another namespace's image is asked for at once."""
    world.secrets.users = {"bad": "robot"}

    def throttled(_: str) -> RegistryUnavailable | None:
        return RegistryUnavailable("429", retry_after_seconds=300) if world.registry.asked[-1][1] else None

    world.registry.error = throttled
    world.registry.put("a", tag="v2")
    async with world.running():
        world.put(importing(key=StreamKey("bad", "web")))
        await asyncio.sleep(1)
        world.put(importing(source=f"{REPOSITORY}:v2"))
        await asyncio.sleep(1)
        assert world.letters() == "a"


async def test_while_the_cluster_is_away_it_is_left_alone(world: World) -> None:
    world.secrets.error = ClusterUnavailable("down")
    world.registry.put("a")
    async with world.running():
        world.put(importing())
        await asyncio.sleep(60 * MINUTE)
        assert world.secrets.reads < 60
        world.secrets.error = None
        await asyncio.sleep(10 * MINUTE)
    assert world.letters() == "a"


async def test_a_stream_that_cannot_be_written_is_alone_with_it(world: World) -> None:
    other = StreamKey("shop", "other")
    refused: Outcome[Any] = Outcome(End.REFUSED, message="forbidden", may_pass=True)
    world.cluster.fault = lambda verb, key: refused if (verb, key) == ("store", other) else None
    world.registry.put("a")
    async with world.running():
        world.put(importing(scheduled=True))
        world.put(importing(key=other))
        await asyncio.sleep(60 * MINUTE)
        assert len(world.registry.asked) < 60
        world.registry.put("b")
        await asyncio.sleep(20 * MINUTE)
    assert world.letters() == "ba"


@pytest.mark.parametrize("generation", [2, 57])
async def test_a_tag_with_the_generation_of_another_cluster_is_imported_again_on_request(
    world: World, generation: int
) -> None:
    world.registry.put("a")
    async with world.running():
        world.put(importing(generation=generation))
        await asyncio.sleep(2)
        world.registry.put("b")
        there = world.cluster.streams[WEB]
        world.put(replace(there, spec_tags=(replace(there.spec_tags[0], generation=0),), generation=3))
        await asyncio.sleep(2)
    assert world.letters() == "ba"


async def test_a_failure_from_before_a_restart_is_tried_again(world: World) -> None:
    world.registry.error = lambda _: RegistryUnavailable("down")
    async with world.running():
        world.put(importing())
        await asyncio.sleep(1)
    restarted = World(world.cluster, world.registry)
    world.registry.error = lambda _: None
    world.registry.put("a")
    async with restarted.running():
        restarted.state.put_stream(restarted.cluster.streams[WEB])
        await asyncio.sleep(5 * MINUTE)
    assert restarted.letters() == "a"


async def test_new_secrets_are_read_after_a_refusal(world: World) -> None:
    def locked(_: str) -> RegistryRefused | None:
        return None if world.registry.asked[-1][1] else RegistryRefused("no", reason="Unauthorized")

    world.registry.put("a")
    world.registry.error = locked
    async with world.running():
        world.put(importing())
        await asyncio.sleep(1)
        assert world.condition() == ("False", "Unauthorized")
        world.secrets.users = {"shop": "robot"}
        await asyncio.sleep(10 * MINUTE)
    assert world.letters() == "a"


async def test_without_the_right_to_read_secrets_public_images_are_imported(world: World) -> None:
    world.secrets.error = ClusterRefused("secrets is forbidden", status=403)
    world.registry.put("a")
    async with world.running():
        world.put(importing())
        await asyncio.sleep(1)
    assert world.letters() == "a"


async def test_a_host_that_says_later_is_left_alone_and_holds_up_nobody_else(world: World) -> None:
    def throttled(reference: str) -> RegistryUnavailable | None:
        return RegistryUnavailable("429", retry_after_seconds=120) if reference.startswith("r.example") else None

    world.registry.error = throttled
    world.registry.put("a", repository="other.example/shop/db")
    async with world.running():
        world.put(importing())
        await asyncio.sleep(1)
        for number in range(5):
            world.put(importing(key=StreamKey("shop", f"s{number}"), source=f"r.example/shop/s{number}:latest"))
        world.put(importing(key=StreamKey("shop", "db"), source="other.example/shop/db:latest"))
        await asyncio.sleep(60)
        assert world.heads() == [f"{REPOSITORY}:latest", "other.example/shop/db:latest"]
        await asyncio.sleep(120)
    assert len(world.registry.asked) > 2


async def test_a_host_that_hangs_holds_up_nobody_else(world: World) -> None:
    hang = asyncio.Event()

    class Registry(FakeRegistry):
        async def head(self, reference: Reference, *rest: Any, **more: Any) -> Any:
            if reference.registry == "black.hole":
                await hang.wait()
            return await super().head(reference, *rest, **more)

    registry = Registry()
    registry.put("a")
    world = World(registry=registry)
    for number in range(50):
        world.put(importing(key=StreamKey("shop", f"s{number}"), source=f"black.hole/shop/s{number}:latest"))
    world.put(importing())
    async with world.running():
        await asyncio.sleep(1)
        assert world.letters() == "a"


async def test_the_answer_is_dropped_where_the_tag_moved_meanwhile(world: World) -> None:
    """A push is stored while the registry is asked; what the registry said may be from before it."""
    world.registry.put("a")
    async with world.running():
        world.put(importing(scheduled=True))
        await asyncio.sleep(1)
        world.registry.latency = 10
        world.registry.put("b")
        world.importer._queue.add(LATEST)
        await asyncio.sleep(5)
        there = world.cluster.streams[WEB]
        pushed = TagHistory("latest", (item("c"), *there.history("latest").items))
        world.put(there.with_history(pushed))
        await asyncio.sleep(6)
        assert world.letters() == "ca"
        world.registry.put("c")
        await asyncio.sleep(30)
    assert world.letters() == "ca"


async def test_the_answer_is_dropped_where_the_spec_asks_for_something_else_by_now(world: World) -> None:
    world.registry.put("a")
    world.registry.put("b", tag="v2")
    world.registry.latency = 1
    async with world.running():
        first = world.put(importing())
        await asyncio.sleep(0.5)
        changed = replace(first.spec_tags[0], from_name=f"{REPOSITORY}:v2", generation=3)
        world.put(replace(first, spec_tags=(changed,), generation=3))
        await asyncio.sleep(5)
    assert world.letters() == "b"


async def test_a_hook_is_confirmed_a_moment_later(world: World) -> None:
    world.registry.put("b")
    async with world.running():
        world.put(checked(latest="a"))
        world.importer.announced(LATEST, digest("a"))
        await asyncio.sleep(0.9)
        assert world.registry.asked == []
        await asyncio.sleep(3)
    assert world.letters() == "ba"
    assert world.heads() == [f"{REPOSITORY}:latest"] * 2  # what contradicts a hook must be said twice
    assert world.importer._sources == {}


async def test_a_tag_that_settles_late_is_not_moved_back_and_forth(world: World) -> None:
    world.registry.put("a")
    async with world.running():
        world.put(checked(latest="b"))
        world.importer.announced(LATEST, digest("b"))
        await asyncio.sleep(1.5)  # the first answer was the old image
        world.registry.put("b")
        await asyncio.sleep(30)
    assert world.letters() == "b"


async def test_an_integrated_stream_is_confirmed_too(world: World) -> None:
    key = StreamKey("shop", "web")
    world.registry.put("b", repository="i.example/shop/web")
    async with world.running():
        world.put(stream(key, repository="", latest="a"))
        world.importer.announced(Source.of(Reference("i.example", "shop/web", "latest")), digest("a"))
        await asyncio.sleep(5)
    found = world.cluster.streams[key].history("latest").items
    assert [entry.docker_image_reference for entry in found][:1] == [f"i.example/shop/web@{digest('b')}"]


async def test_a_tag_of_an_integrated_stream_that_was_promoted_since_is_left_where_its_owner_wants_it(
    world: World,
) -> None:
    key = StreamKey("shop", "web")
    world.registry.put("a", repository="i.example/shop/web")
    async with world.running():
        promoted = SpecTag("latest", "ImageStreamImage", "", f"web@{digest('b')}", generation=1)
        world.put(replace(stream(key, repository="", latest="b"), spec_tags=(promoted,)))
        world.importer.announced(Source.of(Reference("i.example", "shop/web", "latest")), digest("a"))
        await asyncio.sleep(5)
    (item,) = world.cluster.streams[key].history("latest").items
    assert item.image == digest("b")


async def test_a_tag_of_an_integrated_stream_that_was_pushed_to_since_it_was_promoted_is_confirmed(
    world: World,
) -> None:
    key = StreamKey("shop", "web")
    world.registry.put("c", repository="i.example/shop/web")
    async with world.running():
        promoted = SpecTag("latest", "ImageStreamImage", "", f"web@{digest('b')}", generation=1)
        world.put(replace(stream(key, repository="", latest="a"), spec_tags=(promoted,)))
        world.importer.announced(Source.of(Reference("i.example", "shop/web", "latest")), digest("a"))
        await asyncio.sleep(5)
    assert world.letters(key=key)[0] == "c"


@pytest.mark.parametrize("seconds", [0, 12, 600], ids=["at once", "later", "after an outage"])
async def test_a_tag_whose_push_could_not_be_taken_is_found_when_it_is_there(world: World, seconds: float) -> None:
    """Its sender was told that it is refused, and does not come again."""
    world.put(checked())
    if seconds == 600:
        world.registry.error = lambda _: RegistryUnavailable("down")
    async with world.running():
        world.importer.announced(LATEST, "")
        await asyncio.sleep(seconds)
        world.registry.error = lambda _: None
        world.registry.put("a")
        await asyncio.sleep(400 if seconds == 600 else 10)
        assert world.importer._sources == {}
    assert world.letters() == "a"


async def test_what_is_never_there_is_not_asked_for_for_ever(world: World) -> None:
    world.put(checked())
    async with world.running():
        world.importer.announced(LATEST, digest("a"))
        await asyncio.sleep(10 * MINUTE)
        assert world.importer._sources == {}
    assert len(world.registry.asked) <= 8


async def test_a_tag_that_is_only_pushed_to_has_no_condition_and_is_asked_for_until_the_registry_answers(
    world: World,
) -> None:
    world.registry.error = lambda _: RegistryUnavailable("down")
    async with world.running():
        world.put(checked(latest="a"))
        world.importer.announced(LATEST, digest("a"))
        await asyncio.sleep(10 * MINUTE)
        assert world.condition() is None
        world.registry.error = lambda _: None
        world.registry.put("b")
        await asyncio.sleep(10 * MINUTE)
    assert world.letters() == "ba"


async def test_hooks_that_prove_alive_make_polls_rare_and_a_missed_one_makes_them_frequent_again(world: World) -> None:
    def polls() -> int:
        found = len(world.registry.asked)
        world.registry.asked.clear()
        return found

    world.registry.put("a")
    async with world.running():
        world.put(importing(scheduled=True))
        await asyncio.sleep(1)
        polls()
        for _ in range(3):
            world.importer.announced(LATEST, digest("a"))
            await asyncio.sleep(2)
            polls()  # the confirmation
            await asyncio.sleep(62 * MINUTE)
        polls()
        await asyncio.sleep(181 * MINUTE)
        assert polls() == 3  # stretched to the longest interval, an hour
        world.registry.put("b")
        await asyncio.sleep(62 * MINUTE)
        assert world.meter.missed == ["team"]
        assert world.letters() == "ba"
        polls()
        await asyncio.sleep(61 * MINUTE)
        assert polls() == 4  # every 15 minutes


@pytest.mark.parametrize(("lag", "missed"), [(5, []), (300, ["team"])], ids=["a slow hook", "no hook"])
async def test_a_poll_may_be_faster_than_the_hook(world: World, lag: float, missed: list[str]) -> None:
    world.registry.put("a")
    async with world.running():
        world.put(importing(scheduled=True))
        await asyncio.sleep(1)
        world.registry.put("b")
        await asyncio.sleep(15 * MINUTE)
        assert world.letters() == "ba"
        await asyncio.sleep(lag)
        world.importer.announced(LATEST, digest("b"))
        await asyncio.sleep(60)
    assert world.meter.missed == missed


@pytest.mark.parametrize("pushed", ["2026-01-01T00:10:00.000000Z", ""], ids=["with its time", "nobody knows when"])
async def test_a_push_that_another_replica_took_is_a_hook_that_was_not_missed(world: World, pushed: str) -> None:
    """The poll is faster than the hook, and the hook comes to the other one. (Without a time nobody can tell.)"""
    world.registry.put("a")
    async with world.running():
        world.put(importing(scheduled=True))
        await asyncio.sleep(1)
        world.registry.put("b")
        await asyncio.sleep(15 * MINUTE)
        assert world.letters() == "ba"
        there = world.cluster.streams[WEB]
        known = there.history("latest")
        told = replace(known, items=(replace(known.items[0], pushed=pushed), *known.items[1:]))
        world.put(replace(there, tags=(told,)))
        await asyncio.sleep(60)
    assert world.meter.missed == ([] if pushed else ["team"])


async def test_a_registry_nobody_configured_owes_us_no_hook() -> None:
    world = World(names={})
    world.registry.put("a")
    async with world.running():
        world.put(importing(scheduled=True))
        await asyncio.sleep(1)
        world.registry.put("b")
        await asyncio.sleep(30 * MINUTE)
    assert world.letters() == "ba"
    assert world.meter.missed == []
    assert set(world.meter.imports) == {("other", "moved"), ("other", "unchanged")}


async def test_a_held_tag_is_polled_and_what_is_found_waits(world: World) -> None:
    world.registry.put("a")
    async with world.running():
        world.put(importing(scheduled=True, hold=""))
        await asyncio.sleep(1)
        world.registry.put("b")
        await asyncio.sleep(40 * MINUTE)
    found = world.cluster.streams[WEB].history("latest")
    assert [entry.image for entry in found.waiting] == [digest("b"), digest("a")]
    assert len(world.registry.asked) == 3  # and none of them again and again


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        pytest.param({}, "c", id="our own platform"),
        pytest.param({"prefer_architecture": "arm64"}, "d", id="another architecture"),
        pytest.param({"import_mode": "PreserveOriginal"}, "a", id="the whole index"),
    ],
)
async def test_of_an_index_the_tag_takes_what_it_asks_for(
    world: World, annotations: dict[str, Any], expected: str
) -> None:
    children = (
        Child(digest("c"), "", Platform("linux", "amd64")),
        Child(digest("d"), "", Platform("linux", "arm64")),
    )
    world.registry.put_index("a", *children)
    async with world.running():
        world.put(importing(**annotations))
        await asyncio.sleep(1)
    assert world.letters() == expected


class TestWholeRepositories:
    @pytest.fixture
    def world(self) -> World:
        world = World()
        for letter, tag in (("a", "latest"), ("b", "v1"), ("c", "v2"), ("d", "zeta")):
            world.registry.put(letter, tag=tag)
        return world

    async def test_the_first_tags_become_tags_of_the_stream(self, world: World) -> None:
        async with world.running():
            world.put(stream())
            await asyncio.sleep(1)
        found = world.cluster.streams[WEB]
        assert [(tag.name, tag.from_name) for tag in found.spec_tags] == [
            ("latest", f"{REPOSITORY}:latest"),
            ("v1", f"{REPOSITORY}:v1"),
            ("v2", f"{REPOSITORY}:v2"),
        ]
        assert [world.letters(tag) for tag in ("latest", "v1", "v2")] == ["a", "b", "c"]
        assert found.history("zeta").items == ()
        assert found.is_checked
        assert [(c.type, c.status) for c in found.conditions] == [("ImportSuccess", "True")]
        assert all(tag.generation == found.history(tag.name).observed_generation for tag in found.spec_tags)

    async def test_a_tag_that_comes_from_elsewhere_is_left_as_it_is(self, world: World) -> None:
        own = following("latest", "v1", kind="ImageStreamTag")
        async with world.running():
            world.put(stream(spec_tags=[own]))
            await asyncio.sleep(1)
        found = world.cluster.streams[WEB]
        assert found.spec_tags[0].from_name == "v1"
        assert world.letters("latest") == "b"

    async def test_it_is_imported_once_and_again_when_the_annotation_is_taken_away(self, world: World) -> None:
        async with world.running():
            world.put(stream())
            await asyncio.sleep(60 * MINUTE)
            asked = len(world.registry.asked)
            assert asked == 4  # the list, and three tags
            world.registry.put("e", tag="v1")
            world.put(replace(world.cluster.streams[WEB], is_checked=False))
            await asyncio.sleep(1)
        assert len(world.registry.asked) > asked
        assert world.cluster.streams[WEB].is_checked

    async def test_a_repository_that_cannot_be_listed_is_told_on_the_stream_and_tried_again(self, world: World) -> None:
        world.registry.error = lambda _: RegistryUnavailable("down")
        async with world.running():
            world.put(stream())
            await asyncio.sleep(1)
            [condition] = world.cluster.streams[WEB].conditions
            assert (condition.status, condition.reason, condition.message) == ("False", "InternalError", "down")
            assert world.notices.reasons() == ["ImportFailed"]
            world.registry.error = lambda _: None
            await asyncio.sleep(5 * MINUTE)
        assert world.letters() == "a"
        assert world.cluster.streams[WEB].conditions[0].status == "True"

    async def test_a_tag_that_fails_has_a_condition_and_no_spec_tag(self, world: World) -> None:
        def broken(reference: str) -> RegistryRefused | None:
            return RegistryRefused("gone", reason="NotFound") if reference.endswith(":v1") else None

        world.registry.error = broken
        async with world.running():
            world.put(stream())
            await asyncio.sleep(1)
        found = world.cluster.streams[WEB]
        assert [tag.name for tag in found.spec_tags] == ["latest", "v2"]
        assert world.condition("v1") == ("False", "NotFound")

    async def test_a_tag_that_failed_is_tried_again(self, world: World) -> None:
        world.registry.error = lambda name: RegistryUnavailable("down") if name.endswith(":v1") else None
        async with world.running():
            world.put(stream())
            await asyncio.sleep(10)
            assert [tag.name for tag in world.cluster.streams[WEB].spec_tags] == ["latest", "v2"]
            world.registry.error = lambda _: None
            await asyncio.sleep(10 * MINUTE)
        assert [tag.name for tag in world.cluster.streams[WEB].spec_tags] == ["latest", "v2", "v1"]
        assert world.letters("v1") == "b"

    async def test_a_tag_that_failed_before_a_restart_is_tried_again(self, world: World) -> None:
        world.registry.error = lambda name: RegistryUnavailable("down") if name.endswith(":v1") else None
        async with world.running():
            world.put(stream())
            await asyncio.sleep(10)
        restarted = World(world.cluster, world.registry)
        world.registry.error = lambda _: None
        async with restarted.running():
            restarted.state.put_stream(restarted.cluster.streams[WEB])
            await asyncio.sleep(10 * MINUTE)
        assert restarted.letters("v1") == "b"

    async def test_an_import_of_a_tag_does_not_pass_for_that_of_the_repository(self, world: World) -> None:
        """The mark has two meanings, and the first import may end before the second begins."""
        own = following("own", "other.example/x:1")
        world.registry.put("e", "1", "other.example/x")
        world.registry.error = lambda name: RegistryUnavailable("down") if name == f"{REPOSITORY}:latest" else None
        async with world.running():
            world.importer._queue.add_after(WEB, 60)  # the repository's turn comes later
            world.importer._repositories._asked.add(WEB)
            world.put(stream(spec_tags=[own]))
            await asyncio.sleep(30)
            assert world.letters("own") == "e"
            assert not world.cluster.streams[WEB].is_checked
            world.registry.error = lambda _: None
            await asyncio.sleep(60)
        assert world.cluster.streams[WEB].is_checked
        assert world.letters("latest") == "a"

    async def test_what_others_ask_for_meanwhile_is_not_overwritten(self, world: World) -> None:
        async with world.running():
            world.put(stream())
            await asyncio.sleep(5)
            world.registry.asked.clear()
            world.put(replace(world.cluster.streams[WEB], is_checked=False))
            await asyncio.sleep(5)
        assert REPOSITORY in world.heads() or f"{REPOSITORY}:latest" in world.heads()
        assert world.cluster.streams[WEB].is_checked

    async def test_a_mark_that_cannot_be_made_now_blocks_no_later_stream_of_that_name(self, world: World) -> None:
        failures: Iterator[Outcome[Any]] = iter([Outcome(End.REFUSED, message="forbidden", may_pass=True)])
        world.cluster.fault = lambda tried, _: next(failures, None) if tried == "annotate" else None
        async with world.running():
            world.put(stream())
            await asyncio.sleep(5)
            del world.cluster.streams[WEB]
            world.state.discard_stream(WEB)
            world.put(stream(uid="another"))
            await asyncio.sleep(5)
        assert world.letters() == "a"

    async def test_what_is_said_of_a_repository_goes_with_it(self, world: World) -> None:
        world.registry.error = lambda _: RegistryRefused("no", reason="Forbidden")
        async with world.running():
            world.put(stream())
            await asyncio.sleep(5)
            assert world.cluster.streams[WEB].conditions != ()
            world.put(replace(world.cluster.streams[WEB], repository=""))
            await asyncio.sleep(5)
        assert world.cluster.streams[WEB].conditions == ()

    @pytest.mark.parametrize("verb", ["spec", "store", "annotate"])
    async def test_a_write_that_fails_is_made_up_for(self, world: World, verb: str) -> None:
        failures: Iterator[Outcome[Any]] = iter([Outcome(End.UNREACHABLE, message="down")] * 3)
        world.cluster.fault = lambda tried, _: next(failures, None) if tried == verb else None
        async with world.running():
            world.put(stream())
            await asyncio.sleep(60)
        assert [world.letters(tag) for tag in ("latest", "v1", "v2")] == ["a", "b", "c"]


async def test_a_bug_fails_its_own_source_loudly_and_the_others_go_on(world: World) -> None:
    def broken(reference: str) -> None:
        if reference.endswith(":latest"):
            raise ZeroDivisionError

    world.registry.error = broken
    world.registry.put("b", tag="v2")
    async with world.running():
        world.put(importing())
        world.put(importing(key=StreamKey("shop", "other"), source=f"{REPOSITORY}:v2"))
        await asyncio.sleep(1)
        assert world.letters(key=StreamKey("shop", "other")) == "b"
        world.registry.error = lambda _: None
        world.registry.put("a")
        await asyncio.sleep(5 * MINUTE)
    assert world.letters() == "a"


async def test_ten_thousand_tags_keep_their_schedule(world: World) -> None:
    """One registry, 2,000 repositories, five tags each: every one is asked for once in each interval, spread out."""
    asked: dict[str, list[float]] = defaultdict(list)

    class Clocked(FakeRegistry):
        async def head(self, reference: Reference, *_: Any, **__: Any) -> Described:
            asked[str(reference)].append(asyncio.get_running_loop().time())
            return Described(digest("a"), OCI_MANIFEST)

    world = World(registry=Clocked())
    rng = random.Random(1)  # noqa: S311 - the same spread each time
    world.importer._uniform = rng.uniform
    for number in range(2_000):
        name = f"r.example/shop/r{number}"
        tags = [following(f"t{n}", f"{name}:t{n}", scheduled=True) for n in range(5)]
        there = replace(item("a"), docker_image_reference=f"{name}@{digest('a')}", generation=1)
        given = stream(StreamKey("shop", f"s{number}"), repository="", spec_tags=tags)
        world.put(replace(given, tags=tuple(TagHistory(f"t{n}", (there,)) for n in range(5))))
    async with world.running():
        await asyncio.sleep(46 * MINUTE)
    assert len(asked) == 10_000
    for times in asked.values():
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert all(0.9 * 15 * MINUTE <= gap <= 1.1 * 15 * MINUTE + 1 for gap in gaps), gaps
        assert len(times) >= 2
    in_each_second = Counter(int(moment) for times in asked.values() for moment in times)
    assert max(in_each_second.values()) < 40  # 11 on average
    assert world.cluster.writes == []


@pytest.mark.parametrize(
    ("key", "source"),
    [
        pytest.param(WEB, LATEST, id="the stream names the repository"),
        pytest.param(WEB, Source("i.example", "shop/web", "latest", ""), id="the repository is the stream"),
    ],
)
async def test_a_tag_of_a_push_that_was_given_up_is_asked_for_until_its_registry_can_say(
    world: World, key: StreamKey, source: Source
) -> None:
    world.put(checked() if source is LATEST else stream(key, repository=""))
    world.registry.error = lambda _: RegistryUnavailable("it answered 500")
    async with world.running():
        world.importer.announced(source, digest("a"))
        await asyncio.sleep(120 * MINUTE)
        assert 24 <= len(world.heads()) < 60
        world.registry.put("a", repository=f"{source.registry}/{source.repository}")
        world.registry.error = lambda _: None
        await asyncio.sleep(6 * MINUTE)
        assert world.letters() == "a"
        asked = len(world.heads())
        await asyncio.sleep(60 * MINUTE)
        assert len(world.heads()) == asked
