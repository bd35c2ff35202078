"""Conditions: one of a type, and the time since when it holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from listener.core import conditions
from listener.core.conditions import HELD, IMPORT_SUCCESS, Problem
from listener.core.history import Condition

THEN, NOW = "2026-06-01T12:00:00Z", "2026-06-01T13:00:00Z"
FAILED = conditions.failed(IMPORT_SUCCESS, Problem.NOT_FOUND, "no such image", now=THEN, generation=1)
SUCCEEDED = conditions.succeeded(now=THEN, generation=1)
NOT_HELD = conditions.failed(HELD, Problem.NOT_FOUND, "no such image", now=THEN, generation=1)


def test_what_they_say() -> None:
    assert Condition("ImportSuccess", "False", THEN, "NotFound", "no such image", 1) == FAILED
    assert Condition("ImportSuccess", "True", THEN, "", "", 1) == SUCCEEDED


@pytest.mark.parametrize(
    ("before", "put", "expected"),
    [
        pytest.param((), FAILED, (FAILED,), id="the first"),
        pytest.param((NOT_HELD,), FAILED, (NOT_HELD, FAILED), id="beside another type, sorted"),
        pytest.param((FAILED,), NOT_HELD, (NOT_HELD, FAILED), id="sorted whichever came first"),
        pytest.param((FAILED,), SUCCEEDED, (SUCCEEDED,), id="in the place of its type"),
        pytest.param(
            (FAILED,),
            replace(FAILED, last_transition_time=NOW, generation=2),
            (replace(FAILED, generation=2),),
            id="the same failure again keeps its time, and takes the generation",
        ),
        pytest.param(
            (SUCCEEDED,),
            replace(SUCCEEDED, last_transition_time=NOW, generation=2),
            (replace(SUCCEEDED, generation=2),),
            id="the same success again",
        ),
        *(
            pytest.param(
                (FAILED,),
                replace(FAILED, last_transition_time=NOW, **changed),  # type: ignore[arg-type]
                (replace(FAILED, last_transition_time=NOW, **changed),),  # type: ignore[arg-type]
                id=f"another {next(iter(changed))} has another time",
            )
            for changed in ({"status": "Unknown"}, {"reason": "Unauthorized"}, {"message": "another"})
        ),
        pytest.param((FAILED, SUCCEEDED), NOT_HELD, (NOT_HELD, FAILED, SUCCEEDED), id="others are nobody's business"),
        pytest.param((FAILED, SUCCEEDED), FAILED, (FAILED,), id="two of a type become one"),
    ],
)
def test_put(before: tuple[Condition, ...], put: Condition, expected: tuple[Condition, ...]) -> None:
    assert conditions.put(before, put) == expected
    assert conditions.put(expected, put) == expected


def test_drop() -> None:
    assert conditions.drop((NOT_HELD, FAILED), IMPORT_SUCCESS) == (NOT_HELD,)
    assert conditions.drop((NOT_HELD,), IMPORT_SUCCESS) == (NOT_HELD,)
    assert conditions.drop((), HELD) == ()
