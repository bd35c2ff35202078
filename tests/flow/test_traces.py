"""One trace from a delivery to the last patch it causes, as a collector is sent it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id
from structlog.contextvars import get_contextvars, merge_contextvars
from structlog.testing import capture_logs

from listener.core import triggers
from listener.core.actions import LAST_TRIGGERED
from listener.core.events import Parsed, PushEvent
from listener.core.kinds import KINDS, SHIPWRIGHT_BUILD
from listener.core.manifests import Platform
from listener.core.origins import Origin
from listener.core.outcomes import End, Outcome
from listener.core.receipts import Receipt
from listener.core.spans import NO_TRACER, Tracer
from listener.core.streams import Source
from listener.core.workloads import Workload, WorkloadKey
from listener.edges.tracing.collector import Collector
from listener.errors import RegistryUnavailable, Unconfirmed
from listener.flow.bookkeeper import Bookkeeper
from listener.flow.fanout import FanOut
from listener.flow.inquiry import Inquiry, PullSecrets
from listener.flow.intake import Intake
from listener.flow.state import State
from listener.flow.throttle import Throttle
from tests.flow.fakes import (
    FakeCluster,
    FakeRegistry,
    FakeSecrets,
    Meter,
    Notices,
    arrival,
    digest,
    now,
    stream,
    unsettled,
    workload,
)

TRACE, HOOK = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{HOOK}-01"
TEAM = Origin("team", "r.example")


class NoImporter:
    def announced(self, source: Source, digest: str) -> None: ...


@dataclass
class World:
    """One replica, and its collector's eyes."""

    tracer: Tracer
    sent: InMemorySpanExporter
    cluster: FakeCluster = field(default_factory=FakeCluster)
    state: State = field(default_factory=State)
    registry: FakeRegistry = field(default_factory=FakeRegistry)

    def __post_init__(self) -> None:
        notices, meter = Notices(), Meter()
        books = Bookkeeper(self.cluster, self.state, unsettled, notices, meter, max_in_flight=10)
        inquiry = Inquiry(self.registry, PullSecrets(FakeSecrets()), Platform("linux", "amd64"))
        self._intake = Intake(
            books, self.state, inquiry, NoImporter(), notices, meter, history_limit=50, tracer=self.tracer
        )
        self.fan_out = FanOut(
            *(self.cluster, self.state, notices, meter, Throttle(ceiling=10), now),
            kinds=KINDS,
            workers=10,
            tracer=self.tracer,
        )
        self.state.put_stream(self.cluster.put_stream(stream()))

    def put(self, given: Workload) -> WorkloadKey:
        self.state.put_workload(self.cluster.put_workload(given))
        return given.key

    async def deliver(self, letter: str = "a", *, trace: str = TRACEPARENT) -> Receipt:
        self.registry.put(letter)
        pushed = Parsed((PushEvent("r.example", "shop/web", "latest", digest(letter), None, None, None, None),))
        came = arrival(f"delivery of {letter}")._replace(trace=trace)
        return await self._intake.take(TEAM, pushed, came, patience_seconds=2)

    def spans(self, step: str) -> list[ReadableSpan]:
        return [span for span in self.sent.get_finished_spans() if span.name == step]

    def written(self) -> list[Mapping[str, Any]]:
        """What the patches say of their cause."""
        name = LAST_TRIGGERED.replace("/", "~1")
        values = (op["value"] for patch in self.cluster.sent for op in patch if str(op["path"]).endswith(name))
        return [json.loads(str(value)) for value in values]


