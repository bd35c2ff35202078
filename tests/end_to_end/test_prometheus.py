"""A real Prometheus scrapes two replicas, with the chart's alerts and the dashboard's queries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests import real_parts
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.objects import images, trigger, workload
from tests.end_to_end.parts import Api, Listener, eventually, push_event, registry, serve
from tests.end_to_end.test_leadership import leads
from tests.test_chart_operations import RULES, alerts_of, queries, rules_of

HOST = "registry.example.com"
DIGESTS = [f"sha256:{number:064x}" for number in range(1, 3)]
ALERT = "ListenerHooksUnauthenticated"
METRICS = {
    "listener_hooks_total": "counter",
    "listener_hook_seconds": "histogram",
    "listener_tag_moves_total": "counter",
    "listener_patches_total": "counter",
    "listener_patch_seconds": "histogram",
    "listener_hook_to_stored_seconds": "histogram",
    "listener_hook_to_patched_seconds": "histogram",
    "listener_hook_to_rolled_out_seconds": "histogram",
    "listener_fan_out_in_flight": "gauge",
    "listener_fan_out_limit": "gauge",
    "listener_queue_depth": "gauge",
    "listener_imports_total": "counter",
    "listener_missed_hooks_total": "counter",
    "listener_watch_age_seconds": "gauge",
    "listener_streams": "gauge",
    "listener_workloads": "gauge",
    "listener_invalid_triggers": "gauge",
    "listener_waiting_triggers": "gauge",
    "listener_leader": "gauge",
    "listener_tasks": "gauge",
    "process_resident_memory_bytes": "gauge",
    "process_open_fds": "gauge",
}

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Its HTTP API."""

    session: aiohttp.ClientSession
    url: str

    async def data(self, path: str, **parameters: str) -> Any:
        async with self.session.get(f"{self.url}/api/v1/{path}", params=parameters) as response:
            return (await response.json())["data"] if response.status == 200 else {}  # it may still be starting

    async def ask(self, query: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The values by the labels named."""
        found = (await self.data("query", query=query)).get("result", ())
        return {tuple(each["metric"].get(label, "") for label in labels): float(each["value"][1]) for each in found}

    async def series(self, query: str) -> set[Labels]:
        return {frozenset(each["metric"].items()) for each in (await self.data("query", query=query))["result"]}

    async def shows(self, query: str, *labels: str, found: Mapping[tuple[str, ...], float]) -> None:
        """Wait until it does: it scrapes now and then."""
        last: dict[tuple[str, ...], float] = {}

        async def look() -> bool:
            nonlocal last
            last = await self.ask(query, *labels)
            return last == found

        try:
            await eventually(look, seconds=10, what=query)
        finally:
            assert last == found, query

    async def active(self) -> list[tuple[str, str, str]]:
        labels = [alert["labels"] | {"state": alert["state"]} for alert in (await self.data("alerts"))["alerts"]]
        return sorted((each["alertname"], each.get("registry", ""), each["state"]) for each in labels)


@asynccontextmanager
async def scraping(folder: Path, rules: Mapping[str, Any], replicas: Sequence[Listener]) -> AsyncIterator[Prometheus]:
    """The replicas are the Pods `a` and `b` of `release`, in the namespace `here`."""
    folder.mkdir()
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    targets = [
        {"targets": [listener.monitoring.removeprefix("http://")], "labels": {"namespace": "here", "pod": pod}}
        for pod, listener in zip("ab", replicas, strict=True)
    ]
    configuration = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "release", "static_configs": targets}],
    }
    with real_parts.prometheus(folder, configuration) as url:
        async with aiohttp.ClientSession() as session:
            yield Prometheus(session, url)


async def test_prometheus_sees_two_replicas_as_they_are(
    cluster: ClusterUnderTest, api: Api, helm: Path, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("scraped")
    await api.create(workload("Deployment", namespace, "web", trigger("web:latest")))
    settings: dict[str, Any] = {
        "registries": [
            registry(HOST, integrated=True, verify=False),
            registry("quiet.example.com") | {"name": "quiet"},
        ],
        "namespaces": [namespace],
        "leaderElection": {"lease": namespace},
    }
    rules = await rules_of(helm, tmp_path, RULES)
    alerts_of(rules)[ALERT]["for"] = "1s"  # all else is as it is installed
    async with (
        serve(cluster, tmp_path / "a", **settings) as first,
        serve(cluster, tmp_path / "b", **settings) as second,
    ):
        await leads(first)
        await second.ready()
        async with scraping(tmp_path / "prometheus", rules, (first, second)) as prometheus:
            await prometheus.shows("up", "pod", found={("a",): 1, ("b",): 1})
            await prometheus.shows("listener_leader", "pod", found={("a",): 1, ("b",): 0})
            assert await prometheus.ask("sum(listener_hooks_total)") == {(): 0}
            counters = await prometheus.series(COUNTERS)

            posted = await deliveries(first, second, namespace)
            await prometheus.shows("sum(listener_hooks_total)", found={(): sum(posted.values())})
            await prometheus.shows(
                "sum by (registry, outcome) (listener_hooks_total) > 0", "registry", "outcome", found=posted
            )
            await it_runs(api, namespace, DIGESTS[1])
            await prometheus.shows("sum(increase(listener_tag_moves_total[1m])) > bool 0", found={(): 1})

            await it_rises(prometheus, posted)
            await it_fires(prometheus)
            await every_rule_is_evaluated(prometheus, rules)
            await every_metric_is_explained(prometheus)
            await every_panel_shows_something(prometheus)
            assert await prometheus.series(COUNTERS) == counters, "a counter has come into being meanwhile"

            assert await first.terminate() == 0
            await prometheus.shows("up", "pod", found={("a",): 0, ("b",): 1})
            await prometheus.shows("listener_leader", "pod", found={("b",): 1})


COUNTERS = 'last_over_time({__name__=~"listener_.+_total"}[5m])'  # whatever became of the last scrape


async def deliveries(first: Listener, second: Listener, namespace: str) -> Mapping[tuple[str, ...], float]:
    """Post them, and count them by registry and outcome."""
    pushes = [push_event(HOST, f"{namespace}/web", "latest", digest) for digest in DIGESTS]
    pull = pushes[0] | {"action": "pull"}
    assert [(await first.deliver(pushes[0]))[0], (await second.deliver(pushes[1]))[0]] == [200, 200]
    assert [(await second.deliver(each))[0] for each in (pushes[1], pull)] == [200, 200]
    assert (await first.post(b"{"))[0] == 400
    assert (await first.deliver(pushes[0], hook="nobody"))[0] == 404
    # One, and no other to that hook: the first of all must be seen.
    assert (await second.deliver(pushes[0], hook="quiet", secret="wrong"))[0] == 401
    return {
        ("team", "moved"): 2,
        ("team", "unchanged"): 1,
        ("team", "ignored"): 1,
        ("team", "malformed"): 1,
        ("unknown", "unknown"): 1,
        ("quiet", "unauthenticated"): 1,
    }


async def it_runs(api: Api, namespace: str, digest: str) -> None:
    async def look() -> bool:
        found = images(await api.workload("Deployment", namespace, "web"))
        return found["web"] == f"{HOST}/{namespace}/web@{digest}"

    await eventually(look, what=f"web runs {digest}")


async def it_rises(prometheus: Prometheus, posted: Mapping[tuple[str, ...], float]) -> None:
    """`increase` is an estimate, but nothing that happened is missing, be it the first of its kind."""
    query = "sum by (registry, outcome) (increase(listener_hooks_total[5m])) > 0"
    assert (await prometheus.ask(query, "registry", "outcome")).keys() == posted.keys()


async def it_fires(prometheus: Prometheus) -> None:
    async def look() -> bool:
        return await prometheus.active() == [(ALERT, "quiet", "firing")]

    await eventually(look, seconds=10, what=f"{ALERT} fires, and no other")
    states = f'count by (alertstate) (last_over_time(ALERTS{{alertname="{ALERT}"}}[1m]))'
    assert await prometheus.ask(states, "alertstate") == {("pending",): 1, ("firing",): 1}
    (alert,) = (await prometheus.data("alerts"))["alerts"]
    assert alert["annotations"]["summary"] == "Hooks of registry quiet do not prove whose they are."
    assert alert["annotations"]["description"].startswith("100% of the deliveries to the hook of registry quiet")


async def every_rule_is_evaluated(prometheus: Prometheus, rules: Mapping[str, Any]) -> None:
    async def look() -> bool:
        groups = (await prometheus.data("rules"))["groups"]
        health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
        return health == dict.fromkeys(alerts_of(rules), "ok")

    await eventually(look, what="all rules were evaluated")


async def every_metric_is_explained(prometheus: Prometheus) -> None:
    told = await prometheus.data("targets/metadata", match_target='{job="release"}')
    for pod in "ab":
        types = {each["metric"]: each["type"] for each in told if each["target"]["pod"] == pod and each["help"]}
        assert {name: types.get(name) for name in METRICS} == METRICS


async def every_panel_shows_something(prometheus: Prometheus) -> None:
    asked = {query for query in queries() if "listener_lookup" not in query}  # which is off here

    async def look() -> bool:
        asked.difference_update([query for query in asked if await prometheus.ask(query)])
        return not asked

    try:
        await eventually(look, seconds=10, what="all panels")
    finally:
        assert not asked
