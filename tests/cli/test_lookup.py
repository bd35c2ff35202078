"""Which images may be names of stream tags: shown, and switched."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from listener.core.kinds import DEPLOYMENT
from listener.core.lookups import RESOLVE_NAMES
from listener.core.workloads import WorkloadKey
from tests.cli.parts import run
from tests.cli.world import SHORT_A, A, World, image
from tests.end_to_end.objects import images, trigger, workload

NONE = "--kubeconfig=/nowhere/kubeconfig"


def rows(text: str) -> list[list[list[str]]]:
    """The cells of each table, with its heading; the last sentence too."""
    return [
        [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in part.split("\n")]
        for part in text.split("\n\n")
    ]


def naming(namespace: str, name: str, *named: str, kind: str = "Deployment", annotation: str | None = None) -> Any:
    """A workload with the containers c0, c1, … that have these images."""
    body = workload(kind, namespace, name, annotation)
    spec = body["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else body["spec"]
    spec["template"]["spec"]["containers"] = [{"name": f"c{n}", "image": each} for n, each in enumerate(named)]
    return body


async def test_a_stream_is_shown_and_switched(world: World) -> None:
    here = world.namespace
    v1 = {"name": "v1", "from": {"kind": "DockerImage", "name": "quay.io/web:1"}}
    await world.stream("web", v1, latest=(A,))
    await world.stream("other", {"name": "latest"})
    await world.create(naming(here, "app", "web", "r.example/x:1"))
    await world.create(naming(here, "late", "web:v1", kind="CronJob"))
    await world.create(naming(here, "plain", "other", "nginx:1"))
    await world.create(naming(here, "led", "web", annotation=trigger("web:latest", container="c0")))

    before = "not looked up; with --on it would"
    tags, named, (told,) = rows((await world.listener("lookup", "web")).text)
    assert tags == [["TAG", "POINTS AT"], ["latest", SHORT_A], ["v1", "nothing yet"]]
    assert named == [
        ["WORKLOAD", "CONTAINER", "IMAGE", "POINTS AT", "STATE"],
        [f"cronjob {here}/late", "c0", "web:v1", "-", f"{before} wait"],
        [f"deployment {here}/app", "c0", "web", SHORT_A, f"{before} be resolved"],
        [f"deployment {here}/led", "c0", "web", SHORT_A, "left to a trigger"],
    ]
    assert told == [f"ImageStream {here}/web: its tags are not looked up"]

    # Who is about to roll is said with the change.
    named, (told,) = rows((await world.listener("lookup", "is/web", "--on")).text)
    assert [row[-1] for row in named[1:]] == ["waits", "to be resolved", "left to a trigger"]
    assert told == [
        f"ImageStream {here}/web: its tags are looked up; 1 workload above will roll when the service resolves it"
    ]
    again = (await world.listener("lookup", "web", "--on")).text
    assert "its tags are looked up already; 1 workload" in again
    assert images(await world.get("app"))["c0"] == "web"  # the service does that, and nobody else

    found = (await world.listener("lookup", "-o", "json")).document
    assert found == {
        "namespace": here,
        "streams": [
            {"stream": "other", "local": False, "tags": [{"tag": "latest", "image": None}]},
            {
                "stream": "web",
                "local": True,
                "tags": [{"tag": "latest", "image": image(A)}, {"tag": "v1", "image": None}],
            },
        ],
    }
    listed = (await world.listener("lookup", "--all", "--off")).text
    assert rows(listed) == [[["STREAM", "LOOKED UP", "TAGS"], ["other", "no", "-"], ["web", "no", "latest"]]]
    found = (await world.listener("lookup", "web", "-o", "json")).document
    assert (found["local"], [each["name"] for each in found["workloads"]]) == (False, ["late", "app", "led"])
    assert {(each["state"], each["stateIfOn"]) for each in found["workloads"]} == {
        ("off", "waits"),
        ("off", "differs"),
        ("triggered", "triggered"),
    }


async def test_a_workload_is_shown_and_switched(world: World) -> None:
    here = world.namespace
    await world.stream("web", latest=(A,))
    await world.create(naming(here, "app", "web", "lab/web:v2", "r.example/x:1"))
    why = f"image web is not looked up: ImageStream {here}/web has no spec.lookupPolicy.local"
    table, (told,) = rows((await world.listener("lookup", "deploy/app")).text)
    assert table == [
        ["CONTAINER", "IMAGE", "NAMES", "POINTS AT", "STATE"],
        ["c0", "web", "web:latest", SHORT_A, f"not looked up: {why}"],
        ["c1", "lab/web:v2", "-", "-", "-"],
        ["c2", "r.example/x:1", "-", "-", "-"],
    ]
    assert told == [f"deployment {here}/app: its images are names where their streams say so"]
    template = (await world.get("app"))["spec"]["template"]

    table, (told,) = rows((await world.listener("lookup", "deploy/app", "--on")).text)
    waits = f"waits: image lab/web:v2 waits for ImageStreamTag {here}/web:v2, which points at nothing yet"
    assert [row[2:] for row in table[1:3]] == [["web:latest", SHORT_A, "to be resolved"], ["web:v2", "-", waits]]
    assert told == [f"deployment {here}/app: all names of its images are looked up"]
    after = await world.get("app")
    assert await world.annotations("app") == {RESOLVE_NAMES: "*"}
    assert after["spec"]["template"] == template  # or every Pod would be restarted
    assert (await world.listener("lookup", "deploy/app", "--on")).text.endswith("are looked up already")

    found = (await world.listener("lookup", "deployment/app", "-o", "json")).document
    assert (found["forced"], found["hindrance"], found["containers"][0]) == (
        True,
        None,
        {
            "container": "c0",
            "image": "web",
            "names": "web:latest",
            "tagged": image(A),
            "state": "differs",
            "reason": None,
        },
    )
    assert [each["state"] for each in found["containers"]] == ["differs", "waits", "none"]

    # As `oc set image-lookup deploy/app` writes it: there, it is a change of the pod template.
    patch = [{"op": "add", "path": "/spec/template/metadata/annotations", "value": {RESOLVE_NAMES: "*"}}]
    key = WorkloadKey(DEPLOYMENT.label, here, "app")
    assert (await world.client.patch_workload(DEPLOYMENT, key, patch)).end == "applied"
    done = await world.listener("lookup", "deploy/app", "--off")
    assert done.err == (
        f"listener: deployment {here}/app: its pod template had the annotation {RESOLVE_NAMES}, so its Pods restart\n"
    )
    after = await world.get("app")
    assert await world.annotations("app") == {}
    assert not after["spec"]["template"]["metadata"].get("annotations")


async def test_what_cannot_be_done_is_one_line(world: World) -> None:
    here = world.namespace
    assert (await world.listener("lookup")).text == f"there is no ImageStream in namespace {here}"
    gone = (await world.listener("lookup", "gone", "--on")).refusal
    assert gone.startswith(f"there is no ImageStream gone in namespace {here}")
    missing = (await world.listener("lookup", "sts/gone")).refusal
    assert missing == f"there is no StatefulSet gone in namespace {here}; name another namespace with -n"
    job = {"metadata": {"name": "job", "namespace": here}, "apiVersion": "batch/v1", "kind": "Job"}
    containers = [{"name": "c", "image": "web"}]
    job |= {"spec": {"suspend": True, "template": {"spec": {"containers": containers, "restartPolicy": "Never"}}}}
    assert (await world.client.create(f"/apis/batch/v1/namespaces/{here}/jobs", job)).end == "applied"
    refused = (await world.listener("lookup", "job/job", "--on")).refusal
    assert refused == (
        f"job {here}/job: its names cannot be looked up: a Job stays as it was created; annotate its manifest and"
        " create it anew"
    )
    shown = (await world.listener("lookup", "job/job")).text
    assert shown.endswith("its images are names where their streams say so; but a Job stays as it was created")


@pytest.mark.parametrize(
    ("args", "why"),
    [
        pytest.param(("--on",), "--on and --off need a STREAM or KIND/NAME", id="nothing"),
        pytest.param(("--all",), "--all goes with --on or --off", id="all, and nothing"),
        pytest.param(("web", "--all", "--on"), "--all means every stream", id="all and one"),
        pytest.param(("web:latest",), "expected a stream without tag, such as web, or KIND/NAME", id="a tag"),
        pytest.param(("shop/web",), "the namespace of a stream is named with -n", id="a namespace"),
        pytest.param(("bc/app",), "a BuildConfig has no pod spec", id="a kind without pod spec"),
        pytest.param(("Web",), "'Web' is no name of a stream", id="no name"),
        pytest.param(("is/a/b",), "expected a stream without tag", id="a namespace after all"),
    ],
)
async def test_wrong_usage(args: tuple[str, ...], why: str) -> None:
    assert why in (await run("lookup", *args, NONE)).misuse


def test_help_imports_no_kubernetes() -> None:
    program = (
        "import sys\nfrom listener.cli import main\n"
        "try: main(['lookup', '-h'])\nexcept SystemExit: pass\n"
        "print('IMPORTED', *sorted({'kubernetes_asyncio', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.rstrip("\n").split("\n")[-1] == "IMPORTED"