@pytest.fixture
async def world() -> World:
    sent = InMemorySpanExporter()
    return World(Collector(SimpleSpanProcessor(sent)), sent)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    task = asyncio.create_task(world.fan_out.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def places(found: Sequence[ReadableSpan]) -> set[tuple[str, str | None]]:
    """Trace and parent of each."""
    return {
        (format_trace_id(span.context.trace_id), format_span_id(span.parent.span_id) if span.parent else None)
        for span in found
        if span.context
    }


async def test_every_step_of_a_delivery_is_a_child_of_its_hook(world: World) -> None:
    for n in range(30):
        world.put(workload(f"app-{n}"))
    async with running(world):
        assert (await world.deliver()).outcome == "moved"
        await world.state.queue.idle()
    assert [len(world.spans(step)) for step in ("verify", "store", "patch")] == [1, 1, 30]
    assert places(world.sent.get_finished_spans()) == {(TRACE, HOOK)}
    [verify], [store] = world.spans("verify"), world.spans("store")
    assert verify.attributes == store.attributes == {"stream": "shop/web"}
    patch = next(span for span in world.spans("patch") if (span.attributes or {})["name"] == "app-7")
    assert patch.attributes == {
        "kind": "Deployment",
        "namespace": "shop",
        "name": "app-7",
        "delivery": "delivery of a",
        "end": "applied",
    }
    assert patch.status.is_unset


async def test_the_workload_and_the_log_name_the_trace(world: World) -> None:
    key = world.put(workload("app"))
    with capture_logs(processors=[merge_contextvars]) as logs:
        async with running(world):
            await world.deliver()
            await world.state.queue.idle()
    [why] = world.written()
    assert (why["delivery"], why["trace"]) == ("delivery of a", TRACE)
    [line] = [line for line in logs if line["event"] == "workload.patched"]
    assert (line["workload"], line["trace_id"]) == (str(key), TRACE)
    assert get_contextvars() == {}


async def test_where_nobody_collects_neither_names_one(world: World) -> None:
    plain = World(NO_TRACER, world.sent)
    plain.put(workload("app"))
    with capture_logs(processors=[merge_contextvars]) as logs:
        async with running(plain):
            await plain.deliver(trace="")
            await plain.state.queue.idle()
    [why] = plain.written()
    assert "trace" not in why
    assert not [line for line in logs if "trace_id" in line]


async def test_each_delivery_has_its_own_patches(world: World) -> None:
    """A workload that was patched for one delivery is patched for the next one in that one's trace."""
    world.put(workload("app"))
    other = "0af7651916cd43dd8448eb211c80319c"
    async with running(world):
        await world.deliver("a")
        await world.state.queue.idle()
        await world.deliver("b", trace=f"00-{other}-{HOOK}-01")
        await world.state.queue.idle()
    assert [places([span]) for span in world.spans("patch")] == [{(TRACE, HOOK)}, {(other, HOOK)}]
    assert [why["trace"] for why in world.written()] == [TRACE, other]


async def test_what_another_replica_took_is_patched_in_a_trace_of_its_own(world: World) -> None:
    world.put(workload("app"))
    async with running(world):
        world.state.put_stream(world.cluster.put_stream(stream(latest="a")))
        await world.state.queue.idle()
    [patch] = world.spans("patch")
    assert patch.parent is None
    [why] = world.written()
    assert "trace" not in why


async def test_a_refused_patch_is_marked_and_a_stale_one_is_tried_again_in_the_same_trace(world: World) -> None:
    refused = world.put(workload("refused"))
    stale = world.put(workload("stale"))
    first: dict[object, Outcome[Any]] = {stale: Outcome(End.STALE, message="changed")}

    def fault(verb: str, key: object) -> Outcome[Any] | None:
        if verb != "patch" or key != refused:
            return first.pop(key, None)
        return Outcome(End.REFUSED, message="quota", is_final=True)

    world.cluster.fault = fault
    async with running(world):
        await world.deliver()
        await asyncio.sleep(30)
    found = [(dict(span.attributes or {}), span.status.is_unset) for span in world.spans("patch")]
    ends = {(attributes["name"], attributes["end"], is_fine) for attributes, is_fine in found}
    assert ends == {("refused", "refused", False), ("stale", "stale", True), ("stale", "applied", True)}
    assert places(world.spans("patch")) == {(TRACE, HOOK)}


async def test_a_run_that_is_started_is_a_step_too(world: World) -> None:
    text = (
        '[{"from":{"kind":"ImageStreamTag","name":"web:latest"},'
        '"fieldPath":"spec.paramValues[?(@.name==\\"BASE\\")].value"}]'
    )
    found = triggers.parse(text, namespace="shop", kind=SHIPWRIGHT_BUILD)
    world.put(Workload(WorkloadKey("Build", "shop", "image"), "uid", "1", found, (), ()))
    async with running(world):
        await world.deliver()
        await world.state.queue.idle()
    assert places(world.spans("start")) == {(TRACE, HOOK)}
    [run] = world.cluster.runs.values()
    assert json.loads(run["metadata"]["annotations"][LAST_TRIGGERED])["trace"] == TRACE


async def test_a_registry_that_does_not_answer_is_a_failed_step_and_nothing_is_stored(world: World) -> None:
    world.registry.error = lambda _: RegistryUnavailable("timeout")
    with pytest.raises(Unconfirmed):
        await world.deliver()
    [verify] = world.spans("verify")
    assert not verify.status.is_ok
    assert not verify.status.is_unset
    assert world.spans("store") == []


async def test_a_cluster_that_does_not_answer_is_a_failed_step(world: World) -> None:
    world.cluster.fault = lambda verb, _: Outcome(End.UNREACHABLE, message="away") if verb == "store" else None
    with pytest.raises(Exception, match="away"):
        await world.deliver()
    [store] = world.spans("store")
    assert not store.status.is_unset
