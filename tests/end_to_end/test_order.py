"""Hooks come late, twice and in the wrong order, to whichever replica: the tag ends where its registry is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest

from listener.sandbox.images import Image, make_image, push
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.objects import images, trigger, workload
from tests.end_to_end.parts import SECRET, Api, eventually, free_port, push_event, registry, serve
from tests.real_parts import DockerRegistry, NotificationEndpoint

_HOST = "registry.example.com"


def _at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.5Z"


async def test_hooks_in_any_order_and_thrice_to_two_replicas_end_with_the_last_push(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    """The registry cannot be asked here: what orders the pushes is its own time, kept with each item."""
    namespace = await cluster.namespace("order")
    found = [f"sha256:{number:064x}" for number in range(40)]
    events = [
        push_event(_HOST, f"{namespace}/web", "latest", digest) | {"timestamp": _at(number)}
        for number, digest in enumerate(found)
    ]
    deliveries = events * 3
    random.Random(7).shuffle(deliveries)  # noqa: S311 - the same disorder each time
    settings = [registry(_HOST, integrated=True, verify=False)]
    async with (
        serve(cluster, tmp_path / "one", registries=settings, namespaces=[namespace]) as one,
        serve(cluster, tmp_path / "two", registries=settings, namespaces=[namespace]) as two,
    ):
        replicas = (one, two)
        for replica in replicas:
            await replica.ready()
        slots = asyncio.Semaphore(10)

        async def deliver(number: int) -> None:
            async with slots:
                # A conflict with the other replica may outlast one request: the sender comes again.
                async def taken() -> bool:
                    return (await replicas[number % 2].deliver(deliveries[number]))[0] == 200

                await eventually(taken)

        await asyncio.gather(*(deliver(number) for number in range(len(deliveries))))
        history = await api.history(namespace, "web", "latest")
        assert history[0] == found[-1]
        assert sorted(history) == sorted(found)  # every push once
        assert history == sorted(found, reverse=True)


@pytest.mark.parametrize("replicas", [1, 2])
async def test_tag_moves_in_a_row_end_where_the_real_registry_is(
    cluster: ClusterUnderTest,
    api: Api,
    docker_registry: Callable[..., DockerRegistry],
    tmp_path: Path,
    replicas: int,
) -> None:
    """Back and forth between a few images, as fast as the registry takes them, its hooks sent to every replica."""
    namespace = await cluster.namespace("order")
    ports = [free_port() for _ in range(replicas)]
    endpoints = [
        NotificationEndpoint(f"http://127.0.0.1:{port}/hooks/team", {"Authorization": f"Bearer {SECRET}"})
        for port in ports
    ]
    real = docker_registry(*endpoints)
    repository = f"{namespace}/web"
    await api.create(workload("Deployment", namespace, "web", trigger("web:latest")))
    settings = [registry(real.host, integrated=True, insecure=True)]
    rng = random.Random(7)  # noqa: S311 - the same choices each time
    choices = [make_image(f"{namespace} {letter}") for letter in "abc"]
    pushed: list[Image] = []
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        listeners = [
            await stack.enter_async_context(
                serve(cluster, tmp_path / str(port), registries=settings, namespaces=[namespace], hooks_port=port)
            )
            for port in ports
        ]
        for listener in listeners:
            await listener.ready()
        for _ in range(60):
            image = rng.choice(choices)
            await push(session, real.url, repository, "latest", image)
            pushed.append(image)
        last = pushed[-1]

        async def settled() -> bool:
            return (await api.history(namespace, "web", "latest"))[:1] == [last.digest]

        async def confirmed() -> bool:
            """Each replica has asked the registry, a moment after the last hook."""
            asked = [await listener.metric("listener_imports_total") for listener in listeners]
            return all(count >= 1 for count in asked) and await settled()

        await eventually(settled)
        await eventually(confirmed)

        async def runs_it() -> bool:
            found = images(await api.workload("Deployment", namespace, "web"))
            return found["web"] == f"{real.host}/{repository}@{last.digest}"

        await eventually(runs_it, what="the Deployment runs what was pushed last")
        history = await api.history(namespace, "web", "latest")
        assert set(history) == {image.digest for image in pushed}
        assert all(newer != older for newer, older in pairwise(history))
