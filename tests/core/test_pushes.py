"""What a push does to a stream, a row per situation; then that its order of arrival does not matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from listener.core import events, imports, pushes, references
from listener.core.conditions import HELD, IMPORT_SUCCESS
from listener.core.history import Condition, Resolution, TagHistory, TagItem
from listener.core.pushes import Effect, Push
from listener.core.streams import Source, SpecTag, Stream, StreamKey

NOW = "2026-06-01T12:00:00Z"
NAME = "r.io/shop/web"
FAILED = Condition(IMPORT_SUCCESS, "False", NOW, "NotFound", "no such image", 2)
FOLLOWING = SpecTag("latest", "DockerImage", "", f"{NAME}:latest", False, 2)


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def at(second: int | None) -> str:
    return f"2026-06-01T11:00:{second:02}.000000Z" if second is not None else ""


def push(
    letter: str, second: int | None = None, *, name: str = NAME, is_there: bool = True, is_sure: bool = False
) -> Push:
    source = Source.of(references.parse(f"{name}:latest"))
    return Push("latest", source, name, digest(letter), digest(letter), NOW, at(second), is_there, is_sure)


def item(letter: str, second: int | None = None, *, generation: int = 2, name: str = NAME) -> TagItem:
    return TagItem("2026-01-01T00:00:00Z", f"{name}@{digest(letter)}", digest(letter), generation, at(second))


def stream(
    *items: TagItem,
    waiting: Sequence[TagItem] = (),
    spec_tag: SpecTag | None = None,
    conditions: Sequence[Condition] = (),
    resolved: Resolution | None = None,
    generation: int = 2,
) -> Stream:
    known = TagHistory("latest", items, tuple(conditions), tuple(waiting), resolved)
    spec_tags = (spec_tag,) if spec_tag else ()
    return Stream(
        StreamKey("shop", "web"), "u", "1", generation, NAME, "", spec_tags, () if known.is_empty else (known,)
    )


def letters(items: Sequence[TagItem]) -> str:
    return "".join(each.image[-1] for each in items)


HELD_TAG = SpecTag("latest", hold="")


@pytest.mark.parametrize(
    ("found", "pushed", "effect", "items", "waiting"),
    [
        pytest.param(stream(), push("a", 5), Effect.MOVED, "a", "", id="the first"),
        pytest.param(stream(), push("a"), Effect.MOVED, "a", "", id="the first, without a time"),
        pytest.param(stream(item("a", 5)), push("a", 5), Effect.UNCHANGED, "a", "", id="the same hook again"),
        pytest.param(stream(item("a")), push("a"), Effect.UNCHANGED, "a", "", id="the same hook again, no time"),
        pytest.param(stream(item("a")), push("a", 5), Effect.UNCHANGED, "a", "", id="a poll was faster"),
        pytest.param(stream(item("a", 5)), push("a", 3), Effect.UNCHANGED, "a", "", id="where it is, pushed before"),
        pytest.param(stream(item("a", 5)), push("b", 6), Effect.MOVED, "ba", "", id="a newer one"),
        pytest.param(stream(item("a", 5)), push("b", 4), Effect.LATE, "ab", "", id="an older one"),
        pytest.param(
            stream(item("a", 5), item("b", 4)), push("b", 4), Effect.UNCHANGED, "ab", "", id="an old hook again"
        ),
        pytest.param(stream(item("a", 5), item("b", 4)), push("b", 6), Effect.MOVED, "bab", "", id="pushed back"),
        pytest.param(stream(item("a"), item("b")), push("b"), Effect.UNSURE, "ab", "", id="was there, no times"),
        pytest.param(
            stream(item("a"), item("b")), push("b", is_sure=True), Effect.MOVED, "bab", "", id="was there, sure"
        ),
        pytest.param(stream(item("a")), push("a", is_sure=True), Effect.UNCHANGED, "a", "", id="is there, sure"),
        pytest.param(stream(item("a", 5)), push("b", 4, is_sure=True), Effect.MOVED, "ba", "", id="older, but sure"),
        pytest.param(stream(spec_tag=HELD_TAG), push("a", 5), Effect.WAITS, "", "a", id="held, the first"),
        pytest.param(stream(item("a", 5), spec_tag=HELD_TAG), push("b", 6), Effect.WAITS, "a", "b", id="held"),
        pytest.param(
            stream(item("a", 5), spec_tag=HELD_TAG), push("a", 6), Effect.UNCHANGED, "a", "", id="held, where it is"
        ),
        pytest.param(
            stream(item("a", 5), waiting=[item("b", 6)], spec_tag=HELD_TAG),
            push("b", 6),
            Effect.UNCHANGED,
            "a",
            "b",
            id="held, it waits already",
        ),
        pytest.param(
            stream(item("a", 5), waiting=[item("b", 6)], spec_tag=HELD_TAG),
            push("a", 7),
            Effect.WAITS,
            "a",
            "ab",
            id="held, pushed back to where it is",
        ),
        pytest.param(
            stream(item("a", 3), waiting=[item("b", 6)], spec_tag=HELD_TAG),
            push("c", 5),
            Effect.LATE,
            "a",
            "bc",
            id="held, and late",
        ),
        pytest.param(
            stream(waiting=[item("b", 6)], spec_tag=HELD_TAG),
            push("c", 5),
            Effect.LATE,
            "",
            "bc",
            id="held, never moved",
        ),
        pytest.param(
            stream(item("a"), waiting=[item("b")], spec_tag=HELD_TAG),
            push("a"),
            Effect.UNSURE,
            "a",
            "b",
            id="held, was there, no times",
        ),
    ],
)
def test_what_becomes_of_a_push(found: Stream, pushed: Push, effect: Effect, items: str, waiting: str) -> None:
    after, became = pushes.take(found, pushed, limit=10)
    known = after.history("latest")
    assert (became, letters(known.items), letters(known.waiting)) == (effect, items, waiting)
    assert pushes.take(after, pushed, limit=10)[0] is after
    if effect is Effect.UNSURE:
        assert after is found


class TestWhatMustBeSeenFirst:
    """Whatever a push would bring into a history, or make a tag point at."""

    @pytest.mark.parametrize(
        ("found", "pushed"),
        [
            pytest.param(stream(), push("a"), id="the first"),
            pytest.param(stream(item("a", 5)), push("b", 6), id="a newer one"),
            pytest.param(stream(item("a", 5)), push("b", 4), id="a late one"),
            pytest.param(stream(item("a", 5), item("b", 4)), push("b", 6), id="pushed back"),
            pytest.param(stream(item("a", 5)), push("a", 6, name="mirror.io/web"), id="there, in another repository"),
            pytest.param(stream(item("a", 5), spec_tag=HELD_TAG), push("b", 6), id="held"),
            pytest.param(
                stream(item("a", 5), waiting=[item("b", 6)], spec_tag=HELD_TAG), push("a", 7), id="held, pushed back"
            ),
        ],
    )
    def test_moves_nothing_before(self, found: Stream, pushed: Push) -> None:
        assert pushes.take(found, replace(pushed, is_there=False), limit=10) == (found, Effect.UNSEEN)
        assert pushes.take(found, pushed, limit=10)[1] is not Effect.UNSEEN

    @pytest.mark.parametrize(
        ("found", "pushed"),
        [
            pytest.param(stream(item("a", 5)), push("a", 5), id="the same hook again"),
            pytest.param(stream(item("a", 5)), push("a", 6), id="pushed again"),
            pytest.param(stream(item("a", 5), item("b", 4)), push("b", 4), id="an old hook again"),
            pytest.param(stream(item("a", 5, generation=1)), push("a", 5), id="another generation"),
        ],
    )
    def test_what_leads_nowhere_else_need_not_be(self, found: Stream, pushed: Push) -> None:
        assert pushes.take(found, replace(pushed, is_there=False), limit=10)[1] is Effect.UNCHANGED


@pytest.mark.parametrize(
    ("stood", "effect"),
    [
        pytest.param(item("a").place, Effect.MOVED, id="where it was asked for"),
        pytest.param(item("b").place, Effect.UNSURE, id="moved meanwhile"),
        pytest.param(("", ""), Effect.UNSURE, id="had no history then"),
        pytest.param(None, Effect.MOVED, id="wherever"),
    ],
)
def test_an_answer_is_of_the_moment_when_it_was_asked_for(stood: pushes.Place | None, effect: Effect) -> None:
    sure = replace(push("c", is_sure=True), stood=stood)
    assert pushes.take(stream(item("a"), item("b")), sure, limit=10)[1] is effect
    assert pushes.take(stream(item("c")), sure, limit=10)[1] is Effect.UNCHANGED


@pytest.mark.parametrize(
    ("imported", "effect"),
    [
        pytest.param("2026-06-01T10:54:00Z", Effect.MOVED, id="long before the push"),
        pytest.param("2026-06-01T10:58:00Z", Effect.UNSURE, id="before it, by clocks that may be apart"),
        pytest.param("2026-06-01T11:30:00Z", Effect.UNSURE, id="after it"),
        pytest.param("yesterday", Effect.MOVED, id="no time"),
    ],
)
def test_a_push_may_be_older_than_what_an_import_found(imported: str, effect: Effect) -> None:
    found = stream(replace(item("a"), created=imported), item("b", 1))
    assert pushes.take(found, push("c", 5), limit=10)[1] is effect


@pytest.mark.parametrize(
    ("pushed", "age"),
    [
        pytest.param(push("a", 5), timedelta(minutes=59, seconds=55), id="told"),
        pytest.param(push("a"), None, id="not told"),
    ],
)
def test_how_long_ago_it_was_pushed(pushed: Push, age: timedelta | None) -> None:
    assert pushes.age(pushed) == age


def test_an_item_is_named_as_the_stream_s_owner_writes_it_and_takes_the_generation_of_the_stream() -> None:
    after, _ = pushes.take(stream(generation=7), push("a", 5, name="mirror.io/web"), limit=10)
    assert after.history("latest").items == (TagItem(NOW, f"mirror.io/web@{digest('a')}", digest("a"), 7, at(5)),)


def test_other_tags_are_left_alone() -> None:
    other = TagHistory("other", (item("a"),))
    after, _ = pushes.take(stream().with_history(other), push("b"), limit=10)
    assert [known.tag for known in after.tags] == ["latest", "other"]
    assert after.history("other") is other


@pytest.mark.parametrize("second", [None, 3], ids=["moves", "late"])
def test_history_is_kept_to_its_limit(second: int | None) -> None:
    found = stream(item("a", 5), item("b", 2))
    after, _ = pushes.take(found, push("c", second), limit=2)
    assert letters(after.history("latest").items) == ("ca" if second is None else "ac")


def test_a_late_push_that_the_limit_takes_away_changes_nothing() -> None:
    found = stream(item("a", 5), item("b", 4))
    assert pushes.take(found, push("c", 3), limit=2) == (found, Effect.UNCHANGED)


class TestAsGoodAsAnImport:
    @pytest.mark.parametrize("held", [False, True], ids=["free", "held"])
    def test_a_push_to_what_the_tag_follows(self, held: bool) -> None:
        spec_tag = replace(FOLLOWING, hold="" if held else None)
        found = stream(item("a", 5, generation=1), spec_tag=spec_tag, conditions=[FAILED, replace(FAILED, type=HELD)])
        after, _ = pushes.take(found, replace(push("b", 6), followed=digest("f")), limit=10)
        known = after.history("latest")
        assert known.resolved == replace(spec_tag.asks(), followed=digest("f"))
        assert known.condition(IMPORT_SUCCESS) is None
        assert not imports.wants_import(spec_tag, known)

    def test_a_late_one_is_not(self) -> None:
        found = stream(item("a", 5), spec_tag=FOLLOWING, conditions=[FAILED])
        after, _ = pushes.take(found, push("b", 4), limit=10)
        assert after.history("latest").resolved is None
        assert after.history("latest").conditions == (FAILED,)

    @pytest.mark.parametrize(
        "spec_tag",
        [
            pytest.param(replace(FOLLOWING, from_name="quay.io/other:1"), id="a tag that comes from elsewhere"),
            pytest.param(replace(FOLLOWING, from_name=f"{NAME}:v1"), id="a tag that follows another one by now"),
            pytest.param(replace(FOLLOWING, from_name=f"{NAME}@{digest('a')}"), id="a tag that is pinned"),
            pytest.param(
                replace(FOLLOWING, from_kind="ImageStreamTag", from_name="api:latest"), id="a tag of a stream"
            ),
            pytest.param(SpecTag("latest"), id="a placeholder"),
            pytest.param(None, id="no spec tag"),
        ],
    )
    def test_a_push_to_anything_else_is_not(self, spec_tag: SpecTag | None) -> None:
        """The integrated registry's push moves a tag whatever its spec says; that has yet to be imported."""
        before = Resolution("DockerImage", "", "quay.io/before:1", False, "Legacy", digest("e"))
        after, effect = pushes.take(stream(item("a"), spec_tag=spec_tag, resolved=before), push("b"), limit=10)
        assert effect is Effect.MOVED
        assert after.history("latest").resolved == before

    @pytest.mark.parametrize("source", [f"{NAME}:latest", NAME], ids=["tag", "no tag"])
    def test_names_are_compared_as_they_are_meant(self, source: str) -> None:
        after, _ = pushes.take(stream(spec_tag=replace(FOLLOWING, from_name=source)), push("b"), limit=10)
        assert after.history("latest").resolved is not None


