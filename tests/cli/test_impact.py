"""Which workloads would change if a tag moved, and what the API server says to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.parts import run
from tests.cli.world import SHORT_A, SHORT_B, SHORT_C, A, B, C, World, image
from tests.edges.api_server import Answer, api_server, refuses, says
from tests.end_to_end.objects import images, trigger

NONE = "--kubeconfig=/nowhere/kubeconfig"


def rows(text: str) -> list[list[str]]:
    """The table's cells, without its heading and what stands below."""
    return [
        [cell.strip() for cell in line.split("   ") if cell.strip()]
        for line in text.split("\n\n", maxsplit=1)[0].split("\n")[1:]
    ]


async def test_what_follows_a_tag_and_what_would_become_of_it(world: World) -> None:
    here = world.namespace
    await world.stream("web", latest=(B, A))
    await world.workload("app", trigger("web:latest"))
    await world.workload("job", trigger("web:latest", kind="CronJob"), kind="CronJob")
    paused = json.loads(trigger("web:latest"))
    await world.workload("rests", json.dumps([{**paused[0], "paused": True}]))
    await world.workload("other", trigger("web:v1"))
    text = (await world.listener("impact", "web:latest")).text
    assert rows(text) == [
        [f"cronjob {here}/job", "web", "not-pushed-yet", SHORT_B, "would change"],
        [f"deployment {here}/app", "web", "not-pushed-yet", SHORT_B, "would change"],
        [f"deployment {here}/rests", "web", "not-pushed-yet", SHORT_B, "paused"],
    ]
    assert text.split("\n")[-1] == f"{here}/web:latest: 2 would change, 1 paused"
    assert images(await world.get("app"))["web"] == "not-pushed-yet"


@pytest.mark.parametrize(
    ("to", "where"),
    [
        pytest.param("1", SHORT_A, id="a number of the history"),
        pytest.param("aaaa", SHORT_A, id="the beginning of a digest"),
        pytest.param(C, SHORT_C, id="a digest that nobody knows yet"),
        pytest.param(f"quay.io/x/y@{C}", "quay.io/x/y@sha256:" + 12 * "c", id="any image"),
    ],
)
async def test_a_tag_that_might_move(world: World, to: str, where: str) -> None:
    await world.stream("web", latest=(B, A))
    await world.workload("app", trigger("web:latest"))
    text = (await world.listener("impact", "web:latest", "--to", to)).text
    assert [(row[3], row[4]) for row in rows(text)] == [(where, "would change")]
    assert text.endswith(f"web:latest at {where}: 1 would change")


async def test_an_image_by_tag_is_shown_as_it_is_written(world: World) -> None:
    await world.stream("web")
    await world.workload("app", trigger("web:new"))
    done = await world.listener("impact", "web:new", "--to", "quay.io/x/y:1")
    assert rows(done.out)[0][3:] == ["quay.io/x/y:1", "would change"]
    assert done.err == "listener: quay.io/x/y:1 is shown as it is written; the service would write its digest\n"


async def test_workloads_of_other_namespaces_and_of_tags_that_follow_count(world: World) -> None:
    here, there = world.namespace, await world.under_test.namespace("other")
    prod = {"name": "prod", "from": {"kind": "ImageStreamTag", "name": "web:latest"}}
    await world.stream("web", prod, latest=(A,), prod=(A,))
    await world.workload("app", trigger("web:latest", namespace=here), namespace=there)
    await world.workload("live", trigger("web:prod"))
    found = (await world.listener("impact", "web:latest", "--to", B, "-o", "json")).document
    assert (found["image"], found["tags"]) == (image(B), [f"{here}/web:latest", f"{here}/web:prod"])
    assert {(each["namespace"], each["name"], each["follows"], each["state"]) for each in found["workloads"]} == {
        (there, "app", f"{here}/web:latest", "would change"),
        (here, "live", f"{here}/web:prod", "would change"),
    }
    assert {each["dryRun"] for each in found["workloads"]} == {None}
    table = (await world.listener("impact", "web:latest", "--to", B)).text
    assert table.split()[2] == "FOLLOWS"


async def test_what_runs_it_already_waits_or_is_broken(world: World) -> None:
    here = world.namespace
    pending = {"name": "v2", "from": {"kind": "DockerImage", "name": "quay.io/web:2"}}
    await world.stream("web", pending, latest=(A,))
    await world.workload("waits", trigger("web:v2"))
    await world.workload("broken", trigger("web:latest", container="gone"))
    assert rows((await world.listener("impact", "web:v2")).text) == [
        [f"deployment {here}/waits", "web", "not-pushed-yet", "-", f"waits: {here}/web:v2 points at nothing yet"]
    ]
    (broken,) = rows((await world.listener("impact", "web:latest")).text)
    assert broken[:4] == [f"deployment {here}/broken", "gone", "-", SHORT_A]
    assert broken[4].startswith("broken: fieldPath ")


