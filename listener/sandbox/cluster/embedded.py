"""The embedded cluster: a Kubernetes API on loopback that real clients can use, for a demo, a test or a bench.

Everything is in memory and is gone when it is closed. It runs no containers: workloads are said to be ready, and their
Pods to run, a moment after they change. It listens on 127.0.0.1 only, and whoever does not carry its random token is
refused, so other users of the machine cannot use it. A ServiceAccount can be given a token too, and may then do what
RBAC lets it.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import Task
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import yaml
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from listener.sandbox.cluster import access
from listener.sandbox.cluster.access import Users
from listener.sandbox.cluster.admission import Admission
from listener.sandbox.cluster.controllers import Controllers
from listener.sandbox.cluster.faults import Faults
from listener.sandbox.cluster.resources import BUILTIN, IMPORTS, OPENSHIFT, Catalog
from listener.sandbox.cluster.server import BODY_LIMIT, Server
from listener.sandbox.cluster.store import Backup, Change, Collection, Store
from listener.sandbox.cluster.verbs import NAMESPACES, PROTECTED, Verbs, WriteOptions

HOST = "127.0.0.1"
_SHUTDOWN_SECONDS = 0.5


class Cluster:
    """A Kubernetes API in this process: `async with Cluster() as cluster`, or `start` and `close`.

    Keeps everything in memory. `port` 0 takes a free one. `settle_seconds` is the time after which a changed workload
    is observed and ready, and a new Pod runs, `bookmark_seconds` the time between the bookmarks of a watch. For
    `new_kind_seconds`, 2 on a real server, creations wait while their custom type has been served for less. With
    `openshift` it serves DeploymentConfigs, BuildConfigs and Builds besides, with `imports` ImageStreamImports.
    `services` maps `NAMESPACE/NAME` to the `HOST:PORT` where a webhook of that Service is reached; it may grow later.
    Once closed, it is not started again.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        settle_seconds: float = 0.2,
        bookmark_seconds: float = 60.0,
        new_kind_seconds: float = 0.0,
        openshift: bool = False,
        imports: bool = False,
        services: Mapping[str, str] | None = None,
    ) -> None:
        self.token = access.new_token()
        self._port = port
        self._settle_seconds = settle_seconds
        self._store = Store()
        catalog = Catalog((*BUILTIN, *(OPENSHIFT if openshift else ()), *([IMPORTS] if imports else ())))
        self._verbs = Verbs(self._store, catalog)
        self._admission = Admission(self._verbs, {} if services is None else services)
        users = Users(self._store, self.token)
        self._server = Server(
            self._store, catalog, self._verbs, self._admission, users, bookmark_seconds, new_kind_seconds
        )
        self._runner: web.ServerRunner | None = None
        self._controllers: Task[None] | None = None

    async def start(self) -> None:
        """Create the first namespaces and listen. Raises `OSError` when the port is taken."""
        controllers = Controllers(self._verbs, self._settle_seconds, lambda: self._server.served)
        self._create_namespaces()
        server = web.Server(self._server.handle, request_factory=_request, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = runner.addresses[0][1]
        self._controllers = asyncio.create_task(controllers.run(), name="sandbox cluster controllers")

    async def close(self) -> None:
        """Stop answering; running watches end. Closing twice is allowed."""
        task, self._controllers = self._controllers, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        runner, self._runner = self._runner, None
        if runner is not None:
            self._server.close()
            await runner.cleanup()
            await self._admission.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    @property
    def faults(self) -> Faults:
        return self._server.faults

    @property
    def refused(self) -> set[tuple[str, str, str, str]]:
        """What RBAC has refused so far: the user's name, and group, resource (or path) and verb."""
        return self._server.rights.refused

    def kubeconfig(self) -> str:
        """Return a kubeconfig, YAML, whose current context is `sandbox`.

        The address in it holds the token: see `access.admitted`.
        """
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "sandbox",
                "clusters": [{"name": "sandbox", "cluster": {"server": f"{self.url}/{self.token}"}}],
                "users": [{"name": access.ADMIN.name, "user": {"token": self.token}}],
                "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": access.ADMIN.name}}],
            },
            sort_keys=False,
        )

    def compact(self) -> None:
        """Forget the log of changes, as etcd does every few minutes: older resourceVersions and continue tokens are 410
        from now on.
        """
        for collection in self._store.collections():
            collection.compact()

    def observe(self, observer: Callable[[Collection, Change], None]) -> None:
        """Call `observer` with every change in the moment in which it is stored, whatever faults do to clients."""
        self._store.observe(observer)

    def backup(self) -> Backup:
        """Return all objects as they are, for `restore`."""
        return self._store.backup()

    def restore(self, backup: Backup) -> None:
        """Go back to how everything was, resourceVersions too, as a cluster does whose etcd was restored.

        A real API server is stopped for that: break off its clients' connections before. Types, rights and webhooks
        must be the same as they are.
        """
        self._store.restore(backup)

    def _create_namespaces(self) -> None:
        namespaces = Catalog().builtin(*NAMESPACES)
        for name in sorted(PROTECTED):
            obj = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}
            self._verbs.create(namespaces, "", obj, WriteOptions(manager="sandbox"))


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: Task[None],
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BODY_LIMIT)
