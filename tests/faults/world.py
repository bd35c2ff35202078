"""Where a scenario plays, and how it is tried: on the true program, and on one from which something was taken out."""

from __future__ import annotations

import asyncio
import os
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from listener.edges.cluster import STREAMS_PATH, Cluster
from listener.sandbox.cluster import Cluster as Sandbox
from listener.sandbox.cluster import Faults
from listener.sandbox.cluster.store import Change, Collection
from tests.cluster_under_test import ClusterUnderTest, running_cluster
from tests.end_to_end import objects
from tests.end_to_end.parts import Api, Listener, eventually, push_event, registry, serve
from tests.faults.line import Line, to_cluster

HOST = "registry.example.com"
DIGESTS = [f"sha256:{number:064x}" for number in range(1, 9)]

PATIENCE_SECONDS = 30.0
_LONGER_SECONDS = 1.5

Look = Callable[[], Awaitable[object]]


class BrokenPromise(AssertionError):
    """What was promised is not so."""


@dataclass(frozen=True, slots=True)
class Program:
    """The service: without what a mutation takes out ("": the true one), and with shorter waits.

    `breaks` is the promise that cannot be kept without that: a pattern that is found in the words of it.
    """

    without: str = ""
    breaks: str = ""
    shorter: Sequence[str] = ()

    @property
    def module(self) -> str:
        return "tests.faults.mutant" if self.without or self.shorter else "listener"

    @property
    def env(self) -> dict[str, str]:
        return {"LISTENER_MUTATION": self.without, "LISTENER_SHORTER": ",".join(self.shorter)}


