"""Whether traces are collected, and which spans, under which parent, a collector is sent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id
from structlog.testing import capture_logs

from listener.core import authentication
from listener.core.events import Parsed
from listener.core.receipts import Arrival, Receipt
from listener.core.spans import trace_id
from listener.edges import tracing
from listener.edges.tracing.collector import Collector
from listener.errors import ClusterUnavailable
from tests.edges.doors import BEARER, JSON, door

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:secret@collector.example:4318"}


@pytest.fixture
def sent() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def collector(sent: InMemorySpanExporter) -> Collector:
    return Collector(SimpleSpanProcessor(sent))


def trace_of(span: ReadableSpan) -> str:
    assert span.context
    return format_trace_id(span.context.trace_id)


def id_of(span: ReadableSpan) -> str:
    assert span.context
    return format_span_id(span.context.span_id)


def parent_of(span: ReadableSpan) -> str | None:
    return format_span_id(span.parent.span_id) if span.parent else None


# Whether


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({}, id="nothing is set"),
        pytest.param({"OTEL_SERVICE_NAME": "x"}, id="no endpoint"),
        pytest.param({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, id="an empty endpoint"),
        pytest.param({**ENDPOINT, "OTEL_SDK_DISABLED": "True"}, id="disabled"),
        pytest.param({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, id="no traces"),
    ],
)
def test_nobody_collects_unless_an_endpoint_is_set(environment: Mapping[str, str]) -> None:
    with capture_logs() as logs:
        assert tracing.start(environment) is None
    assert logs == []


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
async def test_an_endpoint_switches_it_on_and_the_log_says_so(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "http://user:secret@localhost:1")
    with capture_logs() as logs:
        found = tracing.start({variable: "http://user:secret@localhost:1"})
    assert found is not None
    await found.close()
    assert logs == [{"event": "tracing.on", "log_level": "info", "variable": variable, "collector": "localhost"}]


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        pytest.param(
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'; set http/protobuf",
            id="another protocol",
        ),
        pytest.param(
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is 'grpc'",
            id="another protocol for traces",
        ),
        pytest.param(
            {**ENDPOINT, "OTEL_BSP_SCHEDULE_DELAY": "0"},
            "OTEL_* cannot be read: schedule_delay",
            id="what OpenTelemetry refuses",
        ),
        pytest.param(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1"}, "OTEL_* cannot be read: Invalid IPv6 URL", id="no URL"
        ),
    ],
)
def test_what_cannot_be_is_told_and_stops_nothing(
    environment: Mapping[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with capture_logs() as logs:
        assert tracing.start(environment) is None
    [line] = logs
    assert (line["event"], line["log_level"]) == ("tracing.off", "warning")
    assert reason in line["reason"]
    assert "secret" not in line["reason"]


def test_without_the_extra_an_endpoint_is_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "listener.edges.tracing.collector")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with capture_logs() as logs:
        assert tracing.start(ENDPOINT) is None
    [line] = logs
    assert (line["event"], line["log_level"]) == ("tracing.off", "warning")
    assert line["reason"].startswith(
        "OTEL_EXPORTER_OTLP_ENDPOINT is set, but the extra is not installed: pip install 'imagestream-listener[otel]'"
    )


def test_who_collects_nothing_imports_nothing() -> None:
    program = """
import sys
import listener.app
from listener.edges import tracing
assert tracing.start({}) is None
assert not [name for name in sys.modules if name.startswith(("opentelemetry", "requests", "google"))]
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# Which


def test_a_step_belongs_to_the_trace_of_its_parent(collector: Collector, sent: InMemorySpanExporter) -> None:
    with collector.span("hook", TRACEPARENT, registry="team") as hook:
        pass
    # Long after, and anywhere.
    with collector.span("patch", hook.trace, kind="Deployment", name="web") as patch:
        patch.note(end="applied")
    first, last = sent.get_finished_spans()
    assert trace_of(first) == trace_of(last) == trace_id(hook.trace) == TRACE
    assert parent_of(first) == PARENT
    assert parent_of(last) == id_of(first)
    assert (first.name, first.kind, first.attributes) == ("hook", SpanKind.SERVER, {"registry": "team"})
    assert (last.name, last.kind) == ("patch", SpanKind.CLIENT)
    assert last.attributes == {"kind": "Deployment", "name": "web", "end": "applied"}
    assert first.status.is_unset
    assert last.status.is_unset


@pytest.mark.parametrize(
    "parent", ["", "nonsense", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE.upper()}-{PARENT}-01", f"{TRACEPARENT}-more"]
)
def test_a_parent_that_is_none_begins_a_new_trace(
    parent: str, collector: Collector, sent: InMemorySpanExporter
) -> None:
    with collector.span("hook", parent) as hook:
        pass
    [span] = sent.get_finished_spans()
    assert span.parent is None
    assert trace_of(span) == trace_id(hook.trace) != TRACE


