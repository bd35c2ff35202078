"""Pushes go on while the service is killed again and again: none that it acknowledged is lost, and no workload ever
runs what its tag did not say.

`LISTENER_KILLS=50` makes it 50 kills in 1,000 pushes, `LISTENER_SEED` other moments.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from listener.sandbox.images import Image, make_image, push
from listener.sandbox.registry import Registry
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.objects import PLURALS, images, path_of, trigger, workload
from tests.end_to_end.parts import SECRET, Api, eventually, free_port, push_event, registry, serve
from tests.end_to_end.test_verification import manifests

KILLS = int(os.environ.get("LISTENER_KILLS", "4"))
SEED = int(os.environ.get("LISTENER_SEED", "8"))
PUSHES_A_KILL = 20
TAGS = ("latest", "stable", "v1", "v2")
FOLLOWERS = 25  # of each tag
A_SECOND = 200  # so many patches: a kill finds some of them outstanding
CONVERGED_SECONDS = 5.0


@dataclass(slots=True)
class Sender:
    """Pushes to one tag, and delivers each hook until it is acknowledged, as registries do."""

    host: str
    repository: str
    tag: str
    images: Sequence[Image]
    hook: str
    acknowledged: list[str] = field(default_factory=list)

    async def send_all(self, session: aiohttp.ClientSession, progress: asyncio.Condition) -> None:
        for image in self.images:
            await push(session, f"http://{self.host}", self.repository, self.tag, image)
            await self._deliver(session, push_event(self.host, self.repository, self.tag, image.digest))
            self.acknowledged.append(image.digest)
            async with progress:
                progress.notify_all()

    async def _deliver(self, session: aiohttp.ClientSession, event: dict[str, object]) -> None:
        headers = {"Authorization": f"Bearer {SECRET}"}
        while True:
            # A service that was killed refuses connections, or breaks one off in the middle of a delivery.
            with contextlib.suppress(aiohttp.ClientError):
                async with session.post(self.hook, json={"events": [event]}, headers=headers) as response:
                    if response.status == 200:
                        return
                    assert response.status == 503, await response.text()
            await asyncio.sleep(0.02)


class Onlooker:
    """Sees each image that the workloads of a namespace get, in order, for as long as it looks."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self.seen: dict[tuple[str, str], list[str]] = {}

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._look(kind)) for kind in PLURALS]
            yield
            for task in tasks:
                task.cancel()

    async def _look(self, kind: str) -> None:
        listed = msgspec.json.decode(await self._api.client.get(path_of(kind, self._namespace)))
        for found in listed["items"]:
            self._note(kind, found)
        query = {"watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"]}
        while True:  # an API server ends the watch of who is slow to read, and tells the next one all that came since
            async with self._api.client.stream(path_of(kind, self._namespace), query) as lines:
                async for line in lines:
                    event = msgspec.json.decode(line)
                    found = event["object"]
                    assert event["type"] in {"ADDED", "MODIFIED"}, line
                    query["resourceVersion"] = found["metadata"]["resourceVersion"]
                    self._note(kind, found)

    def _note(self, kind: str, found: Mapping[str, Any]) -> None:
        seen = self.seen.setdefault((kind, found["metadata"]["name"]), [])
        image = images(found)["web"]
        if not seen or seen[-1] != image:
            seen.append(image)


async def test_no_acknowledged_push_is_lost_however_often_the_service_is_killed(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    namespace = await cluster.namespace("crash")
    rng = random.Random(SEED)  # noqa: S311 - chooses moments
    kinds = list(PLURALS)
    followers = {(kinds[number % len(kinds)], f"{tag}-{number}"): tag for tag in TAGS for number in range(FOLLOWERS)}
    for (kind, name), tag in followers.items():
        await api.create(workload(kind, namespace, name, trigger(f"web:{tag}", kind=kind)))
    repository, port = f"{namespace}/web", free_port()
    hook = f"http://127.0.0.1:{port}/hooks/team"
    base = make_image(namespace)
    made = manifests(base, KILLS * PUSHES_A_KILL)
    onlooker = Onlooker(api, namespace)
    progress = asyncio.Condition()
    outstanding: list[int] = []
    async with Registry() as real, aiohttp.ClientSession() as session, onlooker.looking():
        await push(session, f"http://{real.host}", repository, "base", base)
        settings: dict[str, Any] = {
            "registries": [registry(real.host, integrated=True, insecure=True)],
            "namespaces": [namespace],
            "hooks_port": port,
            "history": {"limit": len(made)},
            "fanOut": {"maxPerSecond": A_SECOND},
        }
        senders = [
            Sender(real.host, repository, tag, made[number :: len(TAGS)], hook) for number, tag in enumerate(TAGS)
        ]

        def acknowledged() -> int:
            return sum(len(sender.acknowledged) for sender in senders)

        def behind() -> int:
            """How many workloads do not run the last acknowledged image."""
            heads = {sender.tag: sender.acknowledged[-1] for sender in senders if sender.acknowledged}
            return sum(
                not onlooker.seen[key][-1].endswith(heads[tag]) for key, tag in followers.items() if tag in heads
            )

        async with asyncio.TaskGroup() as sending:
            for sender in senders:
                sending.create_task(sender.send_all(session, progress))
            # The last kill comes as soon as all are acknowledged: what is left then nobody tells us of again.
            targets = [*sorted(rng.sample(range(1, len(made)), KILLS - 1)), len(made)]
            for target in targets:
                async with serve(cluster, tmp_path, **settings) as listener:
                    async with asyncio.timeout(300), progress:
                        while acknowledged() < target:
                            await progress.wait()
                    if target < len(made):
                        await asyncio.sleep(rng.uniform(0, 0.05))  # somewhere in the fan-out
                    await listener.kill()
                    outstanding.append(behind())

        async def converged() -> bool:
            return behind() == 0

        clock = asyncio.get_running_loop().time
        restarted = clock()
        async with serve(cluster, tmp_path, **settings):
            await eventually(converged, seconds=60, what="each workload runs what its tag says")
            took = clock() - restarted
    sys.stdout.write(f"workloads behind at each kill: {outstanding}; none {took:.1f} s after the last restart\n")
    assert any(outstanding)
    assert took < CONVERGED_SECONDS
    for sender in senders:
        digests = [image.digest for image in sender.images]
        assert sender.acknowledged == digests
        assert await api.history(namespace, "web", sender.tag) == digests[::-1]
    for key, tag in followers.items():
        digests = senders[TAGS.index(tag)].acknowledged
        numbers = [digests.index(image.rpartition("@")[2]) for image in onlooker.seen[key][1:]]
        assert numbers == sorted(set(numbers)), f"{key}: went back, or ran what its tag did not say"
    assert [record.message for record in caplog.records] == []  # a client that dies is no error of the sandbox
