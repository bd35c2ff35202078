"""What hooks say is checked with the real registry: with its early events, while it is away, and wherever it leads."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from listener.sandbox.images import Image, make_image, push
from tests.cluster_under_test import ClusterUnderTest
from tests.edges.fake_registry import Registry as FakeRegistry
from tests.edges.fake_registry import manifest, running
from tests.edges.test_registry_network import redirect
from tests.end_to_end.parts import MANIFEST_TYPE, SECRET, Api, eventually, free_port, push_event, registry, serve
from tests.real_parts import DockerRegistry, NotificationEndpoint
from tests.real_parts import docker_registry as run_docker_registry

MOVES = 1000
TAGS = ("latest", "stable", "v1", "v2")
MISSING = f"sha256:{'0' * 64}"


def manifests(image: Image, count: int) -> list[Image]:
    """As many images of the same layers, told apart by an annotation."""
    found = json.loads(image.manifest)
    return [
        Image(MANIFEST_TYPE, json.dumps({**found, "annotations": {"number": str(number)}}).encode(), {})
        for number in range(count)
    ]


async def test_a_thousand_tag_moves_in_a_row_end_where_the_real_registry_is(
    cluster: ClusterUnderTest,
    api: Api,
    docker_registry: Callable[..., DockerRegistry],
    tmp_path: Path,
) -> None:
    """As fast as the registry takes them; it tells of each before it moves the tag, and of our own look-ups too."""
    namespace = await cluster.namespace("verified")
    port = free_port()
    endpoint = NotificationEndpoint(f"http://127.0.0.1:{port}/hooks/team", {"Authorization": f"Bearer {SECRET}"})
    real = docker_registry(endpoint)
    repository = f"{namespace}/web"
    base = make_image(namespace)
    images = manifests(base, MOVES)
    rng = random.Random(7)  # noqa: S311 - the same choices each time
    pushed: dict[str, list[str]] = {tag: [] for tag in TAGS}
    settings = [registry(real.host, integrated=True, insecure=True)]
    async with (
        aiohttp.ClientSession() as session,
        serve(
            cluster,
            tmp_path,
            registries=settings,
            namespaces=[namespace],
            hooks_port=port,
            history={"limit": 15},  # every write stores all of it
        ) as listener,
    ):
        await listener.ready()
        await push(session, real.url, repository, "base", base)
        for image in images:
            tag = rng.choice(TAGS)
            await push(session, real.url, repository, tag, image)
            pushed[tag].append(image.digest)
        # The registry delivers in order: with this one all the others were dealt with.
        await push(session, real.url, repository, "barrier", base)

        async def is_through() -> list[str]:
            return await api.history(namespace, "web", "barrier")

        await eventually(is_through, seconds=90, what="the last hook is stored")
        before = await listener.metric("listener_imports_total")

        async def is_confirmed() -> bool:
            return await listener.metric("listener_imports_total") > before

        histories = {tag: await api.history(namespace, "web", tag) for tag in TAGS}
        assert {tag: found[0] for tag, found in histories.items()} == {tag: all_[-1] for tag, all_ in pushed.items()}
        for tag, found in histories.items():
            numbers = [pushed[tag].index(digest) for digest in found]
            assert numbers == sorted(set(numbers), reverse=True), f"{tag}: not in the order of pushes"
            assert len(numbers) > 5  # those are left out that the importer overtook
        await eventually(is_confirmed, what="the tag was looked up after its hook")
        for tag in TAGS:
            assert await api.history(namespace, "web", tag) == histories[tag]
        assert listener.logged("hook.bug") == []


class Switched:
    """A docker-registry that can be stopped, and comes back where it was with what it had."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.host = f"127.0.0.1:{self._port}"
        self._running: Any = None

    def start(self) -> None:
        self._running = run_docker_registry(self._folder, port=self._port)
        self._running.__enter__()

    def stop(self) -> None:
        if self._running:
            self._running.__exit__(None, None, None)
        self._running = None


@pytest.fixture
def switched(tmp_path_factory: pytest.TempPathFactory) -> Any:
    found = Switched(tmp_path_factory.mktemp("docker-registry"))
    found.start()
    yield found
    found.stop()


