"""What spec tags become inside the cluster, a row per situation; then what holds of every stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from listener.core import tracking
from listener.core.conditions import HELD, IMPORT_SUCCESS, Problem
from listener.core.history import Condition, TagHistory, TagItem
from listener.core.streams import SpecTag, Stream, StreamKey

NOW, LATER = "2026-06-01T12:00:00Z", "2026-06-01T13:00:00Z"
MANY = 50


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def item(letter: str, *, name: str = "r.io/shop/web", generation: int = 1, pushed: str = "") -> TagItem:
    return TagItem("2026-01-01T00:00:00Z", f"{name}@{digest(letter)}", digest(letter), generation, pushed)


A, B, C = item("a"), item("b"), item("c")


def tag(
    name: str,
    kind: str = "",
    source: str = "",
    *,
    namespace: str = "",
    reference: bool = False,
    generation: int | None = 1,
    hold: str | None = None,
) -> SpecTag:
    return SpecTag(name, kind, namespace, source, reference, generation, hold=hold)


def follow(
    name: str, source: str, *, namespace: str = "", generation: int | None = 1, hold: str | None = None
) -> SpecTag:
    return tag(name, "ImageStreamTag", source, namespace=namespace, generation=generation, hold=hold)


def pin(name: str, source: str, *, namespace: str = "", generation: int | None = 1, hold: str | None = None) -> SpecTag:
    return tag(name, "ImageStreamImage", source, namespace=namespace, generation=generation, hold=hold)


def stream(
    *spec_tags: SpecTag,
    heads: Mapping[str, TagItem | Sequence[TagItem]] | None = None,
    tags: Sequence[TagHistory] = (),
    name: str = "web",
    namespace: str = "shop",
    shared_with: Sequence[str] = (),
    generation: int = 1,
) -> Stream:
    found = [TagHistory(t, (i,) if isinstance(i, TagItem) else tuple(i)) for t, i in (heads or {}).items()]
    histories = tuple(sorted([*found, *tags], key=lambda known: known.tag))
    key = StreamKey(namespace, name)
    return Stream(key, "u", "1", generation, "", "", spec_tags, histories, shared_with=frozenset(shared_with))


def settle(found: Stream, *others: Stream, now: str = NOW, limit: int = MANY) -> Stream:
    """Settle, and see to it that this was all there was to do."""
    known = {other.key: other for other in others}
    after = tracking.settle(found, known.get, now=now, limit=limit)
    assert tracking.settle(after, known.get, now=LATER, limit=limit) is after
    return after


def complaint(found: Stream, name: str) -> Condition:
    condition = found.history(name).condition(IMPORT_SUCCESS)
    assert condition is not None
    assert condition.status == "False"
    return condition


API = stream(heads={"latest": A, "v1": (B, C)}, name="api")
BASE = stream(heads={"latest": A, "v1": (B, C)}, name="base", namespace="platform", shared_with=["shop"])


class TestSources:
    @pytest.mark.parametrize(
        ("spec_tag", "expected"),
        [
            pytest.param(follow("x", "v1"), B, id="a tag of this stream"),
            pytest.param(follow("x", "web:v1"), B, id="a tag of this stream, which is named"),
            pytest.param(follow("x", "web:v1", namespace="shop"), B, id="a tag of this stream, wholly named"),
            pytest.param(follow("x", "web:"), A, id="this stream, no tag means latest"),
            pytest.param(follow("x", "api:v1"), B, id="a tag of another stream"),
            pytest.param(follow("x", "api:"), A, id="another stream, no tag means latest"),
            pytest.param(follow("x", "base:v1", namespace="platform"), B, id="a tag of another namespace"),
            pytest.param(follow("x", "web:v1", namespace="other"), C, id="another namespace's stream of our name"),
            pytest.param(follow("x", "v1", namespace="other"), C, id="the same, its name left out"),
        ],
    )
    def test_a_tag_that_follows_another_takes_its_head(self, spec_tag: SpecTag, expected: TagItem) -> None:
        namesake = stream(heads={"v1": C}, namespace="other", shared_with=["*"])
        found = stream(replace(spec_tag, generation=4), heads={"latest": A, "v1": (B, C)}, generation=5)
        after = settle(found, API, BASE, namesake).history("x")
        assert after.items == (replace(expected, generation=4),)
        assert after.conditions == ()

    @pytest.mark.parametrize(
        ("spec_tag", "expected"),
        [
            pytest.param(pin("x", digest("c")), C, id="this stream, the digest alone"),
            pytest.param(pin("x", f"web@{digest('c')}"), C, id="this stream, named"),
            pytest.param(pin("x", "web@sha256:cc"), C, id="the beginning of the digest"),
            pytest.param(pin("x", "web@cc"), C, id="the beginning of its digits"),
            pytest.param(pin("x", "c"), C, id="one digit, if no other image begins so"),
            pytest.param(pin("x", f"api@{digest('c')}"), C, id="another stream"),
            pytest.param(pin("x", f"base@{digest('c')}", namespace="platform"), C, id="another namespace"),
        ],
    )
    def test_a_tag_that_is_pinned_takes_that_image_now(self, spec_tag: SpecTag, expected: TagItem) -> None:
        found = stream(replace(spec_tag, generation=4), heads={"latest": A, "v1": (B, C)}, generation=5)
        after = settle(found, API, BASE).history("x")
        assert after.items == (replace(expected, created=NOW, generation=4),)

    def test_an_image_that_waits_can_be_pinned(self) -> None:
        found = stream(pin("x", "web@b"), tag("held", hold=""), tags=[TagHistory("held", (A,), waiting=(B,))])
        assert settle(found).history("x").items == (replace(B, created=NOW),)

    def test_an_image_that_several_tags_had_is_one_image(self) -> None:
        found = stream(pin("x", "web@a"), heads={"latest": A, "v1": (B, A), "v2": replace(A, generation=7)})
        assert settle(found).history("x").items == (replace(A, created=NOW),)

    @pytest.mark.parametrize("name", ["quay.io/app:floating", f"quay.io/app@{digest('a')}", "NOT A NAME"])
    def test_a_reference_is_recorded_as_it_is_written(self, name: str) -> None:
        after = settle(stream(tag("x", "DockerImage", name, reference=True, generation=4))).history("x")
        assert after.items == (TagItem(NOW, name, "", 4),)

    @pytest.mark.parametrize(
        "spec_tag", [follow("x", "v1"), pin("x", digest("b"))], ids=["that follows", "that is pinned"]
    )
    def test_reference_changes_nothing_for_a_tag(self, spec_tag: SpecTag) -> None:
        found = stream(replace(spec_tag, reference=True), heads={"v1": B})
        head = settle(found).history("x").head
        assert head
        assert head.docker_image_reference == B.docker_image_reference

    @pytest.mark.parametrize(
        "spec_tag",
        [
            pytest.param(tag("x"), id="a placeholder"),
            pytest.param(tag("x", "DockerImage", "r.io/web:1"), id="an image to import"),
            pytest.param(tag("x", "DockerImage", "r.io/web:1", generation=None), id="an image to import, no number"),
            pytest.param(tag("x", "Something", "else"), id="a kind that nobody knows"),
        ],
    )
    def test_leaves_alone_what_is_not_the_cluster_s(self, spec_tag: SpecTag) -> None:
        found = stream(spec_tag)
        assert settle(found) is found

    def test_a_copied_pull_spec_is_not_rewritten(self) -> None:
        """OpenShift would name the destination's repository, whose server fetches the image."""
        inside = item("a", name="registry.svc:5000/platform/base")
        base = replace(
            BASE, tags=(TagHistory("latest", (inside,)),), status_repository="registry.svc:5000/platform/base"
        )
        after = settle(stream(follow("x", "base:latest", namespace="platform")), base)
        assert after.history("x").items == (inside,)

    def test_the_generation_of_the_stream_stands_in_for_one_that_is_missing(self) -> None:
        for missing in (None, 0):
            after = settle(stream(follow("x", "api:v1", generation=missing), generation=9), API)
            assert after.history("x").items == (replace(B, generation=9),)

    def test_following_leaves_the_source_alone(self) -> None:
        """OpenShift shares the item, and so writes the follower's generation into the source's head."""
        after = settle(stream(follow("x", "v1", generation=9), heads={"v1": B}, generation=9))
        assert after.history("v1").items == (B,)


