"""Images come from a registry that nobody told us of a push: at once, on a schedule, with a namespace's credentials."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from listener.core.streams import StreamKey
from listener.sandbox.images import make_image, make_index
from tests.cluster_under_test import ClusterUnderTest
from tests.edges.fake_registry import running
from tests.edges.signing_token_server import SigningTokenServer
from tests.end_to_end.objects import images, trigger, workload
from tests.end_to_end.parts import Api, Listener, eventually, registry, serve
from tests.real_parts import DockerRegistry, Skopeo

USER, PASSWORD = "robot", "correct-horse-battery"
EAGER = {"interval": "1s", "minInterval": "1s"}


def stream(namespace: str, *tags: Mapping[str, Any], name: str = "web", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"tags": list(tags), **spec},
    }


def importing(name: str, pull_spec: str, **policy: Any) -> dict[str, Any]:
    return {"name": name, "from": {"kind": "DockerImage", "name": pull_spec}, "importPolicy": policy}


def pull_secret(namespace: str, host: str, *, name: str = "pull", password: str = PASSWORD) -> dict[str, Any]:
    login = base64.b64encode(f"{USER}:{password}".encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": json.dumps({"auths": {host: {"auth": login}}})},
    }


async def condition(api: Api, namespace: str, tag: str, name: str = "web") -> tuple[str, str] | None:
    """Status and reason of the tag's ImportSuccess, once it has one."""
    for found in (await api.stream(namespace, name)).get("status", {}).get("tags", []):
        for known in found.get("conditions") or () if found["tag"] == tag else ():
            if known["type"] == "ImportSuccess":
                return known["status"], known.get("reason", "")
    return None


async def test_a_scheduled_tag_follows_its_registry_and_rolls_the_deployment(
    cluster: ClusterUnderTest,
    api: Api,
    docker_registry: Callable[..., DockerRegistry],
    skopeo: Skopeo,
    tmp_path: Path,
) -> None:
    namespace = await cluster.namespace("import")
    real = docker_registry()
    repository = f"{real.host}/team/web"
    first, second = make_image(f"{namespace} 1"), make_image(f"{namespace} 2")
    await skopeo.push(first, f"{repository}:v1")
    await api.create(workload("Deployment", namespace, "web", trigger("web:live")))
    await api.create(stream(namespace, importing("live", f"{repository}:v1", scheduled=True)))
    settings = [registry(real.host, insecure=True)]
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace], imports=EAGER) as listener:
        await listener.ready()

        async def runs(digest: str) -> bool:
            found = images(await api.workload("Deployment", namespace, "web"))
            return found["web"] == f"{repository}@{digest}"

        await eventually(lambda: runs(first.digest), what="the Deployment runs the first image")
        assert await condition(api, namespace, "live") == ("True", "")
        await skopeo.push(second, f"{repository}:v1")
        await eventually(lambda: runs(second.digest), what="the Deployment runs the second image")
        assert await api.history(namespace, "web", "live") == [second.digest, first.digest]
        before = await api.stream(namespace, "web")

        async def polled_again() -> bool:
            return await listener.metric('listener_imports_total{outcome="unchanged",registry="team"}') >= 2

        await eventually(polled_again, what="two polls that found nothing new")
        after = await api.stream(namespace, "web")
        for found in (before, after):
            found["status"].pop("fanOuts", None)  # written behind the patches
        assert (after["spec"], after["status"]) == (before["spec"], before["status"])
        assert after["metadata"]["annotations"]["openshift.io/image.dockerRepositoryCheck"]
        assert await listener.metric('listener_tag_moves_total{cause="import"}') == 2


