"""What is wrong, in files and in the cluster."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from listener.cli import manifests
from listener.cli.manifests import Manifest, Unreadable
from listener.cli.streams import CommandFailed
from tests.cli.parts import Done, run
from tests.cli.world import A, World
from tests.edges.api_server import api_server, refuses, says
from tests.end_to_end.objects import trigger, workload

NONE = "--kubeconfig=/nowhere/kubeconfig"

STREAM = """\
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata: {name: web}
spec: {tags: [{name: latest, from: {kind: DockerImage, name: quay.io/x/y}}]}
"""


def deployment(annotation: str, **metadata: Any) -> str:
    body = workload("Deployment", "shop", "app", annotation)
    del body["metadata"]["namespace"]
    body["metadata"] |= metadata
    return yaml.safe_dump(body)


# Files, read


def test_documents_of_a_file_and_where_they_begin(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"# nothing\n---\n{STREAM}---\nnot: an object\n---\n- neither\n---\n{STREAM}")
    assert [
        (found.line, found.document["kind"]) for found in manifests.read(str(file)) if isinstance(found, Manifest)
    ] == [
        (3, "ImageStream"),
        (12, "ImageStream"),
    ]


def test_lists_are_what_they_hold(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: A}\n\n- {apiVersion: v1, kind: B}\n")
    assert list(manifests.read(str(file))) == [
        Manifest(str(file), 4, {"apiVersion": "v1", "kind": "A"}),
        Manifest(str(file), 6, {"apiVersion": "v1", "kind": "B"}),
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"apiVersion": "v1",\t"kind": "A"}',
        '\n [{"apiVersion": "v1", "kind": "A"}]',
        '{"apiVersion": "v1", "kind": "AList", "items": [{"apiVersion": "v1", "kind": "A"}]}',
        "{apiVersion: v1, kind: A}",
    ],
)
def test_json_and_what_looks_like_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    (found,) = manifests.read(str(file))
    assert isinstance(found, Manifest)
    assert found.document == {"apiVersion": "v1", "kind": "A"}


def test_a_folder_is_read_as_kubectl_reads_it(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "c.json", "README.md"):
        (tmp_path / name).write_text("{apiVersion: v1, kind: A}")
    (tmp_path / "inner").mkdir()
    assert [Path(found.file).name for found in manifests.read(str(tmp_path))] == ["a.yaml", "b.yml", "c.json"]


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        pytest.param(f"{STREAM}---\na: [\n", 7, "it is no YAML: did not find", id="broken"),
        pytest.param("a: {{ .Values.x }}\n", 1, "looks like a template", id="a template"),
        pytest.param("a: \0\n", 1, "it is no YAML", id="no text"),
        pytest.param("!!python/name:os.system x\n", 1, "could not determine a constructor", id="a tag of Python's"),
    ],
)
def test_a_file_that_cannot_be_read_on(tmp_path: Path, text: str, line: int, why: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    *_, last = manifests.read(str(file))
    assert isinstance(last, Unreadable)
    assert last.line == line
    assert why in last.why


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(CommandFailed, match=r"/nowhere/a\.yaml cannot be read: No such file"):
        list(manifests.read("/nowhere/a.yaml"))


# Files, looked at


async def lint(folder: Path, *texts: str, args: tuple[str, ...] = ()) -> Done:
    file = folder / "manifests.yaml"
    file.write_text("---\n".join(texts))
    return await run("lint", "-f", file, *args, NONE)


async def test_sound_files_need_no_cluster(tmp_path: Path) -> None:
    done = await lint(tmp_path, STREAM, deployment(trigger("web:latest")))
    assert done.text == "nothing found in 2 objects"


async def test_findings_are_a_table_and_errors_are_exit_code_1(tmp_path: Path) -> None:
    done = await lint(tmp_path, STREAM, deployment(trigger("web:latest", container="gone")))
    assert (done.code, done.err) == (1, "listener: 1 error found; mend it and look again\n")
    header, row, empty, summary = done.out.rstrip("\n").split("\n")
    assert header.split() == ["FILE", "OBJECT", "SEVERITY", "FINDING"]
    assert row.split("   ")[:2] == [f"{tmp_path}/manifests.yaml:6", "deployment app"]
    assert "error" in row
    assert "the workload has no container 'gone'" in row
    assert (empty, summary) == ("", "1 error in 2 objects")


async def test_what_is_not_in_the_files_is_no_error(tmp_path: Path) -> None:
    done = await lint(tmp_path, deployment(trigger("web:latest")))
    assert (done.code, done.err) == (0, "")
    assert "info" in done.out
    assert "ImageStream web is not in these files" in done.out


async def test_the_same_for_programs(tmp_path: Path) -> None:
    done = await lint(tmp_path, deployment("[{"), args=("-o", "json"))
    found = json.loads(done.out)
    assert (done.code, found["errors"], found["warnings"], found["objects"]) == (1, 1, 0, 1)
    (finding,) = found["findings"]
    assert (finding["line"], finding["object"], finding["severity"]) == (1, "deployment app", "error")
    assert finding["message"].startswith("the annotation is no JSON")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("a: [\n", "it is no YAML", id="no YAML"),
        pytest.param(
            STREAM.replace("{name: web}", "{name: [web]}"),
            "metadata.name: Expected `str`, got `array`",
            id="another shape",
        ),
        pytest.param(STREAM.replace("{name: web}", "{name: a--b}"), "'a--b' is no name of a stream", id="its name"),
        pytest.param(
            "{apiVersion: v1, kind: Service, metadata: {name: x, annotations: {image.openshift.io/triggers: '[]'}}}",
            "Service of v1 is no kind that follows tags",
            id="another kind",
        ),
    ],
)
async def test_errors(tmp_path: Path, text: str, why: str) -> None:
    done = await lint(tmp_path, text)
    assert done.code == 1
    assert why in done.out


async def test_the_namespace_of_what_says_none(tmp_path: Path) -> None:
    there = STREAM.replace("{name: web}", "{name: web, namespace: shop}")
    sound = deployment(trigger("web:latest"))
    assert "is not in these files" in (await lint(tmp_path, there, sound)).out
    assert (await lint(tmp_path, there, sound, args=("-n", "shop"))).text == "nothing found in 2 objects"


async def test_a_name_may_be_for_the_server_to_make(tmp_path: Path) -> None:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "x-"}}
    assert (await lint(tmp_path, yaml.safe_dump(job))).text == "nothing found in 1 object"


async def test_kinds_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    rollouts = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "podSpecPath": "spec.template.spec"}
    file.write_text(yaml.safe_dump({"workloads": [rollouts]}))
    rollout = deployment(trigger("web:latest")).replace("apps/v1", "argoproj.io/v1").replace("Deployment", "Rollout")
    assert "Rollout of argoproj.io/v1 is no kind" in (await lint(tmp_path, STREAM, rollout)).out
    assert (await lint(tmp_path, STREAM, rollout, args=("--config", str(file)))).code == 0


async def test_namespaces_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump({"namespaces": ["shop"]}))
    options = ("-n", "shop", "--config", str(file))
    away = json.loads(trigger("web:latest"))
    away[0]["from"]["namespace"] = "base"
    base = STREAM.replace("{name: web}", "{name: web, namespace: base}")
    done = await lint(tmp_path, base, deployment(json.dumps(away)), args=options)
    assert "follows base/web:latest: ImageStream base/web cannot be followed: namespace base is not among" in done.out
    assert done.code == 1
    assert (await lint(tmp_path, STREAM, deployment(trigger("web:latest")), args=options)).code == 0
    without = await lint(tmp_path, STREAM, deployment(trigger("web:latest")), args=("--config", str(file)))
    assert without.code == 0, "whose namespace is known later only"


async def test_standard_input() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "listener", "lint", "-f", "-"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith(("LISTENER_", "KUBE"))},
    )
    out, _ = await process.communicate(STREAM.encode())
    assert (process.returncode, out) == (0, b"nothing found in 1 object\n")


# The cluster


async def test_a_namespace_of_the_cluster(world: World) -> None:
    here = world.namespace
    await world.stream("web", {"name": "a", "from": {"kind": "ImageStreamTag", "name": "a"}}, latest=(A,))
    await world.workload("sound", trigger("web:latest"))
    await world.workload("waits", trigger("web:v1"))
    await world.workload("broken", trigger("gone:latest"))
    await world.workload("plain")
    done = await world.listener("lint")
    assert (done.code, done.err) == (1, "listener: 2 errors found; mend them and look again\n")
    wrong = f"the trigger for web follows {here}/gone:latest: there is no ImageStream {here}/gone"
    late = f"ImageStream {here}/web has no tag v1 until somebody pushes it (its tags are a, latest)"
    *rows, _, summary = done.out.rstrip("\n").split("\n")
    assert [[cell.strip() for cell in row.split("   ") if cell.strip()] for row in rows[1:]] == [
        [f"imagestream {here}/web", "error", "tag a: the tags follow each other: a -> a"],
        [f"deployment {here}/broken", "error", wrong],
        [f"deployment {here}/waits", "warning", f"the trigger for web follows {here}/web:v1: {late}"],
    ]
    # A cluster puts a ConfigMap and the like there, and ReplicaSets that nobody asked for: none is looked at.
    assert summary == "2 errors, 1 warning in 5 objects"


async def test_streams_of_other_namespaces_are_looked_up(world: World) -> None:
    there = await world.under_test.namespace("other")
    await world.stream("base", namespace=there, latest=(A,))
    await world.workload("app", trigger("base:latest", namespace=there))
    assert (await world.listener("lint")).text == "nothing found in 1 object"
    await world.workload("lost", trigger("gone:latest", namespace=there))
    assert f"there is no ImageStream {there}/gone" in (await world.listener("lint")).out


async def test_names_that_would_not_be_looked_up(world: World) -> None:
    here = world.namespace
    await world.stream("sidecar", {"name": "2"})
    await world.workload("app")  # with the images sidecar:1 and not-pushed-yet
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job", "namespace": here}}
    containers = [{"name": "c", "image": "sidecar:2"}]
    job["spec"] = {"suspend": True, "template": {"spec": {"containers": containers, "restartPolicy": "Never"}}}
    assert (await world.client.create(f"/apis/batch/v1/namespaces/{here}/jobs", job)).end == "applied"
    off = f"is not looked up: ImageStream {here}/sidecar has that tag, but no spec.lookupPolicy.local"
    assert off in (await world.listener("lint")).out
    assert (await world.listener("lookup", "sidecar", "--on")).code == 0
    done = await world.listener("lint")
    assert (done.code, done.err) == (0, "")
    no_tag = f"ImageStream {here}/sidecar has no tag 1 until somebody pushes it (its tags are 2)"
    late = "is not looked up any more: a Job stays as it was created; delete the object and create it anew"
    assert [[cell.strip() for cell in row.split("   ") if cell.strip()] for row in done.out.split("\n")[1:3]] == [
        [f"deployment {here}/app", "warning", f"container sidecar: image sidecar:1: {no_tag}"],
        [f"job {here}/job", "warning", f"container c: image sidecar:2 {late}"],
    ]


@pytest.mark.sandbox_only(reason="another cluster's namespaces are none of ours")
async def test_all_namespaces(world: World) -> None:
    await world.workload("app", trigger("gone:latest"))
    done = await run("lint", "-A", "--kubeconfig", world.under_test.kubeconfig)
    assert done.code == 1
    assert f"there is no ImageStream {world.namespace}/gone" in done.out


async def test_files_with_a_cluster_behind_them(world: World, tmp_path: Path) -> None:
    await world.stream("web", latest=(A,))
    file = tmp_path / "a.yaml"
    file.write_text(deployment(trigger("web:latest")))
    assert (await world.listener("lint", "-f", file, "--cluster")).text == "nothing found in 1 object"
    file.write_text(deployment(trigger("gone:latest")))
    assert (
        f"there is no ImageStream {world.namespace}/gone" in (await world.listener("lint", "-f", file, "--cluster")).out
    )


# Servers that say what a test wrote down


async def test_a_cluster_without_streams_is_one_line(tmp_path: Path) -> None:
    async with api_server(tmp_path, says(404, b"404 page not found\n")) as server:
        assert server.cluster is not None
        refusal = (await run("lint", "--kubeconfig", tmp_path / "kubeconfig")).refusal
    assert refusal.startswith("the cluster does not serve ImageStreams")


async def test_what_may_not_be_listed_is_told_beside(tmp_path: Path) -> None:
    async with api_server(tmp_path, refuses(403, "forbidden", reason="Forbidden")) as server:
        assert server.cluster is not None
        done = await run("lint", "--kubeconfig", tmp_path / "kubeconfig")
    assert (done.code, done.out) == (0, "nothing found in 0 objects\n")
    assert "not looked at, for there is no right to list them: " in done.err
    assert "imagestreams in default" in done.err


@pytest.mark.parametrize(
    ("args", "why"),
    [
        pytest.param(("-A", "-n", "shop"), "-A goes with no -n", id="one and all"),
        pytest.param(("-A", "-f", "x"), "-A goes with no -f", id="all and files"),
        pytest.param(("--cluster",), "--cluster goes with -f", id="the cluster twice"),
        pytest.param(("what",), "unexpected extra argument", id="an argument"),
    ],
)
async def test_wrong_usage(args: tuple[str, ...], why: str) -> None:
    assert why in (await run("lint", *args, NONE)).misuse


def test_help_and_files_import_no_kubernetes(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(STREAM)
    program = (
        "import sys\nfrom listener.cli import main\n"
        f"for args in (['triggers', '-h'], ['impact', '-h'], ['lint', '-h'], ['lint', '-f', {str(tmp_path)!r}]):\n"
        "  try: main(args)\n  except SystemExit: pass\n"
        "print('IMPORTED', *sorted({'kubernetes_asyncio', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.rstrip("\n").split("\n")[-2:] == ["nothing found in 1 object", "IMPORTED"]
