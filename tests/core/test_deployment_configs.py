"""OpenShift's DeploymentConfig: what its triggers say, and the patch that a moved tag leads to."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jsonpatch
import pytest

from listener.core import deployment_configs
from listener.core.actions import CHANGE_CAUSE, LAST_TRIGGERED, ImageChange, Plan, View, Why
from listener.core.deployment_configs import ConfigTrigger
from listener.core.kinds import DEPLOYMENT_CONFIG
from listener.core.streams import Resolved, StreamKey
from listener.core.triggers import Triggers
from listener.core.workloads import Container, Workload, WorkloadKey

NOW = datetime(2026, 11, 23, 2, 38, 6, tzinfo=UTC)
WEB, API = StreamKey("shop", "web"), StreamKey("shop", "api")
NEW_WEB = Resolved("r.io/shop/web@sha256:new", "sha256:new", 4)
NEW_API = Resolved("r.io/shop/api@sha256:api", "sha256:api", 2)
TAGS = {(WEB, "latest"): NEW_WEB, (API, "latest"): NEW_API}
CONFIG_CHANGE = {"type": "ConfigChange"}


def entry(
    name: str | None = "web:latest", *containers: str, automatic: bool | None = True, last: str = "", **source: Any
) -> dict[str, Any]:
    """An entry of spec.triggers, as `oc set triggers` writes it."""
    found = {"kind": "ImageStreamTag", "name": name, **source}
    parameters = {"automatic": automatic, "containerNames": list(containers or ("web",)), "from": found}
    return {"type": "ImageChange", "imageChangeParams": parameters | ({"lastTriggeredImage": last} if last else {})}


def read(*entries: dict[str, Any]) -> Triggers:
    return deployment_configs.read(entries, namespace="shop")


def config(*entries: dict[str, Any], annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The object as its API holds it."""
    metadata: dict[str, Any] = {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7"}
    if annotations is not None:
        metadata["annotations"] = dict(annotations)
    pod_spec = {
        "containers": [{"name": "side", "image": "side:1"}, {"name": "web", "image": ""}, {"name": "api"}],
        "initContainers": [{"name": "migrate", "image": "old"}],
    }
    return {"metadata": metadata, "spec": {"triggers": list(entries), "template": {"spec": pod_spec}}}


def workload(found: Mapping[str, Any]) -> Workload:
    metadata, spec = found["metadata"], found["spec"]

    def containers(section: str) -> tuple[Container, ...]:
        return tuple(Container(c["name"], c.get("image", "")) for c in spec["template"]["spec"][section])

    return Workload(
        WorkloadKey("DeploymentConfig", "shop", "web"),
        metadata["uid"],
        metadata["resourceVersion"],
        read(*spec["triggers"]),
        containers("containers"),
        containers("initContainers"),
        has_annotations="annotations" in metadata,
    )


def plan(
    found: Mapping[str, Any],
    tags: Mapping[tuple[StreamKey, str], Resolved] = TAGS,
    *,
    change_cause: bool = True,
    leave: Collection[tuple[str, str]] = (),
) -> Plan:
    view = View(lambda stream, tag: tags.get((stream, tag)), lambda *_: None, change_cause)
    return deployment_configs.plan(workload(found), DEPLOYMENT_CONFIG, view, now=NOW, leave=leave)


def patched(found: dict[str, Any], planned: Plan) -> dict[str, Any]:
    """The object with the patch, of which there must be nothing left to plan."""
    after: dict[str, Any] = jsonpatch.apply_patch(found, [dict(each) for each in planned.operations])
    assert plan(after).changes == ()
    return after


def images(found: Mapping[str, Any]) -> dict[str, str]:
    spec = found["spec"]["template"]["spec"]
    return {c["name"]: c.get("image", "") for c in (*spec["initContainers"], *spec["containers"])}


def last_triggered(found: Mapping[str, Any]) -> list[str | None]:
    triggers = found["spec"]["triggers"]
    return [t.get("imageChangeParams", {}).get("lastTriggeredImage") for t in triggers]


# What the triggers say


def test_reads_what_oc_set_triggers_writes() -> None:
    assert read(CONFIG_CHANGE, entry("web:v1", "web", "side", last="old")) == Triggers(
        (
            ConfigTrigger(
                WEB,
                "v1",
                paused=False,
                field_path="spec.triggers[1].imageChangeParams",
                position=1,
                source_name="web:v1",
                containers=("web", "side"),
                last="old",
            ),
        )
    )


@pytest.mark.parametrize(
    ("found", "stream", "tag"),
    [
        pytest.param(entry("web:"), WEB, "latest", id="no tag is the latest"),
        pytest.param(entry(namespace="base"), StreamKey("base", "web"), "latest", id="of another namespace"),
        pytest.param(entry(namespace=""), WEB, "latest", id="of its own namespace"),
        pytest.param(entry(kind=None), WEB, "latest", id="no kind"),
        pytest.param(entry("web", kind="ImageStream"), WEB, "latest", id="a stream, as it was written once"),
        pytest.param(entry("web", kind="ImageRepository"), WEB, "latest", id="and before that"),
    ],
)
def test_reads_which_tag_is_followed(found: dict[str, Any], stream: StreamKey, tag: str) -> None:
    [trigger] = read(found).valid
    assert (trigger.stream, trigger.tag) == (stream, tag)


@pytest.mark.parametrize("automatic", [False, None])
def test_what_is_not_automatic_is_paused(automatic: bool | None) -> None:
    [trigger] = read(entry(automatic=automatic)).valid
    assert trigger.paused


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(CONFIG_CHANGE, id="another type"),
        pytest.param({"type": "ImageChange"}, id="no parameters"),
        pytest.param({"type": "ImageChange", "imageChangeParams": None}, id="parameters are null"),
        pytest.param({**entry(), "type": "ConfigChange"}, id="parameters of another type"),
        pytest.param(entry("web@sha256:a", kind="ImageStreamImage"), id="an image that never moves"),
        pytest.param(entry("r.io/web:1", kind="DockerImage"), id="an image of a registry"),
    ],
)
def test_passes_over_what_follows_no_tag(found: dict[str, Any]) -> None:
    assert read(found) == Triggers()


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        pytest.param(entry("web"), "spec.triggers[0].imageChangeParams.from.name: ", id="no colon"),
        pytest.param(entry(None), "spec.triggers[0].imageChangeParams.from.name: ", id="no name"),
        pytest.param(entry(":v1"), "spec.triggers[0].imageChangeParams.from.name: ", id="no stream"),
        pytest.param(entry("Web:v1"), "spec.triggers[0].imageChangeParams.from.name: ", id="no name of a stream"),
        pytest.param(
            {"type": "ImageChange", "imageChangeParams": {"automatic": True}},
            "spec.triggers[0].imageChangeParams.from.name: ",
            id="no source",
        ),
        pytest.param(
            {"type": "ImageChange", "imageChangeParams": {"from": {"name": "web:v1"}, "containerNames": []}},
            "spec.triggers[0].imageChangeParams.containerNames: ",
            id="no containers",
        ),
    ],
)
def test_a_bad_entry_is_told_and_stops_no_other(bad: dict[str, Any], told: str) -> None:
    found = read(bad, entry("api:latest"))
    assert [trigger.stream for trigger in found.valid] == [API]
    [problem] = found.problems
    assert problem.startswith(told)