async def test_of_an_image_for_several_platforms_each_tag_takes_what_it_asks_for(
    cluster: ClusterUnderTest,
    api: Api,
    docker_registry: Callable[..., DockerRegistry],
    skopeo: Skopeo,
    tmp_path: Path,
) -> None:
    namespace = await cluster.namespace("import")
    real = docker_registry()
    amd, arm = make_image(f"{namespace} amd"), make_image(f"{namespace} arm", architecture="arm64")
    index = make_index(amd, arm)
    source = f"{real.host}/team/web:multi"
    await skopeo.push(index, source)
    chosen = importing("chosen", source) | {"annotations": {"importer.image.openshift.io/prefer-arch": "arm64"}}
    whole = importing("whole", source, importMode="PreserveOriginal")
    await api.create(stream(namespace, chosen, whole))
    settings = [registry(real.host, insecure=True)]
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener:
        await listener.ready()

        async def both() -> bool:
            return bool(await condition(api, namespace, "chosen") and await condition(api, namespace, "whole"))

        await eventually(both)
        assert await api.history(namespace, "web", "chosen") == [arm.digest]
        assert await api.history(namespace, "web", "whole") == [index.digest]


async def test_a_whole_repository_becomes_tags_of_the_stream(
    cluster: ClusterUnderTest,
    api: Api,
    docker_registry: Callable[..., DockerRegistry],
    skopeo: Skopeo,
    tmp_path: Path,
) -> None:
    namespace = await cluster.namespace("import")
    real = docker_registry()
    found = {tag: make_image(f"{namespace} {tag}") for tag in ("v1.0", "v2.0", "latest", "zeta")}
    for tag, image in found.items():
        await skopeo.push(image, f"{real.host}/team/web:{tag}")
    await api.create(stream(namespace, dockerImageRepository=f"{real.host}/team/web"))
    settings = [registry(real.host, insecure=True)]
    async with serve(
        cluster, tmp_path, registries=settings, namespaces=[namespace], imports={"maxTags": 3}
    ) as listener:
        await listener.ready()

        async def tags() -> list[str]:
            return [tag["name"] for tag in (await api.stream(namespace, "web"))["spec"].get("tags", [])]

        assert sorted(await eventually(tags)) == ["latest", "v1.0", "v2.0"]
        for tag in ("latest", "v1.0", "v2.0"):
            assert await api.history(namespace, "web", tag) == [found[tag].digest]
        status = (await api.stream(namespace, "web"))["status"]
        assert status["dockerImageRepository"] == f"{real.host}/team/web"
        assert [c["status"] for c in status["conditions"]] == ["True"]