async def test_while_the_registry_is_down_its_hooks_are_answered_503(
    cluster: ClusterUnderTest, api: Api, switched: Switched, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("down")
    repository = f"{namespace}/web"
    first, second = (make_image(f"{namespace} {number}") for number in (1, 2))
    settings = [registry(switched.host, integrated=True, insecure=True)]
    async with (
        aiohttp.ClientSession() as session,
        serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener,
    ):
        await listener.ready()
        for tag, image in (("latest", first), ("v2", second)):
            await push(session, f"http://{switched.host}", repository, tag, image)
        status, answer = await listener.deliver(push_event(switched.host, repository, "latest", first.digest))
        assert (status, answer["outcome"]) == (200, "moved")
        event = push_event(switched.host, repository, "v2", second.digest)

        switched.stop()
        status, headers, answer = await listener.deliver_once(event)
        assert status == 503
        assert int(headers["Retry-After"]) >= 1
        assert f"{switched.host}/{repository}:v2 cannot be confirmed" in answer["error"]
        assert await api.history(namespace, "web", "v2") == []
        # What moves nothing needs no word of the registry.
        status, answer = await listener.deliver(push_event(switched.host, repository, "latest", first.digest))
        assert (status, answer["outcome"]) == (200, "unchanged")

        switched.start()
        status, answer = await listener.deliver(event)
        assert (status, answer["outcome"]) == (200, "moved")
        assert await api.history(namespace, "web", "v2") == [second.digest]

        # What it never had is not repeated for ever.
        status, answer = await listener.deliver(push_event(switched.host, repository, "latest", MISSING))
        assert (status, answer["outcome"]) == (200, "refused")
        assert "does not have it" in answer["refused"][0]["why"]
        assert await api.history(namespace, "web", "latest") == [first.digest]

        async def is_told() -> list[dict[str, Any]]:
            return [event for event in await api.events(namespace, "PushRefused") if MISSING in event["message"]]

        await eventually(is_told, what="an Event on the stream")


async def test_a_hook_that_is_believed_meanwhile_is_corrected_by_the_registry(
    cluster: ClusterUnderTest, api: Api, switched: Switched, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("believed")
    repository = f"{namespace}/web"
    image = make_image(namespace)
    settings = [registry(switched.host, integrated=True, insecure=True, whenUnreachable="believe")]
    async with (
        aiohttp.ClientSession() as session,
        serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener,
    ):
        await listener.ready()
        await push(session, f"http://{switched.host}", repository, "latest", image)
        switched.stop()
        status, answer = await listener.deliver(push_event(switched.host, repository, "latest", MISSING))
        assert (status, answer["outcome"]) == (200, "moved")
        assert await api.history(namespace, "web", "latest") == [MISSING]
        switched.start()

        async def is_corrected() -> bool:
            return await api.history(namespace, "web", "latest") == [image.digest, MISSING]

        await eventually(is_corrected, seconds=40, what="the tag is where the registry has it")


async def test_a_registry_cannot_send_our_look_ups_to_loopback(cluster: ClusterUnderTest, tmp_path: Path) -> None:
    """Nor to the cloud's metadata service: where it redirects to is judged by the address, whatever its name."""
    namespace = await cluster.namespace("redirected")
    outer, inner = FakeRegistry(), FakeRegistry()
    repository = f"{namespace}/web"
    digest = inner.push(repository, "latest", manifest("inner"))
    async with running(outer), running(inner):
        settings = [registry(outer.host, integrated=True, insecure=True)]
        port = inner.host.rpartition(":")[2]
        async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener:
            await listener.ready()
            path = f"/v2/{repository}/manifests/{digest}"
            for host in (inner.host, f"localhost:{port}", f"[::ffff:7f00:1]:{port}", f"x@0x7f.1:{port}"):
                outer.instead = redirect(f"http://{host}{path}", path=path)
                status, answer = await listener.deliver(push_event(outer.host, repository, "latest", digest))
                assert (status, answer["outcome"]) == (200, "refused"), host
                assert "no public address" in answer["refused"][0]["why"]
    assert outer.seen
    assert inner.seen == []