def test_a_container_named_twice_is_set_once() -> None:
    [trigger] = read(entry("web:latest", "web", "web")).valid
    assert isinstance(trigger, ConfigTrigger)
    assert trigger.containers == ("web",)


def test_of_two_triggers_of_a_container_the_last_counts_and_the_other_is_told() -> None:
    """As in OpenShift, where it has the last word. To let both act would never end."""
    found = config(entry("web:latest", "web", "side"), entry("api:latest", "web"), annotations={})
    [problem] = workload(found).triggers.problems
    assert problem.startswith("spec.triggers[0].imageChangeParams.containerNames: spec.triggers[1]")
    assert "'web'" in problem
    after = patched(found, plan(found))
    assert (images(after)["web"], images(after)["side"]) == (NEW_API.pull_spec, NEW_WEB.pull_spec)
    assert last_triggered(after) == [NEW_WEB.pull_spec, NEW_API.pull_spec]


def test_a_trigger_that_is_not_automatic_takes_no_container_from_another() -> None:
    found = read(entry("web:latest"), entry("api:latest", automatic=False))
    assert found.problems == ()
    assert [trigger.containers for trigger in found.valid if isinstance(trigger, ConfigTrigger)] == [("web",)] * 2


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        pytest.param([entry(last="r.io/shop/web@sha256:old")], True, id="another image was set last"),
        pytest.param([entry(automatic=False)], False, id="switched off"),
        pytest.param([entry("web:v1")], False, id="another tag"),
        pytest.param([entry(), entry("bad")], False, id="a bad one beside it"),
    ],
)
def test_what_a_trigger_set_last_is_not_what_its_owner_says(other: list[dict[str, Any]], is_same: bool) -> None:
    assert read(entry()).say_the_same(read(*other)) is is_same