@pytest.fixture
async def token_server(ca: trustme.CA) -> AsyncIterator[SigningTokenServer]:
    server = SigningTokenServer(logins={USER: PASSWORD}, certificate=ca.issue_cert("the-issuer.example"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    async with running(server, tls=tls):
        yield server


@pytest.mark.parametrize("door", ["htpasswd", "token"])
async def test_a_private_registry_opens_to_the_namespaces_pull_secret_which_shows_nowhere(
    cluster: ClusterUnderTest,
    api: Api,
    docker_registry: Callable[..., DockerRegistry],
    skopeo: Skopeo,
    token_server: SigningTokenServer,
    ca: trustme.CA,
    ca_file: Path,
    door: str,
    tmp_path: Path,
) -> None:
    """Over TLS, with a CA of its own. Without a secret the tag says so; with one it is imported at the next request."""
    namespace = await cluster.namespace("import")
    auth = token_server.auth(ca_file) if door == "token" else htpasswd(tmp_path)
    real = docker_registry(ca=ca, auth=auth)
    image = make_image(namespace)
    await skopeo.push(image, f"{real.host}/team/web:v1", f"--dest-creds={USER}:{PASSWORD}")
    await api.create(stream(namespace, importing("v1", f"{real.host}/team/web:v1")))
    settings = [registry(real.host, caFile=str(ca_file))]
    more: dict[str, Any] = {"rbac": {"pullSecrets": True}, "logging": {"level": "debug"}}
    async with serve(cluster, tmp_path / "serve", registries=settings, namespaces=[namespace], **more) as listener:
        await listener.ready()

        async def says(*expected: str) -> bool:
            return await condition(api, namespace, "v1") == expected

        await eventually(lambda: says("False", "Unauthorized"), what="the tag says that there is no access")
        await api.create(pull_secret(namespace, real.host, name="old", password="wrong-password"))
        await api.create(pull_secret(namespace, real.host))

        async def imported() -> bool:
            """Asked for again and again, as people do: secrets that were just read are not read at once again."""
            await again(api, namespace)
            return await says("True", "")

        await eventually(imported, what="the tag is imported")
        assert await api.history(namespace, "web", "v1") == [image.digest]
        seen = [
            listener.log.read_text(),
            json.dumps(await api.stream(namespace, "web")),
            json.dumps(await api.events(namespace, "ImportFailed") + await api.events(namespace, "ImportSucceeded")),
            (await listener.get("/metrics"))[1],
        ]
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        for text in seen:
            for secret in (PASSWORD, "wrong-password", login, *token_server.issued):
                assert secret not in text
        assert (len(token_server.issued) > 0) is (door == "token")


def htpasswd(folder: Path) -> dict[str, Any]:
    """The registry's own door: one user, by a file of bcrypt hashes."""
    # Made by `htpasswd -nbB` of USER and PASSWORD.
    entry = "robot:$2y$05$QHZGHkgOK1SJ1OY73Q2MLOMOpgIWeJ9V0YMK9wcj.P.d2yA4F96i."
    (folder / "htpasswd").write_text(f"{entry}\n")
    return {"htpasswd": {"realm": "private", "path": str(folder / "htpasswd")}}


async def again(api: Api, namespace: str) -> None:
    """Ask for an import as people do: generation 0."""
    operations = [{"op": "replace", "path": "/spec/tags/0/generation", "value": 0}]
    outcome = await api.client.patch_stream(StreamKey(namespace, "web"), operations)
    assert outcome.end == "applied", outcome.message


@pytest.fixture
async def inside() -> AsyncIterator[tuple[str, list[str]]]:
    """Something on loopback that a stream has no business with: its host, and what it was asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(headers={"Docker-Content-Digest": "sha256:" + "a" * 64}, content_type="text/plain")

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    async with TestServer(app) as server:
        yield f"127.0.0.1:{server.port}", asked


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "[::ffff:7f00:1]"])
async def test_what_a_stream_names_is_not_called_inside_the_cluster(
    cluster: ClusterUnderTest, api: Api, inside: tuple[str, list[str]], host: str, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("import")
    port = inside[0].rpartition(":")[2]
    await api.create(stream(namespace, importing("v1", f"{host}:{port}/team/web:v1", insecure=True)))
    async with serve(cluster, tmp_path, registries=[], namespaces=[namespace]) as listener:
        await listener.ready()

        async def refused() -> bool:
            return await condition(api, namespace, "v1") == ("False", "Forbidden")

        await eventually(refused)
    assert inside[1] == []


async def test_a_redirect_does_not_lead_inside_either(
    cluster: ClusterUnderTest, api: Api, inside: tuple[str, list[str]], tmp_path: Path
) -> None:
    namespace = await cluster.namespace("import")

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(f"http://{inside[0]}{request.path}")

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", redirect)
    async with TestServer(app) as outside:
        host = f"127.0.0.1:{outside.port}"
        await api.create(stream(namespace, importing("v1", f"{host}/team/web:v1", insecure=True)))
        async with serve(
            cluster, tmp_path, registries=[], namespaces=[namespace], imports={"allowed": [host]}
        ) as listener:
            await listener.ready()
            listener_failed = await _failed(api, namespace, listener)
    assert listener_failed == ("False", "Forbidden")
    assert inside[1] == []


async def _failed(api: Api, namespace: str, listener: Listener) -> tuple[str, str] | None:
    async def tried() -> bool:
        return await listener.metric('listener_imports_total{outcome="failed"') >= 1

    await eventually(tried)
    return await eventually(lambda: condition(api, namespace, "v1"))
