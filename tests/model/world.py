"""A cluster, a registry and the service in one process, and the ways in which life goes wrong for them.

Everything talks over real loopback connections. What the registry tells goes to a post office first, which delivers
when it is told to: late, twice, in another order, or never. The service can be stopped, and it can die.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

import aiohttp
from aiohttp import web

from listener import app, settings
from listener.app import Service
from listener.cli.playground import install_image_streams
from listener.edges.cluster import STREAMS_PATH
from listener.edges.cluster import Cluster as Client
from listener.sandbox.cluster import Cluster
from listener.sandbox.images import Image, make_image, push
from listener.sandbox.registry import Registry

NAMESPACE: Final = "shop"
_SECRET: Final = "a secret of the model"
_PATIENCE_SECONDS: Final = 60
_TRIES: Final = 200

_life: ContextVar[WeakSet[asyncio.Task[Any]] | None] = ContextVar("life", default=None)


@dataclass(frozen=True, slots=True)
class Letter:
    """What the registry told of one push."""

    repository: str
    tag: str
    digest: str
    event: Mapping[str, Any]


class World:
    """`folder` is for a kubeconfig and a secret."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = AsyncExitStack()
        self.sandbox = Cluster(settle_seconds=0.02)
        self.registry = Registry()
        self.letters: list[Letter] = []
        self._told = asyncio.Event()
        self._pushed: set[tuple[str, str]] = set()
        self._service: Service | None = None
        self._client: Client | None = None
        self._tasks: WeakSet[asyncio.Task[Any]] = WeakSet()

    @property
    def is_served(self) -> bool:
        return self._service is not None

    async def start(self) -> None:
        asyncio.get_running_loop().set_task_factory(_note_task)
        self._session = await self._stack.enter_async_context(aiohttp.ClientSession())
        await self._stack.enter_async_context(self.sandbox)
        await self._stack.enter_async_context(self.registry)
        (self._folder / "kubeconfig").write_text(self.sandbox.kubeconfig())
        (self._folder / "secret").write_text(_SECRET)
        async with await Client.connect(kubeconfig=str(self._folder / "kubeconfig")) as client:
            await install_image_streams(client)
        await self.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        self.registry.notify(await self._open_post_office(), {})

    async def close(self) -> None:
        await self.stop()
        await self._stack.aclose()

    # The service

    async def serve(self) -> None:
        """Begin a life of the service, and wait until it knows the cluster."""
        self._tasks = WeakSet()
        token = _life.set(self._tasks)
        try:
            found = self._settings()
            self._client = await app.connect(found, kubeconfig=str(self._folder / "kubeconfig"), context=None)
            self._service = Service(found, self._client)
            await self._service.start()
        finally:
            _life.reset(token)

    async def ready(self) -> None:
        assert self._service is not None
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await self._service.ready()

    async def stop(self) -> None:
        """As SIGTERM does."""
        service, client, self._service, self._client = self._service, self._client, None, None
        if service and client:
            await service.stop()
            await client.close()

    async def die(self) -> None:
        """As SIGKILL does: nothing is finished, and nothing is sent any more. What was sent may still arrive."""
        service, client, self._service, self._client = self._service, self._client, None, None
        if service is None or client is None:
            return
        while alive := [task for task in self._tasks if not task.done()]:
            for task in alive:
                task.cancel()
            await asyncio.gather(*alive, return_exceptions=True)
        await service._clients.aclose()
        for server in service._servers.values():
            await server.close()
        await client.close()

    def queued(self) -> int:
        """How much the service has to do now."""
        state, importer = (self._service._state, self._service._importer) if self._service else (None, None)
        return len(state.queue) + len(state.stream_queue) + len(importer) if state and importer else 0

    def _settings(self) -> settings.Settings:
        registry = settings.Registry(
            name="team",
            host=self.registry.host,
            dialect="distribution",
            auth=settings.Auth(bearer=settings.SecretSource(secret_file=str(self._folder / "secret"))),
            integrated=True,
            insecure=True,
        )
        return settings.Settings(
            listen=settings.Listen(hooks="127.0.0.1:0", monitoring="127.0.0.1:0"),
            registries=(registry,),
            namespaces=(NAMESPACE,),
            imports=settings.Imports(
                interval="1s",
                min_interval="1s",
                max_interval="1s",
                per_host=settings.PerHost(rate=1000, burst=1000),
            ),
            leader_election=settings.LeaderElection(enabled=False),
        )

    # The registry

    async def push(self, repository: str, tag: str, seed: str) -> Letter:
        """Push an image, and return what the registry tells of it; nobody is told yet."""
        image = make_image(seed)
        self._told.clear()
        if (repository, seed) in self._pushed:
            await self._put_manifest(repository, tag, image)
        else:
            await push(self._session, f"http://{self.registry.host}", repository, tag, image)
            self._pushed.add((repository, seed))
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await self._told.wait()
        return self.letters.pop()

    async def _put_manifest(self, repository: str, tag: str, image: Image) -> None:
        url = f"http://{self.registry.host}/v2/{repository}/manifests/{tag}"
        headers = {"Content-Type": image.media_type}
        async with self._session.put(url, data=image.manifest, headers=headers) as response:
            assert response.status == 201

    async def deliver(self, letter: Letter) -> int:
        """Deliver a letter, and return what it was answered; 0 for nothing."""
        if self._service is None:
            return 0
        url = f"http://127.0.0.1:{self._service.hooks_port}/hooks/team"
        headers = {"Authorization": f"Bearer {_SECRET}"}
        try:
            async with self._session.post(url, json={"events": [letter.event]}, headers=headers) as response:
                await response.read()
                return response.status
        except aiohttp.ClientError:
            return 0

    async def _open_post_office(self) -> str:
        async def take(request: web.Request) -> web.Response:
            for event in (await request.json())["events"]:
                target = event["target"]
                if event["action"] == "push" and "tag" in target:
                    self.letters.append(Letter(target["repository"], target["tag"], target["digest"], event))
                    self._told.set()
            return web.Response()

        office = web.Application()
        office.add_routes([web.post("/", take)])
        runner = web.AppRunner(office, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}/"

    # The cluster, as its people see it

    async def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> tuple[int, Any]:
        """Ask the API as a person does, who tries again on a bad day; return the status and the answer.

        409, 422 and 404 are answers.
        """
        headers = {"Authorization": f"Bearer {self.sandbox.token}", "Content-Type": content_type}
        data = None if body is None else json.dumps(body).encode()
        for _ in range(_TRIES):
            try:
                async with self._session.request(
                    method, self.sandbox.url + path, data=data, headers=headers
                ) as response:
                    answer = await response.json()
                    if response.status == 409 and "sandbox" not in str(answer.get("message")):
                        return response.status, answer
                    if response.status < 400 or response.status in (404, 422):
                        return response.status, answer
            except aiohttp.ClientError:
                pass
        raise AssertionError(f"{method} {path} did not get through")

    async def stream(self, name: str) -> dict[str, Any]:
        _, found = await self.request("GET", f"{STREAMS_PATH}/namespaces/{NAMESPACE}/imagestreams/{name}")
        answer: dict[str, Any] = found
        return answer


def _note_task(loop: asyncio.AbstractEventLoop, work: Any, /, **options: Any) -> asyncio.Task[Any]:
    """Make a task as usual, and remember in whose life it began."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    life = _life.get()
    if life is not None:
        life.add(task)
    return task
