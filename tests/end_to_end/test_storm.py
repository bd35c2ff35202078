"""A fan-out on a day with much traffic: bursts, refusals, neighbours, other writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from listener.core.kinds import DEPLOYMENT
from listener.core.workloads import WorkloadKey
from listener.sandbox.cluster import Fault
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.objects import images, trigger, workload
from tests.end_to_end.parts import Api, Listener, eventually, push_event, registry, serve

HOST = "registry.example.com"
POLICIES = "/apis/admissionregistration.k8s.io/v1"


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


async def create_deployments(api: Api, namespace: str, names: list[str], tag: str = "web:latest") -> None:
    bodies = [workload("Deployment", namespace, name, trigger(tag)) for name in names]
    for start in range(0, len(bodies), 50):
        await asyncio.gather(*(api.create(body) for body in bodies[start : start + 50]))


async def running(api: Api, namespace: str, *, container: str = "web") -> Mapping[str, str]:
    """What each Deployment of a namespace runs, by name."""
    found = {}
    async for page in api.client.workloads(DEPLOYMENT, namespace).pages():
        for each in page.objects:
            found[each.key.name] = {c.name: c.image for c in each.containers}[container]
    return found


async def push(listener: Listener, namespace: str, number: int, *, tag: str = "latest", name: str = "web") -> None:
    """Push as distribution does: what a busy server has not stored while it waits, it delivers again."""
    event = push_event(HOST, f"{namespace}/{name}", tag, digest(number))
    event["timestamp"] = f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}.000000000Z"
    for _ in range(100):
        status, answer = await listener.deliver(event)
        if status != 503:
            break
        await asyncio.sleep(0.5)
    assert status == 200, answer


async def test_1000_pushes_within_seconds_onto_1000_workloads_end_on_the_last_with_less_than_three_patches_each(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("storm")
    await create_deployments(api, namespace, [f"web-{n}" for n in range(1000)])
    async with serve(
        cluster, tmp_path, registries=[registry(HOST, integrated=True, verify=False)], namespaces=[namespace]
    ) as listener:
        await listener.ready()
        numbers = iter(range(1, 1001))

        async def deliver() -> None:
            for number in numbers:
                await push(listener, namespace, number)

        await asyncio.gather(*(deliver() for _ in range(20)))
        last = f"{HOST}/{namespace}/web@{digest(1000)}"

        async def all_run_the_last() -> bool:
            return set((await running(api, namespace)).values()) == {last}

        await eventually(all_run_the_last, seconds=60, what="all run the last digest")
        found = msgspec.json.decode(await api.client.get(f"/apis/apps/v1/namespaces/{namespace}/deployments"))
        # The first generation is that of the creation, and each patch of an image makes one.
        assert max(each["metadata"]["generation"] - 1 for each in found["items"]) < 3
        assert (await api.history(namespace, "web", "latest"))[0] == digest(1000)


@asynccontextmanager
async def denied(cluster: ClusterUnderTest, api: Api, namespace: str, name: str) -> AsyncIterator[None]:
    """While the block runs, admission denies every change of one Deployment."""
    if cluster.sandbox is not None:
        cluster.sandbox.faults.set((Fault("deny", verbs=("patch",), resources=("deployments",), names=(name,)),))
        yield
        cluster.sandbox.faults.clear()
        return
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": namespace},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [
                    {
                        "apiGroups": ["apps"],
                        "apiVersions": ["v1"],
                        "operations": ["UPDATE"],
                        "resources": ["deployments"],
                    }
                ],
            },
            "validations": [{"expression": f"object.metadata.name != '{name}'", "message": "not this one"}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": namespace},
        "spec": {"policyName": namespace, "validationActions": ["Deny"]},
    }
    for plural, body in (("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding)):
        assert (await api.client.create(f"{POLICIES}/{plural}", body)).end == "applied"
    try:
        await eventually(lambda: _is_denied(api, namespace, name), what="the policy is in force")
        yield
    finally:
        for plural in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            await api.client.delete(f"{POLICIES}/{plural}/{namespace}")


async def _is_denied(api: Api, namespace: str, name: str) -> bool:
    operations = [{"op": "add", "path": "/metadata/labels", "value": {"tried": "true"}}]
    outcome = await api.client.patch_workload(DEPLOYMENT, WorkloadKey("Deployment", namespace, name), operations)
    return outcome.end == "refused"


async def test_one_that_admission_denies_holds_up_nobody_and_follows_when_the_reason_is_gone(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("denied")
    await create_deployments(api, namespace, ["denied", *(f"web-{n}" for n in range(50))])
    image = f"{HOST}/{namespace}/web@{digest(1)}"
    async with serve(
        cluster, tmp_path, registries=[registry(HOST, integrated=True, verify=False)], namespaces=[namespace]
    ) as listener:
        await listener.ready()
        async with denied(cluster, api, namespace, "denied"):
            await push(listener, namespace, 1)

            async def others_run_it() -> bool:
                found = dict(await running(api, namespace))
                return found.pop("denied") != image and set(found.values()) == {image}

            await eventually(others_run_it, what="the others run the digest")
            (told,) = await eventually(lambda: api.events(namespace, "TriggerFailed"), what="its owner is told")
            assert "the image could not be set" in told["message"]
            assert "den" in told["message"]

        async def all_run_it() -> bool:
            return set((await running(api, namespace)).values()) == {image}

        await eventually(all_run_it, seconds=30, what="it runs the digest too")


async def test_a_long_fan_out_delays_another_streams_workload_by_less_than_a_second(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("fair")
    await create_deployments(api, namespace, [f"web-{n}" for n in range(600)])
    await create_deployments(api, namespace, ["lonely"], "other:latest")
    loop = asyncio.get_running_loop()
    async with serve(
        cluster,
        tmp_path,
        registries=[registry(HOST, integrated=True, verify=False)],
        namespaces=[namespace],
        fanOut={"maxPerSecond": 100},  # six seconds
    ) as listener:
        await listener.ready()

        async def seconds_to_move(number: int) -> float:
            """From a push of the other stream to the moment when its workload runs that."""

            async def lonely_runs_it() -> bool:
                found = await api.workload("Deployment", namespace, "lonely")
                return images(found)["web"] == f"{HOST}/{namespace}/other@{digest(number)}"

            pushed = loop.time()
            await push(listener, namespace, number, name="other")
            await eventually(lonely_runs_it, what="the lonely one runs its digest")
            return loop.time() - pushed

        undisturbed = await seconds_to_move(1)
        await push(listener, namespace, 2)
        assert await seconds_to_move(3) - undisturbed < 1
        assert await listener.metric('listener_queue_depth{queue="workloads"}') > 300


async def test_a_fight_with_another_field_manager_ends_and_names_it(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("fight")
    await create_deployments(api, namespace, ["web"])
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    async with serve(
        cluster, tmp_path, registries=[registry(HOST, integrated=True, verify=False)], namespaces=[namespace]
    ) as listener:
        await listener.ready()
        await push(listener, namespace, 1)

        async def set_back() -> bool:
            """As a GitOps tool does: apply what Git says, by force."""
            found = msgspec.json.decode(await api.client.get(path))
            if images(found)["web"] != "from-git":
                await apply(api, path, namespace, "from-git")
            return bool(await api.events(namespace, "TriggerContested"))

        await eventually(set_back, what="the fight is over")
        (told,) = await api.events(namespace, "TriggerContested")
        assert "field manager 'argocd-controller' set the image back" in told["message"]
        assert images(await api.workload("Deployment", namespace, "web"))["web"] == "from-git"
        assert await listener.metric('listener_contested_workloads{kind="Deployment"}') == 1
        assert await listener.metric("listener_patches_total") == 4


async def apply(api: Api, path: str, namespace: str, image: str) -> None:
    body: dict[str, Any] = workload("Deployment", namespace, "web", trigger("web:latest"))
    body["spec"]["template"]["spec"]["containers"][1]["image"] = image
    async with api.client._session.patch(
        f"{api.client._host}{path}?fieldManager=argocd-controller&force=true",
        data=msgspec.json.encode(body),
        headers=await api.client._headers("application/apply-patch+yaml"),
    ) as response:
        assert response.status == 200, await response.text()
