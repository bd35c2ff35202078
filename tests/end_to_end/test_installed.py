"""The chart as operators have it: installed by helm, then upgraded, restarted and removed, with the rights it gives.

Pods are shown as running here, and run nothing. So the service runs as a process of the test, as the account and with
the settings that are installed.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from listener.core.kinds import (
    BUILD_CONFIG,
    DEPLOYMENT,
    DEPLOYMENT_CONFIG,
    JOB,
    SHIPWRIGHT_BUILD,
    TEKTON_PIPELINE,
    Kind,
)
from listener.core.lookups import RESOLVE_NAMES
from listener.sandbox.images import make_image
from tests.cluster_under_test import ClusterUnderTest
from tests.definitions import define
from tests.end_to_end import test_imports as imports
from tests.end_to_end import test_kinds as kinds
from tests.end_to_end.accounts import ASKED_IN_VAIN
from tests.end_to_end.installed import SECRETS, STREAMS, Release, Witness, released, rights_of
from tests.end_to_end.parts import SECRET, Api, Listener, eventually, free_port, push_event, serve
from tests.end_to_end.test_kinds import HOST, A, B
from tests.end_to_end.test_leadership import leads
from tests.real_parts import DockerRegistry, Skopeo
from tests.test_chart import NAME, ROLLOUT

TEAM = {"name": "team", "host": HOST, "verify": False, "auth": {"bearer": {"secretFile": f"{SECRETS}/team"}}}
INTEGRATED = TEAM | {"integrated": True}
BEYOND = [DEPLOYMENT_CONFIG, kinds.ROLLOUT]
DEFINITIONS = [
    "buildconfigs.build.openshift.io",
    "buildruns.shipwright.io",
    "builds.shipwright.io",
    "deploymentconfigs.apps.openshift.io",
    "pipelineruns.tekton.dev",
    "pipelines.tekton.dev",
    "rollouts.argoproj.io",
]


@asynccontextmanager
async def running(
    release: Release, account: ClusterUnderTest, *settings: Mapping[str, Any]
) -> AsyncIterator[list[Listener]]:
    """The service, once for each of the settings; the first leads."""
    (release.folder / "team").write_text(SECRET)
    async with AsyncExitStack() as processes:
        found: list[Listener] = []
        for number, each in enumerate(settings):
            listener = await processes.enter_async_context(serve(account, release.folder / f"serve-{number}", **each))
            await (listener.ready() if found else leads(listener))
            found.append(listener)
        yield found


# Rights


async def create_followers(api: Api, namespace: str, followers: Sequence[Kind]) -> None:
    for kind in followers:
        body = kinds.workload(kind, "web", {} if kind is DEPLOYMENT_CONFIG else None)
        if kind is DEPLOYMENT_CONFIG:
            body["spec"]["triggers"] = [{"type": "ConfigChange"}, kinds.image_change("web:latest", "web")]
        await kinds.create(api, kind, namespace, body)


async def push_by_turns(api: Api, namespace: str, listeners: Sequence[Listener], followers: Sequence[Kind]) -> None:
    """Push four times, to one replica and the other, and see all follow. The images come again, and so do Events."""
    names = [(kind, "web") for kind in followers]
    for number, (digest, listener) in enumerate(zip((A, B, A, B), itertools.cycle(listeners), strict=False)):
        await kinds.Pushes(listener, namespace, number)(digest)
        wanted = kinds.image(namespace, digest)
        await eventually(partial(kinds.all_run, api, names, namespace, wanted), what=f"all run {digest}")


def conflicts(followers: Sequence[Kind]) -> dict[tuple[str, str], int]:
    """Each thing that is patched has just been changed by somebody else once, so it is read again."""
    workloads = {kind.plural or "rollouts" for kind in followers}
    return {("patch", each): 409 for each in (*workloads, "imagestreams", "imagestreams/status", "leases")}


async def followed(api: Api, namespace: str, followers: Sequence[Kind]) -> None:
    """See an Event on each."""

    async def told() -> bool:
        found = {event["involvedObject"]["kind"] for event in await api.events(namespace, "ImageTriggered")}
        return {kind.name for kind in followers} <= found

    await eventually(told, what="an Event on each that follows")


@pytest.mark.sandbox_only(reason="it follows every stream there is, those of other tests too")
async def test_by_default_every_right_is_used_and_none_is_missed(
    cluster: ClusterUnderTest, api: Api, helm: Path, kubectl: Path, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("team")
    async with released(cluster, helm, kubectl, tmp_path, {"settings": {"registries": [TEAM]}}) as release:
        source = {"kind": "DockerImage", "name": f"{HOST}/{namespace}/web:latest"}
        await api.create(imports.stream(namespace, {"name": "latest", "from": source}))
        await create_followers(api, namespace, [*kinds.BUILTIN, JOB])
        granted = await rights_of(release)
        assert {right.namespace for right in granted} == {None, release.home}
        witness = Witness(await release.account())
        witness.upset = conflicts([*kinds.BUILTIN, JOB])
        settings = await release.settings()
        async with witness.watching() as account, running(release, account, settings, settings) as both:
            await push_by_turns(api, namespace, both, kinds.BUILTIN)
            await followed(api, namespace, kinds.BUILTIN)
            await witness.sees_used(granted)
            assert witness.unused(granted) == set()
    assert witness.beyond(granted) == witness.answered(403) == set().union(*ASKED_IN_VAIN.values())


async def test_with_everything_on_every_right_is_used_and_none_is_missed(
    cluster: ClusterUnderTest,
    api: Api,
    helm: Path,
    kubectl: Path,
    docker_registry: Callable[..., DockerRegistry],
    skopeo: Skopeo,
    ca: trustme.CA,
    ca_file: Path,
    tmp_path: Path,
) -> None:
    """In one namespace. No server has `instantiate` here, which is asked for all the same."""
    await define(cluster, *DEFINITIONS)
    namespace = await cluster.namespace("team")
    private = docker_registry(ca=ca, auth=imports.htpasswd(tmp_path))
    image, pull_spec = make_image(namespace), f"{private.host}/team/web:v1"
    await skopeo.push(image, pull_spec, f"--dest-creds={imports.USER}:{imports.PASSWORD}")
    behind_a_login = {"name": "private", "host": private.host, "auth": {"none": True}, "caFile": str(ca_file)}
    values = {
        "rbac": {"pullSecrets": True, "openshift": True, "shipwright": True, "tekton": True},
        "lookup": {"enabled": True},
        "settings": {
            "registries": [INTEGRATED, behind_a_login],
            "workloads": [ROLLOUT],
            "namespaces": [namespace],
        },
    }
    followers = [*kinds.BUILTIN, *BEYOND]
    async with released(cluster, helm, kubectl, tmp_path, values) as release:
        await api.create(imports.pull_secret(namespace, private.host))
        await api.create(imports.stream(namespace, imports.importing("v1", pull_spec), name="private"))
        await create_followers(api, namespace, [*followers, JOB])
        for kind in (SHIPWRIGHT_BUILD, TEKTON_PIPELINE):
            await kinds.create(api, kind, namespace, kinds.runnable(kind, BASE="web:latest"))
        await kinds.create(api, BUILD_CONFIG, namespace, build_config())
        granted = await rights_of(release)
        anywhere = {right.resource for right in granted if right.namespace is None}
        assert anywhere == {"mutatingwebhookconfigurations"}, "which is in no namespace"
        witness = Witness(await release.account())
        witness.upset = conflicts([*followers, JOB, SHIPWRIGHT_BUILD, TEKTON_PIPELINE])
        witness.upset |= {("create", "buildruns"): 409, ("create", "pipelineruns"): 409}
        witness.upset["create", "buildconfigs/instantiate"] = 500  # as OpenShift says that it has built this
        settings, other = [await release.settings() for _ in range(2)]
        settings["listen"]["admission"] = await answer_on_loopback(release)
        settings["lookup"]["hosts"] = other["lookup"]["hosts"] = ["127.0.0.1"]
        async with witness.watching() as account, running(release, account, settings, other) as both:
            await push_by_turns(api, namespace, both, followers)
            await followed(api, namespace, followers)
            await eventually(partial(is_looked_up, release, namespace), what="a name is looked up")
            await eventually(partial(is_imported, api, namespace), what="the private image is imported")
            await witness.sees_used(granted)
            assert witness.unused(granted) == set()
    assert await api.history(namespace, "private", "v1") == [image.digest]
    assert (witness.beyond(granted), witness.answered(403)) == (set(), set())


def build_config() -> dict[str, Any]:
    source = {"type": "Source", "sourceStrategy": {"from": {"kind": "ImageStreamTag", "name": "web:latest"}}}
    spec = {"strategy": source, "triggers": [{"type": "ImageChange", "imageChange": {}}]}
    return {"apiVersion": BUILD_CONFIG.api_version, "kind": "BuildConfig", "metadata": {"name": "app"}, "spec": spec}


async def answer_on_loopback(release: Release) -> str:
    """Let the API server ask there, and not a Service, behind which nothing is; return where."""
    address = f"127.0.0.1:{free_port()}"
    client = {"op": "replace", "path": "/webhooks/0/clientConfig", "value": {"url": f"https://{address}/lookup"}}
    webhook = ("mutatingwebhookconfiguration", f"{release.home}-{NAME}")
    await release.kubectl("patch", *webhook, "--type=json", f"--patch={json.dumps([client])}")
    return address


async def is_looked_up(release: Release, namespace: str) -> bool:
    body = kinds.workload(DEPLOYMENT, "named", {RESOLVE_NAMES: "*"})
    body["spec"]["template"]["spec"]["containers"][1]["image"] = "web:latest"
    options = (f"--namespace={namespace}", "--dry-run=server", "--output=json", "--filename=-")
    found = json.loads(await release.kubectl("create", *options, stdin=json.dumps(body)))
    return kinds.images(DEPLOYMENT, found)["web"] == kinds.image(namespace, B)


async def is_imported(api: Api, namespace: str) -> bool:
    return await imports.condition(api, namespace, "v1", "private") == ("True", "")


# Upgrade and removal


async def test_upgrades_and_removal_touch_no_stream_and_no_workload(
    cluster: ClusterUnderTest, api: Api, helm: Path, kubectl: Path, tmp_path: Path
) -> None:
    namespace, later = await cluster.namespace("team"), await cluster.namespace("later")
    values: dict[str, Any] = {
        "lookup": {"enabled": True},
        "settings": {"registries": [INTEGRATED], "namespaces": [namespace]},
    }
    async with released(cluster, helm, kubectl, tmp_path, values) as release:

        async def kept() -> tuple[Any, ...]:
            """What is there that the chart has not written."""
            web = await api.workload("Deployment", namespace, "web")
            return await api.stream(namespace, "web"), web["metadata"]["generation"], web["spec"]

        async def certificate() -> tuple[dict[str, str], str]:
            secret = json.loads(await release.kubectl("get", "secret", f"{NAME}-lookup", "--output=json"))
            (webhooks,) = await release.objects("mutatingwebhookconfiguration")
            return secret.get("data", {}), webhooks["webhooks"][0]["clientConfig"].get("caBundle", "")

        async def push_to_the_installed(digest: str, *namespaces: str) -> None:
            async with running(release, await release.account(), await release.settings()) as (listener,):
                await eventually(partial(has_certificate, certificate), what="there is a certificate")
                for each in namespaces:
                    await kinds.Pushes(listener, each, int(digest[-1]))(digest)
                    wanted = kinds.image(each, digest)
                    names = [(DEPLOYMENT, "web")]
                    await eventually(partial(kinds.all_run, api, names, each, wanted), what=f"it runs in {each}")

        for each in (namespace, later):
            await create_followers(api, each, [DEPLOYMENT])
        await push_to_the_installed(A, namespace)
        before, shown = await kept(), await certificate()
        (deployed,) = await release.objects("deployment")
        pods = await running_pods(release) if cluster.sandbox else []

        values["settings"] |= {"namespaces": [namespace, later], "history": {"limit": 7}}
        await release.install(values | {"replicas": 3})
        assert await kept() == before
        assert await certificate() == shown
        (upgraded,) = await release.objects("deployment")
        checksums = [
            each["spec"]["template"]["metadata"]["annotations"]["checksum/config"] for each in (deployed, upgraded)
        ]
        assert checksums[0] != checksums[1], "the Pods are made anew"
        assert upgraded["spec"]["replicas"] == 3
        if cluster.sandbox:
            assert (deployed["status"]["readyReplicas"], upgraded["status"]["readyReplicas"]) == (2, 3)
            replaced = await running_pods(release)
            assert (len(pods), len(replaced), set(pods) & set(replaced)) == (2, 3, set())
        await push_to_the_installed(B, namespace, later)
        before = await kept()

        await release.uninstall()
        assert await kept() == before
        assert await api.history(namespace, "web", "latest") == [B, A]
        found = "deployment,service,configmap,secret,serviceaccount,role,rolebinding,clusterrole,clusterrolebinding"
        assert await release.objects(f"{found},poddisruptionbudget,mutatingwebhookconfiguration") == []
        definition = json.loads(await release.kubectl("get", "customresourcedefinition", STREAMS, "--output=json"))
        assert "deletionTimestamp" not in definition["metadata"]
        if cluster.sandbox:

            async def has_no_pods() -> bool:
                return not await running_pods(release)

            await eventually(has_no_pods, what="its Pods go with it")


async def running_pods(release: Release) -> list[str]:
    """Return the names of the release's Pods, as kubectl shows them: all of them run."""
    shown = await release.kubectl("get", "pods", "--selector=app.kubernetes.io/instance=release", "--no-headers")
    rows = [line.split() for line in shown.splitlines()]
    assert all(row[1:3] == ["1/1", "Running"] for row in rows), shown
    return [row[0] for row in rows]


