"""The real kubectl. What it prints is compared where the real server's answer is known, and read where it is not."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from subprocess import PIPE, CalledProcessError

import pytest
import yaml

from listener.sandbox.cluster import Cluster
from tests import real_parts
from tests.sandbox.api import definition, deployment, gadget

Kubectl = Callable[..., Awaitable[str]]


@pytest.fixture
def run(sandbox: Cluster, kubectl: Path, tmp_path: Path) -> Kubectl:
    """Call it with a command line, and perhaps with the manifest that `-f -` reads; it returns what kubectl printed."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(sandbox.kubeconfig())
    options = ("--kubeconfig", kubeconfig, "--cache-dir", tmp_path / "cache")

    async def run(line: str, *words: str, manifest: object = None) -> str:
        stdin = "" if manifest is None else yaml.safe_dump(manifest)
        return await real_parts.run(kubectl, *options, *line.split(), *words, stdin=stdin)

    return run


async def refused(running: Awaitable[str]) -> str:
    """Return what kubectl complained of."""
    with pytest.raises(CalledProcessError) as failure:
        await running
    return str(failure.value.stderr.decode()).strip()


async def test_reads_what_is_served(run: Kubectl) -> None:
    assert "Server Version: v1.36.0-sandbox" in await run("version")
    assert "apps/v1" in (await run("api-versions")).split()
    resources = await run("api-resources --no-headers")
    assert re.search(r"^deployments +deploy +apps/v1 +true +Deployment$", resources, re.MULTILINE)
    assert "FIELD: replicas <integer>" in await run("explain deployment.spec.replicas")


async def test_creates_from_the_command_line(run: Kubectl) -> None:
    """These go over the wire as protobuf."""
    created = {
        "create namespace team": "namespace/team created",
        "create deployment web --image=nginx --replicas=2 --port=80": "deployment.apps/web created",
        "create configmap cm --from-literal=a=b": "configmap/cm created",
        "create secret generic s --from-literal=a=b": "secret/s created",
        "create secret docker-registry d --docker-server=r --docker-username=u --docker-password=p": "secret/d created",
        "create serviceaccount sa": "serviceaccount/sa created",
        "create service clusterip svc --tcp=80:8080": "service/svc created",
        "create role r --verb=get --resource=pods": "role.rbac.authorization.k8s.io/r created",
        "create rolebinding b --role=r --serviceaccount=default:sa": "rolebinding.rbac.authorization.k8s.io/b created",
        "create clusterrole cr --verb=get --resource=pods": "clusterrole.rbac.authorization.k8s.io/cr created",
        "create job j --image=busybox -- date": "job.batch/j created",
        "create pdb p --selector=app=web --min-available=1": "poddisruptionbudget.policy/p created",
        "create ingress i --rule=a.example.com/=svc:80": "ingress.networking.k8s.io/i created",
    }
    printed = await asyncio.gather(*(run(line) for line in created))
    assert [text.strip() for text in printed] == list(created.values())
    assert (await run("create cronjob c --image=busybox", "--schedule=0 0 1 1 *", "--", "date")).strip() == (
        "cronjob.batch/c created"
    )
    workload = json.loads(await run("get deployment web -o json"))
    assert workload["spec"]["replicas"] == 2
    assert workload["spec"]["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert (await run("get cm cm -o jsonpath={.data.a}"), await run("get secret s -o jsonpath={.data.a}")) == (
        "b",
        "Yg==",
    )
    assert (await run("get ingress i -o jsonpath={.spec.rules[0].http.paths[0].path}")) == "/"


async def test_asks_what_it_may(run: Kubectl) -> None:
    assert (await run("auth can-i create deployments")).strip() == "yes"
    assert "sandbox-admin" in await run("auth whoami")
    assert "*.*" in await run("auth can-i --list")


async def test_gets_in_every_form(run: Kubectl) -> None:
    for name in ("one", "two"):
        await run("create -f -", manifest=deployment(name, replicas=0))
    forms = {
        "get deploy -o name": "deployment.apps/one\ndeployment.apps/two\n",
        "get deploy -l app=two -o name": "deployment.apps/two\n",
        "get deploy --field-selector metadata.name=one -o name": "deployment.apps/one\n",
        "get deploy -A --chunk-size=1 -o name": "deployment.apps/one\ndeployment.apps/two\n",
        "get deploy one -o jsonpath={.spec.template.spec.containers[*].name}": "web proxy",
        "get deploy --no-headers -o custom-columns=N:.metadata.name,R:.spec.replicas": "one   0\ntwo   0\n",
        "get --raw /readyz": "ok",
    }
    printed = await asyncio.gather(*(run(line) for line in forms))
    assert dict(zip(forms, printed, strict=True)) == forms
    assert re.search(r"^NAME +READY +UP-TO-DATE +AVAILABLE +AGE +CONTAINERS", await run("get deploy -o wide"))
    assert re.search(r"^two +0/0.*\n.*one|^one +0/0", await run("get deploy --sort-by=.metadata.name --no-headers"))
    assert yaml.safe_load(await run("get deploy one -o yaml"))["kind"] == "Deployment"
    assert {item["kind"] for item in json.loads(await run("get all -o json"))["items"]} >= {"Deployment", "ReplicaSet"}
    assert await refused(run("get deploy three")) == 'Error from server (NotFound): deployments.apps "three" not found'