class TestFaults:
    @pytest.mark.parametrize(
        ("spec_tag", "problem", "message"),
        [
            pytest.param(
                follow("x", "nosuch:v1"), Problem.NOT_FOUND, "shop/nosuch does not exist", id="no such stream"
            ),
            pytest.param(follow("x", "nosuch"), Problem.NOT_FOUND, "shop/web:nosuch", id="no such tag here"),
            pytest.param(follow("x", "api:nosuch"), Problem.NOT_FOUND, "shop/api:nosuch", id="no such tag there"),
            pytest.param(follow("x", "empty"), Problem.NOT_FOUND, "shop/web:empty", id="a tag that has no image yet"),
            pytest.param(follow("x", "a:b:c"), Problem.INVALID, "a:b:c", id="a tag with two separators"),
            pytest.param(pin("x", "a@b@c"), Problem.INVALID, "a@b@c", id="an image with two separators"),
            pytest.param(pin("x", "web@dd"), Problem.NOT_FOUND, "shop/web has no image dd", id="no such image here"),
            pytest.param(pin("x", "api@dd"), Problem.NOT_FOUND, "shop/api has no image dd", id="no such image there"),
            pytest.param(pin("x", "web@"), Problem.NOT_FOUND, "shop/web", id="an image that is not named"),
            pytest.param(pin("x", "sha256:"), Problem.INVALID, "multiple images match", id="more than one such image"),
            pytest.param(pin("x", "nosuch@a"), Problem.NOT_FOUND, "shop/nosuch", id="no such stream for an image"),
            pytest.param(tag("x", "DockerImage", "NO NAME"), Problem.INVALID, "invalid reference format", id="no name"),
            pytest.param(tag("x", "DockerImage", ""), Problem.INVALID, "invalid reference format", id="an empty name"),
        ],
    )
    @pytest.mark.parametrize("before", [(), (C,)], ids=["new", "with a history"])
    def test_a_fault_is_a_condition_and_the_history_stays(
        self, spec_tag: SpecTag, problem: Problem, message: str, before: tuple[TagItem, ...]
    ) -> None:
        heads: dict[str, TagItem | Sequence[TagItem]] = {"v1": A, "v2": B} | ({"x": before} if before else {})
        found = stream(replace(spec_tag, generation=4), tag("empty"), heads=heads, generation=5)
        after = settle(found, API).history("x")
        assert after.items == before
        condition = after.condition(IMPORT_SUCCESS)
        assert condition
        assert (condition.status, condition.reason, condition.generation) == ("False", problem, 4)
        assert condition.last_transition_time == NOW
        assert message in condition.message
        assert after.observed_generation == 4

    def test_the_images_a_prefix_matches_are_named(self) -> None:
        found = stream(pin("x", "sha256:"), heads={"v1": A, "v2": (B, A)})
        assert complaint(settle(found), "x").message.endswith(
            f"in shop/web: {digest('a')}, {digest('b')}; write more of the digest"
        )

    @pytest.mark.parametrize(
        "spec_tag",
        [
            follow("x", "base:latest", namespace="platform"),
            follow("x", "base:nosuch", namespace="platform"),
            pin("x", "base@a", namespace="platform"),
            pin("x", "base@dd", namespace="platform"),
        ],
        ids=["a tag", "a tag that is not there", "an image", "an image that is not there"],
    )
    def test_who_is_not_invited_does_not_learn_whether_the_stream_exists(self, spec_tag: SpecTag) -> None:
        kept = replace(BASE, shared_with=frozenset({"elsewhere", "shop-2"}))
        refused, missing = (settle(stream(spec_tag), *others).history("x") for others in ([kept], []))
        assert refused == missing
        condition = complaint(settle(stream(spec_tag), kept), "x")
        assert condition.reason == Problem.FORBIDDEN
        assert "imagestreams.dev/shared-with" in condition.message

    def test_what_is_invited_follows_and_stays_where_it_is_when_that_ends(self) -> None:
        kept, found = replace(BASE, shared_with=frozenset()), stream(follow("x", "base:latest", namespace="platform"))
        refused = settle(found, kept)
        assert refused.history("x").items == ()
        invited = settle(refused, BASE)
        assert invited.history("x").items == (A,)
        assert invited.history("x").conditions == ()
        moved = BASE.with_history(TagHistory("latest", (B, A)))
        again = settle(invited, replace(moved, shared_with=frozenset()))
        assert again.history("x").items == (A,)
        assert complaint(again, "x").reason == Problem.FORBIDDEN
        assert settle(again, moved).history("x").items == (B, A)

    def test_a_fault_that_lasts_keeps_its_time_and_takes_the_generation(self) -> None:
        found = settle(stream(follow("x", "nosuch:v1", generation=1)))
        again = settle(replace(found, spec_tags=(follow("x", "nosuch:v1", generation=2),)), now=LATER)
        condition = complaint(again, "x")
        assert (condition.last_transition_time, condition.generation) == (NOW, 2)

    def test_a_fault_is_forgotten_when_the_tag_becomes_a_placeholder(self) -> None:
        found = settle(stream(follow("x", "nosuch:v1"), heads={"x": A}))
        assert settle(replace(found, spec_tags=(tag("x"),))).history("x").conditions == ()


