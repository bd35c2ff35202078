"""One tag, many workloads: all of them, none twice, nobody else; and on through kills."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

from listener.core.kinds import KINDS
from listener.core.workloads import WorkloadKey
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.objects import PLACEHOLDER, PLURALS, images, trigger, workload
from tests.end_to_end.parts import Api, Listener, eventually, push_event, registry, serve

HOST = "registry.example.com"
DIGESTS = [f"sha256:{number:064x}" for number in range(1, 6)]

Named = tuple[str, str, str]


async def _create(api: Api, names: Sequence[Named], annotation: dict[str, str | None]) -> None:
    bodies = [workload(kind, namespace, name, annotation[kind]) for kind, namespace, name in names]
    for start in range(0, len(bodies), 50):
        await asyncio.gather(*(api.create(body) for body in bodies[start : start + 50]))


async def _states(api: Api, names: Sequence[Named]) -> list[tuple[dict[str, str], int]]:
    found = await asyncio.gather(*(api.workload(*name) for name in names))
    return [(images(one), one["metadata"]["generation"]) for one in found]


async def _all_run(api: Api, names: Sequence[Named], image: str) -> bool:
    return all(found["web"] == image for found, _ in await _states(api, names))


async def _push(listener: Listener, namespace: str, digest: str) -> None:
    status, answer = await listener.deliver(push_event(HOST, f"{namespace}/web", "latest", digest))
    assert status == 200, answer


def _triggers(namespace: str) -> dict[str, str | None]:
    return {kind: trigger("web:latest", kind=kind, namespace=namespace) for kind in PLURALS}


async def test_200_workloads_in_20_namespaces_are_patched_once_and_no_other_is_touched(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespaces = [await cluster.namespace("fan") for _ in range(20)]
    home = namespaces[0]
    kinds = list(PLURALS)
    follow = [(kinds[n % 4], namespaces[n % 20], f"follows-{n}") for n in range(200)]
    other = [(kinds[n % 4], namespaces[n % 20], f"other-{n}") for n in range(40)]
    await _create(api, follow, _triggers(home))
    await _create(api, other[:20], {kind: trigger("web:stable", kind=kind, namespace=home) for kind in kinds})
    await _create(api, other[20:], dict.fromkeys(kinds))
    settings = [registry(HOST, integrated=True, verify=False)]
    async with serve(cluster, tmp_path, registries=settings, namespaces=namespaces) as listener:
        await listener.ready()
        await _push(listener, home, DIGESTS[0])
        image = f"{HOST}/{home}/web@{DIGESTS[0]}"
        await eventually(lambda: _all_run(api, follow, image), seconds=60, what="all workloads run the digest")
        await _push(listener, home, DIGESTS[0])  # the same again
        assert await listener.terminate() == 0  # drained: nothing more will come
    expected = ({"sidecar": "sidecar:1", "web": image}, 2)
    assert await _states(api, follow) == [expected] * len(follow)
    untouched = ({"sidecar": "sidecar:1", "web": PLACEHOLDER}, 1)
    assert await _states(api, other) == [untouched] * len(other)


async def test_a_service_killed_in_the_middle_converges_when_it_comes_again(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("kill")
    names = [("Deployment", namespace, f"web-{n}") for n in range(150)]
    await _create(api, names, _triggers(namespace))
    settings = [registry(HOST, integrated=True, verify=False)]
    for digest in DIGESTS[:3]:
        async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener:
            await listener.ready()
            await _push(listener, namespace, digest)
            await asyncio.sleep(random.uniform(0, 0.1))  # noqa: S311 - somewhere in the fan-out
            await listener.kill()
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]):
        image = f"{HOST}/{namespace}/web@{DIGESTS[2]}"
        await eventually(lambda: _all_run(api, names, image), seconds=60, what="all run the last digest")
    # No acknowledged push is lost, whatever was killed.
    assert await api.history(namespace, "web", "latest") == DIGESTS[2::-1]
    # Each restart may find at most what the kill left over: no workload moves more often than the tag.
    assert all(generation <= 4 for _, generation in await _states(api, names))


async def test_a_service_that_starts_late_finds_what_the_tags_say(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("late")
    names = [("StatefulSet", namespace, "web")]
    await _create(api, names, _triggers(namespace))
    settings = [registry(HOST, integrated=True, verify=False)]
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener:
        await listener.ready()
        await _push(listener, namespace, DIGESTS[0])
    await api.client.delete(f"/apis/apps/v1/namespaces/{namespace}/statefulsets/web")

    async def gone() -> bool:
        return await api.client.get_workload(KINDS[1], WorkloadKey("StatefulSet", namespace, "web")) is None

    await eventually(gone, what="the StatefulSet is gone")
    await _create(api, names, _triggers(namespace))  # while nobody listens
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]):
        image = f"{HOST}/{namespace}/web@{DIGESTS[0]}"
        await eventually(lambda: _all_run(api, names, image), what="the StatefulSet runs the digest")


async def test_a_burst_of_pushes_ends_on_the_last_and_keeps_all_in_history(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("burst")
    names = [("DaemonSet", namespace, f"web-{n}") for n in range(10)]
    await _create(api, names, _triggers(namespace))
    digests = [f"sha256:{number:064x}" for number in range(1, 41)]
    settings = [registry(HOST, integrated=True, verify=False)]
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener:
        await listener.ready()
        for start in range(0, len(digests), 8):  # some together in one envelope, as the format allows
            batch = [push_event(HOST, f"{namespace}/web", "latest", d) for d in digests[start : start + 8]]
            status, answer = await listener.deliver(*batch)
            assert (status, len(answer["moved"])) == (200, 8)
        image = f"{HOST}/{namespace}/web@{digests[-1]}"
        await eventually(lambda: _all_run(api, names, image), what="all run the last digest")
    assert await api.history(namespace, "web", "latest") == digests[::-1]


async def test_a_trigger_that_comes_later_is_followed_and_one_that_goes_is_forgotten(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("learn")
    settings = [registry(HOST, integrated=True, verify=False)]
    web, witness = ("Deployment", namespace, "web"), ("Deployment", namespace, "witness")
    async with serve(cluster, tmp_path, registries=settings, namespaces=[namespace]) as listener:
        await listener.ready()
        await _push(listener, namespace, DIGESTS[0])
        await _create(api, [web, witness], _triggers(namespace))
        first = f"{HOST}/{namespace}/web@{DIGESTS[0]}"
        await eventually(lambda: _all_run(api, [web, witness], first), what="the new Deployments run the digest")
        remove = [{"op": "remove", "path": "/metadata/annotations/image.openshift.io~1triggers"}]
        outcome = await api.client.patch_workload(KINDS[0], WorkloadKey(*web), remove)
        assert outcome.end == "applied"

        async def forgotten() -> bool:
            return await listener.metric('listener_workloads{kind="Deployment"}') == 1

        await eventually(forgotten, what="the service has seen the annotation go")
        await _push(listener, namespace, DIGESTS[1])
        second = f"{HOST}/{namespace}/web@{DIGESTS[1]}"
        await eventually(lambda: _all_run(api, [witness], second), what="the witness runs the second digest")
        assert await listener.terminate() == 0
    assert await _all_run(api, [web], first)