async def test_watches(kubectl: Path, run: Kubectl, tmp_path: Path) -> None:
    await run("create configmap first")
    words = ("--kubeconfig", str(tmp_path / "kubeconfig"), "get", "configmaps", "-w", "--no-headers")
    process = await asyncio.create_subprocess_exec(kubectl, *words, stdout=PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(10):
            assert (await process.stdout.readline()).split()[:2] == [b"first", b"0"]
            await run("create configmap second --from-literal=a=b")
            assert (await process.stdout.readline()).split()[:2] == [b"second", b"1"]
    finally:
        process.terminate()
        await process.wait()


async def test_applies_on_the_clients_side_and_on_the_servers(run: Kubectl) -> None:
    manifest = deployment("web", replicas=0)
    assert (await run("apply -f -", manifest=manifest)).strip() == "deployment.apps/web created"
    assert (await run("apply -f -", manifest=manifest)).strip() == "deployment.apps/web unchanged"
    manifest["spec"]["template"]["spec"]["containers"].pop()
    assert (await run("apply -f -", manifest=manifest)).strip() == "deployment.apps/web configured"
    assert (await run("get deploy web -o jsonpath={.spec.template.spec.containers[*].name}")) == "web"
    assert (
        await run("apply --server-side -f -", manifest=manifest)
    ).strip() == "deployment.apps/web serverside-applied"
    await run("scale deploy web --replicas=4")
    complaint = await refused(run("apply --server-side --field-manager=other -f -", manifest=manifest))
    assert 'Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale"' in complaint
    await run("apply --server-side --force-conflicts --field-manager=other -f -", manifest=manifest)
    assert (await run("get deploy web -o jsonpath={.spec.replicas}")) == "0"
    unknown = {**manifest, "specc": {}}
    assert 'unknown field "specc"' in await refused(run("apply -f -", manifest=unknown))
    listed = {"apiVersion": "v1", "kind": "List", "items": [manifest]}
    assert (await run("apply -f -", manifest=listed)).strip() == "deployment.apps/web unchanged"


async def test_changes_what_is_there(run: Kubectl) -> None:
    await run("create -f -", manifest=deployment("web", replicas=0))
    await run("patch deploy web -p", '{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:2"}]}}}}')
    await run("patch deploy web --type=merge -p", '{"metadata":{"annotations":{"a":"b"}}}')
    await run("patch deploy web --type=json -p", '[{"op":"add","path":"/metadata/labels/tier","value":"x"}]')
    await run("set image deploy/web proxy=proxy:2")
    await run("set env deploy/web A=1")
    await run("label deploy web tier=y --overwrite")
    await run("annotate deploy web c=d")
    found = json.loads(await run("get deploy web -o json"))
    containers = found["spec"]["template"]["spec"]["containers"]
    assert [(each["name"], each["image"], each["env"]) for each in containers] == [
        ("web", "web:2", [{"name": "A", "value": "1"}]),
        ("proxy", "proxy:2", [{"name": "A", "value": "1"}]),
    ]
    assert found["metadata"]["labels"]["tier"] == "y"
    assert {"a": "b", "c": "d"}.items() <= found["metadata"]["annotations"].items()
    assert (await run("delete deploy web")).strip() == 'deployment.apps "web" deleted from default namespace'
    assert (await run("delete deploy web --ignore-not-found")) == ""


async def test_rolls_out_and_back(run: Kubectl) -> None:
    await run("create deployment web --image=web:1")
    assert (await run("rollout status deploy/web --timeout=10s")).endswith('deployment "web" successfully rolled out\n')
    await run("set image deploy/web web=web:2")
    await run("annotate deploy/web kubernetes.io/change-cause=because")
    await run("rollout status deploy/web --timeout=10s")
    history = await run("rollout history deploy/web")
    assert re.findall(r"^(\d+) +(.+?) *$", history, re.MULTILINE) == [("1", "<none>"), ("2", "because")]
    assert "web:1" in await run("rollout history deploy/web --revision=1")
    await run("rollout undo deploy/web --to-revision=1")
    await run("rollout status deploy/web --timeout=10s")
    assert (await run("get deploy web -o jsonpath={.spec.template.spec.containers[0].image}")) == "web:1"
    await run("rollout restart deploy/web")
    await run("rollout status deploy/web --timeout=10s")
    assert (await run("wait --for=condition=Available deploy/web --timeout=10s")).strip() == (
        "deployment.apps/web condition met"
    )
    described = await run("describe deploy web")
    assert re.search(r"^Replicas: +1 desired \| 1 updated \| 1 total \| 1 available", described, re.MULTILINE)
    assert re.search(r"^NewReplicaSet: +web-\w+ \(1/1 replicas created\)", described, re.MULTILINE)


async def test_shows_the_pods_of_what_has_rolled_out(run: Kubectl) -> None:
    await run("create deployment web --image=web:1 --replicas=2")
    await run("rollout status deploy/web --timeout=10s")
    shown = await run("get pods -l app=web --no-headers")
    assert re.fullmatch(r"(web-\w{10}-\w{5} +1/1 +Running +0 +\d+s\n){2}", shown)
    first = shown.split()[0]
    assert re.search(r"^Controlled By: +ReplicaSet/web-", await run(f"describe pod {first}"), re.MULTILINE)
    await run(f"delete pod {first} --timeout=10s")
    await run("wait --for=condition=Ready pods -l app=web --timeout=10s")
    await run("set image deploy/web web=web:2")
    await run("rollout status deploy/web --timeout=10s")
    assert await run("get pods -l app=web -o jsonpath={.items[*].status.containerStatuses[*].image}") == "web:2 web:2"
    await run("delete deploy web --cascade=foreground --timeout=10s")
    assert await run("get pods -l app=web -o name") == ""


async def test_sees_a_job_to_its_end_and_a_pod_run(run: Kubectl) -> None:
    await asyncio.gather(run("create job j --image=busybox -- date"), run("run p --image=busybox"))
    await run("wait --for=condition=Complete job/j --timeout=10s")
    await run("wait --for=condition=Ready pod/p --timeout=10s")
    assert re.fullmatch(r"j-\w{5} +0/1 +Completed .*\np +1/1 +Running .*\n", await run("get pods --no-headers"))


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
async def test_rolls_out_other_workloads(run: Kubectl, kind: str) -> None:
    manifest = {**deployment("web"), "kind": kind}
    manifest["spec"] |= {"serviceName": "web"}
    if kind == "DaemonSet":
        del manifest["spec"]["serviceName"], manifest["spec"]["replicas"]
    await run("create -f -", manifest=manifest)
    await run(f"rollout status {kind}/web --timeout=10s")
    await run(f"set image {kind}/web web=web:2")
    await run(f"rollout status {kind}/web --timeout=10s")
    assert re.findall(r"^(\d+)", await run(f"rollout history {kind}/web"), re.MULTILINE) == ["1", "2"]
    await run(f"rollout undo {kind}/web")
    found = await run(f"get {kind}/web -o jsonpath={{.spec.template.spec.containers[0].image}}")
    assert found == "registry.example.com/web:1"


async def test_knows_custom_types(run: Kubectl) -> None:
    await run("apply -f -", manifest=definition())
    await run("wait --for=condition=Established crd/gadgets.example.com --timeout=10s")
    assert (await run("apply -f -", manifest=gadget("g"))).strip() == "gadget.example.com/g created"
    assert (await run("get gd --no-headers")).split()[:2] == ["g", "1"]
    complaint = await refused(run("apply -f -", manifest=gadget("h", size=0)))
    assert "spec.size in body should be greater than or equal to 1" in complaint
    assert 'unknown field "spec.sizzle"' in await refused(run("apply -f -", manifest=gadget("h", sizzle=1)))
    await run("patch gd g --subresource=status --type=merge -p", '{"status":{"phase":"ready"}}')
    await run("scale gd g --replicas=3")
    assert (await run("get gd g -o", "jsonpath={.status.phase} {.spec.replicas}")) == "ready 3"
    assert "size\t<integer> -required-" in await run("explain gadget.spec")
    await run("delete crd gadgets.example.com")
    assert "the server could not find the requested resource" in await refused(run("get gadgets"))


async def test_shows_events_and_removes_namespaces(run: Kubectl) -> None:
    await run("create namespace team")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "moved", "namespace": "team"},
        "involvedObject": {"kind": "Deployment", "name": "web", "namespace": "team"},
        "reason": "TagMoved",
        "message": "moved on",
        "type": "Normal",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "count": 1,
    }
    await run("create -f -", manifest=event)
    assert re.search(r"Normal +TagMoved +deployment/web +moved on", await run("get events -n team"))
    assert re.search(r"Normal +TagMoved +Deployment/web +moved on", await run("events -n team"))
    assert (await run("delete namespace team --timeout=10s")).strip() == 'namespace "team" deleted'
    assert "NotFound" in await refused(run("get namespace team"))
