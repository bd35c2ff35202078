"""A Shipwright Build or a Tekton Pipeline whose tag moved: the run, and what the object remembers of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jsonpatch
import pytest

from listener.core import runs, triggers
from listener.core.actions import LAST_TRIGGERED, ImageChange, Plan, View
from listener.core.kinds import SHIPWRIGHT_BUILD, TEKTON_PIPELINE, Kind
from listener.core.streams import Resolved, StreamKey
from listener.core.workloads import Record, Workload, WorkloadKey

NOW = datetime(2026, 11, 23, 2, 38, 6, tzinfo=UTC)
BASE, TOOLS = StreamKey("shop", "base"), StreamKey("shop", "tools")
A, B = Resolved("r.io/base@sha256:a", "sha256:a", 1), Resolved("r.io/base@sha256:b", "sha256:b", 2)
TOOLS_1 = Resolved("r.io/tools@sha256:t", "sha256:t", 1)
TAG = "shop/base:latest"
PARAMETERS = {"Build": "spec.paramValues", "Pipeline": "spec.params"}


def entry(name: str = "base:latest", parameter: str | None = "BASE", *, kind: str = "Build", **more: Any) -> Any:
    path = {} if parameter is None else {"fieldPath": f'{PARAMETERS[kind]}[?(@.name=="{parameter}")].value'}
    return {"from": {"kind": "ImageStreamTag", "name": name}, **path, **more}


def workload(
    *entries: Any, record: Record | None = None, kind: Kind = SHIPWRIGHT_BUILD, name: str = "image", uid: str = "uid"
) -> Workload:
    found = triggers.parse(json.dumps(entries), namespace="shop", kind=kind)
    return Workload(WorkloadKey(kind.label, "shop", name), uid, "7", found, (), (), record=record)


def plan(found: Workload, kind: Kind = SHIPWRIGHT_BUILD, **tags: Resolved | None) -> Plan:
    """What the latest tags of those streams point at."""
    view = View(
        lambda stream, tag: tags.get(stream.name) if tag == "latest" else None,
        lambda *_: "d-1",
    )
    return runs.plan(found, kind, view, now=NOW)


def run_of(planned: Plan) -> Any:
    assert planned.start is not None
    assert (planned.start.subresource, planned.start.name) == ("", planned.start.body["metadata"]["name"])  # type: ignore[index]
    return planned.start.body


def remembered(found: Workload, planned: Plan) -> Record:
    """What the object says of its last run once the patch is through."""
    stored = {"metadata": {"uid": found.uid, "annotations": {"image.openshift.io/triggers": "…"}}}
    after = jsonpatch.apply_patch(stored, [dict(each) for each in planned.operations])
    assert after["metadata"]["annotations"].keys() == {"image.openshift.io/triggers", LAST_TRIGGERED}
    return runs.read_record(after["metadata"]["annotations"][LAST_TRIGGERED])


def test_the_whole_plan_of_a_first_run() -> None:
    found = workload(entry())
    name = runs.run_name(found, 1)
    told = (
        '{"stream":"shop/base","tag":"latest","generation":1,"digest":"sha256:a","time":"2026-11-23T02:38:06Z",'
        f'"delivery":"d-1","run":"{name}","number":1,"images":{{"shop/base:latest":"r.io/base@sha256:a"}}}}'
    )
    planned = plan(found, base=A)
    assert planned.changes == (ImageChange("BASE", "", A.pull_spec, BASE, "latest", "sha256:a"),)
    assert planned.start is not None
    assert (planned.start.api_version, planned.start.plural) == ("shipwright.io/v1beta1", "buildruns")
    assert run_of(planned) == {
        "apiVersion": "shipwright.io/v1beta1",
        "kind": "BuildRun",
        "metadata": {"name": name, "namespace": "shop", "annotations": {LAST_TRIGGERED: told}},
        "spec": {"build": {"name": "image"}, "paramValues": [{"name": "BASE", "value": A.pull_spec}]},
    }
    assert planned.operations == (
        {"op": "test", "path": "/metadata/uid", "value": "uid"},
        {"op": "add", "path": "/metadata/annotations/imagestreams.dev~1last-triggered", "value": told},
    )
    assert remembered(found, planned) == Record(1, {TAG: A.pull_spec})


def test_a_pipeline_is_run_with_its_own_words() -> None:
    planned = plan(workload(entry(kind="Pipeline"), kind=TEKTON_PIPELINE), TEKTON_PIPELINE, base=A)
    run = run_of(planned)
    assert planned.start is not None
    assert planned.start.plural == "pipelineruns"
    assert (run["apiVersion"], run["kind"]) == ("tekton.dev/v1", "PipelineRun")
    assert run["spec"] == {
        "pipelineRef": {"name": "image"},
        "params": [{"name": "BASE", "value": A.pull_spec}],
    }


def test_a_run_that_is_told_nothing_has_no_parameters() -> None:
    planned = plan(workload(entry(parameter=None)), base=A)
    assert run_of(planned)["spec"] == {"build": {"name": "image"}}
    assert [change.target for change in planned.changes] == [""]


def test_every_move_is_a_run_back_and_forth_too() -> None:
    record = Record()
    names = []
    for number, image in enumerate((A, B, A), start=1):
        found = workload(entry(), record=record)
        planned = plan(found, base=image)
        names.append(run_of(planned)["metadata"]["name"])
        assert planned.changes[0].before == record.images.get(TAG, "")
        record = remembered(found, planned)
        assert record == Record(number, {TAG: image.pull_spec})
        assert plan(workload(entry(), record=record), base=image) == Plan()
    assert len(set(names)) == 3


@pytest.mark.parametrize("record", [None, Record()], ids=["none", "an empty one"])
def test_without_a_record_nothing_was_run(record: Record | None) -> None:
    assert plan(workload(entry(), record=record), base=A).changes[0].before == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(None, Record(), id="none"),
        pytest.param("", Record(), id="empty"),
        pytest.param('{"number":3,"images":{"a:b":"c"},"run":"x","stream":"a"}', Record(3, {"a:b": "c"}), id="ours"),
        pytest.param("{}", Record(), id="an empty one"),
        pytest.param('{"stream":"shop/web","tag":"latest"}', Record(), id="of a workload with a pod spec"),
        pytest.param("no JSON", Record(), id="no JSON"),
        pytest.param("[1]", Record(), id="a list"),
        pytest.param("null", Record(), id="null"),
        pytest.param("7", Record(), id="a number"),
        pytest.param("[" * 100_000, Record(), id="deep"),
        pytest.param('{"number":' + "9" * 5000 + ',"images":{}}', Record(), id="a number without end"),
        pytest.param('{"number":"3","images":{}}', Record(), id="its number is text"),
        pytest.param('{"number":true,"images":{}}', Record(), id="its number is none"),
        pytest.param('{"number":1.5,"images":{}}', Record(), id="its number is broken"),
        pytest.param('{"number":-1,"images":{}}', Record(), id="its number is below zero"),
        pytest.param('{"number":3,"images":[]}', Record(), id="its images are a list"),
        pytest.param('{"number":3}', Record(), id="no images"),
        pytest.param('{"number":3,"images":{"a:b":1}}', Record(3, {"a:b": "1"}), id="an image that is none"),
    ],
)
def test_what_is_no_record_counts_as_none(text: str | None, expected: Record) -> None:
    assert runs.read_record(text) == expected


@pytest.mark.parametrize(
    ("entries", "record"),
    [
        pytest.param([], Record(), id="no triggers"),
        pytest.param([entry(paused=True)], Record(), id="paused, and never run"),
        pytest.param([entry(paused=True)], Record(1, {TAG: B.pull_spec}), id="paused, and run with another"),
        pytest.param([entry()], Record(1, {TAG: A.pull_spec}), id="run already"),
    ],
)
def test_nothing_to_run(entries: list[Any], record: Record) -> None:
    assert plan(workload(*entries, record=record), base=A) == Plan()


def test_a_run_waits_until_all_it_is_told_points_at_something() -> None:
    found = workload(entry(), entry("tools:latest", "TOOLS"))
    assert plan(found, base=A) == Plan(waits=True)
    assert run_of(plan(found, base=A, tools=TOOLS_1))["spec"]["paramValues"] == [
        {"name": "BASE", "value": A.pull_spec},
        {"name": "TOOLS", "value": TOOLS_1.pull_spec},
    ]


def test_it_does_not_wait_for_what_it_is_not_told() -> None:
    planned = plan(workload(entry(), entry("tools:latest", None)), base=A)
    assert [parameter["name"] for parameter in run_of(planned)["spec"]["paramValues"]] == ["BASE"]


def test_two_that_moved_are_one_run() -> None:
    record = Record(4, {TAG: A.pull_spec, "shop/tools:latest": "old"})
    found = workload(entry(), entry("tools:latest", "TOOLS"), record=record)
    planned = plan(found, base=B, tools=TOOLS_1)
    assert [(change.target, change.before) for change in planned.changes] == [("BASE", A.pull_spec), ("TOOLS", "old")]
    assert run_of(planned)["metadata"]["name"] == runs.run_name(found, 5)


def test_one_that_did_not_move_is_told_again() -> None:
    record = Record(4, {TAG: A.pull_spec, "shop/tools:latest": TOOLS_1.pull_spec})
    found = workload(entry(), entry("tools:latest", "TOOLS"), record=record)
    planned = plan(found, base=B, tools=TOOLS_1)
    assert [change.target for change in planned.changes] == ["BASE"]
    assert run_of(planned)["spec"]["paramValues"][1] == {"name": "TOOLS", "value": TOOLS_1.pull_spec}


@pytest.mark.parametrize(
    ("paused", "tools"),
    [
        pytest.param(False, None, id="its tag is gone"),
        pytest.param(True, None, id="paused, and its tag is gone"),
        pytest.param(True, B, id="paused, and its tag moved on"),
    ],
)
def test_one_that_does_not_act_is_told_as_it_was(paused: bool, tools: Resolved | None) -> None:
    record = Record(4, {TAG: A.pull_spec, "shop/tools:latest": "old"})
    planned = plan(workload(entry(), entry("tools:latest", "TOOLS", paused=paused), record=record), base=B, tools=tools)
    assert not planned.waits
    assert run_of(planned)["spec"]["paramValues"][1] == {"name": "TOOLS", "value": "old"}
    assert remembered(workload(record=record), planned).images["shop/tools:latest"] == "old"


def test_a_tag_that_two_parameters_are_told_moves_once() -> None:
    found = workload(entry(), entry(parameter="ALSO"))
    planned = plan(found, base=A)
    assert [each["name"] for each in run_of(planned)["spec"]["paramValues"]] == ["BASE", "ALSO"]
    assert remembered(found, planned) == Record(1, {TAG: A.pull_spec})


def test_a_tag_that_is_not_followed_any_more_is_forgotten_with_the_next_run() -> None:
    found = workload(entry(), record=Record(1, {TAG: A.pull_spec, "shop/tools:latest": "old"}))
    assert remembered(found, plan(found, base=B)) == Record(2, {TAG: B.pull_spec})


def test_problems_are_told_with_the_run_and_without() -> None:
    found = workload(entry(), "x")
    assert len(plan(found, base=A).problems) == 1
    assert plan(found) == Plan(problems=found.triggers.problems, waits=True)


def test_a_patch_for_an_object_of_that_name_that_is_another_one_does_not_fit() -> None:
    planned = plan(workload(entry()), base=A)
    stored = {"metadata": {"uid": "another", "annotations": {}}}
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(stored, [dict(each) for each in planned.operations])


# Names


@pytest.mark.parametrize(
    "name",
    ["a", "image", "a.b", "a" * 52, "a" * 53, "a" * 63, "a" * 253, "a" * 51 + "." + "b" * 20, "a" * 50 + "-.b"],
    ids=lambda name: f"{len(name)} {name[48:54]}",
)
def test_a_run_can_be_called_by_its_name(name: str) -> None:
    """As an object's name, and as the value of a label."""
    found = runs.run_name(workload(name=name), 1)
    assert len(found) <= 63
    assert found[0].isalnum()
    assert found[-1].isalnum()
    assert ".-" not in found
    assert found.startswith(name[:50])


