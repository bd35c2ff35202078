"""What `oc set triggers` writes, without what it loses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from listener.core import trigger_edits
from listener.core.edits import EditRefused
from listener.core.kinds import (
    BUILD_CONFIG,
    CRON_JOB,
    DEPLOYMENT,
    DEPLOYMENT_CONFIG,
    POD,
    REPLICA_SET,
    SHIPWRIGHT_BUILD,
    TEKTON_PIPELINE,
    Kind,
)
from listener.core.streams import StreamKey
from listener.core.trigger_edits import Choice, Found
from listener.core.triggers import ALPHA_ANNOTATION, ANNOTATION

WEB = (StreamKey("shop", "web"), "latest")
ELSEWHERE = (StreamKey("base", "python"), "3.13")
TEST = {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
POINTER = "/metadata/annotations/image.openshift.io~1triggers"
ALPHA_POINTER = "/metadata/annotations/image.alpha.openshift.io~1triggers"

POD_SPEC = {"containers": [{"name": "web", "image": "web:1"}], "initContainers": [{"name": "setup"}]}
TWO = {"containers": [{"name": "web"}, {"name": "side"}]}


def path(name: str, section: str = "containers") -> str:
    return f'spec.template.spec.{section}[?(@.name=="{name}")].image'


def entry(name: str = "web", source: str = "web:latest", **more: Any) -> dict[str, Any]:
    return {"from": {"kind": "ImageStreamTag", "name": source}, "fieldPath": path(name), **more}


def found(kind: Kind = DEPLOYMENT, *, pod_spec: Any = None, spec: Any = None, **metadata: Any) -> Found:
    for part in reversed(kind.pod_spec_path):
        pod_spec = {part: POD_SPEC if pod_spec is None else pod_spec}
    body = {**(pod_spec or {})}
    body["spec"] = {**body.get("spec", {}), **(spec or {})}
    return Found(kind, {"metadata": {"name": "app", "namespace": "shop", "resourceVersion": "7", **metadata}, **body})


def annotated(*entries: Any, key: str = ANNOTATION, pod_spec: Any = None) -> Found:
    return found(pod_spec=pod_spec, annotations={key: json.dumps(entries)})


def written(operations: Any, pointer: str = POINTER) -> Any:
    """The entries that a patch writes."""
    test, put = operations
    assert test == TEST
    assert (put["op"], put["path"]) == ("add", pointer)
    return json.loads(put["value"])


def specified(operations: Any) -> Any:
    test, put = operations
    assert (test, put["op"], put["path"]) == (TEST, "add", "/spec/triggers")
    return put["value"]


# The annotation: following


def test_the_first_trigger_is_written_as_oc_writes_it() -> None:
    text = (
        '[{"from":{"kind":"ImageStreamTag","name":"web:latest"},'
        '"fieldPath":"spec.template.spec.containers[?(@.name==\\"web\\")].image"}]'
    )
    value = {"op": "add", "path": "/metadata/annotations", "value": {ANNOTATION: text}}
    assert trigger_edits.follow(found(), WEB, "web") == (TEST, value)
    assert trigger_edits.follow(found(annotations={"a": "b"}), WEB, "web") == (
        TEST,
        {"op": "add", "path": POINTER, "value": text},
    )


@pytest.mark.parametrize(
    ("kind", "target", "field_path"),
    [
        pytest.param(DEPLOYMENT, "setup", path("setup", "initContainers"), id="an init container"),
        pytest.param(DEPLOYMENT, None, path("web"), id="the only container"),
        pytest.param(POD, "web", 'spec.containers[?(@.name=="web")].image', id="of a Pod"),
        pytest.param(
            CRON_JOB, "web", 'spec.jobTemplate.spec.template.spec.containers[?(@.name=="web")].image', id="of a CronJob"
        ),
        pytest.param(SHIPWRIGHT_BUILD, "image", 'spec.paramValues[?(@.name=="image")].value', id="a build's parameter"),
        pytest.param(TEKTON_PIPELINE, "image", 'spec.params[?(@.name=="image")].value', id="a pipeline's parameter"),
        pytest.param(TEKTON_PIPELINE, None, None, id="no parameter"),
    ],
)
def test_the_field_path(kind: Kind, target: str | None, field_path: str | None) -> None:
    operations: Any = trigger_edits.follow(found(kind), WEB, target)
    (made,) = json.loads(operations[1]["value"][ANNOTATION])
    assert made.get("fieldPath") == field_path


def test_another_namespace_is_written_its_own_is_not() -> None:
    (made,) = written(trigger_edits.follow(found(annotations={"a": "b"}), ELSEWHERE, "web"))
    assert made["from"] == {"kind": "ImageStreamTag", "name": "python:3.13", "namespace": "base"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param([entry(source="old:1")], [entry()], id="another tag"),
        pytest.param([entry(source="old:1", note=1)], [entry(note=1)], id="with a key that we do not know"),
        pytest.param([entry(source="old:1", paused=True)], [entry(paused=True)], id="paused"),
        pytest.param([entry(source="old:1", paused="no")], [entry()], id="paused as nobody reads it"),
        pytest.param([entry("side")], [entry("side"), entry()], id="for another container"),
        pytest.param(["junk", {"x": 1}], ["junk", {"x": 1}, entry()], id="beside what cannot be followed"),
        pytest.param([{"fieldPath": path("web")}], [entry()], id="broken, for this container"),
        pytest.param([{**entry(), "from": 5}], [entry()], id="broken otherwise, for this container"),
        pytest.param(
            [{"from": {}, "fieldPath": "spec.template.spec.containers[0].image"}], [entry()], id="by its number"
        ),
        pytest.param([{"from": {}, "fieldPath": path("web").replace('"', "'")}], [entry()], id="in other quotes"),
        pytest.param([{"from": {}, "fieldPath": path("web", "initContainers")}], [entry()], id="in the other list"),
        pytest.param([entry(source="a:1"), "x", entry(source="b:1")], [entry(), "x"], id="twice"),
    ],
)
def test_the_containers_entry_is_replaced_and_the_others_stay(before: list[Any], after: list[Any]) -> None:
    assert written(trigger_edits.follow(annotated(*before, pod_spec=TWO), WEB, "web")) == after


def test_what_follows_the_tag_already_is_left_alone() -> None:
    assert trigger_edits.follow(annotated(entry(), "junk"), WEB, "web") == ()
    assert trigger_edits.follow(annotated(entry(paused=True)), WEB, "web") == ()


def test_a_trigger_may_be_made_paused_and_acting_again() -> None:
    assert written(trigger_edits.follow(annotated(entry()), WEB, "web", paused=True)) == [entry(paused=True)]
    assert written(trigger_edits.follow(annotated(entry(paused=True)), WEB, "web", paused=False)) == [entry()]


def test_the_alpha_annotation_is_edited_where_it_stands_alone() -> None:
    alone = annotated(entry(source="old:1"), key=ALPHA_ANNOTATION)
    assert written(trigger_edits.follow(alone, WEB, "web"), ALPHA_POINTER) == [entry()]
    both = found(annotations={ANNOTATION: "[]", ALPHA_ANNOTATION: json.dumps([entry(source="old:1")])})
    assert written(trigger_edits.follow(both, WEB, "web")) == [entry()]


def test_a_run_without_a_parameter_may_follow_several_tags() -> None:
    first = {"from": {"kind": "ImageStreamTag", "name": "web:latest"}}
    build = found(SHIPWRIGHT_BUILD, annotations={ANNOTATION: json.dumps([first])})
    second = {"from": {"kind": "ImageStreamTag", "name": "python:3.13", "namespace": "base"}}
    assert written(trigger_edits.follow(build, ELSEWHERE, None)) == [first, second]
    assert trigger_edits.follow(build, WEB, None) == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("[{", "its annotation image.openshift.io/triggers is no JSON", id="no JSON"),
        pytest.param("{}", "is no list of triggers", id="no list"),
        pytest.param("[" * 50_000, "is nested too deeply", id="very deep"),
    ],
)
def test_a_broken_annotation_is_not_overwritten_but_may_be_removed(text: str, why: str) -> None:
    broken = found(annotations={ANNOTATION: text})
    with pytest.raises(EditRefused, match=f"{why}.*take all of it away with --remove"):
        trigger_edits.follow(broken, WEB, "web")
    with pytest.raises(EditRefused, match=why):
        trigger_edits.pause(broken, Choice(), paused=True)
    with pytest.raises(EditRefused, match=why):
        trigger_edits.remove(broken, Choice("web"))
    assert trigger_edits.remove(broken, Choice()) == (TEST, {"op": "remove", "path": POINTER})


@pytest.mark.parametrize(
    ("pod_spec", "target", "why"),
    [
        pytest.param(TWO, None, "containers are web, side: say with -c", id="none of several is named"),
        pytest.param(TWO, "gone", "no container 'gone'; its containers are web, side", id="no such container"),
        pytest.param({}, None, "its containers are none", id="no containers"),
    ],
)
def test_the_container_must_be_there(pod_spec: Any, target: str | None, why: str) -> None:
    with pytest.raises(EditRefused, match=why):
        trigger_edits.follow(found(pod_spec=pod_spec), WEB, target)


# The annotation: pausing, removing


@pytest.mark.parametrize(
    ("before", "choice", "paused", "after"),
    [
        pytest.param([entry(), entry("side")], Choice("web"), True, [entry(paused=True), entry("side")], id="one"),
        pytest.param(
            [entry(), entry("side")], Choice(), True, [entry(paused=True), entry("side", paused=True)], id="all"
        ),
        pytest.param([entry(paused="true")], Choice("web"), False, [entry()], id="one acts again"),
        pytest.param([entry(paused=7), "junk"], Choice(), False, [entry(), "junk"], id="all act again"),
        pytest.param([entry(paused=False)], Choice(), True, [entry(paused=True)], id="said not to be"),
        pytest.param([entry(x=1)], Choice(source=WEB), True, [entry(x=1, paused=True)], id="of a tag"),
    ],
)
def test_triggers_pause_and_act_again(before: list[Any], choice: Choice, paused: bool, after: list[Any]) -> None:
    assert written(trigger_edits.pause(annotated(*before, pod_spec=TWO), choice, paused=paused)) == after


def test_what_is_paused_already_is_left_alone() -> None:
    assert trigger_edits.pause(annotated(entry(paused="true")), Choice(), paused=True) == ()
    assert trigger_edits.pause(annotated(entry()), Choice("web"), paused=False) == ()


def test_one_trigger_is_removed() -> None:
    two = annotated(entry(), {"x": 1}, entry("side"), pod_spec=TWO)
    assert written(trigger_edits.remove(two, Choice("web"))) == [{"x": 1}, entry("side")]
    assert written(trigger_edits.remove(two, Choice(source=WEB))) == [{"x": 1}]


def test_with_the_last_trigger_both_annotations_go() -> None:
    both = found(annotations={ANNOTATION: json.dumps([entry()]), ALPHA_ANNOTATION: "[{"})
    operations = (TEST, {"op": "remove", "path": POINTER}, {"op": "remove", "path": ALPHA_POINTER})
    assert trigger_edits.remove(both, Choice("web")) == operations
    assert trigger_edits.remove(both, Choice()) == operations


@pytest.mark.parametrize(
    ("entries", "choice", "why"),
    [
        pytest.param([], Choice(), "it follows no tag; let it follow one with --from-image", id="no triggers"),
        pytest.param([entry()], Choice("side"), "no trigger for 'side'; it has some for: web", id="another container"),
        pytest.param(
            [entry()],
            Choice("web", ELSEWHERE),
            "no trigger on base/python:3.13 and for 'web'; it has some for: web",
            id="another tag",
        ),
    ],
)
def test_triggers_that_are_not_there(entries: list[Any], choice: Choice, why: str) -> None:
    for edit in (trigger_edits.remove, lambda found, choice: trigger_edits.pause(found, choice, paused=True)):
        with pytest.raises(EditRefused, match=why):
            edit(annotated(*entries) if entries else found(), choice)


@pytest.mark.parametrize(
    ("kind", "owners", "controller"),
    [
        pytest.param(
            REPLICA_SET, [{"kind": "Deployment", "name": "web", "controller": True}], "Deployment web", id="made"
        ),
        pytest.param(REPLICA_SET, [{"kind": "Deployment", "name": "web"}], "", id="owned only"),
        pytest.param(DEPLOYMENT, [{"kind": "App", "name": "web", "controller": True}], "", id="followed all the same"),
        pytest.param(REPLICA_SET, None, "", id="nobody's"),
    ],
)
def test_who_made_an_object(kind: Kind, owners: Any, controller: str) -> None:
    assert found(kind, ownerReferences=owners).controller == controller


# DeploymentConfigs


def config_trigger(*containers: str, source: str = "web:latest", **more: Any) -> dict[str, Any]:
    reference = {"kind": "ImageStreamTag", "name": source}
    return {
        "type": "ImageChange",
        "imageChangeParams": {"automatic": True, "containerNames": list(containers), "from": reference, **more},
    }


CONFIG_CHANGE = {"type": "ConfigChange"}


def config(*entries: Any) -> Found:
    return found(DEPLOYMENT_CONFIG, spec={"triggers": list(entries)})


def test_a_deployment_config_follows_a_tag_in_its_spec() -> None:
    assert specified(trigger_edits.follow(config(CONFIG_CHANGE), WEB, None)) == [CONFIG_CHANGE, config_trigger("web")]
    old = config_trigger("web", source="old:1", automatic=False, lastTriggeredImage="r/old@x")
    assert specified(trigger_edits.follow(config(old), WEB, "web")) == [config_trigger("web", automatic=False)]
    known = config_trigger("web", lastTriggeredImage="r/web@x")
    assert trigger_edits.follow(config(known), WEB, "web") == ()


def test_a_deployment_configs_trigger_pauses_and_goes() -> None:
    before = config(CONFIG_CHANGE, config_trigger("web", lastTriggeredImage="r/web@x"))
    paused = config_trigger("web", lastTriggeredImage="r/web@x", automatic=False)
    assert specified(trigger_edits.pause(before, Choice("web"), paused=True)) == [CONFIG_CHANGE, paused]
    again = trigger_edits.pause(config(paused), Choice(), paused=False)
    assert specified(again) == [config_trigger("web", lastTriggeredImage="r/web@x")]
    assert specified(trigger_edits.remove(before, Choice())) == [CONFIG_CHANGE]
    with pytest.raises(EditRefused, match="it follows no tag"):
        trigger_edits.remove(config(CONFIG_CHANGE), Choice())


def test_containers_that_a_deployment_config_sets_together_are_not_parted() -> None:
    with pytest.raises(EditRefused, match="sets web, setup together, and -c names one"):
        trigger_edits.follow(config(config_trigger("web", "setup")), WEB, "web")


# BuildConfigs


def build(*entries: Any) -> Found:
    strategy = {"dockerStrategy": {"from": {"kind": "ImageStreamTag", "name": "web:latest"}}}
    return found(BUILD_CONFIG, spec={"triggers": list(entries), "strategy": strategy})


def build_trigger(**more: Any) -> dict[str, Any]:
    return {"type": "ImageChange", "imageChange": more}


def test_a_build_config_follows_the_image_it_is_built_from_without_naming_it() -> None:
    assert specified(trigger_edits.follow(build(), WEB, None)) == [build_trigger()]
    assert trigger_edits.follow(build(build_trigger(lastTriggeredImageID="x")), WEB, None) == ()


def test_a_build_config_follows_other_tags_too() -> None:
    reference = {"kind": "ImageStreamTag", "name": "python:3.13", "namespace": "base"}
    after = [build_trigger(), build_trigger(**{"from": reference})]
    assert specified(trigger_edits.follow(build(build_trigger()), ELSEWHERE, None)) == after
    paused = trigger_edits.follow(build(*after), ELSEWHERE, None, paused=True)
    assert specified(paused) == [build_trigger(), build_trigger(paused=True, **{"from": reference})]
    assert specified(trigger_edits.remove(build(*after), Choice(source=ELSEWHERE))) == [build_trigger()]


def test_a_build_config_pauses_and_acts_again() -> None:
    assert specified(trigger_edits.pause(build(build_trigger()), Choice(), paused=True)) == [build_trigger(paused=True)]
    assert specified(trigger_edits.pause(build(build_trigger(paused=True)), Choice(), paused=False)) == [
        build_trigger()
    ]


def test_a_build_config_has_no_containers() -> None:
    with pytest.raises(EditRefused, match="leave -c out"):
        trigger_edits.follow(build(), WEB, "web")
