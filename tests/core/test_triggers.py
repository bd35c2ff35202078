"""The trigger annotation: what is followed, and what its author is told about the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.core import triggers
from listener.core.kinds import DEPLOYMENT, KINDS, SHIPWRIGHT_BUILD, TEKTON_PIPELINE, Form, Kind
from listener.core.streams import StreamKey
from listener.core.triggers import ContainerTrigger, RunTrigger, Triggers
from listener.core.workloads import Container

PATH = 'spec.template.spec.containers[?(@.name=="web")].image'
SHOP_WEB = StreamKey("shop", "web")


def parse(text: str, kind: Kind = DEPLOYMENT) -> Triggers:
    return triggers.parse(text, namespace="shop", kind=kind)


def entry(path: object = PATH, name: object = "web:latest", **more: object) -> dict[str, Any]:
    return {"from": {"kind": "ImageStreamTag", "name": name}, "fieldPath": path, **more}


def parse_one(found: object) -> Triggers:
    return parse(json.dumps([found]))


def of_containers(found: Triggers) -> list[ContainerTrigger]:
    return [trigger for trigger in found.valid if isinstance(trigger, ContainerTrigger)]


GOOD = ContainerTrigger(SHOP_WEB, "latest", paused=False, field_path=PATH, section="containers", container="web")


@pytest.mark.parametrize("text", ["", "  \n", "null", "[]"])
def test_no_triggers_is_no_problem(text: str) -> None:
    assert parse(text) == Triggers((), ())


def test_reads_what_oc_set_triggers_writes() -> None:
    text = (
        '[{"from":{"kind":"ImageStreamTag","name":"web:latest","namespace":"images"},'
        '"fieldPath":"spec.template.spec.containers[?(@.name==\\"web\\")].image","paused":true,"lastTriggeredImage":""}]'
    )
    assert parse(text) == Triggers((replace(GOOD, stream=StreamKey("images", "web"), paused=True),), ())


@pytest.mark.parametrize(
    ("path", "section", "container"),
    [
        pytest.param("containers[0].image", "containers", 0, id="index"),
        pytest.param("initContainers[ 12 ].image", "initContainers", 12, id="index of an init container, blanks"),
        pytest.param("containers[0]image", "containers", 0, id="without the dot"),
        pytest.param('containers[?(@.name=="a-b")].image', "containers", "a-b", id="double quotes"),
        pytest.param("containers[?(@.name=='a-b')].image", "containers", "a-b", id="single quotes"),
        pytest.param('containers[ ?( @.name == "a" ) ].image', "containers", "a", id="blanks"),
        pytest.param('initContainers[?(@.name=="a")].image', "initContainers", "a", id="init container"),
        pytest.param('containers[?(@.name=="7")].image', "containers", "7", id="a name of digits is no index"),
    ],
)
def test_reads_field_paths(path: str, section: str, container: str | int) -> None:
    found = parse_one(entry(f"spec.template.spec.{path}"))
    assert found.problems == ()
    assert [(t.section, t.container) for t in of_containers(found)] == [(section, container)]


ANNOTATED = [kind for kind in KINDS if kind.form is Form.POD_SPEC]


@pytest.mark.parametrize("kind", ANNOTATED, ids=lambda kind: kind.name)
def test_reads_paths_of_every_kind(kind: Any) -> None:
    text = json.dumps([entry(".".join((*kind.pod_spec_path, "containers[0].image")))])
    assert len(parse(text, kind).valid) == 1


@pytest.mark.parametrize(
    ("kind", "path", "parameter"),
    [
        pytest.param(SHIPWRIGHT_BUILD, None, "", id="a run that is told nothing"),
        pytest.param(SHIPWRIGHT_BUILD, "", "", id="an empty path"),
        pytest.param(
            SHIPWRIGHT_BUILD, 'spec.paramValues[?(@.name=="BASE_IMAGE")].value', "BASE_IMAGE", id="Shipwright"
        ),
        pytest.param(TEKTON_PIPELINE, "spec.params[?(@.name=='base.image')].value", "base.image", id="Tekton"),
        pytest.param(TEKTON_PIPELINE, 'spec.params[ ?( @.name == "base" ) ].value', "base", id="blanks"),
    ],
)
def test_reads_the_parameter_of_a_run(kind: Kind, path: str | None, parameter: str) -> None:
    assert parse(json.dumps([entry(path)]), kind) == Triggers(
        (RunTrigger(SHOP_WEB, "latest", paused=False, field_path=path or "", parameter=parameter),), ()
    )


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("spec.params[0].value", id="an index: parameters have no order"),
        pytest.param('spec.params[?(@.name=="base")].image', id="no value"),
        pytest.param('spec.paramValues[?(@.name=="base")].value', id="another kind's path"),
        pytest.param(PATH, id="a container"),
        pytest.param(7, id="a number"),
    ],
)
def test_refuses_what_names_no_parameter(path: object) -> None:
    found = parse(json.dumps([entry(path)]), TEKTON_PIPELINE)
    assert found.valid == ()
    expected = 'triggers[0].fieldPath: expected nothing, or spec.params[?(@.name=="PARAMETER")].value of the run'
    assert [problem.partition(", found")[0] for problem in found.problems] == [expected]


@pytest.mark.parametrize(
    ("one", "other", "kept"),
    [
        pytest.param(entry(None), entry(None), 1, id="one tag twice"),
        pytest.param(entry(None), entry(None, name="web:v1"), 2, id="two tags"),
        pytest.param(
            entry('spec.params[?(@.name=="a")].value'),
            entry("spec.params[?(@.name=='a')].value", name="web:v1"),
            1,
            id="one parameter twice",
        ),
    ],
)
def test_a_run_has_each_target_once(one: object, other: object, kept: int) -> None:
    found = parse(json.dumps([one, other]), TEKTON_PIPELINE)
    assert (len(found.valid), len(found.problems)) == (kept, 2 - kept)


@pytest.mark.parametrize(
    ("name", "stream", "tag"),
    [
        pytest.param("web:v1", SHOP_WEB, "v1", id="tag"),
        pytest.param("web:", SHOP_WEB, "latest", id="empty tag means latest"),
        pytest.param("my.web-app:V_1", StreamKey("shop", "my.web-app"), "V_1", id="case of a tag is kept"),
    ],
)
def test_reads_stream_and_tag(name: str, stream: StreamKey, tag: str) -> None:
    assert [(t.stream, t.tag) for t in parse_one(entry(name=name)).valid] == [(stream, tag)]


@pytest.mark.parametrize(
    ("paused", "expected"),
    [(True, True), (False, False), ("true", True), ("false", False), (None, False), ("", False)],
)
def test_reads_paused_as_boolean_and_as_text(paused: object, expected: bool) -> None:
    assert [t.paused for t in parse_one(entry(paused=paused)).valid] == [expected]


@pytest.mark.parametrize("version", [None, "", "image.openshift.io/v1"])
def test_tolerates_the_api_version_people_write(version: str | None) -> None:
    source = {"kind": "ImageStreamTag", "name": "web:latest", "apiVersion": version, "namespace": None}
    assert parse_one({"from": source, "fieldPath": PATH}) == Triggers((GOOD,), ())


@pytest.mark.parametrize(
    ("bad", "field", "told"),
    [
        pytest.param("web:latest", "triggers[0]: ", "expected an object", id="entry is a text"),
        pytest.param(None, "triggers[0]: ", "found nothing", id="entry is null"),
        pytest.param({"fieldPath": PATH}, "triggers[0].from: ", "found nothing", id="no from"),
        pytest.param({"from": [], "fieldPath": PATH}, "triggers[0].from: ", "found a list", id="from is a list"),
        pytest.param(
            {"from": {"kind": "DockerImage", "name": "web:latest"}, "fieldPath": PATH},
            "triggers[0].from.kind: ",
            'expected "ImageStreamTag", found "DockerImage"',
            id="another kind",
        ),
        pytest.param(
            {"from": {"kind": {}, "name": "web:latest"}, "fieldPath": PATH},
            "triggers[0].from.kind: ",
            "found an object",
            id="kind is an object",
        ),
        pytest.param(
            {"from": {"kind": "ImageStreamTag", "name": "web:1", "apiVersion": "v2"}, "fieldPath": PATH},
            "triggers[0].from.apiVersion: ",
            'found "v2"',
            id="another API version",
        ),
        pytest.param(
            {"from": {"kind": "ImageStreamTag", "name": "web:1", "apiVersion": ["v1"]}, "fieldPath": PATH},
            "triggers[0].from.apiVersion: ",
            "found a list",
            id="API version is a list",
        ),
        pytest.param(
            {"from": {"kind": "ImageStreamTag", "name": "web:1", "namespace": "a/b"}, "fieldPath": PATH},
            "triggers[0].from.namespace: ",
            'found "a/b"',
            id="namespace that cannot exist",
        ),
        pytest.param(
            {"from": {"kind": "ImageStreamTag", "name": "web:1", "namespace": 7}, "fieldPath": PATH},
            "triggers[0].from.namespace: ",
            "found a number",
            id="namespace is a number",
        ),
        pytest.param(entry(name="web"), "triggers[0].from.name: ", "STREAM:TAG", id="no colon"),
        pytest.param(entry(name=":latest"), "triggers[0].from.name: ", "STREAM:TAG", id="no stream"),
        pytest.param(entry(name="shop/web:1"), "triggers[0].from.name: ", "STREAM:TAG", id="a namespace in the name"),
        pytest.param(entry(name="web:a:b"), "triggers[0].from.name: ", "with a tag", id="two colons"),
        pytest.param(entry(name="Web:1"), "triggers[0].from.name: ", 'found "Web:1"', id="upper-case stream"),
        pytest.param(entry(name="a" * 300 + ":1"), "triggers[0].from.name: ", "…", id="long name"),
        pytest.param(entry(name=True), "triggers[0].from.name: ", "found true", id="name is true"),
        pytest.param(entry(path=None), "triggers[0].fieldPath: ", "found nothing", id="no path"),
        pytest.param(entry(path=3.5), "triggers[0].fieldPath: ", "found a number", id="path is a number"),
        pytest.param(
            entry(path="containers[0].image"), "triggers[0].fieldPath: ", "spec.template.spec.containers", id="no base"
        ),
        pytest.param(
            entry(path="spec.jobTemplate.spec.template.spec.containers[0].image"),
            "triggers[0].fieldPath: ",
            "spec.template.spec.containers",
            id="base of another kind",
        ),
        pytest.param(
            entry(path="spec.template.spec.containers[-1].image"),
            "triggers[0].fieldPath: ",
            "[-1]",
            id="negative index",
        ),
        pytest.param(
            entry(path="spec.template.spec.containers[*].image"), "triggers[0].fieldPath: ", "[*]", id="all containers"
        ),
        pytest.param(
            entry(path="spec.template.spec.containers[0].command"), "triggers[0].fieldPath: ", "command", id="no image"
        ),
        pytest.param(
            entry(path="spec.template.spec.containers[0].image\n"), "triggers[0].fieldPath: ", "\ufffd", id="line end"
        ),
        pytest.param(
            entry(path="spec.template.spec.containers[?(@.name==\"web')].image"),
            "triggers[0].fieldPath: ",
            "web'",
            id="mixed quotes",
        ),
        pytest.param(
            entry(path="spec.template.spec.volumes[0].image"), "triggers[0].fieldPath: ", "volumes", id="another list"
        ),
        pytest.param(
            entry(paused="yes"), "triggers[0].paused: ", 'expected true or false, found "yes"', id="paused yes"
        ),
        pytest.param(entry(paused=1), "triggers[0].paused: ", "found a number", id="paused 1"),
        pytest.param(entry(paused=[]), "triggers[0].paused: ", "found a list", id="paused is a list"),
    ],
)
def test_a_bad_entry_is_told_and_stops_no_other(bad: object, field: str, told: str) -> None:
    (problem,) = parse_one(bad).problems
    assert problem.startswith(field)
    assert told in problem
    assert len(problem) < 512
    assert problem.isprintable()
    assert parse(json.dumps([entry(), bad])) == Triggers((GOOD,), (problem.replace("triggers[0]", "triggers[1]", 1),))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("[{", "no JSON", id="cut off"),
        pytest.param("web:latest", "no JSON", id="plain text"),
        pytest.param("{}", "must be a list, not an object", id="object"),
        pytest.param('""', "must be a list", id="JSON text"),
        pytest.param("[" * 30_000, "nested too deeply", id="deep nesting"),
        pytest.param("9" * 5_000, "no JSON", id="a number too long for Python"),
        pytest.param(" " * 70_000, "at most 65536", id="too long"),
        pytest.param("\ufeff[]", "no JSON", id="byte order mark"),
    ],
)
def test_a_text_that_is_no_list_is_one_problem(text: str, told: str) -> None:
    found = parse(text)
    assert found.valid == ()
    (problem,) = found.problems
    assert told in problem
    assert len(problem) < 512


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(entry(name="api:latest"), id="same path"),
        pytest.param(entry(PATH.replace('"', "'"), name="api:latest"), id="same path in other words"),
    ],
)
def test_of_two_entries_for_one_container_the_first_stays(second: object) -> None:
    found = parse(json.dumps([entry(), second]))
    assert found.valid == (GOOD,)
    (problem,) = found.problems
    told = "triggers[1].fieldPath: triggers[0] has the same target already, and that one counts"
    assert problem == f"{told}; remove one of them"
    (problem,) = parse(json.dumps([entry(paused=True), second])).problems
    assert problem == f"{told}, though it is paused; remove one of them"


def test_an_entry_that_cannot_be_followed_takes_no_place() -> None:
    found = parse(json.dumps([entry(name="web"), entry()]))
    assert found.valid == (GOOD,)
    assert len(found.problems) == 1


def test_entries_beyond_the_bound_are_told_and_not_read() -> None:
    many = [entry(f"spec.template.spec.containers[{n}].image") for n in range(70)]
    found = parse(json.dumps(many))
    assert [t.container for t in of_containers(found)] == list(range(64))
    (problem,) = found.problems
    assert problem.startswith("triggers[64] and all after it")


def test_repeated_texts_are_kept_once() -> None:
    first, second = (of_containers(parse(json.dumps([entry()])))[0] for _ in range(2))
    assert first.field_path is second.field_path
    assert first.stream.name is second.stream.name
    assert first.tag is second.tag
    assert first.container is second.container


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["from", "fieldPath", "paused", "kind", "name", "namespace", "x"]), inner)
    ),
    max_leaves=10,
)
near_entries = st.fixed_dictionaries(
    {},
    optional={
        "from": st.fixed_dictionaries(
            {},
            optional={
                "kind": st.just("ImageStreamTag") | json_values,
                "name": st.from_regex(r"[a-z]{0,3}:?[a-z]{0,3}") | json_values,
                "namespace": st.text(max_size=5) | json_values,
                "apiVersion": json_values,
            },
        ),
        "fieldPath": st.builds("spec.template.spec.{}".format, st.text("containers[]0?(@.name='\" )image", max_size=40))
        | st.just(PATH)
        | json_values,
        "paused": json_values,
    },
)


@given(st.lists(near_entries | json_values, max_size=5).map(json.dumps) | json_values.map(json.dumps) | st.text())
def test_any_annotation_gives_triggers_or_problems(text: str) -> None:
    found = parse(text)
    assert all(problem.isprintable() and len(problem) < 1024 for problem in found.problems)
    for trigger in of_containers(found):
        assert isinstance(triggers.locate(trigger, (), ()), str)
    if not (found.valid or found.problems):
        assert not text.strip() or json.loads(text) in (None, [])


CONTAINERS = (Container("web", "a"), Container("sidecar", "b"))
INIT = (Container("migrate", "c"),)


def at(section: Any, container: str | int) -> ContainerTrigger:
    return ContainerTrigger(SHOP_WEB, "latest", paused=False, field_path="PATH", section=section, container=container)


@pytest.mark.parametrize(
    ("trigger", "found"),
    [
        pytest.param(at("containers", "sidecar"), ("containers", 1), id="name in its list"),
        pytest.param(at("initContainers", "migrate"), ("initContainers", 0), id="init container"),
        pytest.param(at("containers", "migrate"), ("initContainers", 0), id="oc writes containers for init containers"),
        pytest.param(at("initContainers", "web"), ("containers", 0), id="and the other way round"),
        pytest.param(at("containers", 1), ("containers", 1), id="index"),
        pytest.param(at("initContainers", 0), ("initContainers", 0), id="index of an init container"),
    ],
)
def test_locates_the_container(trigger: ContainerTrigger, found: tuple[str, int]) -> None:
    assert triggers.locate(trigger, CONTAINERS, INIT) == found


def test_the_list_that_the_path_names_is_preferred() -> None:
    both = (Container("web", "a"),)
    assert triggers.locate(at("containers", "web"), both, both) == ("containers", 0)
    assert triggers.locate(at("initContainers", "web"), both, both) == ("initContainers", 0)


@pytest.mark.parametrize(
    ("trigger", "told"),
    [
        pytest.param(
            at("containers", "api"), "no container 'api'; its containers are: web, sidecar, migrate", id="name"
        ),
        pytest.param(at("containers", 2), "no containers[2], the workload has 2 of them", id="index out of range"),
        pytest.param(at("initContainers", 1), "no initContainers[1]", id="an index never falls back"),
    ],
)
def test_a_missing_container_is_told(trigger: ContainerTrigger, told: str) -> None:
    found = triggers.locate(trigger, CONTAINERS, INIT)
    assert isinstance(found, str)
    assert found.startswith("fieldPath PATH: ")
    assert told in found


def test_a_workload_without_containers_is_told() -> None:
    found = triggers.locate(at("containers", "web"), (), ())
    assert isinstance(found, str)
    assert found.endswith("its containers are: none")