async def has_certificate(certificate: Callable[[], Any]) -> bool:
    data, bundle = await certificate()
    return bool(data and bundle)


# Restarts


class Front:
    """Passes hooks to the replicas by turns, on to the next where one does not take them, as a Service would."""

    def __init__(self, *replicas: Listener) -> None:
        self.replicas = list(replicas)
        self.passed_on = 0
        self._turns: Iterator[int] = itertools.count()

    async def deliver(self, event: Mapping[str, Any]) -> Any:
        """Return the answer of the one that took it."""
        while True:
            listener = self.replicas[next(self._turns) % len(self.replicas)]
            with suppress(aiohttp.ClientConnectionError):
                status, answer = await listener.deliver(event)
                if status == 200:
                    return answer
                assert status == 503, answer
            self.passed_on += 1
            await asyncio.sleep(0.02)


class Pusher:
    """A registry to which one tag is pushed again and again, each time as soon as the last push was taken."""

    def __init__(self, front: Front, namespace: str, stream: str) -> None:
        self.acknowledged: list[str] = []
        self._front = front
        self._repository = f"{namespace}/{stream}"

    async def run(self) -> None:
        for number in itertools.count(1):
            digest = f"sha256:{number:064x}"
            event = push_event(HOST, self._repository, "latest", digest)
            event["timestamp"] = f"2026-01-01T00:{number // 60:02}:{number % 60:02}.000000000Z"
            answer = await self._front.deliver(event)
            assert len(answer["moved"]) + len(answer["unchanged"]) == 1, answer
            self.acknowledged.append(digest)
            await asyncio.sleep(0.03)

    async def goes_on(self) -> None:
        """Wait for more pushes to be taken."""
        enough = len(self.acknowledged) + 5

        async def has_enough() -> bool:
            return len(self.acknowledged) >= enough

        await eventually(has_enough, what="pushes are taken")


