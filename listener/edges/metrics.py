"""Prometheus: what can be counted from outside.

Every label comes from a closed set; seconds are the only unit of time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from listener.core.admission import Outcome
from listener.core.outcomes import End

CONTENT_TYPE = CONTENT_TYPE_LATEST

# A second series for each counter, with the time of its birth, which no query of ours needs.
disable_created_metrics()  # type: ignore[no-untyped-call]

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_AT_ONCE = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 2.5)
_ROLLOUT = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
_LONG = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

# What becomes of any request, and of one to the hook of a registry.
_REQUESTS = ("malformed", "limited", "unavailable", "error")
_DELIVERIES = (
    *("moved", "unchanged", "ignored", "refused", "unanswered", "handshake"),
    *("unauthenticated", "not_posted", "incomplete", "too_large", *_REQUESTS),
)
_IMPORTS = ("moved", "unchanged", "failed")


class Metrics:
    """All of them, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        ProcessCollector(registry=registry)  # memory, processor time, open files, by the names that all processes use
        self._hooks = Counter("listener_hooks", "Deliveries answered.", ["registry", "outcome"], registry=registry)
        self._hook_seconds = Histogram(
            "listener_hook_seconds",
            "From a delivery's arrival to its answer.",
            ["registry"],
            buckets=_FAST,
            registry=registry,
        )
        # To look up the values of labels takes longer than to count, here and with each patch; they are closed sets.
        self._hooks_of = cache(self._hooks.labels)
        self._hook_seconds_of = cache(self._hook_seconds.labels)
        self._moves = Counter("listener_tag_moves", "Stream tags that moved.", ["cause"], registry=registry)
        self._patches = Counter(
            "listener_patches", "Patches sent to workloads.", ["kind", "outcome"], registry=registry
        )
        self._patch_seconds = Histogram(
            "listener_patch_seconds",
            "The time the API server took for a patch.",
            ["kind"],
            buckets=_FAST,
            registry=registry,
        )
        self._patches_of = cache(self._patches.labels)
        self._patch_seconds_of = cache(self._patch_seconds.labels)
        self._to_stored = Histogram(
            "listener_hook_to_stored_seconds",
            "From a delivery's arrival to the tag history being stored.",
            buckets=_FAST,
            registry=registry,
        )
        self._to_patched = Histogram(
            "listener_hook_to_patched_seconds",
            "From a delivery's arrival to each workload's patch being stored.",
            buckets=_LONG,
            registry=registry,
        )
        self._to_rolled_out = Histogram(
            "listener_hook_to_rolled_out_seconds",
            "From a delivery's arrival to each patched workload being rolled out, where its kind tells.",
            buckets=_ROLLOUT,
            registry=registry,
        )
        self._imports = Counter(
            "listener_imports",
            "Questions to registries where a tag stands.",
            ["registry", "outcome"],
            registry=registry,
        )
        self._missed = Counter(
            "listener_missed_hooks",
            "Moves of a tag that a poll found and no hook announced.",
            ["registry"],
            registry=registry,
        )
        self._events_dropped = Counter(
            "listener_events_dropped", "Kubernetes Events left out because too many were waiting.", registry=registry
        )
        self._lookups = Counter(
            "listener_lookups",
            "Images that may be names of stream tags, in objects that API servers asked about.",
            ["outcome"],
            registry=registry,
        )
        self._lookup_seconds = Histogram(
            "listener_lookup_seconds",
            "From an API server's question about an object to the answer, whatever its images are.",
            buckets=_AT_ONCE,
            registry=registry,
        )
        self._lookups_of = cache(self._lookups.labels)

    def start_at_zero(
        self, *, registries: Iterable[str], kinds: Iterable[str], causes: Iterable[str], lookup: bool
    ) -> None:
        """Show every counter that may count. To Prometheus one that comes into being with its first count has not
        risen, so that no alert would see the first of anything.
        """
        for registry in registries:
            for outcome in _DELIVERIES:
                self._hooks_of(registry, outcome)
            for outcome in _IMPORTS:
                self._imports.labels(registry, outcome)
            self._missed.labels(registry)
        for outcome in ("unknown", *_REQUESTS):
            self._hooks_of("unknown", outcome)
        for outcome in _IMPORTS:
            self._imports.labels("other", outcome)
        for cause in causes:
            self._moves.labels(cause)
        for kind in kinds:
            for end in End:
                self._patches_of(kind, end)
        for found in Outcome if lookup else ():
            self._lookups_of(found)

    def expose(self, names: Collection[str] = ()) -> bytes:
        """The text that Prometheus scrapes; with `names` only the samples of those names."""
        return generate_latest(self.registry.restricted_registry(names) if names else self.registry)

    def watch(self, name: str, help_text: str, label: str | None, read: Callable[[], Mapping[str, float]]) -> None:
        """Add a gauge that is read when it is asked for; the mapping's keys are the label's values ("" without a
        label).
        """
        self.registry.register(_Reading(name, help_text, label, read))

    def hook_answered(self, registry: str, outcome: str, seconds: float) -> None:
        self._hooks_of(registry, outcome).inc()
        self._hook_seconds_of(registry).observe(seconds)

    def tag_moved(self, cause: str) -> None:
        self._moves.labels(cause).inc()

    def imported(self, registry: str, outcome: str) -> None:
        self._imports.labels(registry, outcome).inc()

    def hook_missed(self, registry: str) -> None:
        self._missed.labels(registry).inc()

    def stored(self, seconds: float) -> None:
        self._to_stored.observe(seconds)

    def patched(self, kind: str, end: str, seconds: float) -> None:
        self._patches_of(kind, end).inc()
        self._patch_seconds_of(kind).observe(seconds)

    def patched_after_hook(self, seconds: float) -> None:
        self._to_patched.observe(seconds)

    def rolled_out_after_hook(self, seconds: float) -> None:
        self._to_rolled_out.observe(seconds)

    def event_dropped(self) -> None:
        self._events_dropped.inc()

    def lookup_answered(self, outcomes: Iterable[str], seconds: float) -> None:
        for outcome in outcomes:
            self._lookups_of(outcome).inc()
        self._lookup_seconds.observe(seconds)


class _Reading(Collector):
    def __init__(self, name: str, help_text: str, label: str | None, read: Callable[[], Mapping[str, float]]) -> None:
        self._name = name
        self._help = help_text
        self._label = label
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        family = self._family()
        for value, number in self._read().items():
            family.add_metric([value] if self._label else [], number)
        return [family]

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(self._name, self._help, labels=[self._label] if self._label else [])