class TestChanges:
    def test_a_source_that_appears_later_is_taken(self) -> None:
        found = settle(stream(follow("x", "api:latest"), pin("y", "api@a")))
        assert [complaint(found, name).reason for name in "xy"] == [Problem.NOT_FOUND] * 2
        after = settle(found, API, now=LATER)
        assert after.history("x") == replace(after.history("x"), items=(A,), conditions=())
        assert after.history("y") == replace(after.history("y"), items=(replace(A, created=LATER),), conditions=())

    def test_follows_a_source_that_moves_and_stays_pinned_to_an_image(self) -> None:
        found = settle(stream(follow("x", "api:latest"), pin("y", "api@a")), API)
        moved = API.with_history(TagHistory("latest", (B, A)))
        after = settle(found, moved)
        assert after.history("x").items == (B, A)
        assert after.history("y") is found.history("y")
        assert settle(after, API).history("x").items == (A, B, A)

    def test_a_source_that_goes_away_leaves_its_followers_where_they_are(self) -> None:
        found = settle(stream(follow("x", "api:latest")), API)
        after = settle(found)
        assert after.history("x").items == (A,)
        assert complaint(after, "x").reason == Problem.NOT_FOUND
        assert settle(after, API).history("x").conditions == ()

    def test_an_image_may_leave_the_history_once_a_tag_is_pinned_to_it(self) -> None:
        found = settle(stream(pin("x", "api@c")), API)
        pruned = API.with_history(TagHistory("v1", (B,)))
        assert settle(found, pruned) is found

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)], ids=["forwards", "backwards", "mixed"])
    def test_a_chain_moves_to_its_end_at_once(self, order: tuple[int, ...]) -> None:
        chain = [follow("b", "a"), follow("c", "b"), follow("d", "web:c")]
        found = settle(stream(*(chain[n] for n in order), heads={"a": A}))
        after = settle(found.with_history(TagHistory("a", (B, A))))
        assert [after.history(name).items for name in "abcd"] == [(B, A)] * 4

    def test_a_long_chain_moves_too(self) -> None:
        names = [f"t{n}" for n in range(2000)]
        links = [follow(name, before) for before, name in pairwise(names)]
        for found in (links, links[::-1]):
            after = tracking.settle(stream(*found, heads={"t0": A}), lambda _: None, now=NOW, limit=MANY)
            assert after.history(names[-1]).items == (A,)

    def test_what_somebody_pushed_over_a_follower_stays_until_the_source_moves(self) -> None:
        found = settle(stream(follow("x", "api:latest")), API)
        known = found.history("x")
        pushed = found.with_history(replace(known, items=(C, A)))
        assert settle(pushed, API) is pushed
        moved = API.with_history(TagHistory("latest", (B, A)))
        assert settle(pushed, moved).history("x").items == (B, C, A)

    @pytest.mark.parametrize("asked", [None, 0, 2], ids=["none", "zero", "a greater one"])
    @pytest.mark.parametrize(
        "spec_tag",
        [follow("x", "api:latest"), pin("x", "api@a"), tag("x", "DockerImage", "q.io/a:1", reference=True)],
        ids=["follows", "pinned", "reference"],
    )
    def test_a_generation_asks_to_do_it_again_once_it_has_a_number(self, spec_tag: SpecTag, asked: int | None) -> None:
        found = settle(stream(spec_tag), API)
        known = found.history("x")
        assert known.head
        pushed = found.with_history(replace(known, items=(replace(C, generation=1), *known.items)))
        after = settle(replace(pushed, spec_tags=(replace(spec_tag, generation=asked),), generation=2), API)
        if asked:
            assert after.history("x").head == replace(
                known.head, created=after.history("x").items[0].created, generation=2
            )
            assert len(after.history("x").items) == 3
        else:
            assert after is not pushed or after.history("x").items == pushed.history("x").items

    @pytest.mark.parametrize(
        ("before", "after", "expected"),
        [
            pytest.param(follow("x", "v1"), follow("x", "v2"), B, id="name"),
            pytest.param(follow("x", "v1"), follow("x", "web:v1", namespace="other"), C, id="namespace"),
            pytest.param(follow("x", "v1"), pin("x", digest("b")), B, id="kind"),
            pytest.param(pin("x", digest("a")), pin("x", digest("b")), B, id="image"),
            pytest.param(pin("x", digest("b")), follow("x", "v1"), A, id="from an image to a tag"),
            pytest.param(tag("x"), follow("x", "v1"), A, id="from a placeholder to a tag"),
            pytest.param(tag("x"), pin("x", digest("a")), A, id="from a placeholder to an image"),
            pytest.param(
                tag("x"),
                tag("x", "DockerImage", "q.io/a:1", reference=True),
                TagItem(NOW, "q.io/a:1", "", 1),
                id="from a placeholder to a name",
            ),
            pytest.param(
                tag("x", "DockerImage", "q.io/a:1"),
                tag("x", "DockerImage", "q.io/a:1", reference=True),
                TagItem(NOW, "q.io/a:1", "", 1),
                id="reference",
            ),
        ],
    )
    def test_a_change_of_the_source_is_seen_without_a_new_generation(
        self, before: SpecTag, after: SpecTag, expected: TagItem
    ) -> None:
        other = stream(heads={"v1": C}, namespace="other", shared_with=["shop"])
        start = stream(before, heads={"v1": A, "v2": B, "x": item("d", generation=7)}, generation=7)
        first = settle(start, other)
        if before.image():
            resolved = replace(first.history("x"), resolved=before.asks())  # as an import leaves it
            first = first.with_history(resolved)
        head = settle(replace(first, spec_tags=(after,)), other).history("x").head
        assert head
        assert (head.docker_image_reference, head.image) == (expected.docker_image_reference, expected.image)

    @pytest.mark.parametrize(
        "changed",
        [
            {"reference_policy": "Local"},
            {"scheduled": True},
            {"insecure": True},
            {"import_interval": "5m"},
            {"prefer_os": "linux"},
            {"generation": None},
            {"generation": 0},
        ],
        ids=lambda changed: next(iter(changed)),
    )
    @pytest.mark.parametrize(
        "spec_tag",
        [follow("x", "api:latest"), pin("x", "api@a"), tag("x", "DockerImage", "q.io/a:1", reference=True)],
        ids=["follows", "pinned", "reference"],
    )
    def test_what_says_nothing_of_the_source_changes_nothing(
        self, spec_tag: SpecTag, changed: Mapping[str, object]
    ) -> None:
        found = settle(stream(spec_tag), API)
        again = replace(found, spec_tags=(replace(spec_tag, **changed),))  # type: ignore[arg-type]
        assert settle(again, API) is again

    def test_a_change_of_the_import_mode_alone_moves_nothing(self) -> None:
        found = settle(stream(follow("x", "api:latest")), API)
        again = replace(found, spec_tags=(replace(follow("x", "api:latest"), import_mode="PreserveOriginal"),))
        assert settle(again, API).history("x").items == (A,)

    def test_the_history_of_a_tag_that_left_the_spec_stays_and_can_be_followed(self) -> None:
        found = settle(stream(follow("x", "api:latest"), follow("y", "x")), API)
        gone = replace(found, spec_tags=(follow("y", "x"),))
        assert settle(gone, API) is gone
        assert gone.history("x").items == (A,)

    def test_a_source_that_could_not_be_followed_gives_way_to_an_import(self) -> None:
        """The spec's generation was observed by the failure; that the name changed must still be seen."""
        found = settle(stream(follow("x", "nosuch:latest")))
        resolved = found.history("x").resolved
        assert resolved
        assert not resolved.asks_the_same(tag("x", "DockerImage", "r.io/web:1").asks())

    def test_the_history_is_kept_to_its_limit(self) -> None:
        found = stream(follow("x", "v1"), heads={"v1": C, "x": (B, A)})
        assert settle(found, limit=2).history("x").items == (C, B)

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)], ids=["source first", "source last"])
    def test_an_image_that_comes_in_the_same_look_can_be_pinned(self, order: tuple[int, ...]) -> None:
        spec_tags = [follow("b", "api:latest"), pin("p", "web@a"), follow("q", "p")]
        after = settle(stream(*(spec_tags[n] for n in order)), API)
        assert [after.history(name).head for name in "bpq"] == [A, replace(A, created=NOW), replace(A, created=NOW)]

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["source first", "source last"])
    def test_an_image_that_comes_in_the_same_look_can_make_a_prefix_ambiguous(self, order: tuple[int, ...]) -> None:
        spec_tags = [follow("b", "api:latest"), pin("p", "web@sha256")]
        after = settle(stream(*(spec_tags[n] for n in order), heads={"v": C}), API)
        assert complaint(after, "p").reason == Problem.INVALID