@pytest.mark.parametrize(
    ("found", "pushed", "is_head"),
    [
        pytest.param(stream(item("a", 5)), push("a", 5), True, id="the same hook again"),
        pytest.param(stream(item("a", 5), spec_tag=HELD_TAG), push("a", 5), True, id="held where it is"),
        pytest.param(stream(), push("a", 5), False, id="nothing yet"),
        pytest.param(stream(item("a", 5)), push("a", 6), False, id="pushed again"),
        pytest.param(stream(item("a")), push("a"), False, id="nobody knows when"),
        pytest.param(stream(item("a", 5)), push("b", 5), False, id="another image"),
        pytest.param(stream(item("a", 5)), push("a", 5, name="r.io/other"), False, id="another repository"),
        pytest.param(stream(item("a", 5), generation=3), push("a", 5), False, id="asked for again since"),
        pytest.param(stream(item("b", 6), item("a", 5)), push("a", 5), False, id="behind the head"),
        pytest.param(stream(item("a", 5), waiting=[item("b", 6)]), push("a", 5), False, id="another waits"),
    ],
)
def test_what_the_head_alone_tells_of_a_push_the_rules_say_too(found: Stream, pushed: Push, is_head: bool) -> None:
    place = f"{pushed.name}@{pushed.digest}", pushed.digest
    assert pushes.is_head(found, pushed.tag, place, events.timestamp(pushed.pushed)) is is_head
    if is_head:
        assert pushes.is_recorded(found, pushed)
        after, effect = pushes.take(found, pushed, limit=10)
        assert after is found
        assert effect is Effect.UNCHANGED


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        pytest.param(None, "", id="none"),
        pytest.param(datetime(2026, 6, 1, 12, tzinfo=UTC), "2026-06-01T12:00:00.000000Z", id="whole seconds"),
        pytest.param(datetime(2026, 6, 1, 12, 0, 0, 7, tzinfo=UTC), "2026-06-01T12:00:00.000007Z", id="microseconds"),
        pytest.param(datetime(999, 6, 1, tzinfo=UTC), "0999-06-01T00:00:00.000000Z", id="a clock that was never set"),
    ],
)
def test_the_time_of_a_push_as_text(moment: datetime | None, text: str) -> None:
    assert pushes.time_text(moment) == text


