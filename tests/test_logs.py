"""One event and typed fields a line, and no more of our inside than a reader needs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import logging, structlog
from datetime import UTC, datetime
from listener import logs
from listener.core.streams import StreamKey
log = structlog.get_logger()  # as every room has one, made before anything is configured
logs.configure({level!r}, {log_format!r})
{lines}
"""


def logged(lines: str, *, level: str = "info", log_format: str = "auto") -> str:
    """What a program that logs so writes on stderr, where no terminal is; on stdout there must be nothing."""
    program = PROGRAM.format(level=level, log_format=log_format, lines=lines)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == ""
    return done.stderr


def parsed(lines: str, **options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged(lines, **options).splitlines()]


@pytest.mark.parametrize("log_format", ["auto", "json"])
def test_where_no_terminal_is_a_line_is_json_with_time_and_level(log_format: str) -> None:
    [line] = parsed("log.info('hook.answered', moved=2, seconds=0.5, ok=True)", log_format=log_format)
    timestamp = line.pop("timestamp")
    assert timestamp.endswith("Z")
    assert line == {"event": "hook.answered", "level": "info", "moved": 2, "seconds": 0.5, "ok": True}


def test_the_console_shows_event_and_fields() -> None:
    text = logged("log.info('hook.answered', moved=2)", log_format="console")
    assert "hook.answered" in text
    assert "moved=2" in text
    assert "\x1b[" not in text  # no colours where no terminal is


def test_values_of_our_own_are_written_as_text() -> None:
    [line] = parsed(
        "log.info('e', at=datetime(2026, 1, 1, tzinfo=UTC), kind=ValueError('x'), path=StreamKey('a', 'b'))"
    )
    assert (line["at"], line["kind"], line["path"]) == ("2026-01-01T00:00:00Z", "x", ["a", "b"])


@pytest.mark.parametrize(
    ("level", "expected"),
    [("debug", ["d", "i", "w", "e"]), ("info", ["i", "w", "e"]), ("warning", ["w", "e"]), ("error", ["e"])],
)
def test_what_is_below_the_level_is_not_written(level: str, expected: list[str]) -> None:
    lines = parsed("log.debug('d'); log.info('i'); log.warning('w'); log.error('e')", level=level)
    assert [line["event"] for line in lines] == expected


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_what_a_stranger_wrote_makes_no_line_and_no_colour_of_its_own(log_format: str) -> None:
    text = logged(r"log.info('e', reason='x\n2026 [info] hook.answered\r\x1b[2J')", log_format=log_format)
    assert [each for each in text if ord(each) < 32] == ["\n"]


def test_what_was_bound_to_the_delivery_is_on_each_of_its_lines() -> None:
    [line] = parsed("with structlog.contextvars.bound_contextvars(delivery='d1'): log.info('e')")
    assert line["delivery"] == "d1"


def test_libraries_speak_in_our_format_when_something_is_wrong() -> None:
    [line] = parsed("logging.getLogger('lib').info('fine'); logging.getLogger('lib').warning('wrong %s', 'x')")
    assert (line["event"], line["level"]) == ("wrong x", "warning")


BUG = """
def door(secret):
    headers = {'Authorization': 'Bearer ' + secret}
    raise RuntimeError('a bug')
try:
    door('zebra' + '-crossing')
except RuntimeError:
    log.exception('hook.bug')
"""
BUG_OF_A_LIBRARY = BUG.replace("log.exception", "logging.getLogger('lib').exception")


@pytest.mark.parametrize("program", [BUG, BUG_OF_A_LIBRARY], ids=["ours", "a library's"])
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_tells_the_place_and_keeps_the_variables(program: str, log_format: str) -> None:
    """They hold headers, bodies and secrets."""
    text = logged(program, log_format=log_format)
    assert "a bug" in text
    assert "door" in text
    assert "zebra-crossing" not in text


def test_a_traceback_is_one_line_of_json() -> None:
    [line] = parsed(BUG)
    assert (line["event"], line["level"]) == ("hook.bug", "error")
    assert line["exception"][0]["exc_type"] == "RuntimeError"
