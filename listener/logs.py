"""How we log: one event name and typed fields a line, JSON where a machine reads and colours where a person does."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from structlog.tracebacks import ExceptionDictTransformer

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("auto", "json", "console")

_encoder = msgspec.json.Encoder(enc_hook=str)


def configure(level: str, log_format: str) -> None:
    """Set up structlog and the standard library's logging behind it, on stderr."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _stamp if as_json else structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        # Never with the local variables: there the secrets are.
        tracebacks = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))

        def render(logger: Any, method: str, event: Any) -> bytes:
            return _encoder.encode(tracebacks(logger, method, event) if "exc_info" in event else event)

        rendered: list[Any] = [render, _as_text]
        ours: list[Any] = [render]
        factory: Any = structlog.BytesLoggerFactory(sys.stderr.buffer)  # a line for each patch: it must cost little
    else:
        ours = rendered = [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
        factory = structlog.PrintLoggerFactory(sys.stderr)
    structlog.configure(
        processors=[*shared, *ours],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))  # libraries speak when something is wrong


def _stamp(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    event["timestamp"] = datetime.now(UTC)  # which the encoder writes as RFC 3339
    return event


def _as_text(_logger: Any, _method: str, line: Any) -> str:
    text: str = line.decode()
    return text
