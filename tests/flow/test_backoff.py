"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from listener.flow.backoff import Backoff


def delays(count: int, uniform: Callable[[float, float], float]) -> list[float]:
    backoff = Backoff(1, 300, uniform)
    return [backoff.next() for _ in range(count)]


def test_the_longest_draws_treble_until_the_cap() -> None:
    assert delays(7, lambda _, high: high) == [3, 9, 27, 81, 243, 300, 300]


def test_the_shortest_draws_stay_at_the_base() -> None:
    assert delays(4, lambda low, _: low) == [1, 1, 1, 1]


def test_after_a_success_it_starts_small_again() -> None:
    backoff = Backoff(1, 300, lambda _, high: high)
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() == 3


@pytest.mark.parametrize("failure", range(1, 5))
def test_many_who_fail_together_do_not_return_together(failure: int) -> None:
    draw = random.Random(7)  # noqa: S311 - repeatable
    together = {delays(failure, draw.uniform)[-1] for _ in range(100)}
    assert len(together) > 50


def test_no_delay_is_below_the_base_or_above_the_cap() -> None:
    draw = random.Random(7)  # noqa: S311 - repeatable
    assert all(1 <= delay <= 300 for _ in range(50) for delay in delays(20, draw.uniform))