class TestCycles:
    @pytest.mark.parametrize(
        ("spec_tags", "said"),
        [
            pytest.param([follow("a", "a")], {"a": "a -> a"}, id="itself"),
            pytest.param([follow("a", "web:a", namespace="shop")], {"a": "a -> a"}, id="itself, wholly named"),
            pytest.param([follow("latest", "web:")], {"latest": "latest -> latest"}, id="itself, as no tag"),
            pytest.param([follow("a", "b"), follow("b", "a")], {"a": "a -> b -> a", "b": "b -> a -> b"}, id="two"),
            pytest.param(
                [follow("a", "b"), follow("b", "c"), follow("c", "a")],
                {"a": "a -> b -> c -> a", "b": "b -> c -> a -> b", "c": "c -> a -> b -> c"},
                id="three",
            ),
        ],
    )
    @pytest.mark.parametrize("with_images", [False, True], ids=["empty", "with images"])
    def test_each_tag_of_a_circle_names_it_and_stays(
        self, spec_tags: list[SpecTag], said: Mapping[str, str], with_images: bool
    ) -> None:
        heads = {spec_tag.name: item(letter) for spec_tag, letter in zip(spec_tags, "abc", strict=False)}
        found = stream(*spec_tags, heads=heads if with_images else {})
        after = settle(found)
        for name, circle in said.items():
            condition = complaint(after, name)
            assert (condition.reason, condition.message) == (
                "CircularReference",
                f"the tags follow each other: {circle}",
            )
            assert after.history(name).items == found.history(name).items

    def test_a_circle_may_be_long_and_is_named_in_part(self) -> None:
        names = [f"t{n}" for n in range(2000)]
        links = [follow(name, following) for name, following in zip(names, [*names[1:], names[0]], strict=True)]
        after = settle(stream(*links, heads={name: item("0123456789"[n % 10]) for n, name in enumerate(names)}))
        messages = {name: complaint(after, name).message for name in names}
        assert messages["t1995"].endswith(
            "t1995 -> t1996 -> t1997 -> t1998 -> t1999 -> t0 -> t1 -> t2 -> t3 -> t4 -> ... -> t1995"
        )
        assert max(map(len, messages.values())) < 200

    def test_a_circle_of_ten_is_named_in_full(self) -> None:
        names = "abcdefghij"
        links = [follow(name, following) for name, following in zip(names, names[1:] + names[0], strict=True)]
        assert complaint(settle(stream(*links)), "c").message.endswith(": " + " -> ".join("cdefghijabc"))

    def test_a_long_way_into_a_circle_is_no_part_of_it(self) -> None:
        names = [f"t{n}" for n in range(1000)]
        links = [follow(name, before) for before, name in pairwise(names)]
        after = settle(stream(follow("t0", "t1"), follow("t1", "t0"), *links[1:], heads={"t0": A, "t1": B}))
        assert after.history("t999").items == (B,)
        assert [name for name in names if after.history(name).conditions] == ["t0", "t1"]

    def test_what_leads_into_a_circle_is_no_part_of_it(self) -> None:
        after = settle(stream(follow("a", "b"), follow("b", "a"), follow("d", "a"), heads={"a": A}))
        assert after.history("d").items == (A,)
        assert after.history("d").conditions == ()

    def test_a_circle_that_is_mended_is_followed(self) -> None:
        found = settle(stream(follow("a", "b"), follow("b", "a"), heads={"b": B}))
        after = settle(replace(found, spec_tags=(follow("a", "b"), tag("b"))))
        assert after.history("a").items == (B,)
        assert after.history("a").conditions == after.history("b").conditions == ()

    def test_a_pinned_image_ends_every_circle(self) -> None:
        after = settle(stream(follow("a", "b"), pin("b", digest("a")), heads={"a": A}))
        assert after.history("b").items == (replace(A, created=NOW),)
        assert after.history("a").conditions == ()

    def test_a_circle_through_another_stream(self) -> None:
        api = stream(follow("b", "web:a"), name="api", heads={"b": B})
        web = stream(follow("a", "api:b"), heads={"a": A})
        assert complaint(settle(web, api), "a").message.endswith("a -> shop/api:b -> a")
        assert complaint(settle(api, web), "b").message.endswith("b -> shop/web:a -> b")
        assert settle(web, api).history("a").items == (A,)

    def test_a_circle_through_another_namespace_keeps_its_names(self) -> None:
        base = stream(
            follow("b", "hidden"),
            follow("hidden", "web:a", namespace="shop"),
            name="base",
            namespace="platform",
            shared_with=["shop"],
            heads={"b": B, "hidden": B},
        )
        web = stream(follow("a", "base:b", namespace="platform"), heads={"a": A}, shared_with=["platform"])
        message = complaint(settle(web, base), "a").message
        assert message.endswith("a -> a tag in platform -> a tag in platform -> a")
        assert "hidden" not in message

    def test_a_link_that_is_not_allowed_closes_no_circle(self) -> None:
        base = stream(
            follow("b", "web:a", namespace="shop"),
            name="base",
            namespace="platform",
            shared_with=["shop"],
            heads={"b": B},
        )
        web = stream(follow("a", "base:b", namespace="platform"))
        assert settle(web, base).history("a").items == (B,)
        assert complaint(settle(base, web), "b").reason == Problem.FORBIDDEN


