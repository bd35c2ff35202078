"""On OpenShift itself: a push becomes an import of OpenShift's, and nothing else is ours to do.

The sandbox stands in for it: see `listener.sandbox.cluster.imports` for what that was written from.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from listener.edges.cluster import Cluster
from listener.sandbox.images import make_image
from tests.cluster_under_test import ClusterUnderTest, sandbox_cluster
from tests.edges.api_server import kubeconfig_for
from tests.end_to_end.installed import Release
from tests.end_to_end.objects import PLACEHOLDER, images, trigger, workload
from tests.end_to_end.parts import SECRET, Api, eventually, free_port, push_event, registry, serve
from tests.real_parts import DockerRegistry, NotificationEndpoint, Skopeo

pytestmark = pytest.mark.sandbox_only(reason="it plays OpenShift's API server")


@pytest.fixture
async def openshift(tmp_path: Path) -> AsyncIterator[ClusterUnderTest]:
    async with sandbox_cluster(tmp_path, imports=True) as cluster:
        yield cluster


@pytest.fixture
async def api(openshift: ClusterUnderTest) -> AsyncIterator[Api]:
    async with await Cluster.connect(kubeconfig=str(openshift.kubeconfig)) as client:
        yield Api(client, openshift)


def stream(namespace: str, *tags: dict[str, Any], name: str = "web") -> dict[str, Any]:
    kind = {"apiVersion": "image.openshift.io/v1", "kind": "ImageStream"}
    return kind | {"metadata": {"name": name, "namespace": namespace}, "spec": {"tags": list(tags)}}


def tag(name: str, image: str) -> dict[str, Any]:
    return {"name": name, "from": {"kind": "DockerImage", "name": image}, "importPolicy": {"insecure": True}}


async def test_a_push_is_imported_by_openshift_and_nothing_else_is_done(
    openshift: ClusterUnderTest,
    api: Api,
    docker_registry: Callable[..., DockerRegistry],
    skopeo: Skopeo,
    helm: Path,
    kubectl: Path,
    tmp_path: Path,
) -> None:
    """With the rights that the chart gives it there, and so without any other."""
    release = Release(openshift, await openshift.namespace("home"), tmp_path, helm, kubectl)
    await release.install({})
    (role,) = await release.objects("clusterrole")
    assert [(rule["resources"], rule["verbs"]) for rule in role["rules"]] == [
        (["imagestreams"], ["get", "list", "watch"]),
        (["imagestreamimports"], ["create"]),
    ]
    assert await release.objects("role") == []
    namespace = await openshift.namespace("openshift")
    port = free_port()
    endpoint = NotificationEndpoint(f"http://127.0.0.1:{port}/hooks/team", {"Authorization": f"Bearer {SECRET}"})
    real = docker_registry(endpoint)
    gone = f"127.0.0.1:{free_port()}"
    tags = {"prod": f"{real.host}/team/web:latest", "old": f"{real.host}/team/web:v0", "gone": f"{gone}/team/web:v1"}
    await api.create(stream(namespace, *(tag(*each) for each in tags.items())))
    await api.create(workload("Deployment", namespace, "web", trigger("web:prod")))
    settings = [registry(real.host, insecure=True, integrated=True), {**registry(gone), "name": "gone"}]
    lease = {"enabled": True, "lease": "ours"}
    account = await release.account()
    async with serve(
        account, tmp_path, registries=settings, namespaces=[], hooks_port=port, leaderElection=lease
    ) as listener:
        await listener.ready()
        first, second = make_image(f"{namespace} 1"), make_image(f"{namespace} 2")
        for pushed, history in ((first, [first.digest]), (second, [second.digest, first.digest])):
            await skopeo.push(pushed, f"{real.host}/team/web:latest")

            async def imported(expected: list[str] = history) -> bool:
                return await api.history(namespace, "web", "prod") == expected

            await eventually(imported, what="the tag moved")

        status, answer = await listener.deliver(push_event(real.host, "team/web", "v0", first.digest))
        assert (status, answer["outcome"]) == (200, "refused")
        assert "not found" in str(answer)
        assert await api.history(namespace, "web", "old") == []

        status, answer = await listener.deliver(push_event(gone, "team/web", "v1", first.digest), hook="gone")
        assert status == 503, answer
        assert await listener.metric("listener_tag_moves_total") == 2

        assert images(await api.workload("Deployment", namespace, "web"))["web"] == PLACEHOLDER
        assert len(listener.logged("listener.on_openshift")) == 1
        assert [line["registries"] for line in listener.logged("listener.integrated_ignored")] == [["team"]]


async def test_until_the_cluster_is_known_hooks_wait_and_the_service_stops_when_told(
    openshift: ClusterUnderTest, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "nobody.kubeconfig"
    kubeconfig.write_text(kubeconfig_for(f"http://127.0.0.1:{free_port()}"))
    away = replace(openshift, kubeconfig=kubeconfig)
    async with serve(away, tmp_path, registries=[registry("r.example")], namespaces=[]) as listener:
        status, answer = await listener.deliver(push_event("r.example", "team/web", "v1", f"sha256:{'a' * 64}"))
        assert (status, "has not told yet" in str(answer)) == (503, True)
        assert (await listener.get("/readyz"))[0] == 503
        assert (await listener.get("/livez"))[0] == 200
        assert await listener.terminate() == 0
    assert listener.logged("listener.on_openshift") == []


async def test_the_door_for_lookups_is_shut(openshift: ClusterUnderTest, ca: trustme.CA, tmp_path: Path) -> None:
    """OpenShift looks names up itself."""
    issued, port = ca.issue_cert("localhost"), free_port()
    issued.private_key_pem.write_to_path(tmp_path / "tls.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    lookup = {"enabled": True, "certFile": str(tmp_path / "tls.crt"), "keyFile": str(tmp_path / "tls.key")}
    listen = {"hooks": "127.0.0.1:0", "monitoring": "127.0.0.1:0", "admission": f"127.0.0.1:{port}"}
    async with serve(openshift, tmp_path, registries=[], namespaces=[], listen=listen, lookup=lookup) as listener:
        await listener.ready()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert len(listener.logged("listener.lookup_ignored")) == 1
