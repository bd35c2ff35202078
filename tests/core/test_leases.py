"""When a Lease may be taken, and what is written to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from listener.core import leases
from listener.core.leases import HELD_SECONDS, LIFE_SECONDS, Lease, Sight

NOW = datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=UTC)
THEIRS = Lease("ns", "ours", "7", "a", LIFE_SECONDS, "then", "a moment ago", 3)


def test_a_holder_stops_well_before_others_may_begin() -> None:
    assert HELD_SECONDS + 5 <= LIFE_SECONDS


@pytest.mark.parametrize(
    ("lease", "free_at"),
    [
        pytest.param(THEIRS, 115.0, id="held"),
        pytest.param(replace(THEIRS, holder=""), 100.0, id="released"),
        pytest.param(Lease("ns", "ours"), 100.0, id="there is none"),
        pytest.param(replace(THEIRS, life_seconds=60), 160.0, id="held by somebody who renews it seldom"),
        pytest.param(replace(THEIRS, life_seconds=1), 115.0, id="held by somebody who is in a hurry"),
    ],
)
def test_when_it_may_be_taken(lease: Lease, free_at: float) -> None:
    assert Sight(lease, 100.0).free_at == free_at


@pytest.mark.parametrize(
    ("lease", "since"),
    [
        pytest.param(replace(THEIRS, resource_version="8"), 100.0, id="a label was written"),
        pytest.param(replace(THEIRS, renewed="now"), 110.0, id="renewed"),
        pytest.param(replace(THEIRS, holder="b"), 110.0, id="another holder"),
        pytest.param(replace(THEIRS, holder=""), 110.0, id="released"),
        pytest.param(replace(THEIRS, transitions=4), 110.0, id="taken anew"),
    ],
)
def test_since_when_it_is_as_it_is(lease: Lease, since: float) -> None:
    assert Sight(THEIRS, 100.0).then(lease, 110.0) == Sight(lease, since)


def test_what_is_written() -> None:
    taken = leases.taken(replace(THEIRS, life_seconds=60), "b", NOW)
    moment = "2026-01-01T12:00:00.000005Z"
    assert taken == Lease("ns", "ours", "7", "b", LIFE_SECONDS, moment, moment, 4)
    later = "2026-01-01T12:00:02.000005Z"
    renewed = leases.renewed(taken, NOW + timedelta(seconds=2))
    assert renewed == replace(taken, renewed=later)
    assert leases.released(taken, NOW + timedelta(seconds=2)) == replace(renewed, holder="")


def test_times_are_in_utc_and_whole_seconds_have_their_fraction_too() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert leases.written(datetime(2026, 1, 1, 9, 42, 39, tzinfo=tokyo)) == "2026-01-01T00:42:39.000000Z"
