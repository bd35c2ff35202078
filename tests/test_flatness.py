"""What the soak calls flat."""

from __future__ import annotations

import pytest

from tests.bench.flatness import Course

LEVEL = [50.0] * 90


@pytest.mark.parametrize(
    ("samples", "is_flat"),
    [
        (LEVEL, True),
        ([*range(30), *[30.0] * 60], True),  # fills up, and stays
        ([50.0 + number % 7 for number in range(90)], True),  # noise
        ([*LEVEL[:-5], *[500.0] * 5], True),  # odd samples
        ([50.0 + number * 0.5 for number in range(90)], False),  # a leak
        ([*LEVEL[:60], *[60.0] * 30], False),  # a late step
        ([90.0 - number for number in range(90)], True),  # shrinks
    ],
)
def test_flat_is_what_grows_no_more(samples: list[float], is_flat: bool) -> None:
    assert Course(samples, share=0.05, slack=2).is_flat is is_flat


def test_both_medians_are_told() -> None:
    course = Course([1, 1, 1, 2, 2, 2, 9, 3, 3], share=0, slack=0)
    assert (course.before, course.after) == (2, 3)