def test_everybody_calls_a_run_the_same_and_no_two_runs_so() -> None:
    names = [
        runs.run_name(workload(name=name, uid=uid), number)
        for name in ("a" * 60 + "1", "a" * 60 + "2", "image")
        for uid in (f"uid of {name}", "of another object")
        for number in (1, 2, 11)
    ]
    again = workload(entry(), record=Record(5), name="image", uid="of another object")
    assert runs.run_name(again, 11) == names[-1]
    assert len({runs.run_name(workload(uid="1"), 11), runs.run_name(workload(uid="11"), 1)}) == 2
    assert len(set(names)) == len(names) - 3  # the same object by another name, which no cluster has


# A run of the next name is there already


def caught_up(record: Record, text: str | None) -> Record:
    found = workload(entry(), record=record)
    return remembered(found, Plan(operations=runs.catch_up(found, text)))


def test_a_run_of_ours_is_remembered_as_it_says_itself() -> None:
    before = workload(entry(), record=Record(1, {TAG: A.pull_spec}))
    planned = plan(before, base=B)
    text = run_of(planned)["metadata"]["annotations"][LAST_TRIGGERED]
    assert caught_up(Record(1, {TAG: A.pull_spec}), text) == Record(2, {TAG: B.pull_spec})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="says nothing"),
        pytest.param("x", id="says something else"),
        pytest.param('{"number":1,"images":{}}', id="says the number of another"),
        pytest.param('{"number":9,"images":{}}', id="says a number to come"),
    ],
)
def test_a_run_of_somebody_else_is_passed_over(text: str | None) -> None:
    """Or the same name would be tried for ever."""
    assert caught_up(Record(1, {TAG: A.pull_spec}), text) == Record(2, {TAG: A.pull_spec})


def test_an_object_that_lost_its_record_finds_its_last_run_again() -> None:
    """Somebody replaced it whole: run by run it is caught up with, and no image is run again."""
    there: dict[str, str] = {}
    record = Record()
    for image in (A, B):
        run = run_of(plan(workload(entry(), record=record), base=image))
        there[run["metadata"]["name"]] = run["metadata"]["annotations"][LAST_TRIGGERED]
        record = runs.read_record(run["metadata"]["annotations"][LAST_TRIGGERED])
    record = Record()
    while (planned := plan(workload(entry(), record=record), base=B)).start:
        record = caught_up(record, there[planned.start.name])
    assert record == Record(2, {TAG: B.pull_spec})