async def test_nobody_follows_and_then_images_are_names(world: World) -> None:
    here = world.namespace
    pushed: dict[str, Any] = {"1": (A,)}
    await world.stream("sidecar", {"name": "2"}, **pushed)
    await world.workload("app")  # with the images sidecar:1 and not-pushed-yet
    await world.workload("led", trigger("sidecar:1", container="sidecar"))
    text = (await world.listener("impact", "sidecar:2")).text
    assert text == f"{here}/sidecar:2: no workload follows it"
    led = [f"deployment {here}/led", "sidecar", "sidecar:1", SHORT_A, "would change"]
    assert rows((await world.listener("impact", "sidecar:1")).text) == [led]
    assert (await world.listener("lookup", "sidecar", "--on")).code == 0
    text = (await world.listener("impact", "sidecar:1", "--server-dry-run")).text
    assert rows(text) == [
        [
            f"deployment {here}/app",
            "sidecar",
            "sidecar:1",
            SHORT_A,
            "would be looked up (accepted)",
        ],
        [*led[:4], "would change (accepted)"],
    ]
    assert text.split("\n")[-1] == f"{here}/sidecar:1: 1 would be looked up, 1 would change"
    moved = (await world.listener("impact", "sidecar:1", "--to", B, "-o", "json")).document
    assert [(each["name"], each["wouldBe"], each["state"]) for each in moved["workloads"]] == [
        ("app", image(B), "would be looked up"),
        ("led", image(B), "would change"),
    ]
    assert images(await world.get("app"))["sidecar"] == "sidecar:1"


async def test_a_dry_run_stores_nothing(world: World) -> None:
    await world.stream("web", latest=(A,))
    await world.workload("app", trigger("web:latest"))
    text = (await world.listener("impact", "web:latest", "--server-dry-run")).text
    assert rows(text)[0][4] == "would change (accepted)"
    after = await world.get("app")
    assert images(after)["web"] == "not-pushed-yet"
    found = (await world.listener("impact", "web:latest", "--server-dry-run", "-o", "json")).document
    assert [each["dryRun"] for each in found["workloads"]] == ["accepted"]


async def test_a_job_keeps_its_images(world: World) -> None:
    here = world.namespace
    await world.stream("web", latest=(A,))
    annotations = {"image.openshift.io/triggers": trigger("web:latest")}
    job: dict[str, Any] = {"apiVersion": "batch/v1", "kind": "Job"}
    job["metadata"] = {"name": "job", "namespace": here, "annotations": annotations}
    containers = [{"name": "web", "image": "old"}]
    job["spec"] = {"suspend": True, "template": {"spec": {"containers": containers, "restartPolicy": "Never"}}}
    assert (await world.client.create(f"/apis/batch/v1/namespaces/{here}/jobs", job)).end == "applied"
    text = (await world.listener("impact", "web:latest", "--to", B)).text
    why = "nobody can change a Job's images"
    assert rows(text) == [[f"job {here}/job", "web", "old", SHORT_B, f"cannot be changed: {why}"]]
    assert text.endswith(f"{here}/web:latest at {SHORT_B}: 1 cannot be changed")
    (found,) = (await world.listener("impact", "web:latest", "-o", "json")).document["workloads"]
    assert (found["state"], found["reason"]) == ("cannot be changed", why)
    done = await world.listener("impact", "web:latest", "--server-dry-run")
    assert (done.code, "field is immutable" in rows(done.out)[0][4]) == (1, True)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        pytest.param(("none:latest",), "there is no ImageStream none in namespace", id="no stream"),
        pytest.param(("web:none",), "there is no tag none in ImageStream", id="no tag"),
        pytest.param(("web:latest", "--to", "7"), "has no item 7: it holds 1", id="no item"),
        pytest.param(("web:latest", "--to", "Not An Image"), "write a number of the history", id="no image"),
        pytest.param(("web:new", "--to", A), "names no repository", id="no repository"),
    ],
)
async def test_what_cannot_be_computed(world: World, args: tuple[str, ...], why: str) -> None:
    await world.stream("web", latest=(A,))
    assert why in (await world.listener("impact", *args)).refusal


@pytest.mark.parametrize(
    ("args", "why"),
    [
        pytest.param(("web",), "'web' names no tag", id="no tag"),
        pytest.param(("web:1", "2"), "unexpected extra argument", id="an argument too many"),
    ],
)
async def test_wrong_usage(args: tuple[str, ...], why: str) -> None:
    assert why in (await run("impact", *args, NONE)).misuse


# Servers that say what a test wrote down