async def test_a_rolling_restart_loses_no_push(
    cluster: ClusterUnderTest, api: Api, helm: Path, kubectl: Path, tmp_path: Path
) -> None:
    """As the Deployment does it: another is ready before one goes. Hooks still find their way to the one that goes."""
    namespace = await cluster.namespace("team")
    streams = ["web", "api"]
    values = {"settings": {"registries": [INTEGRATED], "namespaces": [namespace], "history": {"limit": 1000}}}
    async with released(cluster, helm, kubectl, tmp_path, values) as release:
        for stream in streams:
            body = kinds.workload(DEPLOYMENT, stream, triggered_by(stream))
            await kinds.create(api, DEPLOYMENT, namespace, body)
        account, settings = await release.account(), await release.settings()
        async with AsyncExitStack() as processes, running(release, account, settings, settings) as old:
            front = Front(*old)
            pushers = [Pusher(front, namespace, stream) for stream in streams]
            tasks = [asyncio.create_task(pusher.run()) for pusher in pushers]
            try:
                for number, leaving in enumerate(old):
                    process = serve(account, tmp_path / f"new-{number}", **settings)
                    coming = await processes.enter_async_context(process)
                    await coming.ready()
                    front.replicas.append(coming)
                    await asyncio.gather(*(pusher.goes_on() for pusher in pushers))
                    passed_on = front.passed_on
                    assert await leaving.terminate() == 0
                    await asyncio.gather(*(pusher.goes_on() for pusher in pushers))
                    assert front.passed_on > passed_on
                    front.replicas.remove(leaving)
            finally:
                for task in tasks:
                    task.cancel()
                ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
            for stream, pusher in zip(streams, pushers, strict=True):
                history = (await api.history(namespace, stream, "latest"))[::-1]
                # What was under way at the end may be stored too.
                assert history[: len(pusher.acknowledged)] == pusher.acknowledged
                assert len(history) <= len(pusher.acknowledged) + 1
                wanted = f"{HOST}/{namespace}/{stream}@{history[-1]}"
                names = [(DEPLOYMENT, stream)]
                await eventually(partial(kinds.all_run, api, names, namespace, wanted), what=f"{stream} runs {wanted}")


def triggered_by(stream: str) -> dict[str, str]:
    path = 'spec.template.spec.containers[?(@.name=="web")].image'
    return {kinds.OURS: json.dumps([kinds.entry(path, f"{stream}:latest")])}
