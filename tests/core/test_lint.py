"""What is wrong, and what is only not known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from listener.core import lint
from listener.core.kinds import CRON_JOB, DEPLOYMENT, DEPLOYMENT_CONFIG, JOB, POD, SHIPWRIGHT_BUILD, Kind
from listener.core.lint import Finding, Known
from listener.core.lookups import RESOLVE_NAMES
from listener.core.streams import Stream, StreamKey
from listener.core.trigger_edits import Found
from listener.core.triggers import ALPHA_ANNOTATION, ANNOTATION
from listener.edges import objects

A = "sha256:" + "a" * 64
LIVE = {"uid": "u", "resourceVersion": "1"}
ITEM = {"created": "2026-01-01T00:00:00Z", "dockerImageReference": f"r.example/web@{A}", "image": A, "generation": 1}


def body(*tags: Any, name: str = "web", spec: Any = None, status: Any = None, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "shop", **metadata},
        "spec": {"tags": list(tags), **(spec or {})},
        "status": status or {},
    }


def stream(*tags: Any, **more: Any) -> Stream:
    return objects.read_stream(json.dumps(body(*tags, **more)).encode())


def known(*streams: Stream, missing: Sequence[str] = ()) -> Known:
    nothing = {StreamKey("shop", name): None for name in missing}
    return Known({**nothing, **{each.key: each for each in streams}}, "is not in these files")


def told(findings: Sequence[Finding]) -> list[str]:
    return [f"{finding.severity}: {finding.text}" for finding in findings]


def tag(name: str, kind: str = "", source: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name, **({"from": {"kind": kind, "name": source}} if kind or source else {}), **more}


def alias(name: str, source: str) -> dict[str, Any]:
    return tag(name, "ImageStreamTag", source)


# Streams


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(body(), id="no tags"),
        pytest.param(body(tag("pushed")), id="a placeholder"),
        pytest.param(body(tag("v1", "DockerImage", "quay.io/x/y:1")), id="an image"),
        pytest.param(body(tag("v1", "DockerImage", "quay.io/x/y:1", reference=True)), id="a name"),
        pytest.param(body(tag("v1"), alias("v", "v1"), alias("w", "web:v1")), id="aliases"),
        pytest.param(body(alias("v", "latest"), spec={"dockerImageRepository": "quay.io/x/y"}), id="a tag to come"),
        pytest.param(body(tag("p", "ImageStreamImage", f"web@{A}")), id="an image of a history that is not there"),
        pytest.param(
            body(tag("s", "DockerImage", "x", importPolicy={"scheduled": True, "importMode": "PreserveOriginal"})),
            id="policies",
        ),
    ],
)
def test_a_sound_stream(found: dict[str, Any]) -> None:
    read = objects.read_stream(json.dumps(found).encode())
    assert told(lint.check_stream(read, found, known(read))) == []


@pytest.mark.parametrize(
    ("found", "findings"),
    [
        pytest.param(body(name="Web"), ["error: 'Web' is no name of a stream"], id="its name"),
        pytest.param(body(name="x" * 251), ["error: namespace and name together have more than 255"], id="a long name"),
        pytest.param(
            body(spec={"dockerImageRepository": "quay.io/x:1"}),
            ["error: spec.dockerImageRepository: expected a repository without tag and digest"],
            id="a repository with a tag",
        ),
        pytest.param(
            body(spec={"dockerImageRepository": "X"}), ["error: spec.dockerImageRepository: 'X'"], id="no repository"
        ),
        pytest.param(body(tag("-x")), ["error: tag -x: no tag is called so"], id="a tag's name"),
        pytest.param(body(tag("a"), tag("a")), ["error: tag a: spec.tags names it more than once"], id="twice"),
        pytest.param(
            body(tag("a", "Docker", "x")),
            ["error: tag a: from.kind: expected DockerImage, ImageStreamTag or ImageStreamImage, found 'Docker'"],
            id="kind",
        ),
        pytest.param(body(tag("a", "", "x")), ["error: tag a: from.kind: expected"], id="no kind"),
        pytest.param(body(tag("a", "DockerImage")), ["error: tag a: from.name: expected the source's name"], id="name"),
        pytest.param(
            body(tag("a", "DockerImage", "quay.io/X")),
            ["error: tag a: from.name: 'quay.io/X' is no image reference"],
            id="a bad reference",
        ),
        pytest.param(body(alias("a", "x:y:z")), ["error: tag a: from.name: expected TAG or STREAM:TAG"], id="alias"),
        pytest.param(
            body(tag("a", "ImageStreamImage", "@x")), ["error: tag a: from.name: expected DIGEST or"], id="pinned"
        ),
        pytest.param(
            body(alias("a", "latset"), tag("latest")),
            ["info: tag a: ImageStream shop/web has no tag latset until somebody pushes it (its tags are a, latest)"],
            id="an alias of a tag that may be pushed",
        ),
        pytest.param(
            body(alias("a", "other:1")), ["info: tag a: ImageStream shop/other is not in these files"], id="unknown"
        ),
        pytest.param(
            body(alias("a", "gone:1")), ["error: tag a: there is no ImageStream shop/gone"], id="an alias of nothing"
        ),
        pytest.param(
            body(alias("a", "b"), alias("b", "web:a"), alias("c", "a")),
            [
                "error: tag a: the tags follow each other: a -> b -> a",
                "error: tag b: the tags follow each other: b -> a -> b",
            ],
            id="a circle",
        ),
        pytest.param(
            body({**alias("a", "1"), "importPolicy": {"scheduled": True}}, tag("1")),
            ["error: tag a: importPolicy.scheduled goes only with"],
            id="a scheduled alias",
        ),
        pytest.param(
            body(tag("a", importPolicy={"importMode": "All"}, referencePolicy={"type": "Any"})),
            [
                "error: tag a: importPolicy.importMode: expected Legacy or PreserveOriginal, found 'All'",
                "error: tag a: referencePolicy.type: expected Source or Local, found 'Any'",
            ],
            id="policies",
        ),
        pytest.param(
            body(tag("a", annotations={"imagestreams.dev/import-interval": "soon"})),
            ["warning: tag a: annotation imagestreams.dev/import-interval: expected a duration"],
            id="an interval",
        ),
    ],
)
def test_a_stream_of_a_file(found: dict[str, Any], findings: list[str]) -> None:
    read = objects.read_stream(json.dumps(found).encode())
    lines = told(lint.check_stream(read, found, known(read, missing=["gone"])))
    assert len(lines) == len(findings), lines
    for line, start in zip(lines, findings, strict=True):
        assert line.startswith(start)


def condition(reason: str, message: str = "no\nsuch") -> dict[str, Any]:
    return {"type": "ImportSuccess", "status": "False", "lastTransitionTime": "T", "reason": reason, "message": message}


@pytest.mark.parametrize(
    ("found", "findings"),
    [
        pytest.param(
            body(alias("a", "b"), tag("b"), **LIVE), ["warning: tag a: shop/web:b points at nothing yet"], id="waits"
        ),
        pytest.param(
            body(alias("a", "b"), **LIVE),
            ["warning: tag a: ImageStream shop/web has no tag b until somebody pushes it (its tags are a)"],
            id="no such tag",
        ),
        pytest.param(
            body(tag("p", "ImageStreamImage", f"web@{A}"), **LIVE),
            [f"error: tag p: ImageStream shop/web has no image {A} in its history"],
            id="no such image",
        ),
        pytest.param(
            body(
                tag("p", "ImageStreamImage", "web@sha256:aa"), status={"tags": [{"tag": "x", "items": [ITEM]}]}, **LIVE
            ),
            [],
            id="an image of the history",
        ),
        pytest.param(
            body(alias("a", "b"), status={"tags": [{"tag": "a", "conditions": [condition("NotFound")]}]}, **LIVE),
            ["error: tag a: ImportSuccess=False since T, NotFound: no such"],
            id="what a condition tells is told once",
        ),
        pytest.param(
            body(alias("a", "a"), status={"tags": [{"tag": "a", "conditions": [condition("CircularReference")]}]}),
            ["error: tag a: ImportSuccess=False since T, CircularReference: no such"],
            id="a circle that is known",
        ),
        pytest.param(
            body(status={"conditions": [condition("InternalError")]}, **LIVE),
            ["warning: ImportSuccess=False since T, InternalError: no such"],
            id="what may pass",
        ),
        pytest.param(
            body(status={"tags": [{"tag": "a", "conditions": [{"type": "ImportSuccess", "status": "True"}]}]}, **LIVE),
            [],
            id="success",
        ),
    ],
)
def test_a_stream_of_the_cluster(found: dict[str, Any], findings: list[str]) -> None:
    read = objects.read_stream(json.dumps(found).encode())
    assert told(lint.check_stream(read, found, known(read))) == findings


def test_tags_of_other_namespaces_must_be_shared() -> None:
    source = {"kind": "ImageStreamTag", "name": "base:1", "namespace": "infra"}
    found = body({"name": "a", "from": source})
    read = stream({"name": "a", "from": source})
    base = objects.read_stream(json.dumps({"metadata": {"name": "base", "namespace": "infra"}}).encode())
    (line,) = told(lint.check_stream(read, found, known(read, base)))
    assert line.startswith("error: tag a: ImageStream infra/base does not share its tags with namespace shop")


def test_tags_of_namespaces_that_nobody_looks_at_are_followed_by_no_stream() -> None:
    source = {"kind": "ImageStreamTag", "name": "base:1", "namespace": "infra"}
    found = body({"name": "a", "from": source})
    read = stream({"name": "a", "from": source})
    (line,) = told(lint.check_stream(read, found, replace(known(read), namespaces=("shop",))))
    assert line.startswith("error: tag a: ImageStream infra/base cannot be followed: namespace infra is not among")


# Workloads


def entry(container: str = "web", source: str = "web:latest", base: str = "spec.template.spec", **more: Any) -> Any:
    path = f'{base}.containers[?(@.name=="{container}")].image'
    return {"from": {"kind": "ImageStreamTag", "name": source}, "fieldPath": path, **more}


def check(
    kind: Kind,
    *entries: Any,
    streams: Known | None = None,
    template: Any = None,
    uid: str = "",
    image: str = "x",
    status: Any = None,
    **metadata: Any,
) -> list[str]:
    annotations = {**({ANNOTATION: json.dumps(entries)} if entries else {}), **metadata.pop("annotations", {})}
    inner: Any = {"containers": [{"name": "web", "image": image}]}
    for part in reversed(kind.pod_spec_path):
        inner = {part: inner, **({"metadata": template} if part == "spec" and template else {})}
    inner.pop("metadata", None)
    document = {"metadata": {"name": "app", "namespace": "shop", "uid": uid, "annotations": annotations, **metadata}}
    document |= inner
    if status:
        document["status"] = status
    workload = objects.read_workload(kind, json.dumps(document).encode())
    return told(lint.check_workload(workload, Found(kind, document), streams or known(LATEST)))


LATEST = stream(tag("latest"))


@pytest.mark.parametrize(
    ("entries", "findings"),
    [
        pytest.param([entry()], [], id="sound"),
        pytest.param([entry(paused=True, source="none:1")], [], id="paused"),
        pytest.param(["x"], ["error: triggers[0]: expected an object"], id="no trigger"),
        pytest.param([entry("gone")], ["error: fieldPath spec.template.spec.containers"], id="no container"),
        pytest.param(
            [entry("gone", paused=True)], ["warning: fieldPath spec.template.spec.containers"], id="none, and paused"
        ),
        pytest.param(
            [entry(source="other:1")],
            ["info: the trigger for web follows shop/other:1: ImageStream shop/other is not in these files"],
            id="an unknown stream",
        ),
        pytest.param(
            [entry(source="gone:1")],
            ["error: the trigger for web follows shop/gone:1: there is no ImageStream shop/gone"],
            id="no stream",
        ),
        pytest.param(
            [entry(source="web:v1")],
            ["info: the trigger for web follows shop/web:v1: ImageStream shop/web has no tag v1 until"],
            id="no tag",
        ),
    ],
)
def test_a_workloads_triggers(entries: list[Any], findings: list[str]) -> None:
    lines = check(DEPLOYMENT, *entries, streams=known(LATEST, missing=["gone"]))
    assert len(lines) == len(findings), lines
    for line, start in zip(lines, findings, strict=True):
        assert line.startswith(start)


def test_a_tag_of_the_cluster_that_points_at_nothing_is_a_warning() -> None:
    live = stream(tag("latest"), **LIVE)
    (line,) = check(DEPLOYMENT, entry(), streams=known(live))
    assert line == "warning: the trigger for web follows shop/web:latest: shop/web:latest points at nothing yet"
    resolved = stream(status={"tags": [{"tag": "latest", "items": [ITEM]}]}, **LIVE)
    assert check(DEPLOYMENT, entry(), streams=known(resolved)) == []


def test_both_annotations_are_fine_while_they_say_the_same() -> None:
    same = json.dumps([entry()])
    assert check(DEPLOYMENT, annotations={ANNOTATION: same, ALPHA_ANNOTATION: same}) == []
    assert check(DEPLOYMENT, annotations={ALPHA_ANNOTATION: same}) == []
    (line,) = check(DEPLOYMENT, entry(), annotations={ALPHA_ANNOTATION: "[]"})
    assert line.startswith("warning: image.alpha.openshift.io/triggers says something else")


@pytest.mark.parametrize(
    ("kind", "entries", "findings"),
    [
        pytest.param(DEPLOYMENT, [], ["error: nobody reads image.openshift.io/triggers in spec.template"], id="there"),
        pytest.param(DEPLOYMENT, [entry()], ["warning: nobody reads"], id="there too"),
        pytest.param(
            CRON_JOB,
            [],
            [
                "error: nobody reads image.openshift.io/triggers in spec.jobTemplate.metadata",
                "error: nobody reads image.openshift.io/triggers in spec.jobTemplate.spec.template.metadata",
            ],
            id="both templates of a CronJob",
        ),
        pytest.param(POD, [], [], id="a Pod has no template"),
    ],
)
def test_an_annotation_on_the_template(kind: Kind, entries: list[Any], findings: list[str]) -> None:
    lines = check(kind, *entries, template={"annotations": {ANNOTATION: "[]"}})
    assert len(lines) == len(findings), lines
    for line, start in zip(lines, findings, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("entries", "others"),
    [
        pytest.param([entry()], 0, id="one"),
        pytest.param([entry(paused=True)], 0, id="paused"),
        pytest.param([entry(), "x"], 1, id="beside a bad one"),
        pytest.param(["x"], 1, id="only a bad one"),
    ],
)
def test_a_trigger_on_a_job_can_never_act(entries: list[Any], others: int) -> None:
    lines = check(JOB, *entries)
    assert lines.count(NEVER_ACTS) == 1
    assert len(lines) == 1 + others, lines
    assert check(JOB) == []
    owners = [{"kind": "CronJob", "name": "web", "controller": True}]
    assert check(JOB, *entries, ownerReferences=owners) == []


NEVER_ACTS = (
    "warning: a trigger on a Job can never act, for nobody can change a Job's images; put it on the CronJob, or"
    " whatever else creates the Job"
)


def test_an_annotation_where_spec_triggers_count() -> None:
    (line,) = check(DEPLOYMENT_CONFIG, entry())
    assert line.startswith("warning: nobody reads its trigger annotation: a DeploymentConfig says in spec.triggers")


def test_a_copy_that_a_controller_made_is_not_looked_at() -> None:
    owners = [{"kind": "ReplicaSet", "name": "web", "controller": True}]
    assert check(POD, "x", ownerReferences=owners) == []
    assert check(POD, "x") != []


def test_a_part_of_a_workload_has_its_containers_elsewhere() -> None:
    document = {"metadata": {"name": "app", "namespace": "shop", "annotations": {ANNOTATION: json.dumps([entry()])}}}
    workload = objects.read_workload(DEPLOYMENT, json.dumps(document).encode())
    (line,) = told(lint.check_workload(workload, Found(DEPLOYMENT, document), known(LATEST)))
    assert line.startswith("info: fieldPath")


def test_a_run_has_no_containers_to_look_for() -> None:
    source = {"from": {"kind": "ImageStreamTag", "name": "gone:1"}}
    (line,) = check(SHIPWRIGHT_BUILD, source, streams=known(missing=["gone"]))
    assert line == "error: a trigger follows shop/gone:1: there is no ImageStream shop/gone"


# Names that are looked up


RUBY = stream(tag("2.7"), name="ruby", spec={"lookupPolicy": {"local": True}})
LIVE_RUBY = stream(tag("2.7"), name="ruby", spec={"lookupPolicy": {"local": True}}, **LIVE)
BASE = stream(tag("v1"), name="base")
CIRCLE = stream(
    tag("1"),
    name="circle",
    spec={"lookupPolicy": {"local": True}},
    status={"tags": [{"tag": "1", "items": [{"dockerImageReference": "circle:2", "image": ""}]}]},
)
ALL = {RESOLVE_NAMES: "*"}
NOT_THERE = "ImageStream shop/ruby has no tag 3 until somebody pushes it (its tags are 2.7)"


@pytest.mark.parametrize(
    ("image", "forced", "streams", "findings"),
    [
        pytest.param("ruby:2.7", {}, known(RUBY), [], id="sound"),
        pytest.param("nginx", {}, known(RUBY, missing=["nginx"]), [], id="no stream, and none meant"),
        pytest.param("nginx", {}, known(RUBY), [], id="nothing known, and none meant"),
        pytest.param("ruby:3", {}, known(RUBY), [f"info: container web: image ruby:3: {NOT_THERE}"], id="no tag"),
        pytest.param(
            "ruby:3", {}, known(LIVE_RUBY), [f"warning: container web: image ruby:3: {NOT_THERE}"], id="no tag there"
        ),
        pytest.param(
            "ruby:2.7",
            {},
            known(LIVE_RUBY),
            ["warning: container web: image ruby:2.7: shop/ruby:2.7 points at nothing yet"],
            id="a tag that points at nothing",
        ),
        pytest.param(
            "base:v1",
            {},
            known(BASE),
            [
                (
                    "warning: container web: image base:v1 is not looked up: ImageStream shop/base has that tag, but no"
                    " spec.lookupPolicy.local (`listener lookup base --on`)"
                )
            ],
            id="off",
        ),
        pytest.param("base:v2", {}, known(BASE), [], id="off, and another tag"),
        pytest.param(
            "circle:1",
            {},
            known(CIRCLE),
            [
                (
                    "warning: container web: image circle:1 is not looked up: ImageStreamTag shop/circle:1 points at"
                    " circle:2, which has no registry before it: write its registry there"
                )
            ],
            id="points at a name",
        ),
        pytest.param("base:v1", ALL, known(BASE), [], id="forced"),
        pytest.param(
            "gone:1",
            ALL,
            known(missing=["gone"]),
            ["warning: container web: image gone:1 is not looked up: there is no ImageStream shop/gone"],
            id="forced without a stream",
        ),
        pytest.param(
            "gone:1",
            ALL,
            known(),
            ["info: container web: image gone:1: ImageStream shop/gone is not in these files"],
            id="forced, and nothing known",
        ),
        pytest.param(
            "lab/base:v1",
            ALL,
            known(BASE),
            [
                (
                    "warning: container web: image lab/base:v1 means base:v1 of shop itself: where all names are looked"
                    " up, a namespace is left out"
                )
            ],
            id="a namespace that is left out",
        ),
        pytest.param("shop/base:v1", ALL, known(BASE), [], id="its own namespace"),
        pytest.param("r.io/base:v1", ALL, known(BASE), [], id="a registry"),
    ],
)
def test_an_image_that_may_be_a_name(image: str, forced: Any, streams: Known, findings: list[str]) -> None:
    assert check(DEPLOYMENT, image=image, annotations=forced, streams=streams) == findings


def test_a_container_with_a_trigger_is_no_name() -> None:
    assert check(DEPLOYMENT, entry(source="web:latest"), image="ruby:3", streams=known(LATEST, LIVE_RUBY)) == []


def test_a_job_that_exists_is_too_late() -> None:
    (line,) = check(JOB, image="ruby:2.7", uid="u", streams=known(RUBY))
    assert line == (
        "warning: container web: image ruby:2.7 is not looked up any more: a Job stays as it was created; delete the"
        " object and create it anew"
    )
    assert check(JOB, image="ruby:2.7", streams=known(RUBY)) == []


def test_a_job_must_not_be_created_before_its_tag() -> None:
    (line,) = check(JOB, image="ruby:3", streams=known(RUBY))
    assert line == (
        f"warning: container web: image ruby:3: {NOT_THERE}; a Job is never changed: create it when the tag is there"
    )


def test_what_is_over_or_another_made_is_nobodys_to_mend() -> None:
    owners = [{"kind": "App", "name": "web", "controller": True}]
    assert check(POD, image="ruby:3", uid="u", streams=known(LIVE_RUBY)) != []
    assert check(POD, image="ruby:3", uid="u", streams=known(LIVE_RUBY), status={"phase": "Succeeded"}) == []
    assert check(DEPLOYMENT, image="ruby:3", uid="u", streams=known(LIVE_RUBY), ownerReferences=owners) == []


@pytest.mark.parametrize(
    ("kind", "own", "template", "findings"),
    [
        pytest.param(DEPLOYMENT, "*", "*", [], id="right"),
        pytest.param(DEPLOYMENT, "false", "", [], id="off"),
        pytest.param(
            DEPLOYMENT,
            "true",
            None,
            [f"error: metadata.annotations: {RESOLVE_NAMES} means something only with the value '*', found 'true'"],
            id="another value",
        ),
        pytest.param(
            DEPLOYMENT, None, "ruby", [f"error: spec.template.metadata.annotations: {RESOLVE_NAMES} means"], id="there"
        ),
        pytest.param(
            CRON_JOB,
            None,
            "*",
            [f"error: nobody reads {RESOLVE_NAMES} in spec.jobTemplate.metadata.annotations: it belongs into"],
            id="a template of Jobs",
        ),
        pytest.param(
            SHIPWRIGHT_BUILD,
            "*",
            None,
            [f"error: nobody reads its annotation {RESOLVE_NAMES}: a Build has no pod spec"],
            id="no pod spec",
        ),
    ],
)
def test_where_all_names_are_to_be_looked_up(kind: Kind, own: Any, template: Any, findings: list[str]) -> None:
    lines = check(
        kind,
        annotations={} if own is None else {RESOLVE_NAMES: own},
        template=None if template is None else {"annotations": {RESOLVE_NAMES: template}},
        image="r.io/x",
    )
    assert len(lines) == len(findings), lines
    for line, start in zip(lines, findings, strict=True):
        assert line.startswith(start)


# Others


def test_kinds_that_follow_nothing() -> None:
    service = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "x"}}
    assert lint.check_other(service) == []
    annotated = {**service, "metadata": {"annotations": {ALPHA_ANNOTATION: "[]"}}}
    (line,) = told(lint.check_other(annotated))
    assert "Service of serving.knative.dev/v1 is no kind that follows tags" in line
    forced = {**service, "metadata": {"annotations": {RESOLVE_NAMES: "*"}}}
    (line,) = told(lint.check_other(forced))
    assert "Service of serving.knative.dev/v1 is no kind whose images are looked up" in line


@pytest.mark.parametrize("metadata", [None, "x", {"annotations": None}, {"annotations": ["x"]}])
def test_other_objects_may_have_any_shape(metadata: Any) -> None:
    assert lint.check_other({"apiVersion": "v1", "kind": "X", "metadata": metadata}) == []
