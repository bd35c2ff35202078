"""The rules of tag history, a row per situation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from listener.core import history
from listener.core.history import Condition, TagChange, TagHistory, TagItem

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