# The patch


def test_the_whole_patch_of_a_first_rollout() -> None:
    found = config(CONFIG_CHANGE, entry(), annotations={"a": "b"})
    assert plan(found) == Plan(
        (ImageChange("web", "", NEW_WEB.pull_spec, WEB, "latest", "sha256:new"),),
        (
            {"op": "test", "path": "/spec/triggers/1/imageChangeParams/from/name", "value": "web:latest"},
            {
                "op": "add",
                "path": "/spec/triggers/1/imageChangeParams/lastTriggeredImage",
                "value": NEW_WEB.pull_spec,
            },
            {"op": "test", "path": "/spec/template/spec/containers/1/name", "value": "web"},
            {"op": "add", "path": "/spec/template/spec/containers/1/image", "value": NEW_WEB.pull_spec},
            {
                "op": "add",
                "path": "/metadata/annotations/imagestreams.dev~1last-triggered",
                "value": '{"stream":"shop/web","tag":"latest","generation":4,"digest":"sha256:new",'
                '"time":"2026-11-23T02:38:06Z"}',
            },
            {
                "op": "add",
                "path": "/metadata/annotations/kubernetes.io~1change-cause",
                "value": f"shop/web:latest -> {NEW_WEB.pull_spec}",
            },
        ),
        why=Why(WEB, "latest", 4, "sha256:new", NOW, "", ""),
    )


@pytest.mark.parametrize("annotations", [None, {}, {"a": "b"}], ids=["no map", "an empty map", "others"])
def test_the_patch_fits_the_object(annotations: dict[str, str] | None) -> None:
    found = config(entry("web:latest", "web", "migrate"), entry("api:latest", "api"), annotations=annotations)
    after = patched(found, plan(found))
    assert images(after) == {
        "side": "side:1",
        "web": NEW_WEB.pull_spec,
        "migrate": NEW_WEB.pull_spec,
        "api": NEW_API.pull_spec,
    }
    assert last_triggered(after) == [NEW_WEB.pull_spec, NEW_API.pull_spec]
    told = after["metadata"]["annotations"]
    assert told.keys() == {LAST_TRIGGERED, CHANGE_CAUSE, *(annotations or {})}
    assert json.loads(told[LAST_TRIGGERED])["stream"] == "shop/api"
    assert told[CHANGE_CAUSE] == (f"shop/web:latest -> {NEW_WEB.pull_spec}, shop/api:latest -> {NEW_API.pull_spec}")


def test_a_map_of_annotations_that_somebody_made_meanwhile_is_not_replaced() -> None:
    found = config(entry())
    meanwhile = config(entry(), annotations={"theirs": "x"})
    meanwhile["metadata"]["resourceVersion"] = "8"
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(meanwhile, [dict(each) for each in plan(found).operations])


def test_a_trigger_that_changed_its_place_meanwhile_is_not_recorded_at_another() -> None:
    found = config(entry(), entry("api:latest", "api"), annotations={})
    meanwhile = config(entry("api:latest", "api"), entry(), annotations={})
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(meanwhile, [dict(each) for each in plan(found).operations])


def test_the_first_rollout_waits_until_every_trigger_resolves() -> None:
    found = config(entry(), entry("api:v9", "api"), annotations={})
    assert plan(found) == Plan(waits=True)
    tags = TAGS | {(API, "v9"): NEW_API}
    assert {change.target for change in plan(found, tags).changes} == {"web", "api"}


