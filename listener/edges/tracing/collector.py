"""Spans as OpenTelemetry has them, sent as OTLP over HTTP: the only file that knows its packages.

A thread sends them, some seconds later and many at once. What the collector does not take is dropped, which is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from listener import __version__
from listener.core import spans

# A step that is not named here asks somebody else, and waits for the answer.
_KINDS: Final[Mapping[str, SpanKind]] = {"hook": SpanKind.SERVER}

_w3c: Final = TraceContextTextMapPropagator()


class Collector:
    """A `Tracer` whose spans are sent; and whose log lines tell their trace, while a step is under way."""

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        """`processor` may take the spans elsewhere. Raises ValueError if a variable of OpenTelemetry is no good."""
        ours = Resource.create({SERVICE_NAME: "imagestream-listener", SERVICE_VERSION: __version__})
        # What the environment says of us, it knows better.
        resource = ours.merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("listener", __version__)

    @contextlib.contextmanager
    def span(self, step: str, parent: str, /, **attributes: object) -> Iterator[_Span]:
        around = _w3c.extract({"traceparent": parent})
        texts = {name: str(value) for name, value in attributes.items()}
        found = self._tracer.start_span(step, around, _KINDS.get(step, SpanKind.CLIENT), texts)
        begun = _Span(found)
        with (
            # What an error says may be a stranger's words.
            trace.use_span(found, end_on_exit=True, record_exception=False, set_status_on_exception=False),
            structlog.contextvars.bound_contextvars(trace_id=spans.trace_id(begun.trace)),
        ):
            try:
                yield begun
            except Exception:
                begun.note(failed=True)
                raise

    async def close(self) -> None:
        """Send what is there, however long that takes: who closes sets a limit, and the thread keeps nobody here."""
        loop = asyncio.get_running_loop()
        closed = asyncio.Event()

        def close() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop ended before
                loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=close, name="last spans", daemon=True).start()
        await closed.wait()


class _Span:
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        known = span.get_span_context()
        ids = f"{trace.format_trace_id(known.trace_id)}-{trace.format_span_id(known.span_id)}"
        self.trace: Final = f"00-{ids}-{known.trace_flags:02x}"

    def note(self, *, failed: bool = False, **attributes: object) -> None:
        self._span.set_attributes({name: str(value) for name, value in attributes.items()})
        if failed:
            self._span.set_status(StatusCode.ERROR)
