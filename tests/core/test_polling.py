"""How often a tag is polled: the table of the room, row by row, and its bounds."""

from __future__ import annotations

from itertools import accumulate, repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from listener.core.polling import Bounds, Pace

BOUNDS = Bounds(interval=900, shortest=60, longest=14_400)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(None, 900, id="nothing"),
        pytest.param(1800, 1800, id="longer"),
        pytest.param(300, 300, id="shorter"),
        pytest.param(60, 60, id="the shortest"),
        pytest.param(5, 60, id="too short"),
        pytest.param(0, 900, id="none at all"),
        pytest.param(86_400, 86_400, id="longer than the longest"),
    ],
)
def test_the_interval_a_tag_starts_from(asked: float | None, expected: float) -> None:
    assert BOUNDS.base(asked) == expected


def test_an_interval_of_the_settings_is_no_shorter_than_the_shortest() -> None:
    assert Bounds(30, 60, 3600).base(None) == 60


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param(Pace(), Pace(), id="no hook, no stretch"),
        pytest.param(Pace(4), Pace(4), id="no hook since the last poll, it stays"),
        pytest.param(Pace(1, was_announced=True), Pace(2), id="a hook came"),
        pytest.param(Pace(2, was_announced=True), Pace(4), id="a hook came again"),
        pytest.param(Pace(8, was_announced=True), Pace(16), id="to the longest and a little more"),
        pytest.param(Pace(16, was_announced=True), Pace(16), id="there it ends"),
    ],
)
def test_a_quiet_poll(before: Pace, expected: Pace) -> None:
    assert before.quiet(900, BOUNDS) == expected


@pytest.mark.parametrize("before", [Pace(), Pace(8), Pace(8, was_announced=True)])
def test_a_missed_hook_starts_anew(before: Pace) -> None:
    assert before.missed() == Pace()


def test_hooks_between_two_polls_count_once() -> None:
    assert Pace(2).announced().announced().quiet(900, BOUNDS) == Pace(4)
    assert Pace(2).announced().announced() == Pace(2, was_announced=True)


def test_living_hooks_stretch_the_polls_and_a_missed_one_ends_that() -> None:
    paces = accumulate(repeat(None, 6), lambda pace, _: pace.announced().quiet(900, BOUNDS), initial=Pace())
    assert [pace.interval(900, BOUNDS) for pace in paces] == [900, 1800, 3600, 7200, 14_400, 14_400, 14_400]
    assert Pace(16).missed().interval(900, BOUNDS) == 900


def test_who_asks_for_longer_than_the_longest_has_it() -> None:
    assert Pace().interval(86_400, BOUNDS) == 86_400
    assert Pace().announced().quiet(86_400, BOUNDS).interval(86_400, BOUNDS) == 86_400


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(["announced", "quiet", "missed"])),
    st.floats(1, 100_000),
    st.floats(1, 100_000),
    st.none() | st.floats(0, 1_000_000),
)
def test_an_interval_is_never_shorter_than_asked_nor_longer_than_allowed(
    story: list[str], interval: float, longest: float, asked: float | None
) -> None:
    bounds = Bounds(interval, 60, longest)
    base, pace = bounds.base(asked), Pace()
    for step in story:
        pace = (
            pace.announced() if step == "announced" else pace.missed() if step == "missed" else pace.quiet(base, bounds)
        )
        assert base <= pace.interval(base, bounds) <= max(base, longest)
        assert base >= 60