@dataclass(slots=True)
class World:
    """A cluster of its own, with one namespace, and the line by which the service reaches it.

    `api` is our own way to the cluster, past the line. `images` are those that the container `web` of each Deployment
    has had, oldest first.
    """

    folder: Path
    program: Program
    cluster: ClusterUnderTest
    sandbox: Sandbox
    api: Api
    namespace: str
    line: Line
    through_the_line: ClusterUnderTest
    truth: asyncio.Event
    images: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def faults(self) -> Faults:
        return self.sandbox.faults

    # What is promised

    def promise(self, holds: object, what: str) -> None:
        if not holds:
            raise BrokenPromise(what)

    async def until(self, look: Look, what: str) -> None:
        """Wait for what is to come. The true program is given its time, and a mutant too, for what it does not break;
        for what it breaks it is given a little longer than the true one took.
        """
        clock = asyncio.get_running_loop().time
        breaks = self.program.breaks and re.search(self.program.breaks, what)
        started, judged, seen = clock(), None, None
        while not (seen := await look()):
            now = clock()
            if breaks and self.truth.is_set():
                judged = judged or now + _LONGER_SECONDS
            if now > started + PATIENCE_SECONDS or (judged and now > judged):
                raise BrokenPromise(f"{what}; last seen: {seen!r}")
            await asyncio.sleep(0.02)

    async def until_runs(self, name: str, digest: str, *, stream: str = "web") -> None:
        async def runs() -> bool:
            return await self.image(name) == self.pull_spec(digest, stream)

        await self.until(runs, f"{name} runs {digest}")

    async def until_all_run(self, digest: str) -> None:
        async def all_run() -> bool:
            return all(image == self.pull_spec(digest) for image in (await self.running()).values())

        await self.until(all_run, f"all run {digest}")

    # What there is

    def pull_spec(self, digest: str, stream: str = "web") -> str:
        return f"{HOST}/{self.namespace}/{stream}@{digest}"

    async def deploy(self, *names: str, tag: str = "web:latest") -> None:
        """Create Deployments that follow a tag."""
        bodies = [objects.workload("Deployment", self.namespace, name, objects.trigger(tag)) for name in names]
        await asyncio.gather(*(self.api.create(body) for body in bodies))

    async def image(self, name: str) -> str:
        return objects.images(await self.api.workload("Deployment", self.namespace, name))["web"]

    async def running(self) -> dict[str, str]:
        """The image of each Deployment."""
        found = msgspec.json.decode(await self.api.client.get(objects.path_of("Deployment", self.namespace)))
        return {one["metadata"]["name"]: objects.images(one)["web"] for one in found["items"]}

    async def generations(self) -> set[int]:
        """Of all Deployments: 1 is as they were made."""
        found = msgspec.json.decode(await self.api.client.get(objects.path_of("Deployment", self.namespace)))
        return {one["metadata"]["generation"] for one in found["items"]}

    async def count(self, digest: str) -> int:
        """How many Deployments run it."""
        return list((await self.running()).values()).count(self.pull_spec(digest))

    async def told_of_streams(self, listener: Listener, *, left: int) -> None:
        """Wait until the service was told what became of streams of which so many are left. Two more, which it is told
        of later than of all that was before, make it sure: without them a deletion cannot be seen by counting.
        """
        metadata = {"namespace": self.namespace}
        for name in ("later", "latest"):
            stream = {
                "apiVersion": "image.openshift.io/v1",
                "kind": "ImageStream",
                "metadata": {**metadata, "name": name},
            }
            await self.api.create(stream)

        async def told() -> bool:
            return await listener.metric("listener_streams ") >= left + 2

        await eventually(told, what="the service is told of streams")

    async def make_history(self, changes: int = 200) -> None:
        """Let so many resourceVersions pass."""
        path = f"/api/v1/namespaces/{self.namespace}/configmaps"
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "history", "namespace": self.namespace}}
        for _ in range(changes // 2):
            assert (await self.api.client.create(path, body)).end == "applied"
            assert (await self.api.client.delete(f"{path}/history")).end == "applied"

    async def delete_stream(self, name: str) -> None:
        outcome = await self.api.client.delete(f"{STREAMS_PATH}/namespaces/{self.namespace}/imagestreams/{name}")
        assert outcome.end == "applied", outcome

    async def push(self, listener: Listener, digest: str, *, stream: str = "web") -> None:
        """Tell of a push; it is acknowledged."""
        status, answer = await listener.deliver(push_event(HOST, f"{self.namespace}/{stream}", "latest", digest))
        assert status == 200, answer

    def serve(self, name: str = "serve", **settings: Any) -> AbstractAsyncContextManager[Listener]:
        """Run the service, by way of the line."""
        return serve(
            self.through_the_line,
            self.folder / name,
            **{
                "registries": [registry(HOST, integrated=True, verify=False)],
                "namespaces": [self.namespace],
                "module": self.program.module,
                "env": self.program.env,
                **settings,
            },
        )

    def note(self, collection: Collection, change: Change) -> None:
        """Note an image that is new."""
        if collection.storage != ("apps", "deployments"):
            return
        seen, image = self.images[change.entry.name], objects.images(change.entry.decode())["web"]
        if not seen or seen[-1] != image:
            seen.append(image)


Scenario = Callable[[World], Awaitable[None]]


@asynccontextmanager
async def world(folder: Path, program: Program, truth: asyncio.Event, **sandbox_options: Any) -> AsyncIterator[World]:
    folder.mkdir()
    async with Sandbox(port=0, **sandbox_options) as sandbox:
        kubeconfig, through_the_line = folder / "kubeconfig", folder / "kubeconfig.line"
        kubeconfig.write_text(sandbox.kubeconfig())
        async with (
            running_cluster(kubeconfig, sandbox) as cluster,
            await Cluster.connect(kubeconfig=str(kubeconfig)) as client,
            to_cluster(kubeconfig, through_the_line) as line,
        ):
            found = World(
                folder,
                program,
                cluster,
                sandbox,
                Api(client, cluster),
                await cluster.namespace("fault"),
                line,
                replace(cluster, kubeconfig=through_the_line),
                truth,
            )
            sandbox.observe(found.note)
            try:
                yield found
            finally:
                sandbox.faults.clear()
                line.mend()


async def tried(
    scenario: Scenario,
    *,
    without: Mapping[str, str],
    folder: Path,
    shorter: Sequence[str] = (),
    **sandbox_options: Any,
) -> None:
    """Play a scenario on the true program, and at the same time on each that is `without` something.

    The first keeps its promises. `without` maps each mutation to the promise that it breaks, as a pattern. Of several
    only the first is tried, unless `LISTENER_MUTANTS` is `all`.
    """
    truth = asyncio.Event()
    mutants = list(without.items())[: None if os.environ.get("LISTENER_MUTANTS") == "all" else 1]

    async def play(program: Program) -> None:
        async with world(folder / (program.without or "true"), program, truth, **sandbox_options) as found:
            await scenario(found)

    async def hold() -> None:
        await play(Program(shorter=shorter))
        truth.set()

    async def bite(mutation: str, breaks: str) -> None:
        try:
            await play(Program(mutation, breaks, shorter))
        except BrokenPromise as broken:
            assert re.search(breaks, str(broken)), f"{mutation} breaks another promise than {breaks!r}: {broken}"  # noqa: PT017
            return
        raise AssertionError(f"the fault does not bite: {mutation}, and the promise was kept")

    plays = [asyncio.create_task(hold(), name="true")]
    plays += [asyncio.create_task(bite(mutation, breaks), name=mutation) for mutation, breaks in mutants]
    try:
        await asyncio.gather(*plays)
    finally:
        for each in plays:
            each.cancel()
        await asyncio.gather(*plays, return_exceptions=True)