@settings(max_examples=100, deadline=None)
@given(st.datetimes(), st.datetimes())
def test_texts_compare_as_their_times(a: datetime, b: datetime) -> None:
    a, b = a.replace(tzinfo=UTC), b.replace(tzinfo=UTC)
    assert (pushes.time_text(a) < pushes.time_text(b)) is (a < b)


# Order

STORIES = ["ab", "abc", "aba", "abab", "aab", "abca", "abba"]


@pytest.mark.parametrize("spec_tag", [None, HELD_TAG], ids=["free", "held"])
@pytest.mark.parametrize("limit", [1, 2, 10])
@pytest.mark.parametrize("story", STORIES)
def test_hooks_may_arrive_in_any_order(story: str, limit: int, spec_tag: SpecTag | None) -> None:
    pushed = [push(letter, n) for n, letter in enumerate(story)]
    for order in permutations(pushed):
        found = stream(spec_tag=spec_tag)
        for each in order:
            found, _ = pushes.take(found, each, limit=limit)
        newest = found.history("latest").newest
        assert newest
        assert (newest.image, newest.pushed) == (pushed[-1].digest, pushed[-1].pushed)
        items = found.history("latest").waiting if spec_tag else found.history("latest").items
        if limit > len(story):
            assert {each.image for each in items} == {each.digest for each in pushed}
        assert all(a.image != b.image for a, b in pairwise(items))


