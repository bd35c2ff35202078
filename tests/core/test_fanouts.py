"""Which accounts a stream keeps, and how one is told."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from listener.core import fanouts
from listener.core.fanouts import Failure, FanOutRecord, Phase
from listener.edges import objects

FAILURE = Failure("Deployment", "shop", "app", "denied")


def record(tag: str, second: int, place: str = "a", phase: Phase = Phase.DONE, **more: Any) -> FanOutRecord:
    return FanOutRecord(tag, place, f"image {place}", 1, f"2026-01-01T00:00:{second:02}.000000Z", phase=phase, **more)


PATCHING, ROLLING, DONE, SUPERSEDED = Phase.PATCHING, Phase.ROLLING_OUT, Phase.DONE, Phase.SUPERSEDED


@pytest.mark.parametrize(
    ("known", "news", "expected"),
    [
        pytest.param([], [], [], id="nothing"),
        pytest.param([], [record("t", 1)], [record("t", 1)], id="the first"),
        pytest.param([record("t", 1)], [record("t", 2)], [record("t", 2), record("t", 1)], id="newest first"),
        pytest.param(
            [record("t", 1, phase=PATCHING)],
            [record("t", 1, patched=3)],
            [record("t", 1, patched=3)],
            id="later news of the same fan-out",
        ),
        pytest.param(
            [record("t", 1, phase=PATCHING)], [], [record("t", 1, phase=PATCHING)], id="the tag's place stays open"
        ),
        pytest.param(
            [record("t", 1, "old", phase=ROLLING, patched=3)],
            [record("t", 2, phase=PATCHING)],
            [record("t", 2, phase=PATCHING), record("t", 1, "old", phase=SUPERSEDED, patched=3)],
            id="overtaken, with its counts",
        ),
        pytest.param(
            [record("t", 1, "old", phase=PATCHING)],
            [record("t", 2, phase=PATCHING)],
            [record("t", 2, phase=PATCHING)],
            id="overtaken before anything came of it",
        ),
        pytest.param(
            [record("t", 1, "old", phase=PATCHING, failed=1)],
            [],
            [record("t", 1, "old", phase=SUPERSEDED, failed=1)],
            id="the tag moved and nobody told",
        ),
        pytest.param(
            [record("t", 1, phase=PATCHING, patched=1), record("u", 2, "none", phase=PATCHING, patched=1)],
            [],
            [record("u", 2, "none", phase=SUPERSEDED, patched=1), record("t", 1, phase=PATCHING, patched=1)],
            id="each tag by its own place",
        ),
        pytest.param(
            [record("t", 1, phase=PATCHING, patched=1)],
            [record("t", 3, phase=PATCHING, patched=2)],
            [record("t", 3, phase=PATCHING, patched=2), record("t", 1, phase=SUPERSEDED, patched=1)],
            id="back where it was before",
        ),
        pytest.param(
            [record("t", 1, "old")], [], [record("t", 1, "old")], id="what is over stays as it is, wherever the tag is"
        ),
    ],
)
def test_merge(known: list[FanOutRecord], news: list[FanOutRecord], expected: list[FanOutRecord]) -> None:
    merged = fanouts.merge(tuple(known), news, {"t": "a", "u": "a"})
    assert merged == tuple(expected)
    assert fanouts.merge(merged, news, {"t": "a", "u": "a"}) == merged


def test_the_last_account_of_a_quiet_tag_outlives_the_older_ones_of_a_busy_tag() -> None:
    known: tuple[FanOutRecord, ...] = (record("quiet", 0),)
    for second in range(1, 40):
        known = fanouts.merge(known, [record("busy", second)], {"quiet": "a", "busy": "a"})
    assert [r.started[17:19] for r in known] == [f"{second:02}" for second in range(39, 30, -1)] + ["00"]


def test_of_too_many_tags_the_newest_stay() -> None:
    merged = fanouts.merge((), [record(f"t{second}", second) for second in range(30)], {})
    assert [r.tag for r in merged] == [f"t{second}" for second in range(29, 19, -1)]


def test_the_whole_list_is_some_kilobytes_however_bad_the_day() -> None:
    worst = Failure("K" * 63, "n" * 63, "x" * 253, fanouts.on_one_line("reason " * 500))
    news = [replace(record(f"t{s}", s, failed=999), failures=(worst,) * 50) for s in range(20)]
    merged = fanouts.merge((), news, {})
    assert [len(r.failures) for r in merged] == [10, 10] + [0] * 8
    assert {r.failed for r in merged} == {999}
    assert len(json.dumps(objects.write_fan_outs(merged))) < 20_000


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("short", "short"),
        ("two\n  lines", "two lines"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 99 + "…" + "x" * 100),
        ("what " + "x" * 300 + " why", "what " + "x" * 94 + "…" + "x" * 96 + " why"),
    ],
)
def test_a_reason_is_one_short_line(reason: str, expected: str) -> None:
    assert fanouts.on_one_line(reason) == expected


def test_times_compare_as_texts() -> None:
    moment = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    assert fanouts.written(moment) == "2026-01-01T00:00:00.000000Z"
    assert fanouts.written(moment) < fanouts.written(moment.astimezone(UTC) + timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"matched": 3, "waiting": 3}, "0 patched of 3 (3 waiting), goes on", id="it begins"),
        pytest.param(
            {"matched": 9, "patched": 5, "waiting": 4, "last_patched": "2026-01-01T00:00:02.340000Z"},
            "5 patched of 9 (4 waiting) in 2.3 s, goes on",
            id="in the middle",
        ),
        pytest.param(
            {
                "phase": Phase.ROLLING_OUT,
                "matched": 9,
                "patched": 9,
                "rollouts": 8,
                "rolled_out": 3,
                "last_patched": "2026-01-01T00:00:00Z",
                "last_rolled_out": "2026-01-01T00:00:09Z",
            },
            "9 patched of 9 in 0.0 s, 3 of 8 rolled out, goes on",
            id="rolling out",
        ),
        pytest.param(
            {
                "phase": Phase.DONE,
                "matched": 203,
                "patched": 200,
                "paused": 2,
                "failed": 1,
                "rollouts": 200,
                "rolled_out": 200,
                "last_patched": "2026-01-01T00:00:01.200000Z",
                "last_rolled_out": "2026-01-01T00:00:14Z",
            },
            "200 patched of 203 (2 paused, 1 failed) in 1.2 s, rolled out after 14 s",
            id="done",
        ),
        pytest.param(
            {"phase": Phase.DONE, "matched": 2, "current": 2}, "0 patched of 2 (2 current already)", id="nothing to do"
        ),
        pytest.param(
            {
                "phase": Phase.TIMED_OUT,
                "matched": 2,
                "patched": 2,
                "rollouts": 2,
                "rolled_out": 1,
                "last_patched": "2026-01-01T00:03:00Z",
            },
            "2 patched of 2 in 3 min, 1 of 2 rolled out, then nothing happened any more",
            id="timed out",
        ),
        pytest.param(
            {
                "phase": Phase.SUPERSEDED,
                "matched": 9,
                "patched": 1,
                "waiting": 8,
                "last_patched": "2026-01-01T00:01:00Z",
            },
            "1 patched of 9 (8 waiting) in 60 s, then the tag moved on",
            id="superseded",
        ),
    ],
)
def test_a_sentence(changes: dict[str, object], expected: str) -> None:
    begun = FanOutRecord("t", "a", "image a", 1, "2026-01-01T00:00:00.000000Z")
    assert fanouts.sentence(replace(begun, **changes)) == expected  # type: ignore[arg-type]