def test_an_older_state_of_the_source_than_was_followed_says_nothing() -> None:
    """Two replicas, of which one is behind: it must not put back what the other has moved."""
    follower = stream(follow("x", "api:latest"))
    newer = replace(API.with_history(TagHistory("latest", (B, A))), resource_version="9")
    older = replace(API, resource_version="8")
    settled = settle(follower, newer)
    assert settled.history("x").items == (B,)
    assert settle(settled, older) is settled
    forced = replace(settled, spec_tags=(replace(follow("x", "api:latest"), generation=99),))
    assert settle(forced, older).history("x").items == (B,)
    newest = replace(API, resource_version="10")
    assert settle(settled, newest).history("x").items == (A, B)


class TestHolds:
    def test_a_held_follower_waits_and_its_own_followers_with_it(self) -> None:
        found = settle(stream(follow("x", "api:latest", hold=""), follow("y", "x"), heads={"x": C}), API)
        assert found.history("x").items == (C,)
        assert found.history("x").waiting == (A,)
        assert found.history("y").items == (C,)
        free = replace(found, spec_tags=(follow("x", "api:latest"), follow("y", "x")))
        after = settle(free, API)
        released = replace(A, created=NOW)  # it points there since now, whenever the image arrived
        assert after.history("x").items == (released, C)
        assert after.history("x").waiting == ()
        assert after.history("y").items == (released, C)

    @pytest.mark.parametrize(
        "spec_tag",
        [
            follow("x", "api:latest", hold=""),
            pin("x", "api@a", hold=""),
            tag("x", "DockerImage", "q.io/a:1", reference=True, hold=""),
        ],
        ids=["follows", "pinned", "reference"],
    )
    @pytest.mark.parametrize("heads", [{}, {"x": C}], ids=["points at nothing", "points somewhere"])
    def test_whatever_a_held_tag_asks_for_waits(self, spec_tag: SpecTag, heads: Mapping[str, TagItem]) -> None:
        found = stream(spec_tag, heads=heads)
        after = settle(found, API).history("x")
        assert after.head == found.history("x").head
        assert len(after.waiting) == 1

    @pytest.mark.parametrize("at", [B.image, B.docker_image_reference], ids=["image", "pull spec"])
    def test_a_tag_that_is_held_at_an_image_goes_back_to_it(self, at: str) -> None:
        found = stream(tag("x", hold=at), heads={"x": (replace(A, generation=3), B)}, generation=4)
        after = settle(found).history("x")
        assert after.head == replace(B, created=NOW, generation=3)
        assert after.items[1:] == found.history("x").items
        assert after.waiting == (replace(A, generation=3),)

    def test_a_release_brings_back_what_the_tag_was_taken_away_from(self) -> None:
        held = settle(stream(tag("x", hold=C.image), heads={"x": (A, B, C)}))
        after = settle(replace(held, spec_tags=(tag("x"),))).history("x")
        assert after.head == replace(A, created=NOW)
        assert after.waiting == ()

    def test_a_release_brings_what_came_meanwhile(self) -> None:
        held = settle(stream(follow("x", "api:latest", hold=C.image), heads={"x": (C, B)}), API)
        assert held.history("x").head == C
        moved = API.with_history(TagHistory("latest", (item("d"), A)))
        held = settle(held, moved)
        assert [i.image for i in held.history("x").waiting] == [digest("d"), digest("a")]
        after = settle(replace(held, spec_tags=(follow("x", "api:latest"),)), moved)
        assert [i.image for i in after.history("x").items] == [digest(c) for c in "dacb"]

    def test_a_held_tag_can_be_held_elsewhere_and_loses_nothing(self) -> None:
        start = settle(stream(tag("x", hold=B.image), heads={"x": (A, B, C)}))
        after = settle(replace(start, spec_tags=(tag("x", hold=C.image),))).history("x")
        assert after.head
        assert after.head.image == C.image
        assert after.waiting == (A,)

    def test_a_tag_may_be_held_at_what_waits(self) -> None:
        waiting = TagHistory("x", (C,), waiting=(B, A))
        after = settle(stream(tag("x", hold=A.image), tags=[waiting])).history("x")
        assert after.head == replace(A, created=NOW)
        assert after.waiting == (B, A)

    def test_a_tag_that_never_moved_may_be_held_at_what_waits(self) -> None:
        waiting = TagHistory("x", waiting=(B, A))
        after = settle(stream(tag("x", hold=A.image), tags=[waiting])).history("x")
        assert after.head == replace(A, created=NOW)
        assert after.waiting == (B, A)

    @pytest.mark.parametrize(
        "known",
        [TagHistory("x", (A,)), TagHistory("x", waiting=(A,))],
        ids=["points somewhere", "never moved"],
    )
    def test_a_hold_that_cannot_be_is_said(self, known: TagHistory) -> None:
        after = settle(stream(tag("x", hold=B.image), tags=[known])).history("x")
        condition = after.condition(HELD)
        assert condition
        assert (condition.status, condition.reason) == ("False", Problem.NOT_FOUND)
        assert B.image in condition.message
        assert (after.items, after.waiting) == (known.items, known.waiting)
        assert after.condition(IMPORT_SUCCESS) is None

    def test_a_hold_of_a_tag_that_has_nothing_yet_waits_in_silence(self) -> None:
        found = stream(tag("x", hold=B.image))
        assert settle(found) is found

    @pytest.mark.parametrize(
        "spec_tags",
        [(tag("x", hold=A.image),), (tag("x", hold=""),), (tag("x"),), ()],
        ids=["held where it is, by name", "held where it is", "released", "no spec tag"],
    )
    def test_a_hold_that_could_not_be_is_forgotten(self, spec_tags: tuple[SpecTag, ...]) -> None:
        found = settle(stream(tag("x", hold=B.image), heads={"x": A}))
        assert settle(replace(found, spec_tags=spec_tags)).history("x").conditions == ()

    def test_a_hold_that_cannot_be_keeps_no_import_from_being_asked_for(self) -> None:
        imported = tag("x", "DockerImage", "r.io/web:1").asks()
        known = TagHistory("x", (A,), resolved=replace(imported, followed=A.image))
        spec_tag = tag("x", "DockerImage", "r.io/web:2", generation=2, hold=B.image)
        after = settle(stream(spec_tag, tags=[known], generation=2)).history("x")
        assert after.condition(HELD)
        assert after.observed_generation == 1
        assert after.resolved == known.resolved

    def test_a_rollback_keeps_no_import_from_being_asked_for(self) -> None:
        spec_tag = tag("x", "DockerImage", "r.io/web:1", generation=2, hold=B.image)
        known = TagHistory("x", (A, B), resolved=spec_tag.asks())
        assert settle(stream(spec_tag, tags=[known], generation=2)).history("x").observed_generation == 1

    @pytest.mark.parametrize("hold", [None, B.image], ids=["release", "rollback"])
    def test_says_nothing_of_imports(self, hold: str | None) -> None:
        failed = Condition(IMPORT_SUCCESS, "False", NOW, Problem.INTERNAL_ERROR, "the registry is away", 1)
        known = TagHistory("x", (A,), (failed,), waiting=(B,))
        after = settle(stream(tag("x", "DockerImage", "r.io/web:1", hold=hold), tags=[known])).history("x")
        assert after.head
        assert after.head.image == B.image
        assert after.conditions == (failed,)


