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
# Never with the local variables: there the secrets are.
_tracebacks = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))


def configure(level: str, log_format: str) -> None:
    """Set up structlog and the standard library's logging behind it, on stderr."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    context = structlog.contextvars.merge_contextvars
    foreign: list[Any] = [context, structlog.processors.add_log_level]
    if as_json:
        foreign.append(_stamp)
        rendered: list[Any] = [_tracebacks, _dump]
        ours: list[Any] = [context, _dump_bytes]
        factory: Any = structlog.BytesLoggerFactory(sys.stderr.buffer)
    else:
        foreign.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
        rendered = [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
        ours = [*foreign, *rendered]
        factory = structlog.PrintLoggerFactory(sys.stderr)
    structlog.configure(
        processors=ours,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=foreign,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))  # libraries speak when something is wrong


def _stamp(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    event["timestamp"] = datetime.now(UTC)  # which the encoder writes as RFC 3339
    return event


def _dump(_logger: Any, _method: str, event: dict[str, Any]) -> str:
    return _encoder.encode(event).decode()


def _dump_bytes(logger: Any, method: str, event: Any) -> bytes:
    """All that a line of ours needs, in one step: there is one for each hook and each patch, so it must cost little."""
    if "exc_info" in event:
        event = _tracebacks(logger, method, event)
    event["level"] = "error" if method == "exception" else method
    event["timestamp"] = datetime.now(UTC)
    return _encoder.encode(event)
