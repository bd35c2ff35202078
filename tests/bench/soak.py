"""A long run: pushes at a steady rate, workloads and streams that come and go, faults now and then.

Memory, tasks, open sockets and queues must stay flat; at the end every workload must run what its tag says, and every
acknowledged push be in the history. `wrong` names what did not hold; the program then ends with 1.

Each application is a stream with some Deployments that follow it. All names are used once, so that whatever is
remembered by name for ever shows. On a sandbox the API server has bad moments of its own besides those of the line to
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml

from listener.core.outcomes import End
from listener.edges.cluster import STREAMS_PATH
from listener.errors import ListenerError
from listener.sandbox.images import MANIFEST_TYPE, Image, make_image, push
from listener.sandbox.registry import Registry
from tests.bench.flatness import Course
from tests.bench.world import SECRET, Service, World, deployment, service, until
from tests.faults.line import Line, to_cluster

_FOLLOWERS = 10  # of each application
_PUSHES_A_SECOND = 10
_NEW_WORKLOAD_SECONDS = 0.5
_NEW_APPLICATION_SECONDS = 10
_CALM_SECONDS, _STORM_SECONDS = 8, 2
FEWEST_MINUTES = 5
_SAMPLES = 90
_HISTORY = 20
_CONVERGED_SECONDS = 60
_SETTINGS = {"history": {"limit": _HISTORY}, "imports": {"interval": "30s", "minInterval": "10s"}}

# How much more of each there may be in the end: a share, and so many more in its own unit.
_QUEUES = ("workloads", "streams", "imports", "events")
_LIMITS = {
    "memory_mib": (0.0, 3.0),
    "tasks": (0.0, 10.0),
    "sockets": (0.0, 10.0),
    **dict.fromkeys(_QUEUES, (0.0, 20.0)),
}


@dataclass
class Application:
    """`heads` are the digests whose pushes were acknowledged, oldest first."""

    name: str
    followers: list[str]
    heads: list[str] = field(default_factory=list)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # one push at a time, and none when it goes


class Soak:
    """Everything that happens, until it is told to stop."""

    def __init__(self, world: World, session: aiohttp.ClientSession, registry: Registry, hook: str) -> None:
        self._world = world
        self._session = session
        self._registry = registry
        self._hook = hook
        self._numbers = itertools.count()
        self._rng = random.Random(8)  # noqa: S311 - the same course each time
        self._base = make_image(world.namespace)
        self.applications: list[Application] = []
        self.pushes = 0
        self.deferred = 0

    async def prepare(self, applications: int) -> None:
        for _ in range(applications):
            await self._add()

    async def run(self, seconds: float) -> None:
        async with asyncio.TaskGroup() as doing:
            for every, act in (
                (1 / _PUSHES_A_SECOND, self._push),
                (_NEW_WORKLOAD_SECONDS, self._replace_workload),
                (_NEW_APPLICATION_SECONDS, self._replace_application),
            ):
                doing.create_task(_steadily(every, act, seconds))

    async def _add(self) -> None:
        found = Application(f"app-{next(self._numbers)}", [])
        await push(self._session, f"http://{self._registry.host}", self._repository(found), "base", self._base)
        for _ in range(_FOLLOWERS):
            found.followers.append(await self._create_follower(found))
        self.applications.append(found)

    async def _push(self) -> None:
        found = self._rng.choice(self.applications)
        async with found.turn:
            if found not in self.applications:
                return
            manifest = json.loads(self._base.manifest) | {"annotations": {"number": str(next(self._numbers))}}
            image = Image(MANIFEST_TYPE, json.dumps(manifest).encode(), {})
            url, repository = f"http://{self._registry.host}", self._repository(found)
            await push(self._session, url, repository, "latest", image)
            await self._deliver(repository, image.digest)
            found.heads.append(image.digest)
            self.pushes += 1

    async def _deliver(self, repository: str, digest: str) -> None:
        event = {
            "id": secrets.token_hex(8),
            "action": "push",
            "target": {"mediaType": MANIFEST_TYPE, "digest": digest, "repository": repository, "tag": "latest"},
            "request": {"host": self._registry.host, "method": "PUT"},
        }
        headers = {"Authorization": f"Bearer {SECRET}"}
        while True:
            async with self._session.post(self._hook, json={"events": [event]}, headers=headers) as response:
                if response.status == 200:
                    return
                if response.status != 503:
                    raise RuntimeError(f"a push was answered {response.status}: {await response.text()}")
            self.deferred += 1
            await asyncio.sleep(0.2)

    async def _replace_workload(self) -> None:
        found = self._rng.choice(self.applications)
        async with found.turn:
            if found in self.applications:
                await self._delete(self._deployments(found.followers.pop(0)))
                found.followers.append(await self._create_follower(found))

    async def _replace_application(self) -> None:
        found = self.applications.pop(0)
        async with found.turn:
            for name in found.followers:
                await self._delete(self._deployments(name))
            await self._delete(self._streams(found.name))
        await self._add()

    async def _create_follower(self, found: Application) -> str:
        name = f"web-{next(self._numbers)}"
        body = deployment(name, self._world.namespace, f"{found.name}:latest", "nothing-yet")

        async def created() -> bool:
            end = (await self._world.client.create(self._deployments(), body)).end
            return end is End.APPLIED or (end is End.STALE and await self._exists(self._deployments(name)))

        await until(created, every_seconds=0.2)
        return name

    async def _exists(self, path: str) -> bool:
        """Whether it was made by us, and the answer did not come: in a storm not every 409 is true."""
        try:
            return await self._world.client.find(path, bytes) is not None
        except ListenerError:
            return False

    async def _delete(self, path: str) -> None:
        async def gone() -> bool:
            return (await self._world.client.delete(path)).end in {End.APPLIED, End.GONE}

        await until(gone, every_seconds=0.2)

    def _repository(self, found: Application) -> str:
        return f"{self._world.namespace}/{found.name}"

    def _deployments(self, name: str = "") -> str:
        return f"/apis/apps/v1/namespaces/{self._world.namespace}/deployments" + (f"/{name}" if name else "")

    def _streams(self, name: str) -> str:
        return f"{STREAMS_PATH}/namespaces/{self._world.namespace}/imagestreams/{name}"

    async def behind(self) -> list[str]:
        """The workloads that do not run what their tag says."""
        found = msgspec.json.decode(await self._world.client.get(self._deployments()))["items"]
        image = {each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0]["image"] for each in found}
        return [
            name
            for application in self.applications
            if application.heads
            for name in application.followers
            if not image.get(name, "").endswith(application.heads[-1])
        ]

    async def lost(self) -> list[str]:
        """The applications whose history is not what was acknowledged."""
        found = []
        for application in self.applications:
            if application.heads:
                stream = msgspec.json.decode(await self._world.client.get(self._streams(application.name)))
                (tag,) = (tag for tag in stream["status"]["tags"] if tag["tag"] == "latest")
                if [item["image"] for item in tag["items"]] != application.heads[: -_HISTORY - 1 : -1]:
                    found.append(application.name)
        return found


async def run(world: World, applications: int, *, minutes: float, is_sandbox: bool) -> dict[str, object]:
    seconds = minutes * 60
    async with (
        Registry() as registry,
        aiohttp.ClientSession() as session,
        _lined(world) as (reached, line),
        service(reached, host=registry.host, **_SETTINGS) as running,
    ):
        soak = Soak(world, session, registry, f"{running.hooks}/hooks/bench")
        await soak.prepare(applications)
        storms = [*_line_storms(line), *(_sandbox_storms(world, session) if is_sandbox else ())]
        samples: dict[str, list[float]] = {name: [] for name in _LIMITS}
        async with asyncio.TaskGroup() as around:
            endless = [
                around.create_task(_weather(storms)),
                around.create_task(_measure(running, samples, seconds / _SAMPLES)),
            ]
            await soak.run(seconds)
            for task in endless:
                task.cancel()
        line.mend()
        behind = await _settled(soak)
        lost = await soak.lost()
    courses = {name: Course(found, *_LIMITS[name]) for name, found in samples.items()}
    wrong = [f"{name} grows" for name, course in courses.items() if not course.is_flat]
    wrong += [f"{name} does not run what its tag says" for name in behind]
    wrong += [f"the history of {name} is not what was acknowledged" for name in lost]
    return {
        "bench": "soak",
        "minutes": minutes,
        "pushes": soak.pushes,
        "answered_503": soak.deferred,
        **{name: [round(course.before, 1), round(course.after, 1)] for name, course in courses.items()},
        "wrong": wrong,
    }


async def _measure(running: Service, samples: Mapping[str, list[float]], every_seconds: float) -> None:
    while True:
        samples["memory_mib"].append(running.memory_mib())
        samples["tasks"].append(await running.metric("listener_tasks "))
        samples["sockets"].append(_sockets(running.pid))
        for queue in _QUEUES:
            samples[queue].append(await running.metric(f'listener_queue_depth{{queue="{queue}"}}'))
        await asyncio.sleep(every_seconds)


def _sockets(pid: int) -> int:
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += str(descriptor.readlink()).startswith("socket:")
    return found


async def _steadily(every_seconds: float, act: Callable[[], Coroutine[Any, Any, None]], seconds: float) -> None:
    """Begin one at each beat, whether or not the last is done; return when all are."""
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    due = clock()
    async with asyncio.TaskGroup() as acting:
        while (due := due + every_seconds) < end:
            await asyncio.sleep(due - clock())
            acting.create_task(act())


async def _settled(soak: Soak) -> Sequence[str]:
    with contextlib.suppress(TimeoutError):
        await until(lambda: _none_behind(soak), every_seconds=0.5, patience_seconds=_CONVERGED_SECONDS)
    return await soak.behind()


async def _none_behind(soak: Soak) -> bool:
    return not await soak.behind()


# --- bad moments

Storm = Callable[[bool], Awaitable[None]]  # begins with True, ends with False


async def _weather(storms: Sequence[Storm]) -> None:
    for storm in itertools.cycle(storms):
        await asyncio.sleep(_CALM_SECONDS)
        await storm(True)
        try:
            await asyncio.sleep(_STORM_SECONDS)
        finally:
            await storm(False)


@asynccontextmanager
async def _lined(world: World) -> AsyncIterator[tuple[World, Line]]:
    """The world, with a line between the service and the API server."""
    kubeconfig = world.folder / "line.kubeconfig"
    async with to_cluster(world.kubeconfig, kubeconfig) as line:
        yield replace(world, kubeconfig=kubeconfig), line


def _line_storms(line: Line) -> list[Storm]:
    def storm(begin: Callable[[], None]) -> Storm:
        async def act(begins: bool) -> None:
            (begin if begins else line.mend)()

        return act

    return [storm(act) for act in (line.reset, line.cut, line.halve, lambda: line.delay(0.3))]


def _sandbox_storms(world: World, session: aiohttp.ClientSession) -> list[Storm]:
    cluster = yaml.safe_load(world.kubeconfig.read_text())
    url = cluster["clusters"][0]["cluster"]["server"] + "/sandbox/faults"
    headers = {"Authorization": f"Bearer {cluster['users'][0]['user']['token']}"}

    def storm(*faults: Mapping[str, Any]) -> Storm:
        async def act(begins: bool) -> None:
            plan = {"faults": faults if begins else ()}
            async with session.put(url, json=plan, headers=headers) as response:
                response.raise_for_status()

        return act

    half = {"probability": 0.5}
    return [
        storm({"fault": "throttle", **half}),
        storm({"fault": "error", **half}),
        storm({"fault": "conflict", **half}),
        storm({"fault": "expired-event"}),
        storm({"fault": "reset", **half}),
    ]