# What holds of every stream

NAMES = "abcdef"


@st.composite
def spec_tags_of(draw: st.DrawFn, name: str) -> SpecTag:
    sources = [
        *(("ImageStreamTag", source) for source in (*NAMES, "web:a", "web:d", "api:v", "api:nosuch")),
        *(("ImageStreamImage", source) for source in ("a", "c", "sha256:", "web@b", "api@d", "api@a")),
        ("DockerImage", "q.io/a:1"),
        ("DockerImage", "NO NAME"),
        ("", ""),
    ]
    kind, source = draw(st.sampled_from(sources))
    hold = draw(st.sampled_from([None, None, "", digest("a"), digest("d")]))
    reference = draw(st.booleans())
    return tag(name, kind, source, reference=reference, generation=draw(st.sampled_from([None, 0, 1, 3])), hold=hold)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    names = draw(st.permutations(NAMES))[: draw(st.integers(0, len(NAMES)))]
    spec_tags = [draw(spec_tags_of(name)) for name in names]
    items = st.lists(st.sampled_from("abc").map(item), max_size=3).map(tuple)
    histories = []
    for name in draw(st.sets(st.sampled_from(NAMES))):
        spec_tag = next((s for s in spec_tags if s.name == name), None)
        waiting = draw(items) if spec_tag and spec_tag.hold is not None else ()
        resolved = spec_tag.asks() if spec_tag and draw(st.booleans()) else None
        histories.append(TagHistory(name, draw(items), waiting=waiting, resolved=resolved))
    return stream(*spec_tags, tags=histories, generation=draw(st.sampled_from([1, 4])))


