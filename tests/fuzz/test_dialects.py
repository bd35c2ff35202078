"""The fuzzer, for some seconds: it finds nothing in our dialects, and finds what is wrong with one that is."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest

from listener.core.events import LARGEST_BODY, Delivery, Parsed, PushEvent
from listener.dialects import Dialect
from tests.dialects.bodies import DIGEST
from tests.fuzz import inputs, properties, runs
from tests.fuzz.mutations import Mutator
from tests.fuzz.planted import PLANTED

SECONDS = 6
SEED = 1  # what is found by chance is for `python -m tests.fuzz`, and not for whoever changed something else
PLANTED_SECONDS = 60

with_atheris = pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has wheels for Linux on x86-64 only")


@with_atheris
def test_nothing_is_found_in_any_dialect(tmp_path: Path) -> None:
    done = runs.run(tmp_path, seconds=SECONDS, seed=SEED)
    assert done.finding == ""
    assert done.executions > 500, done.output
    # It went on to where the samples alone do not lead.
    assert done.edges[1] > done.edges[0] > 100, done.output
    assert done.corpus[1] > done.corpus[0], done.output


@with_atheris
def test_what_is_wrong_behind_several_branches_is_found_and_can_be_seen_again(tmp_path: Path) -> None:
    """If this hangs on until its limit, then nothing leads the fuzzer on, and the test above shows little."""
    first, again = tmp_path / "first", tmp_path / "again"
    first.mkdir()
    again.mkdir()
    done = runs.run(first, seconds=PLANTED_SECONDS, dialect=PLANTED.name, seed=SEED)
    assert "KeyError: 'no such member'" in done.finding, done.output
    [file] = first.glob("crash-*")
    assert inputs.read(file.read_bytes()).body
    assert "KeyError" in runs.run(again, seconds=1, dialect=PLANTED.name, again=file).finding


# What the properties say no to

PUSH = PushEvent("r.example", "team/web", "v1", DIGEST, None, None, "mary", "1")


def parsing(parse: Callable[[Delivery], Any]) -> Dialect:
    return Dialect("wrong", "A wrong one", lambda _: False, parse)


@pytest.mark.parametrize(
    "changes",
    [
        {"repository": "Team/web"},
        {"repository": "team//web"},
        {"repository": ""},
        {"tag": ""},
        {"tag": "-v1"},
        {"digest": ""},
        {"digest": "sha256:" + "A" * 64},
        {"registry": "R.example"},
        {"registry": ""},
        {"registry": "r" * 257},
        {"actor": "mary\n"},
        {"actor": "\ud800"},
        {"event_id": "1" * 257},
        {"timestamp": datetime(2026, 1, 1)},  # noqa: DTZ001 - that is what is wrong with it
        {"timestamp": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1)))},
    ],
    ids=repr,
)
def test_a_push_that_nobody_behind_could_use_is_a_defect(changes: dict[str, Any]) -> None:
    delivery = Delivery({}, {}, b"{}")
    properties.hold(parsing(lambda _: Parsed((PUSH,))), delivery)
    with pytest.raises(AssertionError):
        properties.hold(parsing(lambda _: Parsed((PUSH._replace(**changes),))), delivery)


def test_whatever_else_is_raised_is_a_defect() -> None:
    wrong_ones: list[Callable[[Delivery], Any]] = [
        lambda delivery: json.loads(delivery.body)["x"],
        lambda _: [],
        lambda _: Parsed(reply={"a": ""}),
        lambda _: Parsed(confirm="http://elsewhere.example/"),
    ]
    for wrong in wrong_ones:
        with pytest.raises((KeyError, AssertionError)):
            properties.hold(parsing(wrong), Delivery({}, {}, b"{}"))


def test_what_takes_too_long_is_a_defect() -> None:
    def slow(delivery: Delivery) -> Parsed:
        assert sum(one == other for one in delivery.body for other in delivery.body)
        return Parsed()

    properties.hold(parsing(slow), Delivery({}, {}, b" " * 10), cpu_seconds=0.02)
    with pytest.raises(properties.TooSlow):
        properties.hold(parsing(slow), Delivery({}, {}, b" " * 1500), cpu_seconds=0.02)


# What the inputs are


def test_mutations_are_of_every_kind() -> None:
    chance = Random(1)  # noqa: S311 - nothing is secret here
    seeds = list(inputs.seeds())
    mutator = Mutator(seeds)
    cases = [mutator.mutated(chance.choice(seeds), chance) for _ in range(3000)]
    largest = [case.delivery().body for case in cases if any(case.repeats)]
    assert largest
    assert all(len(body) <= LARGEST_BODY for body in largest)
    assert any(len(body) > LARGEST_BODY // 2 and _is_json(body) for body in largest)
    assert sum(_is_json(case.body) for case in cases) > len(cases) / 2
    assert {case.dialect for case in cases} == {case.dialect for case in seeds}


def test_a_case_is_read_as_it_was_written() -> None:
    for case in inputs.seeds():
        assert inputs.read(case.written()) == case
    assert inputs.read(b"no head").body == b"no head"


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True
