"""The only place that builds things, and that owns their lives: start, readiness, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import structlog

from listener import __version__
from listener.core import authentication
from listener.core.events import Parsed
from listener.core.receipts import Arrival, Receipt
from listener.core.workloads import KINDS
from listener.dialects import DIALECTS
from listener.edges import metrics
from listener.edges.cluster import Cluster
from listener.edges.metrics import Metrics
from listener.edges.secrets import Secret
from listener.edges.web import Address, Hook, Hooks, Server, monitoring_app
from listener.errors import ClusterUnavailable, SettingsError
from listener.flow.bookkeeper import Bookkeeper
from listener.flow.fanout import FanOut
from listener.flow.intake import Intake, Origin
from listener.flow.queue import KeyQueue
from listener.flow.recorder import Recorder
from listener.flow.state import State, StreamSink, WorkloadSink
from listener.flow.watcher import Watcher
from listener.settings import Registry, SecretSource, Settings

log = structlog.get_logger()

# Together less than the 30 s that Kubernetes waits between SIGTERM and SIGKILL.
_DRAIN_HOOKS_SECONDS = 8
_DRAIN_PATCHES_SECONDS = 15
# A watcher's own limits (a list, a silent watch, a pause) add up to less; beyond, something hangs that should not.
_STALLED_SECONDS = 300


class Service:
    """The listener: use as a context manager, or `start()` and `stop()` it.

    `hooks_port` and `monitoring_port` are known once it has started (the settings may say 0: any).
    """

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._settings = settings
        self.hooks_port = 0
        self.monitoring_port = 0
        self._metrics = Metrics()
        self._state = State(KeyQueue())
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._draining = False

        self._recorder = Recorder(cluster, self._state.queue, self._metrics, _now)
        bookkeeper = Bookkeeper(
            cluster,
            self._state,
            history_limit=settings.history.limit,
            max_in_flight=settings.fan_out.max_in_flight,
        )
        intake = Intake(bookkeeper, self._state, self._recorder, self._metrics, namespaces=settings.namespaces)
        self._fan_out = FanOut(
            cluster,
            self._state,
            self._recorder,
            self._metrics,
            _now,
            max_in_flight=settings.fan_out.max_in_flight,
            change_cause=settings.fan_out.change_cause,
        )
        self._watchers: list[Watcher[Any, Any]] = []
        for namespace in settings.namespaces or (None,):
            self._watchers.append(Watcher(cluster.streams(namespace), StreamSink(self._state)))
            self._watchers.extend(
                Watcher(cluster.workloads(kind, namespace), WorkloadSink(self._state, kind.name)) for kind in KINDS
            )
        self._hooks = Hooks(
            {r.name: self._hook(r, n, intake) for n, r in enumerate(settings.registries)}, self._metrics
        )
        self._servers = {
            "hooks": Server(self._hooks.app()),
            "monitoring": Server(monitoring_app(self, self._metrics.expose, metrics.CONTENT_TYPE)),
        }
        self._watch_gauges()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, and begin to follow the cluster. Raises SettingsError if an address cannot be listened on."""
        self.monitoring_port = await self._listen("monitoring", self._settings.listen.monitoring)
        self.hooks_port = await self._listen("hooks", self._settings.listen.hooks)
        for watcher in self._watchers:
            self._run(watcher.run(), f"watch {watcher.resource}")
        self._run(self._fan_out.run(), "fan-out")
        self._run(self._recorder.run(), "events")
        log.info(
            "listener.started",
            version=__version__,
            hooks=self.hooks_port,
            monitoring=self.monitoring_port,
            registries=[registry.name for registry in self._settings.registries],
        )

    async def ready(self) -> None:
        """Wait until the cluster was seen as a whole."""
        for watcher in self._watchers:
            await watcher.synced()

    async def failed(self) -> None:
        """Wait for ever, unless one of our own loops ends: then raise what ended it."""
        await asyncio.shield(self._failure)

    async def stop(self) -> None:
        """Take no more hooks, answer those that are in, patch what waits, and end; all within some 25 s."""
        self._draining = True
        self._hooks.close()
        log.info("listener.draining", workloads=len(self._state.queue))
        drained = await _within(_DRAIN_HOOKS_SECONDS, self._hooks.drained())
        drained &= await _within(_DRAIN_PATCHES_SECONDS, self._state.queue.idle())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self._servers.values():
            await server.close()
        # What was left is no loss: the history is stored, and the next start looks at every workload.
        log.info(
            "listener.stopped", drained=drained, workloads_left=len(self._state.queue), events_left=len(self._recorder)
        )

    # Health, as the probes ask for it

    def not_alive(self) -> list[str]:
        return [
            f"the watch of {watcher.resource} has hung for {watcher.idle_seconds:.0f} s"
            for watcher in self._watchers
            if watcher.idle_seconds > _STALLED_SECONDS
        ]

    def not_ready(self) -> list[str]:
        complaints = ["shutting down"] if self._draining else []
        return complaints + [f"{resource} are not synced yet" for resource in self._unsynced()]

    def _unsynced(self) -> list[str]:
        return sorted({watcher.resource for watcher in self._watchers if not watcher.is_synced})

    # Building

    def _hook(self, registry: Registry, number: int, intake: Intake) -> Hook:
        where = f"registries[{number}]"
        if registry.dialect != "auto" and registry.dialect not in DIALECTS:
            known = ", ".join(["auto", *DIALECTS])
            raise SettingsError(f"{where}.dialect: {registry.dialect!r} is not one of {known}")
        scheme, source = _scheme(registry)
        try:
            secret = Secret(file=_path(source), env=source.secret_env) if source else None
        except SettingsError as error:
            raise SettingsError(f"{where}.auth: {error}") from error
        origin = Origin(registry.name, registry.host, frozenset(registry.aliases), registry.integrated)

        async def take(parsed: Parsed, arrival: Arrival) -> Receipt:
            if unsynced := self._unsynced():
                raise ClusterUnavailable(f"starting up, {', '.join(unsynced)} are not synced yet")
            return await intake.take(origin, parsed, arrival)

        return Hook(registry.name, DIALECTS.get(registry.dialect), scheme, secret, take)

    async def _listen(self, name: str, address: str) -> int:
        host, _, port = address.rpartition(":")
        try:
            return await self._servers[name].start(Address(host.strip("[]"), int(port)))
        except OSError as error:
            raise SettingsError(f"listen.{name}: cannot listen on {address}: {error.strerror or error}") from error

    def _run(self, loop: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(loop, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._failure.done():
            return
        error = task.exception() or RuntimeError(f"the loop {task.get_name()!r} ended")
        log.error("listener.bug", loop=task.get_name(), exc_info=error)
        self._failure.set_exception(error)
        self._failure.exception()  # read by `failed`, if anybody waits there

    def _watch_gauges(self) -> None:
        state, watch = self._state, self._metrics.watch
        watch("listener_streams", "Image streams known.", None, lambda: {"": len(state.streams)})
        watch("listener_workloads", "Workloads with triggers.", "kind", lambda: _by_kind(state.workloads.counts()))
        watch(
            "listener_invalid_triggers",
            "Workloads with a trigger that cannot be followed.",
            "kind",
            lambda: _by_kind(state.workloads.invalid()),
        )
        watch("listener_queue_depth", "What waits or is being worked on.", "queue", self._queue_depths)
        watch(
            "listener_watch_age_seconds",
            "Time since the API server's last sign of life.",
            "resource",
            self._watch_ages,
        )
        watch(
            "listener_fan_out_limit",
            "Patches that may be under way at once.",
            None,
            lambda: {"": self._settings.fan_out.max_in_flight},
        )

    def _queue_depths(self) -> Mapping[str, float]:
        return {"workloads": len(self._state.queue), "events": len(self._recorder)}

    def _watch_ages(self) -> Mapping[str, float]:
        ages: dict[str, float] = {}
        for watcher in self._watchers:
            if watcher.age_seconds is not None:
                ages[watcher.resource] = max(ages.get(watcher.resource, 0), watcher.age_seconds)
        return ages


async def serve(settings: Settings, *, kubeconfig: str | None, context: str | None) -> None:
    """Run the service until SIGTERM or SIGINT. Raises SettingsError, or the bug that ended one of our loops."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with (
        await connect(settings, kubeconfig=kubeconfig, context=context) as cluster,
        Service(settings, cluster) as service,
    ):
        failed = asyncio.create_task(service.failed(), name="failed")
        stopped = asyncio.create_task(stop.wait(), name="stopped")
        await asyncio.wait((failed, stopped), return_when=asyncio.FIRST_COMPLETED)
        for task in (failed, stopped):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await failed


async def connect(settings: Settings, *, kubeconfig: str | None, context: str | None) -> Cluster:
    """The cluster, with a connection for each watch and each patch that may be under way, and some for the rest."""
    watches = (1 + len(KINDS)) * max(1, len(settings.namespaces))
    connections = watches + 2 * settings.fan_out.max_in_flight + 16
    return await Cluster.connect(kubeconfig=kubeconfig, context=context, max_connections=connections)


def _scheme(registry: Registry) -> tuple[authentication.Scheme, SecretSource | None]:
    auth = registry.auth
    if auth.basic:
        return authentication.Basic(auth.basic.username), auth.basic
    if auth.header:
        return authentication.Header(auth.header.name.lower()), auth.header
    if auth.bearer:
        return authentication.Bearer(), auth.bearer
    return authentication.Open(), None


def _path(source: SecretSource) -> Path | None:
    return Path(source.secret_file) if source.secret_file else None


def _by_kind(found: Mapping[str, int]) -> Mapping[str, float]:
    """Zeros too: a gauge that vanishes looks like a target that vanished."""
    return {kind.name: found.get(kind.name, 0) for kind in KINDS}


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> bool:
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        return False
    return True


_now = partial(datetime.now, UTC)
