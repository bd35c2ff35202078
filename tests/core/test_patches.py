"""From a workload and its tags to the patch, or to nothing to do."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import jsonpatch
import pytest

from listener.core import patches
from listener.core.actions import CHANGE_CAUSE, LAST_TRIGGERED, ImageChange, Plan, View, Why
from listener.core.kinds import KINDS, Kind
from listener.core.streams import Resolved, StreamKey
from listener.core.triggers import ContainerTrigger, Triggers
from listener.core.workloads import Container, Workload, WorkloadKey

DEPLOYMENT = KINDS[0]
NOW = datetime(2026, 11, 23, 2, 38, 6, 999_999, tzinfo=timezone(timedelta(hours=2)))
WEB, API = StreamKey("shop", "web"), StreamKey("shop", "api")
NEW_WEB = Resolved("r.io/shop/web@sha256:new", "sha256:new", 4)
NEW_API = Resolved("r.io/shop/api@sha256:api", "sha256:api", 2)
OLD = "r.io/shop/web@sha256:old"
TAGS = {(WEB, "latest"): NEW_WEB, (API, "latest"): NEW_API}


def trigger(
    container: str | int = "web",
    key: StreamKey = WEB,
    *,
    tag: str = "latest",
    paused: bool = False,
    section: Any = "containers",
) -> ContainerTrigger:
    return ContainerTrigger(key, tag, paused, f"PATH[{container}]", section, container)


def workload(
    *valid: ContainerTrigger, problems: tuple[str, ...] = (), web: str = "r.io/shop/web@sha256:old"
) -> Workload:
    return Workload(
        WorkloadKey("Deployment", "shop", "web"),
        "uid",
        "1",
        Triggers(valid, problems),
        (Container("web", web), Container("api", "old-api")),
        (Container("migrate", "old-migrate"),),
    )


def plan(
    found: Workload,
    kind: Kind = DEPLOYMENT,
    tags: Mapping[tuple[StreamKey, str], Resolved] = TAGS,
    deliveries: Mapping[StreamKey, str] | None = None,
    *,
    traces: Mapping[StreamKey, str] | None = None,
    change_cause: bool = True,
    leave: Collection[tuple[str, str]] = (),
) -> Plan:
    view = View(
        lambda stream, tag: tags.get((stream, tag)),
        lambda stream, _tag: (deliveries or {}).get(stream),
        change_cause,
        trace=lambda stream, _tag: (traces or {}).get(stream, ""),
    )
    return patches.plan(found, kind, view, now=NOW, leave=leave)


def test_the_whole_patch_of_one_container() -> None:
    assert plan(workload(trigger()), deliveries={WEB: "d-1"}) == Plan(
        (ImageChange("web", "r.io/shop/web@sha256:old", "r.io/shop/web@sha256:new", WEB, "latest", "sha256:new"),),
        (
            {"op": "test", "path": "/spec/template/spec/containers/0/name", "value": "web"},
            {"op": "test", "path": "/spec/template/spec/containers/0/image", "value": "r.io/shop/web@sha256:old"},
            {
                "op": "replace",
                "path": "/spec/template/spec/containers/0/image",
                "value": "r.io/shop/web@sha256:new",
            },
            {
                "op": "add",
                "path": "/metadata/annotations/imagestreams.dev~1last-triggered",
                "value": '{"stream":"shop/web","tag":"latest","generation":4,"digest":"sha256:new",'
                '"time":"2026-11-23T00:38:06Z","delivery":"d-1"}',
            },
            {
                "op": "add",
                "path": "/metadata/annotations/kubernetes.io~1change-cause",
                "value": "shop/web:latest -> r.io/shop/web@sha256:new",
            },
        ),
        why=Why(WEB, "latest", 4, "sha256:new", datetime(2026, 11, 23, 0, 38, 6, tzinfo=UTC), "d-1", ""),
    )


def annotation(found: Plan, name: str) -> str | None:
    path = "/metadata/annotations/" + name.replace("/", "~1")
    return next((str(operation["value"]) for operation in found.operations if operation["path"] == path), None)


def test_an_unknown_delivery_is_left_out() -> None:
    why = json.loads(annotation(plan(workload(trigger())), LAST_TRIGGERED) or "")
    assert "delivery" not in why
    assert why["time"] == "2026-11-23T00:38:06Z"


def test_the_trace_of_the_delivery_is_named_where_there_is_one() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    traced, not_traced = (
        json.loads(annotation(plan(workload(trigger()), traces=traces), LAST_TRIGGERED) or "")
        for traces in ({WEB: f"00-{trace}-00f067aa0ba902b7-01"}, {})
    )
    assert traced["trace"] == trace
    assert "trace" not in not_traced


def test_the_change_cause_can_be_switched_off() -> None:
    found = plan(workload(trigger()), change_cause=False)
    assert annotation(found, CHANGE_CAUSE) is None
    assert annotation(found, LAST_TRIGGERED) is not None


def test_several_changes_travel_in_one_patch_that_tells_all_of_them() -> None:
    found = plan(workload(trigger(), trigger("api", API), trigger("migrate")), deliveries={WEB: "d-web", API: "d-api"})
    pod_spec, annotations = "/spec/template/spec", "/metadata/annotations"
    places = [f"{pod_spec}/containers/0", f"{pod_spec}/containers/1", f"{pod_spec}/initContainers/0"]
    assert [(operation["op"], operation["path"]) for operation in found.operations] == [
        *(
            (verb, f"{place}/{field}")
            for place in places
            for verb, field in (("test", "name"), ("test", "image"), ("replace", "image"))
        ),
        ("add", f"{annotations}/imagestreams.dev~1last-triggered"),
        ("add", f"{annotations}/kubernetes.io~1change-cause"),
    ]
    assert [change.target for change in found.changes] == ["web", "api", "migrate"]
    assert annotation(found, CHANGE_CAUSE) == (
        "shop/web:latest -> r.io/shop/web@sha256:new, shop/api:latest -> r.io/shop/api@sha256:api"
    )
    why = json.loads(annotation(found, LAST_TRIGGERED) or "")
    assert (why["stream"], why["delivery"]) == ("shop/web", "d-web")


NOTHING = Plan()


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(workload(), id="no triggers"),
        pytest.param(workload(trigger(paused=True)), id="paused"),
        pytest.param(workload(trigger("gone", paused=True)), id="paused, and its container is missing"),
        pytest.param(workload(trigger(), web=NEW_WEB.pull_spec), id="the image is already the one"),
    ],
)
def test_nothing_to_do(found: Workload) -> None:
    assert plan(found) == NOTHING


def test_a_tag_that_points_at_nothing_yet_is_waited_for() -> None:
    assert plan(workload(trigger(tag="v9"))) == Plan(waits=True)
    found = plan(workload(trigger(tag="v9"), trigger("api", API)))
    assert ([change.target for change in found.changes], found.waits) == (["api"], True)


def test_an_image_that_somebody_else_keeps_taking_away_is_left_and_only_that() -> None:
    both = workload(trigger(), trigger("api", API))
    found = plan(both, leave={("web", NEW_WEB.pull_spec)})
    assert ([change.target for change in found.changes], found.left) == (["api"], ("web",))
    assert plan(both, leave={("web", "the image before")}).left == ()
    assert plan(workload(trigger(), web=NEW_WEB.pull_spec), leave={("web", NEW_WEB.pull_spec)}) == NOTHING


@pytest.mark.parametrize(
    ("found", "changed", "told"),
    [
        pytest.param(
            workload(trigger("gone"), trigger("api", API)), ["api"], "no container 'gone'", id="a missing container"
        ),
        pytest.param(workload(trigger(7), trigger("api", API)), ["api"], "no containers[7]", id="a missing index"),
        pytest.param(
            workload(trigger("gone", tag="v9"), trigger("api", API)), ["api"], "'gone'", id="missing, and waiting too"
        ),
        pytest.param(
            workload(trigger("web"), trigger(0, API)),
            ["web"],
            "fieldPath PATH[0]: PATH[web] sets container 'web' already, and that one counts; remove one of them",
            id="two entries reach one container",
        ),
        pytest.param(
            workload(trigger("migrate", section="initContainers"), trigger("migrate", API)),
            ["migrate"],
            "'migrate' already",
            id="two entries reach one container by falling back",
        ),
        pytest.param(
            workload(trigger(tag="v9"), trigger(0, API)), [], "'web' already", id="the first has it though it waits"
        ),
        pytest.param(
            workload(trigger(paused=True), trigger(0, API)),
            [],
            "fieldPath PATH[0]: PATH[web] sets container 'web' already, and that one counts, though it is paused;",
            id="the first has it though paused",
        ),
        pytest.param(
            workload(trigger(), problems=("bad entry",)), ["web"], "bad entry", id="problems of the annotation"
        ),
    ],
)
def test_a_problem_stops_no_other_trigger(found: Workload, changed: list[str], told: str) -> None:
    planned = plan(found)
    assert [change.target for change in planned.changes] == changed
    assert bool(planned.operations) == bool(changed)
    (problem,) = planned.problems
    assert told in problem


def test_an_image_that_was_never_set_is_added() -> None:
    found = plan(workload(trigger(), web=""))
    assert found.operations[1]["op"] == "add"
    assert found.changes[0].before == ""


def test_a_reference_tag_is_set_as_it_was_recorded() -> None:
    found = plan(workload(trigger()), tags={(WEB, "latest"): Resolved("quay.io/app:floating", "", 1)})
    assert found.changes[0].after == "quay.io/app:floating"
    assert json.loads(annotation(found, LAST_TRIGGERED) or "")["digest"] == ""


@pytest.mark.parametrize(
    "kind", [*KINDS, Kind("Odd", "x.io/v1", "odds", ("spec", "a/b~c"))], ids=lambda kind: kind.name
)
@pytest.mark.parametrize("image", ["old", ""])
def test_the_patch_applies_to_the_object_and_to_no_other(kind: Kind, image: str) -> None:
    container = {"name": "web", "image": image} if image else {"name": "web"}
    body: dict[str, Any] = {"containers": [container, {"name": "api", "image": "old-api"}]}
    spec = body
    for part in reversed(kind.pod_spec_path):
        body = {part: body}
    body["metadata"] = {"annotations": {"image.openshift.io/triggers": "…"}}
    operations = list(plan(workload(trigger(), trigger("api", API), web=image), kind).operations)

    jsonpatch.apply_patch(body, operations, in_place=True)

    assert [c["image"] for c in spec["containers"]] == [NEW_WEB.pull_spec, NEW_API.pull_spec]
    assert set(body["metadata"]["annotations"]) == {
        "image.openshift.io/triggers",
        LAST_TRIGGERED,
        CHANGE_CAUSE,
    }
    spec["containers"].reverse()
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(body, operations)


def test_the_planned_state_needs_no_second_patch() -> None:
    first = plan(workload(trigger()))
    assert plan(workload(trigger(), web=first.changes[0].after)) == NOTHING


def test_the_time_is_written_in_utc() -> None:
    assert NOW.astimezone(UTC).hour == 0
    assert '"time":"2026-11-23T00:38:06Z"' in (annotation(plan(workload(trigger())), LAST_TRIGGERED) or "")