def test_steps_within_another_step_are_not_taken_for_its_children(
    collector: Collector, sent: InMemorySpanExporter
) -> None:
    """A parent is who is named: a task that was started in a hook may serve others."""
    with collector.span("hook", ""), collector.span("patch", ""):
        pass
    assert [span.parent for span in sent.get_finished_spans()] == [None, None]


def test_what_the_sender_does_not_sample_is_not_sent(collector: Collector, sent: InMemorySpanExporter) -> None:
    with collector.span("hook", f"00-{TRACE}-{PARENT}-00") as hook, collector.span("patch", hook.trace):
        pass
    assert trace_id(hook.trace) == TRACE  # and yet the log can name it
    assert sent.get_finished_spans() == ()


def test_a_step_that_fails_is_marked(collector: Collector, sent: InMemorySpanExporter) -> None:
    with collector.span("patch", "") as patch:
        patch.note(failed=True, end="refused")
    with pytest.raises(ClusterUnavailable), collector.span("store", ""):
        raise ClusterUnavailable("away")
    assert [span.status.is_ok for span in sent.get_finished_spans()] == [False, False]


def test_the_log_names_the_trace_while_a_step_is_under_way(collector: Collector) -> None:
    with collector.span("hook", TRACEPARENT):
        assert structlog.contextvars.get_contextvars()["trace_id"] == TRACE
        with collector.span("store", ""):
            assert structlog.contextvars.get_contextvars()["trace_id"] != TRACE
        assert structlog.contextvars.get_contextvars()["trace_id"] == TRACE
    assert "trace_id" not in structlog.contextvars.get_contextvars()


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        pytest.param({}, "imagestream-listener", id="our own"),
        pytest.param({"OTEL_SERVICE_NAME": "hooks"}, "hooks", id="OTEL_SERVICE_NAME"),
        pytest.param({"OTEL_RESOURCE_ATTRIBUTES": "service.name=hooks"}, "hooks", id="OTEL_RESOURCE_ATTRIBUTES"),
    ],
)
def test_the_service_is_called_what_the_environment_says(
    environment: Mapping[str, str], name: str, monkeypatch: pytest.MonkeyPatch, sent: InMemorySpanExporter
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with Collector(SimpleSpanProcessor(sent)).span("hook", ""):
        pass
    [span] = sent.get_finished_spans()
    assert span.resource.attributes["service.name"] == name
    assert span.resource.attributes["telemetry.sdk.name"] == "opentelemetry"


def test_the_sampler_is_the_environment_s(monkeypatch: pytest.MonkeyPatch, sent: InMemorySpanExporter) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with Collector(SimpleSpanProcessor(sent)).span("hook", ""):
        pass
    assert sent.get_finished_spans() == ()


# At the door


async def test_a_delivery_is_a_span_of_the_sender_s_trace(collector: Collector, sent: InMemorySpanExporter) -> None:
    async with door(scheme=authentication.Bearer(), tracer=collector) as team:
        _, body, _ = await team.post(headers={**JSON, **BEARER, "traceparent": TRACEPARENT})
        [(_, arrival)] = team.taken
    [span] = sent.get_finished_spans()
    assert (trace_of(span), parent_of(span)) == (TRACE, PARENT)
    assert span.attributes == {"registry": "team", "delivery": body["delivery"], "outcome": "moved"}
    assert arrival.trace == f"00-{TRACE}-{id_of(span)}-01"


async def test_who_shows_no_secret_names_no_trace(collector: Collector, sent: InMemorySpanExporter) -> None:
    """Else anybody could have all be sampled, and choose what a log line says."""
    async with door(tracer=collector) as team:
        await team.post(headers={**JSON, "traceparent": TRACEPARENT})
    [span] = sent.get_finished_spans()
    assert trace_of(span) != TRACE
    assert span.parent is None


async def _away(_parsed: Parsed, _arrival: Arrival) -> Receipt:
    raise ClusterUnavailable("away")


async def _bug(_parsed: Parsed, _arrival: Arrival) -> Receipt:
    raise RuntimeError


async def test_a_delivery_that_is_not_stored_is_a_failed_span_and_a_refused_one_is_not(
    collector: Collector, sent: InMemorySpanExporter
) -> None:
    for take in (_away, _bug):
        async with door(take, tracer=collector) as team:
            await team.post()
    async with door(scheme=authentication.Bearer(), tracer=collector) as team:
        await team.post()
        await team.post(headers={**JSON, **BEARER})
    away, bug, taken = sent.get_finished_spans()  # a wrong secret leaves none
    assert [span.status.is_unset for span in (away, bug, taken)] == [False, False, True]
    assert away.status.description is None  # what an error says may be a stranger's words
    assert taken.attributes is not None
    assert taken.attributes["outcome"] == "moved"


async def test_to_knock_where_no_hook_is_leaves_no_trace(collector: Collector, sent: InMemorySpanExporter) -> None:
    async with door(tracer=collector) as team:
        assert (await team.post(name="nobody", headers={**JSON, "traceparent": TRACEPARENT}))[0] == 404
    assert sent.get_finished_spans() == ()
