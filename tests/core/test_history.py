"""The rules of tag history, a row per situation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from listener.core import history
from listener.core.history import Condition, Resolution, Standing, TagChange, TagHistory, TagItem

FAILED = Condition("ImportSuccess", "False", "2026-01-01T00:00:00Z", "NotFound", "no such image", 1)


def item(name: str, *, created: str = "2026-01-02T00:00:00Z", image: str | None = None, generation: int = 1) -> TagItem:
    digest = f"sha256:{name * 64}" if image is None else image
    return TagItem(created, f"r.io/shop/web@sha256:{name * 64}", digest, generation)


A = item("a", created="2026-01-01T00:00:00Z")
B = item("b")
C = item("c")
BEFORE = TagHistory("latest", (A, C), (FAILED,))
MOVED_REFERENCE = replace(A, docker_image_reference="mirror.io/web:1")
MOVED_IMAGE = replace(A, image="sha256:" + "d" * 64)


@pytest.mark.parametrize(
    ("arriving", "items", "moved"),
    [
        pytest.param(replace(A, generation=2), (replace(A, generation=2), C), False, id="only the generation differs"),
        pytest.param(MOVED_IMAGE, (MOVED_IMAGE, C), True, id="same reference, other image"),
        pytest.param(
            replace(MOVED_IMAGE, generation=7),
            (replace(MOVED_IMAGE, generation=7), C),
            True,
            id="same reference, other image and generation",
        ),
        pytest.param(MOVED_REFERENCE, (MOVED_REFERENCE, C), True, id="other reference, same image"),
        pytest.param(
            replace(MOVED_REFERENCE, generation=7),
            (replace(MOVED_REFERENCE, generation=7), C),
            True,
            id="other reference and generation, same image",
        ),
        pytest.param(B, (B, A, C), True, id="other reference and image"),
        pytest.param(replace(B, generation=7), (replace(B, generation=7), A, C), True, id="all differ"),
        pytest.param(C, (C, A, C), True, id="an older item comes back"),
    ],
)
def test_what_differs_from_the_head(arriving: TagItem, items: tuple[TagItem, ...], moved: bool) -> None:
    after, change = history.record(BEFORE, arriving, limit=10)
    assert after == TagHistory("latest", items, ())
    assert change == (TagChange("latest", A, items[0]) if moved else None)


def test_an_amended_head_keeps_the_time_it_was_created() -> None:
    after, _ = history.record(BEFORE, replace(MOVED_IMAGE, created="2030-01-01T00:00:00Z"), limit=10)
    assert after.items == (MOVED_IMAGE, C)


@pytest.mark.parametrize("created", [A.created, "2030-01-01T00:00:00Z"], ids=["same time", "later time"])
def test_nothing_new_gives_the_same_object_with_its_conditions(created: str) -> None:
    after, change = history.record(BEFORE, replace(A, created=created), limit=1)
    assert after is BEFORE
    assert change is None


def test_the_first_item_drops_the_conditions() -> None:
    after, change = history.record(TagHistory("v1", (), (FAILED,)), A, limit=10)
    assert after == TagHistory("v1", (A,), ())
    assert change == TagChange("v1", None, A)


def test_back_and_forth_makes_three_items() -> None:
    state = TagHistory("latest")
    for arriving in (A, B, A):
        state, change = history.record(state, arriving, limit=10)
        assert change is not None
        assert change.after == arriving
    assert state.items == (A, B, A)


def test_two_reference_items_share_the_empty_image_and_collapse() -> None:
    first = item("a", image="")
    second = item("b", image="", created="2026-01-03T00:00:00Z")
    after, change = history.record(TagHistory("latest", (first,)), second, limit=10)
    assert after.items == (replace(second, created=first.created),)
    assert change == TagChange("latest", first, after.items[0])


@pytest.mark.parametrize(
    ("limit", "kept"), [pytest.param(1, (B,), id="one"), (2, (B, A)), (3, (B, A, C)), (4, (B, A, C))]
)
def test_the_oldest_items_go_first(limit: int, kept: tuple[TagItem, ...]) -> None:
    after, change = history.record(BEFORE, B, limit=limit)
    assert after.items == kept
    assert change == TagChange("latest", A, B)


def test_a_lowered_limit_holds_with_the_next_change_of_any_kind() -> None:
    after, _ = history.record(BEFORE, replace(A, generation=2), limit=1)
    assert after.items == (replace(A, generation=2),)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_our_bug(limit: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        history.record(BEFORE, A, limit=limit)


def test_the_argument_is_left_alone() -> None:
    history.record(BEFORE, B, limit=1)
    assert (BEFORE.items, BEFORE.conditions) == ((A, C), (FAILED,))


def pushed(name: str, time: str = "", *, generation: int = 1) -> TagItem:
    """An image that was pushed in that second; "" where nobody said when."""
    return replace(item(name, generation=generation), pushed=f"2026-01-01T00:00:{time}.000000Z" if time else "")


class TestWhenItWasPushed:
    """The time of a push goes with its image, and only grows: later pushes of the same image count too."""

    @pytest.mark.parametrize("generation", [1, 2], ids=["same generation", "other generation"])
    @pytest.mark.parametrize(
        ("known", "arriving", "expected"),
        [
            pytest.param("", "05", "05", id="an import whose push is told later"),
            pytest.param("05", "07", "07", id="pushed again"),
            pytest.param("05", "03", "05", id="an older push of it is told later"),
            pytest.param("05", "", "05", id="imported after its push"),
        ],
    )
    def test_of_an_image_that_is_there(self, known: str, arriving: str, expected: str, generation: int) -> None:
        start = TagHistory("latest", (pushed("a", known), C))
        after, change = history.record(start, pushed("a", arriving, generation=generation), limit=10)
        assert after.items == (pushed("a", expected, generation=generation), C)
        assert change is None

    def test_a_push_that_is_told_twice_changes_nothing(self) -> None:
        start = TagHistory("latest", (pushed("a", "05"),), (FAILED,))
        assert history.record(start, pushed("a", "05"), limit=10) == (start, None)

    def test_another_image_under_the_same_reference_was_not_pushed_then(self) -> None:
        other = replace(MOVED_IMAGE, pushed="")
        after, _ = history.record(TagHistory("latest", (pushed("a", "05"),)), other, limit=10)
        assert after.head
        assert after.head.pushed == ""


class TestStanding:
    @pytest.mark.parametrize(
        ("known", "arriving", "expected"),
        [
            pytest.param(TagHistory("t"), pushed("a", "05"), Standing.NEWER, id="the first"),
            pytest.param(TagHistory("t", (pushed("a", "05"),)), pushed("a", "05"), Standing.CURRENT, id="told twice"),
            pytest.param(
                TagHistory("t", (pushed("a", "05"),)), pushed("a", "03"), Standing.CURRENT, id="there, told late"
            ),
            pytest.param(
                TagHistory("t", (pushed("a", "05"),)), pushed("b", "06"), Standing.NEWER, id="pushed after it"
            ),
            pytest.param(
                TagHistory("t", (pushed("a", "05"),)), pushed("b", "04"), Standing.OLDER, id="pushed before it"
            ),
            pytest.param(
                TagHistory("t", (pushed("a", "05"), pushed("b", "04"))),
                pushed("b", "06"),
                Standing.NEWER,
                id="pushed back to an older image",
            ),
            pytest.param(
                TagHistory("t", (pushed("a", "05"), pushed("b", "04"))),
                pushed("b", "04"),
                Standing.OLDER,
                id="told twice, long after",
            ),
            pytest.param(TagHistory("t", (pushed("a", "05"),)), pushed("b"), Standing.NEWER, id="nobody says when"),
            pytest.param(TagHistory("t", (pushed("a"),)), pushed("b", "04"), Standing.NEWER, id="after an import"),
            pytest.param(
                TagHistory("t", (pushed("a", "05"),)), pushed("b", "05"), Standing.NEWER, id="in the same moment"
            ),
            pytest.param(
                TagHistory("t", (pushed("a"), pushed("b"))),
                pushed("b"),
                Standing.UNSURE,
                id="was there, no times at all",
            ),
            pytest.param(
                TagHistory("t", (pushed("a"), pushed("b", "04"))),
                pushed("b", "06"),
                Standing.UNSURE,
                id="was there, and an import came between",
            ),
            pytest.param(
                TagHistory("t", (pushed("a"), pushed("b", "04"))),
                pushed("b", "04"),
                Standing.OLDER,
                id="the same news again, and an import came between",
            ),
            pytest.param(
                TagHistory("t", (pushed("a", "05"), pushed("b", "04"))),
                pushed("b"),
                Standing.UNSURE,
                id="was there, no time now",
            ),
            pytest.param(
                TagHistory("t", (pushed("a", "05"), pushed("b", "05"))),
                pushed("b", "05"),
                Standing.UNSURE,
                id="was there, in the same moment",
            ),
            pytest.param(
                TagHistory("t", (pushed("a"), pushed("b", "05"))),
                pushed("c", "04"),
                Standing.OLDER,
                id="pushed before what was there before an import",
            ),
            pytest.param(
                TagHistory("t", (pushed("a", "05"),), waiting=(pushed("b", "07"),)),
                pushed("b", "07"),
                Standing.CURRENT,
                id="it waits already",
            ),
            pytest.param(
                TagHistory("t", (pushed("a", "05"),), waiting=(pushed("b", "07"),)),
                pushed("c", "06"),
                Standing.OLDER,
                id="pushed before what waits",
            ),
            pytest.param(
                TagHistory("t", (pushed("a"),), waiting=(pushed("b"),)),
                pushed("a"),
                Standing.UNSURE,
                id="where a held tag is, no times at all",
            ),
            pytest.param(
                TagHistory("t", (replace(pushed("a", "05"), docker_image_reference=f"other.io/web@{'a' * 64}"),)),
                pushed("c", "04"),
                Standing.NEWER,
                id="by the clock of another registry",
            ),
        ],
    )
    def test_of_a_push_to_what_is_known(self, known: TagHistory, arriving: TagItem, expected: Standing) -> None:
        assert history.standing(known, arriving) is expected


class TestInsert:
    @pytest.mark.parametrize(
        ("items", "waiting", "expected"),
        [
            pytest.param("95", "", ("9L5", ""), id="between"),
            pytest.param("98", "", ("98L", ""), id="at the end"),
            pytest.param("9", "", ("9L", ""), id="behind the only one"),
            pytest.param("5", "9", ("5", "9L"), id="before the head, behind what waits"),
            pytest.param("5", "986", ("5", "98L6"), id="among what waits"),
            pytest.param("83", "9", ("8L3", "9"), id="behind the head of a held tag"),
            pytest.param("", "9", ("", "9L"), id="a held tag that never moved stays so"),
            pytest.param("", "95", ("", "9L5"), id="among what waits for a tag that never moved"),
        ],
    )
    def test_puts_a_late_push_behind_what_was_pushed_after_it(
        self, items: str, waiting: str, expected: tuple[str, str]
    ) -> None:
        def at(letters: str) -> tuple[TagItem, ...]:
            return tuple(pushed("f", "07") if c == "L" else pushed(c, f"0{c}") for c in letters)

        known = TagHistory("t", at(items), (FAILED,), at(waiting))
        after = history.insert(known, pushed("f", "07"), limit=10)
        assert (after.items, after.waiting) == (at(expected[0]), at(expected[1]))
        assert after.conditions == (FAILED,)
        assert after.head == known.head

    def test_what_has_no_time_says_nothing_of_its_place(self) -> None:
        known = TagHistory("t", (pushed("a", "09"), pushed("b"), pushed("c", "05")))
        assert history.insert(known, pushed("d", "07"), limit=10).items == (*known.items[:2], pushed("d", "07"), C_AT_5)

    @pytest.mark.parametrize(
        "known",
        [
            TagHistory("t", (pushed("a", "09"), pushed("d", "05"))),
            TagHistory("t", (B,), waiting=(A, pushed("d", "05"))),
        ],
        ids=["in the history", "waiting"],
    )
    def test_an_image_that_is_known_is_not_put_in_twice(self, known: TagHistory) -> None:
        assert history.insert(known, pushed("d", "07"), limit=10) is known

    @pytest.mark.parametrize("limit", [1, 2])
    def test_one_that_the_limit_would_take_away_changes_nothing(self, limit: int) -> None:
        known = TagHistory("t", (pushed("a", "09"), pushed("b", "08"))[:limit])
        assert history.insert(known, pushed("d", "07"), limit=limit) is known

    def test_the_oldest_goes_for_it(self) -> None:
        known = TagHistory("t", (pushed("a", "09"), pushed("c", "05")))
        assert history.insert(known, pushed("d", "07"), limit=2).items == (pushed("a", "09"), pushed("d", "07"))


C_AT_5 = pushed("c", "05")


class TestHold:
    def test_what_arrives_at_a_tag_that_may_move_is_recorded(self) -> None:
        assert history.arrive(BEFORE, B, held=False, limit=2) == history.record(BEFORE, B, limit=2)[0]

    def test_what_arrives_with_the_release_comes_after_what_waited(self) -> None:
        after = history.arrive(TagHistory("t", (A,), waiting=(B,)), C, held=False, limit=10)
        assert (after.items, after.waiting) == ((C, B, A), ())

    @pytest.mark.parametrize(
        ("known", "arriving", "waiting"),
        [
            pytest.param(TagHistory("t"), A, (A,), id="the first"),
            pytest.param(TagHistory("t", (A,)), B, (B,), id="the first to wait"),
            pytest.param(TagHistory("t", (A,), waiting=(B,)), C, (C, B), id="one more"),
            pytest.param(TagHistory("t", (A,), waiting=(B,)), B, (B,), id="the same again"),
            pytest.param(
                TagHistory("t", (A,), waiting=(B,)),
                replace(B, generation=2),
                (replace(B, generation=2),),
                id="asked for",
            ),
            pytest.param(TagHistory("t", (A,), waiting=(B,)), A, (A, B), id="back to where the tag is held"),
        ],
    )
    def test_what_arrives_at_a_held_tag_waits(
        self, known: TagHistory, arriving: TagItem, waiting: tuple[TagItem, ...]
    ) -> None:
        after = history.arrive(replace(known, conditions=(FAILED,)), arriving, held=True, limit=10)
        assert after == replace(known, conditions=(FAILED,), waiting=waiting)

    @pytest.mark.parametrize(
        "known", [TagHistory("t", (A,)), TagHistory("t", (A,), waiting=(B,))], ids=["head", "waiting"]
    )
    def test_nothing_new_gives_the_same_object(self, known: TagHistory) -> None:
        assert known.newest
        assert history.arrive(known, known.newest, held=True, limit=10) is known

    def test_a_held_tag_remembers_that_it_was_asked_for_again(self) -> None:
        after = history.arrive(TagHistory("t", (A, B)), replace(A, generation=5), held=True, limit=10)
        assert (after.items, after.waiting) == ((replace(A, generation=5), B), ())

    def test_the_oldest_to_wait_goes_first(self) -> None:
        assert history.arrive(TagHistory("t", (A,), waiting=(B, A)), C, held=True, limit=2).waiting == (C, B)

    @pytest.mark.parametrize(
        ("known", "limit", "items"),
        [
            pytest.param(TagHistory("t", (A,), waiting=(C, B)), 10, (C, B, A), id="in its order"),
            pytest.param(TagHistory("t", waiting=(C, B)), 10, (C, B), id="into an empty history"),
            pytest.param(TagHistory("t", (A,), waiting=(A, B)), 10, (A, B, A), id="back and forth"),
            pytest.param(TagHistory("t", (B, A), waiting=(C, B)), 10, (C, B, A), id="what the tag points at already"),
            pytest.param(TagHistory("t", (A,), waiting=(C, B)), 2, (C, B), id="to the limit"),
        ],
    )
    def test_what_waited_is_recorded_when_the_tag_is_released(
        self, known: TagHistory, limit: int, items: tuple[TagItem, ...]
    ) -> None:
        resolved = Resolution("DockerImage", "", "r.io/web:1", False, "Legacy")
        held = replace(known, conditions=(FAILED,), resolved=resolved)
        assert history.release(held, limit=limit) == TagHistory("t", items, (FAILED,), (), resolved)

    def test_a_tag_for_which_nothing_waits_is_the_same_object_after_a_release(self) -> None:
        assert history.release(BEFORE, limit=1) is BEFORE


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param(TagHistory("t"), 0, id="nothing"),
        pytest.param(TagHistory("t", (item("a", generation=3), item("b", generation=9))), 3, id="the head's"),
        pytest.param(
            TagHistory("t", (item("a", generation=3),), (replace(FAILED, generation=5),)), 5, id="a failure's"
        ),
        pytest.param(
            TagHistory("t", (item("a", generation=7),), (replace(FAILED, generation=5),)), 7, id="the greater"
        ),
        pytest.param(TagHistory("t", (), (replace(FAILED, generation=None),)), 0, id="a condition without one"),
        pytest.param(TagHistory("t", (A,), waiting=(item("b", generation=4),)), 4, id="what waits"),
        pytest.param(TagHistory("t", (A,), (replace(FAILED, type="Held", generation=5),)), 1, id="a hold is no import"),
    ],
)
def test_which_generation_was_acted_on(known: TagHistory, expected: int) -> None:
    assert known.observed_generation == expected


def test_newest_is_what_the_tag_points_at_or_would() -> None:
    assert TagHistory("t").newest is None
    assert TagHistory("t", (A, B)).newest == A
    assert TagHistory("t", (A,), waiting=(C, B)).newest == C
    assert TagHistory("t", waiting=(C, B)).newest == C


def test_what_was_resolved_is_compared_without_where_it_pointed() -> None:
    asked = Resolution("ImageStreamTag", "", "api:v1", False, "Legacy", "then")
    assert asked.asks_the_same(replace(asked, followed="now"))
    for other in (
        replace(asked, kind="ImageStreamImage"),
        replace(asked, namespace="shop"),
        replace(asked, name="api:v2"),
        replace(asked, reference=True),
        replace(asked, import_mode="PreserveOriginal"),
    ):
        assert not asked.asks_the_same(other)


LETTERS = "abcd"
ITEMS = st.builds(item, st.sampled_from(LETTERS), generation=st.integers(1, 2))


@settings(max_examples=100, deadline=None)
@given(st.lists(ITEMS, max_size=3), st.lists(ITEMS, min_size=1, max_size=8), st.integers(1, 4))
def test_a_held_tag_stays_and_its_release_ends_at_the_newest(
    before: Sequence[TagItem], arriving: Sequence[TagItem], limit: int
) -> None:
    start = TagHistory("t", tuple(before))
    known = start
    for each in arriving:
        known = history.arrive(known, each, held=True, limit=limit)
        assert (known.head and known.head.image) == (start.head and start.head.image)
        assert len(known.waiting) <= limit
    released = history.release(known, limit=limit)
    assert released.head
    assert released.head.image == arriving[-1].image
    assert released.waiting == ()


@settings(max_examples=100, deadline=None)
@given(st.lists(ITEMS, max_size=10), st.integers(1, 4))
def test_a_history_never_grows_beyond_its_limit_nor_repeats_its_head(arriving: Sequence[TagItem], limit: int) -> None:
    known = TagHistory("t")
    for each in arriving:
        known, _ = history.record(known, each, limit=limit)
        assert known.head
        assert known.head.image == each.image
        assert len(known.items) <= limit
        assert all(a.image != b.image for a, b in pairwise(known.items))
