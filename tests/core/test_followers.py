"""How a workload stands to a tag is what its plan says about it, for less."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from listener.core import build_configs, deployment_configs, followers, plans, triggers
from listener.core.actions import View
from listener.core.kinds import BUILD_CONFIG, DEPLOYMENT, DEPLOYMENT_CONFIG, SHIPWRIGHT_BUILD, Kind
from listener.core.streams import Resolved, StreamKey
from listener.core.triggers import Triggers
from listener.core.workloads import Container, Record, Workload, WorkloadKey

WEB = StreamKey("shop", "web")
AT, OTHER = "r.io/web@sha256:1", "r.io/base@sha256:2"


def annotated(*entries: tuple[str, str, bool], kind: Kind = DEPLOYMENT) -> Triggers:
    found = [
        {"from": {"kind": "ImageStreamTag", "name": name}, "fieldPath": path, "paused": paused}
        for name, path, paused in entries
    ]
    return triggers.parse(json.dumps(found), namespace="shop", kind=kind)


def workload(found: Triggers, *images: str, kind: Kind = DEPLOYMENT, record: Record | None = None) -> Workload:
    containers = tuple(Container(f"c{number}", image) for number, image in enumerate(images))
    return Workload(WorkloadKey(kind.label, "shop", "app"), "u", "1", found, containers, (), record=record)


def path(number: int) -> str:
    return f"spec.template.spec.containers[{number}].image"


def by_name(name: str) -> str:
    return f'spec.template.spec.containers[?(@.name=="{name}")].image'


def config(last: str) -> Triggers:
    source = {"kind": "ImageStreamTag", "name": "web:latest"}
    parameters = {"automatic": True, "containerNames": ["c0"], "from": source, "lastTriggeredImage": last}
    return deployment_configs.read([{"type": "ImageChange", "imageChangeParams": parameters}], namespace="shop")


def build(last: str) -> Triggers:
    change = {"from": {"kind": "ImageStreamTag", "name": "web:latest"}, "lastTriggeredImageID": last}
    return build_configs.read({"triggers": [{"type": "ImageChange", "imageChange": change}]}, {}, namespace="shop")


RUN = annotated(("web:latest", "", False), kind=SHIPWRIGHT_BUILD)

CASES = [
    pytest.param(workload(annotated(("web:latest", path(0), False)), AT), DEPLOYMENT, True, id="has the image"),
    pytest.param(workload(annotated(("web:latest", path(0), False)), OTHER), DEPLOYMENT, False, id="has another"),
    pytest.param(
        workload(annotated(("web:latest", path(0), False), ("web:latest", path(1), False)), AT, OTHER),
        DEPLOYMENT,
        False,
        id="has it in one of two containers",
    ),
    pytest.param(
        workload(annotated(("web:latest", path(0), False), ("base:latest", path(1), False)), AT, AT),
        DEPLOYMENT,
        True,
        id="another tag is another matter",
    ),
    pytest.param(
        workload(annotated(("web:latest", path(0), False), ("web:latest", path(1), True)), AT, OTHER),
        DEPLOYMENT,
        True,
        id="what is paused does not count",
    ),
    pytest.param(workload(config(AT), AT, kind=DEPLOYMENT_CONFIG), DEPLOYMENT_CONFIG, True, id="DeploymentConfig"),
    pytest.param(workload(config(OTHER), AT, kind=DEPLOYMENT_CONFIG), DEPLOYMENT_CONFIG, False, id="its record lags"),
    pytest.param(workload(config(AT), OTHER, kind=DEPLOYMENT_CONFIG), DEPLOYMENT_CONFIG, False, id="its image lags"),
    pytest.param(workload(build(AT), kind=BUILD_CONFIG), BUILD_CONFIG, True, id="built"),
    pytest.param(workload(build(OTHER), kind=BUILD_CONFIG), BUILD_CONFIG, False, id="not built"),
    pytest.param(
        workload(RUN, kind=SHIPWRIGHT_BUILD, record=Record(1, {"shop/web:latest": AT})),
        SHIPWRIGHT_BUILD,
        True,
        id="run",
    ),
    pytest.param(workload(RUN, kind=SHIPWRIGHT_BUILD, record=Record()), SHIPWRIGHT_BUILD, False, id="never run"),
]


@pytest.mark.parametrize(("given", "kind", "expected"), CASES)
def test_stands_at_the_tag_when_its_plan_changes_nothing_for_it(given: Workload, kind: Kind, expected: bool) -> None:
    assert followers.stands_at(given, WEB, "latest", AT) is expected
    assert followers.hindrance(given, WEB, "latest") == ""
    view = View(lambda stream, _: Resolved(AT if stream == WEB else OTHER, "", 1), lambda *_: None)
    plan = plans.plan(given, kind, view, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert any((change.stream, change.tag) == (WEB, "latest") for change in plan.changes) is not expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(annotated(("web:latest", path(5), False)), "there is no containers[5]", id="no such index"),
        pytest.param(annotated(("web:latest", by_name("none"), False)), "no container 'none'", id="no such name"),
        pytest.param(annotated(("web:latest", by_name("none"), True)), "", id="paused"),
        pytest.param(annotated(("base:latest", by_name("none"), False)), "", id="another tag's"),
        pytest.param(
            annotated(("base:latest", path(0), False), ("web:latest", by_name("c0"), False)),
            "sets container 'c0' already, and that one counts; remove",
            id="another trigger has its container",
        ),
        pytest.param(
            annotated(("base:latest", path(0), True), ("web:latest", by_name("c0"), False)),
            "sets container 'c0' already, and that one counts, though it is paused; remove",
            id="a paused one has its container",
        ),
    ],
)
def test_what_hinders_it_is_a_sentence(found: Triggers, expected: str) -> None:
    why = followers.hindrance(workload(found, OTHER), WEB, "latest")
    assert (expected in why) if expected else why == ""


def test_has_an_image_in_any_container() -> None:
    assert followers.has_image(workload(Triggers(), OTHER, AT), AT)
    assert not followers.has_image(workload(Triggers(), OTHER), AT)