OTHERS = {API.key: stream(heads={"v": item("d"), "w": A}, name="api")}
MODEST = settings(max_examples=60, deadline=None)


@MODEST
@given(streams())
def test_settling_what_was_settled_changes_nothing(found: Stream) -> None:
    once = tracking.settle(found, OTHERS.get, now=NOW, limit=MANY)
    assert tracking.settle(once, OTHERS.get, now=LATER, limit=MANY) is once


@MODEST
@given(streams(), st.integers(1, 4))
def test_settling_comes_to_rest_though_the_limit_takes_images_away(found: Stream, limit: int) -> None:
    for _ in range(len(NAMES)):
        found = tracking.settle(found, OTHERS.get, now=NOW, limit=limit)
        assert all(len(known.items) <= max(limit, 3) for known in found.tags)
    assert tracking.settle(found, OTHERS.get, now=LATER, limit=limit) is found


@MODEST
@given(streams())
def test_settling_loses_no_image(found: Stream) -> None:
    after = tracking.settle(found, OTHERS.get, now=NOW, limit=MANY)
    for known in found.tags:
        now = after.history(known.tag)
        assert {i.image for i in (*known.items, *known.waiting)} <= {i.image for i in (*now.items, *now.waiting)}


@MODEST
@given(streams(), st.permutations(range(len(NAMES))))
def test_the_order_of_the_spec_tags_does_not_matter(found: Stream, order: Sequence[int]) -> None:
    other = replace(found, spec_tags=tuple(found.spec_tags[n] for n in order if n < len(found.spec_tags)))
    after, again = (tracking.settle(each, OTHERS.get, now=NOW, limit=MANY) for each in (found, other))
    assert after.tags == again.tags


@MODEST
@given(streams())
def test_a_held_tag_stays_or_goes_where_it_is_held(found: Stream) -> None:
    after = tracking.settle(found, OTHERS.get, now=NOW, limit=MANY)
    for spec_tag in found.spec_tags:
        if spec_tag.hold is not None:
            was, now = (each.history(spec_tag.name).head for each in (found, after))
            images = {i.image if i else None for i in (was, now)}
            assert len(images) == 1 or (now is not None and now.image == spec_tag.hold)


@MODEST
@given(streams())
def test_every_tag_that_follows_is_where_its_source_is_or_says_why_not(found: Stream) -> None:
    start = replace(found, tags=())
    after = tracking.settle(start, OTHERS.get, now=NOW, limit=MANY)
    for spec_tag in after.spec_tags:
        known = after.history(spec_tag.name)
        if spec_tag.from_kind != "ImageStreamTag" or known.conditions:
            continue
        key, _, name = spec_tag.from_name.rpartition(":")
        source = OTHERS[API.key] if key == "api" else after
        head = source.history(name).head
        assert head
        assert known.newest
        assert known.newest.image == head.image