@pytest.mark.parametrize("first", [0, 1], ids=["the one that waits is first", "the one that waits is last"])
def test_one_that_resolved_once_holds_up_no_other(first: int) -> None:
    """Its tag is gone again."""
    entries = [entry("api:v9", "api", last="r.io/shop/api@sha256:old"), entry()]
    found = config(entries[first], entries[1 - first], annotations={})
    planned = plan(found)
    assert [change.target for change in planned.changes] == ["web"]
    assert not planned.waits
    assert images(patched(found, planned))["api"] == ""


def test_one_that_is_not_automatic_neither_acts_nor_is_waited_for() -> None:
    found = config(entry(automatic=False), entry("api:v9", "side", automatic=False), entry("api:latest", "api"))
    planned = plan(found)
    assert [change.target for change in planned.changes] == ["api"]
    assert last_triggered(patched(found, planned)) == [None, None, NEW_API.pull_spec]


def test_nothing_to_do() -> None:
    found = config(entry(last=NEW_WEB.pull_spec), annotations={})
    found["spec"]["template"]["spec"]["containers"][1]["image"] = NEW_WEB.pull_spec
    assert plan(found) == Plan()
    assert plan(config()) == Plan()


def test_an_image_that_somebody_set_back_is_set_again() -> None:
    found = config(entry(last=NEW_WEB.pull_spec), annotations={})
    assert [operation["path"] for operation in plan(found).operations][:2] == [
        "/spec/template/spec/containers/1/name",
        "/spec/template/spec/containers/1/image",
    ]
    patched(found, plan(found))


def test_an_image_that_is_there_already_is_recorded() -> None:
    found = config(entry(), annotations={})
    found["spec"]["template"]["spec"]["containers"][1]["image"] = NEW_WEB.pull_spec
    planned = plan(found)
    assert planned.changes == (ImageChange("", "", NEW_WEB.pull_spec, WEB, "latest", "sha256:new"),)
    assert last_triggered(patched(found, planned)) == [NEW_WEB.pull_spec]


def test_a_missing_container_is_told_and_the_others_are_set() -> None:
    found = config(entry("web:latest", "gone", "web"), annotations={})
    planned = plan(found)
    [problem] = planned.problems
    assert problem.startswith("spec.triggers[0].imageChangeParams.containerNames: ")
    assert "'gone'" in problem
    assert images(patched(found, planned))["web"] == NEW_WEB.pull_spec


def test_a_trigger_without_any_of_its_containers_is_recorded_once() -> None:
    found = config(entry("web:latest", "gone"), annotations={})
    planned = plan(found)
    assert [change.target for change in planned.changes] == [""]
    after = patched(found, planned)
    assert last_triggered(after) == [NEW_WEB.pull_spec]
    assert images(after) == images(found)


def test_a_container_that_is_left_to_somebody_else_keeps_its_image() -> None:
    found = config(entry("web:latest", "web", "side"), annotations={})
    leave = {("side", NEW_WEB.pull_spec)}
    planned = plan(found, leave=leave)
    assert planned.left == ("side",)
    after = jsonpatch.apply_patch(found, [dict(each) for each in planned.operations])
    assert (images(after)["side"], images(after)["web"]) == ("side:1", NEW_WEB.pull_spec)
    assert plan(after, leave=leave).changes == ()


def test_nothing_is_recorded_where_all_that_is_not_right_yet_is_left_to_somebody_else() -> None:
    found = config(entry("web:latest", "web", "side"), annotations={})
    assert plan(found, leave={(name, NEW_WEB.pull_spec) for name in ("web", "side")}) == Plan(left=("web", "side"))
    found["spec"]["template"]["spec"]["containers"][1]["image"] = NEW_WEB.pull_spec
    assert plan(found, leave={("side", NEW_WEB.pull_spec)}) == Plan(left=("side",))


def test_the_change_cause_can_be_switched_off() -> None:
    found = config(entry())
    told = patched(found, plan(found, change_cause=False))["metadata"]["annotations"]
    assert told.keys() == {LAST_TRIGGERED}


def test_a_reference_tag_has_no_digest() -> None:
    found = config(entry(), annotations={})
    reference = replace(NEW_WEB, pull_spec="r.io/shop/web:1", digest="")
    [change] = plan(found, {(WEB, "latest"): reference}).changes
    assert (change.after, change.digest) == ("r.io/shop/web:1", "")
