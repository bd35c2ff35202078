"""A collector is sent one trace of a delivery; one that is away keeps nobody."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from listener.core.actions import LAST_TRIGGERED
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.objects import images, trigger, workload
from tests.end_to_end.parts import SECRET, Api, Listener, eventually, push_event, registry, serve

HOST = "registry.example.com"
DIGEST = f"sha256:{'a' * 64}"
TRACE, SENDER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@dataclass
class Collector:
    """Takes OTLP over HTTP."""

    endpoint: str = ""
    services: set[str] = field(default_factory=set)
    spans: list[Span] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        for sent in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            self.services |= {a.value.string_value for a in sent.resource.attributes if a.key == "service.name"}
            self.spans += [span for scope in sent.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")

    def of(self, step: str) -> list[Span]:
        return [span for span in self.spans if span.name == step]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    found = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", found.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.endpoint = "http://{}:{}".format(*runner.addresses[0])
    yield found
    await runner.cleanup()


def attributes(span: Span) -> dict[str, str]:
    return {found.key: found.value.string_value for found in span.attributes}


async def _push(listener: Listener, namespace: str) -> str:
    """Deliver, as a sender that traces; return the delivery's id."""
    body = {"events": [push_event(HOST, f"{namespace}/web", "latest", DIGEST)]}
    headers = {"Authorization": f"Bearer {SECRET}", "traceparent": f"00-{TRACE}-{SENDER}-01"}
    async with listener.session.post(f"{listener.hooks}/hooks/team", json=body, headers=headers) as response:
        answer = await response.json()
        assert response.status == 200, answer
        delivery: str = answer["delivery"]
        return delivery


async def _patched(api: Api, namespace: str, names: list[str]) -> bool:
    found = [images(await api.workload("Deployment", namespace, name))["web"] for name in names]
    return all(image.endswith(DIGEST) for image in found)


async def test_one_trace_leads_from_the_sender_to_every_patch(
    cluster: ClusterUnderTest, api: Api, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was not sent yet is sent at the end."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    namespace = await cluster.namespace("traced")
    names = [f"app-{number}" for number in range(5)]
    for name in names:
        await api.create(workload("Deployment", namespace, name, trigger("web:latest")))
    settings = [registry(HOST, integrated=True, verify=False)]
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener:
        await listener.ready()
        delivery = await _push(listener, namespace)
        await eventually(lambda: _patched(api, namespace, names), what="every Deployment is patched")
        assert await listener.terminate() == 0
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    [hook] = collector.of("hook")
    assert hook.parent_span_id.hex() == SENDER
    assert hook.kind == Span.SPAN_KIND_SERVER
    assert attributes(hook) == {"registry": "team", "outcome": "moved", "delivery": delivery}
    steps = [span for span in collector.spans if span is not hook]
    assert sorted(span.name for span in steps) == [*["patch"] * 5, "store", "verify"]
    assert {span.parent_span_id for span in steps} == {hook.span_id}
    assert sorted(attributes(span)["name"] for span in collector.of("patch")) == names
    assert {(attributes(span)["end"], attributes(span)["delivery"]) for span in collector.of("patch")} == {
        ("applied", delivery)
    }
    assert collector.services == {"imagestream-listener"}

    found = await api.workload("Deployment", namespace, names[0])
    why = json.loads(found["metadata"]["annotations"][LAST_TRIGGERED])
    assert (why["delivery"], why["trace"]) == (delivery, TRACE)
    lines = listener.logged("hook.answered") + listener.logged("workload.patched")
    assert [line["trace_id"] for line in lines] == [TRACE] * 6
    [on] = listener.logged("tracing.on")
    assert on["variable"] == "OTEL_EXPORTER_OTLP_ENDPOINT"


@asynccontextmanager
async def _silent() -> AsyncIterator[str]:
    """The address of somebody who takes every connection and never answers."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65536):
                pass
        finally:
            writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield "http://{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()


async def test_a_collector_that_never_answers_holds_up_no_delivery_and_no_stop(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace = await cluster.namespace("traced")
    await api.create(workload("Deployment", namespace, "app", trigger("web:latest")))
    settings = [registry(HOST, integrated=True, verify=False)]
    async with _silent() as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener:
            await listener.ready()
            await _push(listener, namespace)
            await eventually(lambda: _patched(api, namespace, ["app"]), what="the Deployment is patched")
            told = time.monotonic()
            assert await listener.terminate() == 0
            assert time.monotonic() - told < 15  # its own limit is 2 s, OpenTelemetry's 30 s