@settings(max_examples=100, deadline=None)
@given(st.data(), st.lists(st.sampled_from("abcd"), min_size=1, max_size=6), st.integers(1, 6))
def test_interleavings_and_repeats_end_at_the_last_push(data: st.DataObject, story: list[str], limit: int) -> None:
    pushed = [push(letter, n) for n, letter in enumerate(story)]
    arriving = data.draw(st.permutations([*pushed, *data.draw(st.lists(st.sampled_from(pushed), max_size=3))]))
    found = stream()
    for each in arriving:
        before = found
        generation = data.draw(st.sampled_from([before.generation, before.generation + 1]))
        found, effect = pushes.take(replace(before, generation=generation), each, limit=limit)
        assert effect is not Effect.UNSURE
    head = found.history("latest").head
    assert head
    assert (head.image, head.pushed) == (pushed[-1].digest, pushed[-1].pushed)
    assert len(found.history("latest").items) <= limit


def test_what_is_held_is_recorded_in_the_order_it_was_pushed() -> None:
    found = stream(item("e", 0), spec_tag=HELD_TAG)
    for each in (push("c", 3), push("a", 1), push("b", 2)):
        found, _ = pushes.take(found, each, limit=10)
    assert letters(found.history("latest").items) == "e"
    assert letters(found.history("latest").waiting) == "cba"


def test_a_late_hook_does_not_undo_what_an_import_found() -> None:
    moment = datetime(2026, 6, 1, 11, tzinfo=UTC)
    found = stream(item("b"), item("a", 2))
    late = replace(push("c"), pushed=pushes.time_text(moment + timedelta(seconds=1)))
    after, effect = pushes.take(found, late, limit=10)
    assert effect is Effect.LATE
    assert letters(after.history("latest").items) == "bac"
