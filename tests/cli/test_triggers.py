"""Which tags a workload follows, shown and changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from listener.cli.workloads import Workloads
from listener.core import trigger_edits
from listener.core.kinds import DEPLOYMENT
from listener.core.streams import StreamKey
from listener.core.workloads import WorkloadKey
from tests.cli.parts import run
from tests.cli.world import SHORT_A, SHORT_B, A, B, World, image
from tests.edges.api_server import api_server, refuses, says
from tests.end_to_end.objects import trigger

ANNOTATION, ALPHA = "image.openshift.io/triggers", "image.alpha.openshift.io/triggers"
NONE = "--kubeconfig=/nowhere/kubeconfig"


def entry(container: str, source: str, **more: Any) -> dict[str, Any]:
    path = f'spec.template.spec.containers[?(@.name=="{container}")].image'
    return {"from": {"kind": "ImageStreamTag", "name": source}, "fieldPath": path, **more}


# Shown


async def test_a_table_of_all_triggers(world: World) -> None:
    await world.stream("web", latest=(B, A))
    entries = [
        entry("web", "web:latest"),
        entry("sidecar", "gone:1"),
        entry("none", "web:latest"),
        {**entry("web", "web"), "fieldPath": "x"},
    ]
    await world.workload("app", json.dumps(entries))
    here = world.namespace
    lines = (await world.listener("triggers", "deploy/app")).text.split("\n")
    assert lines[0].split("   ")[0] == "CONTAINER"
    assert [line.split() for line in lines[1:3]] == [
        ["web", f"{here}/web:latest", "no", "not-pushed-yet", SHORT_B, "differs"],
        f"sidecar {here}/gone:1 no sidecar:1 - waits: there is no ImageStream {here}/gone".split(),
    ]
    assert "broken: fieldPath " in lines[3]
    assert "has no container 'none'" in lines[3]
    assert "broken: triggers[3].from.name: expected STREAM:TAG" in lines[4]


async def test_a_stream_that_the_service_does_not_look_at_is_not_followed(world: World, tmp_path: Path) -> None:
    await world.stream("web", latest=(A,))
    await world.workload("app", json.dumps([entry("web", "web:latest")]))
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump({"namespaces": ["lab"]}))
    shown = (await world.listener("triggers", "deploy/app", "--config", file)).text
    here = world.namespace
    assert f"broken: ImageStream {here}/web cannot be followed: namespace {here} is not among" in shown


async def test_the_same_for_programs(world: World) -> None:
    await world.stream("web", latest=(A,))
    await world.workload("app", json.dumps([entry("web", "web:latest", paused=True), "x"]))
    found = (await world.listener("triggers", "deployment/app", "-o", "json")).document
    assert yaml.safe_load((await world.listener("triggers", "deployment/app", "-o", "yaml")).text) == found
    assert (found["kind"], found["namespace"], found["name"]) == ("Deployment", world.namespace, "app")
    first, second = found["triggers"]
    assert first == {
        "container": "web",
        "fieldPath": entry("web", "")["fieldPath"],
        "from": {"namespace": world.namespace, "name": "web:latest"},
        "paused": True,
        "image": "not-pushed-yet",
        "tagged": image(A),
        "state": "paused",
        "reason": None,
    }
    assert (second["state"], second["from"]) == ("broken", None)


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet", "CronJob"])
async def test_the_other_kinds(world: World, kind: str) -> None:
    await world.stream("web", latest=(A,))
    await world.workload("app", kind=kind)
    name = f"{kind.lower()}/app"
    assert (await world.listener("triggers", name)).text == f"{kind.lower()} {world.namespace}/app follows no tag"
    await world.listener("triggers", name, "--from-image", "web:latest", "-c", "web")
    (text,) = (await world.annotations("app", kind)).values()
    assert json.loads(text) == json.loads(trigger("web:latest", kind=kind))


async def test_what_a_controller_made_follows_nothing(world: World) -> None:
    await world.workload("app")
    uid = (await world.get("app"))["metadata"]["uid"]
    metadata = {
        "name": "app-1",
        "namespace": world.namespace,
        "labels": {"app": "app"},  # without what its Deployment selects, a controller manager takes it from it
        "annotations": {ANNOTATION: json.dumps([entry("web", "web:latest")])},
        "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app", "uid": uid, "controller": True}
        ],
    }
    template = {"metadata": {"labels": {"app": "app"}}, "spec": {"containers": [{"name": "web", "image": "x"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "app"}}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}
    path = f"/apis/apps/v1/namespaces/{world.namespace}/replicasets"
    assert (await world.client.create(path, body)).end == "applied"
    why = "was made by Deployment app, which may replace it"
    shown = (await world.listener("triggers", "rs/app-1")).text
    assert shown.endswith(f"follows no tag: its annotation does not count, for it {why}")
    refusal = (await world.listener("triggers", "rs/app-1", "--from-image", "web:1")).refusal
    assert refusal.endswith(f"/app-1: it {why}: set triggers there")


# Changed


async def test_a_trigger_from_its_first_day_to_its_last(world: World) -> None:
    await world.stream("web", latest=(A,))
    await world.workload("app")
    name = f"deployment {world.namespace}/app"

    async def say(*args: str) -> str:
        return (await world.listener("triggers", "deploy/app", *args)).text

    follow = ("--from-image", "web:latest", "-c", "web")
    source = f"{world.namespace}/web:latest"
    assert await say(*follow) == f"{name}: web now follows {source}; its image is to be {SHORT_A}"
    assert await world.annotations("app") == {
        ANNOTATION: json.dumps([entry("web", "web:latest")], separators=(",", ":"))
    }
    assert await say(*follow) == f"{name}: web follows {source} already; its image is to be {SHORT_A}"
    assert await say("--pause", "-c", "web") == f"{name}: the trigger for web is paused"
    assert await say("--pause") == f"{name}: its triggers are paused already"
    assert await say(*follow) == f"{name}: web follows {source} already, but is paused; --resume lets it act"
    assert await say("--resume") == f"{name}: its triggers act again"
    assert await say("--remove", "-c", "web") == f"{name}: the trigger for web is removed"
    assert await world.annotations("app") == {}
    refusal = (await world.listener("triggers", "deploy/app", "--remove")).refusal
    assert refusal == f"{name}: it follows no tag; let it follow one with --from-image STREAM:TAG"


async def test_what_nobody_spoke_of_stays(world: World) -> None:
    before = [entry("sidecar", "side:1", note="mine"), {"broken": True}, entry("web", "old:1", note="ours")]
    await world.workload("app", json.dumps(before))
    done = await world.listener("triggers", "deploy/app", "--from-image", "web:latest", "-c", "web")
    assert done.code == 0
    after = [*before[:2], entry("web", "web:latest", note="ours")]
    assert json.loads((await world.annotations("app"))[ANNOTATION]) == after
    assert f"/app: web waits: there is no ImageStream {world.namespace}/web\n" in done.err
    assert "/app: broken: triggers[1].from: expected" in done.err


async def test_a_stream_that_has_no_such_tag_is_told_beside(world: World) -> None:
    await world.stream("web", latest=(A,))
    await world.workload("app")
    done = await world.listener("triggers", "deploy/app", "--from-image", "web:v1", "-c", "web")
    assert (done.code, done.err) == (
        0,
        f"listener: deployment {world.namespace}/app: web waits: ImageStream {world.namespace}/web has no tag v1 yet\n",
    )


async def test_a_tag_of_another_namespace(world: World) -> None:
    await world.workload("app")
    await world.listener("triggers", "deploy/app", "--from-image", "infra/base:1", "-c", "sidecar")
    (made,) = json.loads((await world.annotations("app"))[ANNOTATION])
    assert made["from"] == {"kind": "ImageStreamTag", "name": "base:1", "namespace": "infra"}


async def test_an_alpha_annotation_alone_is_the_one_that_is_edited(world: World) -> None:
    await world.workload("app")
    old = json.dumps([entry("web", "old:1")])
    body = [{"op": "add", "path": "/metadata/annotations", "value": {ALPHA: old}}]
    key = WorkloadKey("Deployment", world.namespace, "app")
    assert (await world.client.patch_workload(DEPLOYMENT, key, body)).end == "applied"
    await world.listener("triggers", "deploy/app", "--from-image", "web:latest", "-c", "web")
    found = await world.annotations("app")
    assert list(found) == [ALPHA]
    assert json.loads(found[ALPHA]) == [entry("web", "web:latest")]


@pytest.mark.parametrize(
    ("annotation", "args", "why"),
    [
        pytest.param("[{", ("--from-image", "web:1", "-c", "web"), "is no JSON", id="a broken annotation"),
        pytest.param("[{", ("--pause",), "mend it with `kubectl edit`", id="a broken annotation to pause"),
        pytest.param(None, ("--from-image", "web:1"), "its containers are sidecar, web: say with -c", id="which one"),
        pytest.param(
            None, ("--from-image", "web:1", "-c", "x"), "it has no container 'x'; its containers are", id="no such"
        ),
        pytest.param(None, ("--resume",), "it follows no tag", id="nothing to resume"),
    ],
)
async def test_what_is_refused_changes_nothing(
    world: World, annotation: str | None, args: tuple[str, ...], why: str
) -> None:
    await world.workload("app", annotation)
    refusal = (await world.listener("triggers", "deploy/app", *args)).refusal
    assert refusal.startswith(f"deployment {world.namespace}/app: ")
    assert why in refusal
    assert await world.annotations("app") == ({ANNOTATION: annotation} if annotation else {})


async def test_what_is_not_there(world: World) -> None:
    refusal = (await world.listener("triggers", "deploy/none")).refusal
    assert refusal == (f"there is no Deployment none in namespace {world.namespace}; name another namespace with -n")


# Servers that say what a test wrote down


def deployment(version: str) -> dict[str, Any]:
    spec = {"template": {"spec": {"containers": [{"name": "web", "image": "x"}]}}}
    return {"metadata": {"name": "app", "namespace": "shop", "resourceVersion": version}, "spec": spec}


async def test_a_change_that_came_too_late_is_planned_anew(tmp_path: Path) -> None:
    conflict = refuses(409, "the object has been modified", reason="Conflict")
    answers = [says(200, deployment("1")), conflict, says(200, deployment("2")), says(200, deployment("3"))]
    async with api_server(tmp_path, *answers) as server:
        await Workloads(server.cluster).change(
            DEPLOYMENT,
            WorkloadKey("Deployment", "shop", "app"),
            lambda found: trigger_edits.follow(found, (StreamKey("shop", "web"), "1"), None),
        )
    tests = [json.loads(asked.body)[0]["value"] for asked in server.asked if asked.method == "PATCH"]
    assert tests == ["1", "2"]


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        pytest.param([refuses(403, "no", reason="Forbidden")], "ask for the right to get Deployments there", id="get"),
        pytest.param(
            [says(200, deployment("1")), refuses(403, "no", reason="Forbidden")],
            "deployment default/app cannot be written: no; ask for the right to get and patch Deployments there",
            id="patch",
        ),
    ],
)
async def test_a_missing_right_is_one_line(tmp_path: Path, answers: list[Any], why: str) -> None:
    async with api_server(tmp_path, *answers) as server:
        assert server.cluster is not None
        options = ("--kubeconfig", tmp_path / "kubeconfig")
        assert why in (await run("triggers", "deploy/app", "--from-image", "web:1", *options)).refusal


async def test_a_kind_that_is_not_served_is_one_line(tmp_path: Path) -> None:
    async with api_server(tmp_path, says(404, b"404 page not found\n")) as server:
        assert server.cluster is not None
        refusal = (await run("triggers", "bc/none", "--kubeconfig", tmp_path / "kubeconfig")).refusal
    assert refusal.startswith("the cluster does not serve BuildConfig of build.openshift.io/v1")


async def test_kinds_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    rollouts = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "podSpecPath": "spec.template.spec"}
    file.write_text(yaml.safe_dump({"workloads": [rollouts], "logging": {"level": "error"}}))
    resources = {"resources": [{"name": "rollouts", "kind": "Rollout"}, {"name": "rollouts/status", "kind": "Rollout"}]}
    async with api_server(tmp_path, says(200, resources), says(200, deployment("1"))) as server:
        options = ("--config", file, "--kubeconfig", tmp_path / "kubeconfig")
        shown = (await run("triggers", "Rollout.argoproj.io/app", *options)).text
    assert shown == "rollout.argoproj.io shop/app follows no tag"
    assert server.asked[1].path == "/apis/argoproj.io/v1alpha1/namespaces/default/rollouts/app"


@pytest.mark.parametrize(
    ("args", "why"),
    [
        pytest.param(("web",), "'web' names no workload; write KIND/NAME", id="no kind"),
        pytest.param(("svc/web",), "'svc' is no kind that follows tags; those are deployment (deploy)", id="a Service"),
        pytest.param(("rollout/web",), "name that file with --config", id="a kind of settings not named"),
        pytest.param(("deploy/web", "--from-image", "web"), "'web' names no tag", id="no tag"),
        pytest.param(("deploy/web", "--pause", "--remove"), "expected one of --pause, --resume and", id="two at once"),
    ],
)
async def test_wrong_usage(args: tuple[str, ...], why: str) -> None:
    assert why in (await run("triggers", *args, NONE)).misuse


async def test_a_kubeconfig_that_is_missing_is_one_line() -> None:
    assert "cannot be used" in (await run("triggers", "deploy/web", NONE)).refusal