def stream(namespace: str = "shop") -> dict[str, Any]:
    item = {"created": "2026-01-01T00:00:00Z", "dockerImageReference": image(A), "image": A, "generation": 1}
    metadata = {"name": "web", "namespace": namespace, "uid": "u", "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {}, "status": {"tags": [{"tag": "latest", "items": [item]}]}}


def deployment(name: str, version: str = "1") -> dict[str, Any]:
    annotations = {"image.openshift.io/triggers": trigger("web:latest")}
    metadata = {"name": name, "namespace": "shop", "uid": name, "resourceVersion": version, "annotations": annotations}
    return {"metadata": metadata, "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "old"}]}}}}


FORBIDDEN = refuses(403, "forbidden", reason="Forbidden")


def cluster(*deployments: dict[str, Any], patch: list[Answer] | None = None, everywhere: bool = True) -> Answer:
    """A server with one stream and these Deployments; `patch` are its answers to dry runs, in turn."""
    waiting = list(patch or ())

    async def answer(request: Any) -> Any:
        path = request.path
        if request.method == "PATCH":
            assert request.query["dryRun"] == "All"
            chosen = waiting.pop(0)
        elif path.endswith("/imagestreams/web"):
            chosen = says(200, stream())
        elif path.endswith("/deployments/a"):
            chosen = says(200, deployment("a", "2"))
        elif path.endswith("/deployments") and (everywhere or "/namespaces/" in path):
            chosen = says(200, {"metadata": {"resourceVersion": "1"}, "items": list(deployments)})
        elif path.endswith(("/deployments", "/pods")):
            chosen = FORBIDDEN
        else:
            chosen = refuses(404, "not found", reason="NotFound")
        return await chosen(request)

    return answer


async def asked(folder: Path, answer: Answer, *args: str) -> Any:
    async with api_server(folder, answer) as server:
        assert server.cluster is not None
        return await run("impact", "shop/web:latest", *args, "-n", "shop", "--kubeconfig", folder / "kubeconfig")


STORED = says(200, deployment("a"))
DENIED = refuses(403, 'admission webhook "policy" denied the request: no\nlatest', reason="Forbidden")
INVALID = refuses(422, "spec: field is immutable", reason="Invalid", details={"name": "a"})
STALE = refuses(409, "modified", reason="Conflict")


@pytest.mark.parametrize(
    ("patch", "state", "code"),
    [
        pytest.param([STORED], "would change (accepted)", 0, id="taken"),
        pytest.param([DENIED], 'refused: admission webhook "policy" denied the request: no latest', 1, id="admission"),
        pytest.param([INVALID], "refused: spec: field is immutable", 1, id="immutable"),
        pytest.param([refuses(500, "no leader")], "not known: no leader", 1, id="no answer"),
        pytest.param([STALE, STORED], "would change (accepted)", 0, id="planned anew"),
        pytest.param([STALE, STALE, STALE], "not known: modified", 1, id="never still"),
    ],
)
async def test_what_the_api_server_says(tmp_path: Path, patch: list[Answer], state: str, code: int) -> None:
    done = await asked(tmp_path, cluster(deployment("a"), patch=patch), "--server-dry-run")
    assert (rows(done.out)[0][4], done.code) == (state, code)
    if code:
        assert done.err.split("\n")[-2] == "listener: the API server would not take 1 change; the table says why"


async def test_one_refusal_hides_no_other(tmp_path: Path) -> None:
    answer = cluster(deployment("a"), deployment("b"), patch=[DENIED, STORED])
    done = await asked(tmp_path, answer, "--server-dry-run")
    # Both are asked at the same time, so either may be the one that is refused.
    told = done.out.split("\n")[-2].removeprefix("shop/web:latest: ")
    assert sorted(told.split(", ")) == ["1 refused", "1 would change"]


async def test_what_may_not_be_listed_is_told_beside(tmp_path: Path) -> None:
    done = await asked(tmp_path, cluster(deployment("a"), everywhere=False))
    assert (done.code, len(rows(done.out))) == (0, 1)
    assert done.err.split("\n")[:-1] == [
        "listener: only namespace shop is looked at, for there is no right to list deployments in all",
        "listener: not looked at, for there is no right to list them: pods in shop",
    ]


async def test_the_namespaces_of_the_settings_are_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump({"namespaces": ["shop", "lab"], "logging": {"level": "error"}}))
    async with api_server(tmp_path, cluster(everywhere=False)) as server:
        options = ("-n", "shop", "--config", file, "--kubeconfig", tmp_path / "kubeconfig")
        assert (await run("impact", "web:latest", *options)).code == 0
        asked = {one.path for one in server.asked if one.path.endswith("/deployments")}
    assert asked == {f"/apis/apps/v1/namespaces/{name}/deployments" for name in ("shop", "lab")}


async def test_a_stream_that_the_service_does_not_look_at_moves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump({"namespaces": ["lab"], "logging": {"level": "error"}}))
    async with api_server(tmp_path, cluster(deployment("a"), everywhere=False)) as server:
        assert server.cluster is not None
        options = ("-n", "shop", "--config", file, "--kubeconfig", tmp_path / "kubeconfig")
        done = await run("impact", "web:latest", *options)
    (row,) = rows(done.out)
    assert row[-1].startswith("broken: ImageStream shop/web cannot be followed: namespace shop is not among")
