"""What can be counted from outside: names, labels and units."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from listener.core import authentication
from listener.core.admission import Outcome
from listener.core.events import Parsed, Remark
from listener.core.outcomes import End
from listener.core.receipts import Arrival, Receipt
from listener.edges.metrics import Metrics
from listener.errors import BadInput, ClusterUnavailable, Limited, UnknownHook
from tests.edges.doors import BEARER, MOVED, door


@pytest.fixture
def metrics() -> Metrics:
    """Everything used once."""
    metrics = Metrics()
    metrics.hook_answered("team", "moved", 0.02)
    metrics.tag_moved("push")
    metrics.stored(0.01)
    metrics.patched("Deployment", "applied", 0.005)
    metrics.patched_after_hook(0.3)
    metrics.rolled_out_after_hook(14)
    metrics.event_dropped()
    metrics.imported("team", "unchanged")
    metrics.hook_missed("team")
    metrics.lookup_answered(("resolved", "waiting"), 0.0004)
    metrics.lookup_answered((), 0.0002)
    metrics.watch("listener_streams", "Image streams known.", None, lambda: {"": 7})
    metrics.watch("listener_workloads", "Workloads with triggers.", "kind", lambda: {"Deployment": 4, "CronJob": 0})
    return metrics


def samples(metrics: Metrics) -> Mapping[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.expose().decode())
        for sample in family.samples
    }


def test_a_part_can_be_asked_for(metrics: Metrics) -> None:
    text = metrics.expose(["listener_tag_moves_total", "listener_workloads", "unheard_of"]).decode()
    assert {line for line in text.splitlines() if not line.startswith("#")} == {
        'listener_tag_moves_total{cause="push"} 1.0',
        'listener_workloads{kind="Deployment"} 4.0',
        'listener_workloads{kind="CronJob"} 0.0',
    }


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("listener_hooks_total", {"registry": "team", "outcome": "moved"}, 1),
        ("listener_hook_seconds_count", {"registry": "team"}, 1),
        ("listener_hook_seconds_sum", {"registry": "team"}, 0.02),
        ("listener_tag_moves_total", {"cause": "push"}, 1),
        ("listener_patches_total", {"kind": "Deployment", "outcome": "applied"}, 1),
        ("listener_patch_seconds_count", {"kind": "Deployment"}, 1),
        ("listener_hook_to_stored_seconds_sum", {}, 0.01),
        ("listener_hook_to_patched_seconds_sum", {}, 0.3),
        ("listener_hook_to_rolled_out_seconds_sum", {}, 14),
        ("listener_events_dropped_total", {}, 1),
        ("listener_imports_total", {"registry": "team", "outcome": "unchanged"}, 1),
        ("listener_missed_hooks_total", {"registry": "team"}, 1),
        ("listener_lookups_total", {"outcome": "resolved"}, 1),
        ("listener_lookups_total", {"outcome": "waiting"}, 1),
        ("listener_lookup_seconds_count", {}, 2),
        ("listener_lookup_seconds_sum", {}, 0.0006),
        ("listener_lookup_seconds_bucket", {"le": "0.00025"}, 1),
        ("listener_streams", {}, 7),
        ("listener_workloads", {"kind": "Deployment"}, 4),
        ("listener_workloads", {"kind": "CronJob"}, 0),
    ],
)
def test_what_happened_is_there_under_its_name(
    metrics: Metrics, name: str, labels: Mapping[str, str], value: float
) -> None:
    assert samples(metrics)[name, tuple(sorted(labels.items()))] == pytest.approx(value)


def test_every_name_is_ours_or_usual_and_is_explained(metrics: Metrics) -> None:
    for family in text_string_to_metric_families(metrics.expose().decode()):
        assert family.name.startswith(("listener_", "process_"))
        assert family.documentation


def test_no_counter_has_a_second_series_with_its_birthday(metrics: Metrics) -> None:
    assert not [name for name, _ in samples(metrics) if name.endswith("_created")]


def begun(*, lookup: bool = True) -> Metrics:
    metrics = Metrics()
    metrics.start_at_zero(
        registries=("team", "mirror"), kinds=("Deployment", "CronJob"), causes=("push", "import"), lookup=lookup
    )
    return metrics


def counters(metrics: Metrics) -> dict[tuple[str, frozenset[str]], float]:
    """Those with labels, by their labels' values."""
    found = samples(metrics).items()
    return {(n, frozenset(dict(lbs).values())): v for (n, lbs), v in found if n.endswith("_total") and lbs}


