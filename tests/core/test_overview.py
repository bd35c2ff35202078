"""How triggers stand, always as the plan has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from listener.core import build_configs, deployment_configs, overview, plans, triggers
from listener.core.actions import View
from listener.core.kinds import BUILD_CONFIG, DEPLOYMENT, DEPLOYMENT_CONFIG, SHIPWRIGHT_BUILD, Kind
from listener.core.overview import State, TriggerState
from listener.core.streams import Resolved, StreamKey
from listener.core.triggers import Triggers
from listener.core.workloads import Container, Record, Workload, WorkloadKey

NOW = datetime(2026, 1, 1, tzinfo=UTC)
A, B = ("r.example/shop/web@sha256:" + letter * 64 for letter in "ab")
CURRENT, DIFFERS, WAITS, PAUSED, BROKEN = State
TAGS = {("web", "latest"): B, ("base", "1"): A}
CONTAINERS = (Container("web", A), Container("side", B))


def resolve(key: StreamKey, tag: str) -> Resolved | None:
    pull_spec = TAGS.get((key.name, tag))
    return Resolved(pull_spec, pull_spec.partition("@")[2], 1) if pull_spec else None


VIEW = View(resolve, lambda _, __: None)


def look(kind: Kind, found: Triggers, record: Record | None = None) -> Sequence[TriggerState]:
    workload = Workload(WorkloadKey(kind.label, "shop", "app"), "u", "1", found, CONTAINERS, (), record=record)
    plan = plans.plan(workload, kind, VIEW, now=NOW)
    states = overview.look(workload, plan, VIEW, lambda key, tag: f"nothing at {key}:{tag}")
    # Whatever is shown to differ is what would be done, and nothing else is.
    differing = {(s.target, s.now, s.tagged) for s in states if s.state is DIFFERS}
    assert differing == {(change.target, change.before, change.after) for change in plan.changes}
    return states


def entry(target: str, source: str = "web:latest", **more: Any) -> dict[str, Any]:
    path = f"spec.template.spec.containers{target}.image"
    return {"from": {"kind": "ImageStreamTag", "name": source}, "fieldPath": path, **more}


def annotated(*entries: Any, kind: Kind = DEPLOYMENT) -> Triggers:
    return triggers.parse(json.dumps(entries), namespace="shop", kind=kind)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([entry("[0]")], [("web", A, B, DIFFERS)], id="differs"),
        pytest.param([entry("[1]")], [("side", B, B, CURRENT)], id="current"),
        pytest.param([entry("[0]", paused=True)], [("web", A, B, PAUSED)], id="paused"),
        pytest.param([entry("[0]", "web:none")], [("web", A, "", WAITS)], id="waits"),
        pytest.param([entry("[5]")], [("5", "", B, BROKEN)], id="no container"),
        pytest.param([entry("[5]", paused=True)], [("5", "", B, PAUSED)], id="no container, and paused"),
        pytest.param(
            [entry("[0]", paused=True), entry('[?(@.name=="web")]')],
            [("web", A, B, PAUSED), ("web", "", B, BROKEN)],
            id="the second of one container",
        ),
        pytest.param(["x", entry("[1]")], [("side", B, B, CURRENT), ("", "", "", BROKEN)], id="beside what is none"),
        pytest.param([], [], id="none"),
    ],
)
def test_triggers_of_containers(entries: list[Any], expected: list[tuple[str, str, str, State]]) -> None:
    assert [(s.target, s.now, s.tagged, s.state) for s in look(DEPLOYMENT, annotated(*entries))] == expected


def test_what_waits_or_is_broken_says_why() -> None:
    waits, missing, twice, unread = look(
        DEPLOYMENT, annotated(entry("[0]", "web:none"), "x", entry("[5]"), entry('[?(@.name=="web")]'))
    )
    assert waits.why == "nothing at shop/web:none"
    assert "there is no containers[5]" in missing.why
    path = "spec.template.spec.containers"
    told = f"{path}[0].image sets container 'web' already, and that one counts; remove one of them"
    assert twice.why == f'fieldPath {path}[?(@.name=="web")].image: {told}'
    assert unread.why.startswith("triggers[1]: expected an object")
    assert unread.trigger is None


def config(*sources: str, containers: Sequence[str] = ("web",), last: str = "") -> Triggers:
    return deployment_configs.read(
        [
            {
                "type": "ImageChange",
                "imageChangeParams": {
                    "automatic": True,
                    "containerNames": containers,
                    "from": {"kind": "ImageStreamTag", "name": source},
                    "lastTriggeredImage": last,
                },
            }
            for source in sources
        ],
        namespace="shop",
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(
            config("web:latest", containers=("web", "side", "gone"), last=B),
            [("web", DIFFERS), ("side", CURRENT), ("gone", BROKEN)],
            id="several containers",
        ),
        pytest.param(
            Triggers((*config("web:latest").valid, *config("web:none", containers=("side",)).valid)),
            [("web", WAITS), ("side", WAITS)],
            id="together or not at all",
        ),
    ],
)
def test_triggers_of_a_deployment_config(found: Triggers, expected: list[tuple[str, State]]) -> None:
    assert [(state.target, state.state) for state in look(DEPLOYMENT_CONFIG, found)] == expected


@pytest.mark.parametrize(("last", "state"), [(A, DIFFERS), (B, CURRENT), ("", DIFFERS)])
def test_triggers_of_a_build_config(last: str, state: State) -> None:
    change = {"from": {"kind": "ImageStreamTag", "name": "web:latest"}, "lastTriggeredImageID": last}
    found = build_configs.read({"triggers": [{"type": "ImageChange", "imageChange": change}]}, {}, namespace="shop")
    (only,) = look(BUILD_CONFIG, found)
    assert (only.target, only.now, only.tagged, only.state) == ("", last, B, state)


def run_entry(source: str, parameter: str = "") -> dict[str, Any]:
    path = {"fieldPath": f'spec.paramValues[?(@.name=="{parameter}")].value'} if parameter else {}
    return {"from": {"kind": "ImageStreamTag", "name": source}, **path}


@pytest.mark.parametrize(
    ("entries", "images", "expected"),
    [
        pytest.param([run_entry("web:latest", "image")], {}, [("image", "", DIFFERS)], id="never run"),
        pytest.param([run_entry("web:latest")], {"shop/web:latest": B}, [("", B, CURRENT)], id="run already"),
        pytest.param(
            [run_entry("web:latest", "a"), run_entry("web:none", "b")],
            {"shop/web:latest": A},
            [("a", A, WAITS), ("b", "", WAITS)],
            id="waits for all",
        ),
    ],
)
def test_triggers_of_what_is_run(
    entries: list[Any], images: dict[str, str], expected: list[tuple[str, str, State]]
) -> None:
    found = annotated(*entries, kind=SHIPWRIGHT_BUILD)
    states = look(SHIPWRIGHT_BUILD, found, Record(1, images))
    assert [(state.target, state.now, state.state) for state in states] == expected


def test_what_no_service_looks_at_is_broken() -> None:
    view = View(lambda *_: None, lambda *_: None, namespaces=frozenset({"lab"}))
    found = annotated(entry("[0]"), entry("[1]", paused=True))
    workload = Workload(WorkloadKey("Deployment", "lab", "app"), "u", "1", found, CONTAINERS, ())
    plan = plans.plan(workload, DEPLOYMENT, view, now=NOW)
    broken, paused = overview.look(workload, plan, view, lambda _, __: "there is none")
    assert (broken.state, broken.why) == (BROKEN, *plan.problems)
    assert paused.state is PAUSED
