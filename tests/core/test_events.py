"""What strangers wrote is made fit to be shown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from listener.core import events
from listener.core.events import Remark


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-11-23T00:38:06Z", datetime(2026, 11, 23, 0, 38, 6, tzinfo=UTC), id="no fraction"),
        pytest.param("2026-11-23T00:38:06.5Z", datetime(2026, 11, 23, 0, 38, 6, 500_000, tzinfo=UTC), id="one digit"),
        pytest.param(
            "2026-11-23T00:38:06.082777999Z", datetime(2026, 11, 23, 0, 38, 6, 82_777, tzinfo=UTC), id="nanoseconds"
        ),
        pytest.param("2026-11-23T02:38:06+02:00", datetime(2026, 11, 23, 0, 38, 6, tzinfo=UTC), id="zone"),
        pytest.param("2026-11-23T00:38:06", None, id="no zone"),
        pytest.param("0001-01-01T00:00:00Z", None, id="Go's time that was never set"),
        pytest.param("9999-12-31T23:59:59-14:00", None, id="beyond the calendar"),
        pytest.param("yesterday", None, id="no time"),
        pytest.param("", None, id="empty"),
    ],
)
def test_reads_times_that_can_be_compared(text: str, expected: datetime | None) -> None:
    assert events.timestamp(text) == expected


def test_a_remark_is_bounded_and_printable_whoever_makes_it() -> None:
    remark = Remark("push \x1b[31mred\nline", "\ud800" + "x" * 10_000)
    assert remark.what == "push \ufffd[31mred\ufffdline"
    assert len(remark.why) == 256
    assert remark.why.startswith("\ufffdxxx")
    assert remark.why.endswith("…")
    remark.why.encode()


def test_text_within_the_limit_stays() -> None:
    assert events.printable("команда/веб:1", 13) == "команда/веб:1"
    assert events.printable("abcdef", 4) == "abc…"
