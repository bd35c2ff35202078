"""A real registry, a real client that pushes, a real kubectl that sees the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from listener.edges.cluster import Cluster
from listener.sandbox.images import make_image, make_index
from tests.cluster_under_test import ClusterUnderTest, sandbox_cluster
from tests.end_to_end.objects import PLACEHOLDER, images, trigger, workload
from tests.end_to_end.parts import SECRET, Api, eventually, free_port, registry, serve
from tests.real_parts import DockerRegistry, NotificationEndpoint, Skopeo, run

_IMAGE = '{.spec.template.spec.containers[?(@.name=="web")].image}'


async def test_a_push_reaches_the_deployment_within_a_second_and_nothing_else_moves(
    cluster: ClusterUnderTest,
    api: Api,
    docker_registry: Callable[..., DockerRegistry],
    skopeo: Skopeo,
    kubectl: Path,
    tmp_path: Path,
) -> None:
    namespace = await cluster.namespace("push")
    port = free_port()
    endpoint = NotificationEndpoint(f"http://127.0.0.1:{port}/hooks/team", {"Authorization": f"Bearer {SECRET}"})
    real = docker_registry(endpoint)
    for name, tag in (("web", "latest"), ("other", "v9")):
        await api.create(workload("Deployment", namespace, name, trigger(f"web:{tag}")))
    kube = (kubectl, "--kubeconfig", cluster.kubeconfig, "-n", namespace)

    async def image(name: str) -> str:
        return await run(*kube, "get", "deploy", name, "-o", f"jsonpath={_IMAGE}")

    async def generation(name: str) -> int:
        found: int = (await api.workload("Deployment", namespace, name))["metadata"]["generation"]
        return found

    settings = [registry(real.host, integrated=True, insecure=True)]
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace], hooks_port=port) as listener:
        await listener.ready()
        first, second = make_image(f"{namespace} 1"), make_image(f"{namespace} 2")
        repository = f"{real.host}/{namespace}/web"

        await skopeo.push(first, f"{repository}:latest")
        pushed = time.monotonic()

        async def runs_first() -> bool:
            return await image("web") == f"{repository}@{first.digest}"

        await eventually(runs_first, what="the Deployment runs the first image")
        assert time.monotonic() - pushed < 1
        assert await image("other") == PLACEHOLDER

        # Deliveries come in order: once the push to `barrier` is stored, all before it was dealt with.
        before = await generation("web")
        await skopeo.push(first, f"{repository}:latest")
        await skopeo.push(second, f"{repository}:barrier")

        async def barrier() -> list[str]:
            return await api.history(namespace, "web", "barrier")

        assert await eventually(barrier) == [second.digest]
        assert await generation("web") == before
        assert await api.history(namespace, "web", "latest") == [first.digest]

        index = make_index(make_image("amd64"), make_image("arm64", architecture="arm64"))
        await skopeo.push(index, f"{repository}:latest")

        async def runs_index() -> bool:
            return await image("web") == f"{repository}@{index.digest}"

        await eventually(runs_index, what="the Deployment runs the index")
        assert await api.history(namespace, "web", "latest") == [index.digest, first.digest]
        assert await generation("web") == before + 1
        assert await generation("other") == 1


async def test_a_stream_that_names_the_repository_takes_the_push(
    cluster: ClusterUnderTest,
    api: Api,
    docker_registry: Callable[..., DockerRegistry],
    skopeo: Skopeo,
    tmp_path: Path,
) -> None:
    """By spec.dockerImageRepository under the tag's own name, by a spec tag under the name the owner chose."""
    namespace = await cluster.namespace("push")
    port = free_port()
    endpoint = NotificationEndpoint(f"http://127.0.0.1:{port}/hooks/team", {"Authorization": f"Bearer {SECRET}"})
    real = docker_registry(endpoint)
    host = "registry.example.com"
    stream = {"apiVersion": "image.openshift.io/v1", "kind": "ImageStream"}
    await api.create(
        stream
        | {
            "metadata": {"name": "whole", "namespace": namespace},
            "spec": {"dockerImageRepository": f"{host}/team/web"},
        }
    )
    tags = [{"name": "stable", "from": {"kind": "DockerImage", "name": f"{host}/team/web:v1"}}]
    await api.create(stream | {"metadata": {"name": "picked", "namespace": namespace}, "spec": {"tags": tags}})
    settings = [registry(host, aliases=[real.host], verify=False)]
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace], hooks_port=port) as listener:
        await listener.ready()
        image = make_image(namespace)
        await skopeo.push(image, f"{real.host}/team/web:v1")

        async def stored() -> list[str]:
            return await api.history(namespace, "whole", "v1")

        assert await eventually(stored) == [image.digest]
        assert await api.history(namespace, "picked", "stable") == [image.digest]
        assert await api.history(namespace, "picked", "v1") == []
        (tag,) = (await api.stream(namespace, "whole"))["status"]["tags"]
        assert tag["items"][0]["dockerImageReference"] == f"{host}/team/web@{image.digest}"


async def test_pushes_while_the_image_streams_are_just_being_installed_are_taken_in_the_end(
    docker_registry: Callable[..., DockerRegistry],
    skopeo: Skopeo,
    helm: Path,  # noqa: ARG001 - it renders the rights of the service
    tmp_path: Path,
) -> None:
    """A real API server holds creations of a kind for two seconds after its definition, longer than a sender waits."""
    port = free_port()
    endpoint = NotificationEndpoint(f"http://127.0.0.1:{port}/hooks/team", {"Authorization": f"Bearer {SECRET}"})
    real = docker_registry(endpoint)
    async with (
        sandbox_cluster(tmp_path, new_kind_seconds=2) as cluster,
        await Cluster.connect(kubeconfig=str(cluster.kubeconfig)) as client,
    ):
        api = Api(client, cluster)
        namespace = await cluster.namespace("new")
        await api.create(workload("Deployment", namespace, "web", trigger("web:latest")))
        settings = [registry(real.host, integrated=True, insecure=True)]
        async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace], hooks_port=port) as listener:
            await listener.ready()
            pushed = [make_image(f"{namespace} {number}") for number in (1, 2)]
            for image in pushed:
                await skopeo.push(image, f"{real.host}/{namespace}/web:latest")

            async def runs_the_last() -> bool:
                found = await api.workload("Deployment", namespace, "web")
                return images(found)["web"] == f"{real.host}/{namespace}/web@{pushed[-1].digest}"

            await eventually(runs_the_last, what="the Deployment runs the last image")
            history = await api.history(namespace, "web", "latest")
            assert history[0] == pushed[-1].digest
            assert set(history) <= {image.digest for image in pushed}
            assert listener.logged("hook.deferred"), "the creation was not held"
            assert listener.logged("hook.bug") == []