def test_the_first_of_anything_is_a_rise(metrics: Metrics) -> None:
    """Whatever counts has been there with 0: Prometheus sees no rise in what comes into being."""
    shown = counters(begun())
    assert set(shown.values()) == {0}
    assert shown.keys() >= counters(metrics).keys()


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("listener_imports_total", [{of, end} for of in ("team", "mirror", "other") for end in ("moved", "failed")]),
        ("listener_imports_total", [{"team", "unchanged"}]),
        ("listener_missed_hooks_total", [{"team"}, {"mirror"}]),
        ("listener_tag_moves_total", [{"push"}, {"import"}]),
        ("listener_patches_total", [{kind, str(end)} for kind in ("Deployment", "CronJob") for end in End]),
        ("listener_lookups_total", [{str(outcome)} for outcome in Outcome]),
    ],
)
def test_a_counter_starts_with_all_its_labels(name: str, labels: list[set[str]]) -> None:
    assert {(name, frozenset(each)) for each in labels} <= counters(begun()).keys()


def test_what_is_switched_off_shows_nothing() -> None:
    shown = Counter(name for name, _ in counters(begun(lookup=False)))
    assert shown.keys() == Counter(name for name, _ in counters(begun())).keys() - {"listener_lookups_total"}


def refusals(of: type[BadInput]) -> Iterator[BadInput]:
    """Every kind but the one that only those meet who have found no hook."""
    for kind in of.__subclasses__():
        if kind is not UnknownHook:
            yield kind("no")
        yield from refusals(kind)


async def test_each_way_a_delivery_may_end_starts_at_zero() -> None:
    remarks = (Remark("it", "why"),)
    ends: list[Receipt | Exception] = [
        Receipt(),
        *(Receipt(moved=(MOVED,)), Receipt(unchanged=(MOVED,))),
        *(Receipt(refused=remarks), Receipt(unanswered=remarks)),
        *(*refusals(BadInput), ClusterUnavailable("later"), Limited("later", retry_after_seconds=1)),
        RuntimeError("a bug of ours"),
    ]
    waiting = iter(ends)

    async def take(_parsed: Parsed, _arrival: Arrival) -> Receipt:
        end = next(waiting)
        if isinstance(end, Exception):
            raise end
        return end

    async with door(take, scheme=authentication.Bearer()) as team:
        for _ in ends:
            await team.post(headers=BEARER)
        await team.client.get(f"{team.url}/hooks/team")
        await team.client.options(f"{team.url}/hooks/team", headers=BEARER)
        await team.post(name="nobody")
        await team.raw(b"no HTTP\r\n\r\n")
        team.hooks.close()
        await team.post(name="nobody")
        ended = {("listener_hooks_total", frozenset(labels)) for labels in team.meter.labels}
    assert len(team.meter.labels) == len(ends) + 5
    shown = {key for key in counters(begun()) if key[0] == "listener_hooks_total" and "mirror" not in key[1]}
    assert ended <= shown
    unseen = [{"unknown", "limited"}, {"unknown", "error"}]  # the one takes many requests, the other a bug
    assert shown - ended == {("listener_hooks_total", frozenset(each)) for each in unseen}


def test_a_gauge_is_read_when_it_is_asked_for() -> None:
    metrics = Metrics()
    depth = {"workloads": 1.0}
    metrics.watch("listener_queue_depth", "What waits.", "queue", lambda: depth)
    depth["workloads"] = 5
    assert samples(metrics)["listener_queue_depth", (("queue", "workloads"),)] == 5


def test_two_services_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.event_dropped()
    assert samples(one)["listener_events_dropped_total", ()] == 1
    assert samples(other)["listener_events_dropped_total", ()] == 0


def test_prometheus_finds_nothing_to_say_against_them(metrics: Metrics, promtool: Path) -> None:
    checked = subprocess.run([promtool, "check", "metrics"], input=metrics.expose(), capture_output=True, check=False)
    assert (checked.returncode, checked.stdout.decode(), checked.stderr.decode()) == (0, "", "")
