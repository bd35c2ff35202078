"""What stands in a log line, and what never does."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from listener import logs


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


_SECRET = "hunter" + "2"  # in two, for a traceback quotes lines of the source


def _fail(secret: str) -> None:
    raise ZeroDivisionError(f"of {len(secret)} letters")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_local_variable(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", log_format)
    try:
        _fail(_SECRET)
    except ZeroDivisionError:
        structlog.get_logger().exception("hook.bug")
    written = capsys.readouterr().err
    assert "of 7 letters" in written
    assert "_fail" in written
    assert _SECRET not in written


def test_a_line_is_json_with_its_fields_and_the_bound_ones(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    with structlog.contextvars.bound_contextvars(delivery="d1"):
        structlog.get_logger().info("hook.answered", moved=2)
    structlog.get_logger().debug("hidden")
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["event"], found["moved"], found["delivery"], found["level"]) == ("hook.answered", 2, "d1", "info")


def test_a_library_s_warning_comes_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logging.getLogger("asyncio").warning("slow callback")
    logging.getLogger("asyncio").info("hidden")
    (line,) = capsys.readouterr().err.splitlines()
    assert (json.loads(line)["event"], json.loads(line)["level"]) == ("slow callback", "warning")
