"""Each form of kind is planned in its own way."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from listener.core import build_configs, deployment_configs, plans, triggers
from listener.core.actions import View
from listener.core.kinds import BUILD_CONFIG, DEPLOYMENT_CONFIG, KINDS, POD, Form, Kind, custom
from listener.core.streams import Resolved, StreamKey
from listener.core.triggers import Triggers
from listener.core.workloads import Container, Workload, WorkloadKey

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NEW = Resolved("r.io/web@sha256:new", "sha256:new", 1)
SOURCE = {"kind": "ImageStreamTag", "name": "web:latest"}
VIEW = View(lambda stream, tag: NEW if (stream, tag) == (StreamKey("shop", "web"), "latest") else None, lambda *_: None)
UNNAMED = custom("serving.knative.dev/v1", "Service", ("spec", "template", "spec"))
BARE = custom("example.com/v1", "Bare", ("pod",))


def following(kind: Kind) -> Triggers:
    match kind.form:
        case Form.POD_SPEC:
            path = ".".join(kind.pod_spec_path) + ".containers[0].image"
        case Form.DEPLOYMENT_CONFIG:
            parameters = {"automatic": True, "containerNames": ["web"], "from": SOURCE}
            return deployment_configs.read([{"type": "ImageChange", "imageChangeParams": parameters}], namespace="shop")
        case Form.BUILD_CONFIG:
            spec = {"triggers": [{"type": "ImageChange", "imageChange": {"from": SOURCE}}]}
            return build_configs.read(spec, {}, namespace="shop")
        case Form.RUN:
            path = ""
    return triggers.parse(json.dumps([{"from": SOURCE, "fieldPath": path}]), namespace="shop", kind=kind)


def workload(kind: Kind, container: Container | None = None) -> Workload:
    found = container or Container("web", "old")
    return Workload(WorkloadKey(kind.label, "shop", "x"), "u", "1", following(kind), (found,), ())


@pytest.mark.parametrize("kind", [*KINDS, UNNAMED, BARE], ids=lambda kind: kind.label)
def test_a_moved_tag_sets_the_image_of_what_has_a_pod_spec_and_starts_the_rest(kind: Kind) -> None:
    plan = plans.plan(workload(kind), kind, VIEW, now=NOW)
    assert [change.after for change in plan.changes] == [NEW.pull_spec]
    image = "/" + "/".join((*kind.pod_spec_path, "containers/0/image"))
    assert (image in [operation["path"] for operation in plan.operations]) == bool(kind.pod_spec_path)
    assert (plan.start is None) == bool(kind.pod_spec_path)


@pytest.mark.parametrize("kind", [POD, DEPLOYMENT_CONFIG, BARE], ids=lambda kind: kind.label)
def test_what_is_left_to_somebody_else_is_left_in_every_kind_with_containers(kind: Kind) -> None:
    plan = plans.plan(workload(kind), kind, VIEW, now=NOW, leave={("web", NEW.pull_spec)})
    assert plan.left == ("web",)
    assert not any(str(operation["path"]).endswith("/image") for operation in plan.operations)


def test_a_build_config_is_nobodys_to_fight_over() -> None:
    assert plans.plan(workload(BUILD_CONFIG), BUILD_CONFIG, VIEW, now=NOW, leave={("web", NEW.pull_spec)}).start


@pytest.mark.parametrize(
    ("container", "operations"),
    [
        pytest.param(
            Container("", "old"),
            [("test", "image", "old"), ("replace", "image", NEW.pull_spec)],
            id="it is told by its image",
        ),
        pytest.param(Container("", ""), [("add", "image", NEW.pull_spec)], id="nothing tells it"),
    ],
)
def test_a_container_without_a_name_can_be_set_by_its_index(
    container: Container, operations: list[tuple[str, str, str]]
) -> None:
    """A test of a name that is not there would fail for ever."""
    plan = plans.plan(workload(UNNAMED, container), UNNAMED, VIEW, now=NOW)
    expected = [
        {"op": op, "path": f"/spec/template/spec/containers/0/{field}", "value": value}
        for op, field, value in operations
    ]
    assert list(plan.operations[: len(expected)]) == expected
    assert str(plan.operations[len(expected)]["path"]).startswith("/metadata/annotations/")


@pytest.mark.parametrize("kind", [*KINDS, UNNAMED, BARE], ids=lambda kind: kind.label)
def test_a_stream_in_a_namespace_that_nobody_looks_at_is_a_problem_unless_its_trigger_is_paused(kind: Kind) -> None:
    view = View(lambda *_: None, lambda *_: None, namespaces=frozenset({"here", "there"}))
    found = workload(kind)
    plan = plans.plan(found, kind, view, now=NOW)
    assert plan.problems == (
        "ImageStream shop/web cannot be followed: namespace shop is not among the `namespaces` of the settings",
    )
    assert not plan.changes
    paused = replace(found, triggers=Triggers(tuple(replace(trigger, paused=True) for trigger in found.triggers.valid)))
    assert plans.plan(paused, kind, view, now=NOW).problems == ()
    seen = replace(view, namespaces=frozenset({"shop"}))
    assert plans.plan(found, kind, seen, now=NOW).problems == ()
