"""Traces for an OpenTelemetry collector, where there is one.

The settings are OpenTelemetry's own variables: OTEL_EXPORTER_OTLP_ENDPOINT switches it on, OTEL_SERVICE_NAME,
OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS and the others mean what they mean everywhere.
Its packages are an extra, and imported only then. Nothing that is wrong here keeps the service from running.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import structlog

if TYPE_CHECKING:
    from listener.edges.tracing.collector import Collector

log = structlog.get_logger()

_PREFIXES: Final = ("OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_")  # the first that is set counts


def start(environment: Mapping[str, str]) -> Collector | None:
    """Start to collect spans for the endpoint that the variables name. None: they name none, or it cannot be."""
    key, endpoint = _first(environment, "ENDPOINT")
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if not endpoint or is_disabled or environment.get("OTEL_TRACES_EXPORTER", "otlp") == "none":
        return None
    name, protocol = _first(environment, "PROTOCOL")
    if protocol not in ("", "http/protobuf"):
        reason = f"{name} is {protocol!r}; set http/protobuf, and the collector's port for it (4318)"
        log.warning("tracing.off", reason=reason)
        return None
    try:
        from listener.edges.tracing.collector import Collector  # noqa: PLC0415 - an extra that few need

        host = urlsplit(endpoint).hostname
        collector = Collector()
    except ImportError as error:
        reason = f"{key} is set, but the extra is not installed: pip install 'imagestream-listener[otel]' ({error})"
        log.warning("tracing.off", reason=reason)
        return None
    except ValueError as error:
        log.warning("tracing.off", reason=f"a variable OTEL_* cannot be read: {error}")
        return None
    # No more of it: there may be a password.
    log.info("tracing.on", variable=key, collector=host)
    return collector


def _first(environment: Mapping[str, str], suffix: str) -> tuple[str, str]:
    names = [prefix + suffix for prefix in _PREFIXES]
    return next(((name, value) for name in names if (value := environment.get(name, "").strip())), (names[-1], ""))
