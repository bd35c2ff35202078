"""The only place that builds things, and that owns their lives: start, readiness, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import secrets
import signal
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple, Self

import structlog

from listener import __version__
from listener.core import tracking
from listener.core.events import Parsed
from listener.core.hosts import HostPolicy
from listener.core.kinds import Kind
from listener.core.manifests import Platform
from listener.core.polling import Bounds
from listener.core.receipts import Arrival, Receipt
from listener.core.spans import NO_TRACER
from listener.core.streams import Serving, Stream
from listener.dialects import DIALECTS
from listener.edges import metrics, tracing
from listener.edges.admission import Door
from listener.edges.cluster import Cluster
from listener.edges.metrics import Metrics
from listener.edges.registry import HostSettings, Registries
from listener.edges.web import Address, Hook, Hooks, Server, monitoring_app
from listener.errors import ClusterUnavailable, SettingsError
from listener.flow import openshift
from listener.flow.bookkeeper import Bookkeeper, Cause
from listener.flow.certificates import FileKeeper, Keeper
from listener.flow.fanout import FanOut
from listener.flow.importer import Importer, Known
from listener.flow.inquiry import Inquiry, PullSecrets
from listener.flow.intake import Intake
from listener.flow.leadership import Endless, Leadership, Term
from listener.flow.ledger import Ledger, opening
from listener.flow.openshift import OpenShift, is_openshift
from listener.flow.reconciler import Reconciler
from listener.flow.recorder import Recorder
from listener.flow.state import State, StreamSink, WorkloadSink
from listener.flow.throttle import Throttle
from listener.flow.watcher import Sink, Watcher
from listener.gates import Gates
from listener.settings import Imports, PerHost, Registry, Settings, seconds

log = structlog.get_logger()

# Together less than the 30 s that Kubernetes waits between SIGTERM and SIGKILL.
_DRAIN_HOOKS_SECONDS = 8
_DRAIN_PATCHES_SECONDS = 15
_RECORD_SECONDS = 2
# A patch that takes longer may well be stored when another replica leads: it fits only what it was made for.
_HAND_OVER_SECONDS = 3
# What hooks ask has connections and a pace of its own: their senders wait, and would wait behind all imports. The pace
# is the registry's, which tells of each push once.
_HOOK_PACE = PerHost(rate=200, burst=200)
_STRANGERS_PACE = PerHost(rate=20, burst=40)  # shared by the hooks without a secret
# A watcher's own limits (a list, a silent watch, a pause) add up to less; beyond, something hangs that should not.
_STALLED_SECONDS = 300


class _Lookup(NamedTuple):
    """The door for API servers, who keeps its certificate, and what shows it."""

    door: Door
    keeper: Keeper | FileKeeper
    tls: ssl.SSLContext


class Service:
    """The listener: use as a context manager, or `start()` and `stop()` it.

    `hooks_port` and `monitoring_port` are known once it has started (the settings may say 0: any).
    """

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._settings = settings
        self.hooks_port = 0
        self.monitoring_port = 0
        self.admission_port = 0
        self._metrics = Metrics()
        self._collector = tracing.start(os.environ)
        tracer = self._collector or NO_TRACER
        self._leadership = _leadership(settings, cluster)
        term = self._leadership or Endless()
        self._state = State(term)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._draining = False

        self._recorder = Recorder(cluster, self._state.queue, self._metrics, _now, term=term)
        self._registries = _registries(settings)
        self._gates = Gates()
        self._cluster = cluster
        self._election: asyncio.Task[None] | None = None
        self._clients = contextlib.AsyncExitStack()  # what `start` opens and `stop` closes
        self._hook_registries = _registries(settings, _HOOK_PACE)
        self._strangers_registries = _registries(settings, _STRANGERS_PACE)
        pull_secrets = PullSecrets(cluster)
        inquiry = Inquiry(self._registries, pull_secrets, _own_platform())
        settle = _settler(settings, self._state)
        bookkeeper = Bookkeeper(
            cluster,
            self._state,
            settle,
            self._recorder,
            self._metrics,
            max_in_flight=settings.fan_out.max_in_flight,
            account=opening(self._state, _now),
        )
        self._ledger = Ledger(self._state, bookkeeper, self._state.queue, self._metrics, _now, self.ready, term)
        self._state.observer = self._ledger
        self._importer = Importer(
            cluster,
            self._state,
            bookkeeper,
            inquiry,
            self._recorder,
            self._metrics,
            _now,
            known=Known(
                {registry.host: registry.name for registry in settings.registries},
                frozenset(registry.host for registry in settings.registries if registry.integrated),
            ),
            bounds=_bounds(settings.imports),
            history_limit=settings.history.limit,
            max_tags=settings.imports.max_tags,
            term=term,
        )
        self._reconciler = Reconciler(
            cluster, self._state, bookkeeper, settle, self._importer, self._recorder, self._streams_known, term
        )

        def intake(registry: Registry) -> Intake:
            """Each hook has its own: what one remembers, another's senders do not fill."""
            client = self._strangers_registries if registry.auth.none else self._hook_registries
            return Intake(
                bookkeeper,
                self._state,
                Inquiry(client, pull_secrets, _own_platform()),
                self._importer,
                self._recorder,
                self._metrics,
                history_limit=settings.history.limit,
                namespaces=settings.namespaces,
                tracer=tracer,
            )

        self._kinds = settings.kinds()
        self._throttle = Throttle(ceiling=settings.fan_out.max_in_flight, per_second=settings.fan_out.max_per_second)
        self._fan_out = FanOut(
            cluster.fenced(self._leadership.may_write) if self._leadership else cluster,
            self._state,
            self._recorder,
            self._metrics,
            self._throttle,
            _now,
            kinds=self._kinds,
            workers=settings.fan_out.max_in_flight,
            change_cause=settings.fan_out.change_cause,
            ledger=self._ledger,
            term=term,
            tracer=tracer,
            streams_known=self._streams_known,
            namespaces=settings.namespaces,
        )
        self._tracer = tracer
        self._turns = openshift.Turns()
        self._is_on_openshift = False
        self._begun = asyncio.Event()  # what the cluster is has been learnt, and what is done there has begun
        self._stream_watchers: list[Watcher[Any, Any]] = []
        self._watchers: list[Watcher[Any, Any]] = []
        self._unsynced: list[Watcher[Any, Any]] = []
        self._hooks = Hooks(
            {r.name: self._hook(r, n, intake(r)) for n, r in enumerate(settings.registries)},
            self._metrics,
            proxies=[ip_network(network) for network in settings.listen.proxies],
            tracer=tracer,
        )
        self._servers = {
            "hooks": Server(self._hooks.connections()),
            "monitoring": Server(monitoring_app(self, self._metrics.expose, metrics.CONTENT_TYPE)),
        }
        self._watch_gauges(term)
        self._metrics.start_at_zero(
            registries=[registry.name for registry in settings.registries],
            kinds=[kind.label for kind in self._kinds],
            causes=Cause,
            lookup=settings.lookup.enabled,
        )
        self._lookup = self._look_names_up(cluster) if settings.lookup.enabled else None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, and begin to follow the cluster. Raises SettingsError if an address cannot be listened on."""
        self.monitoring_port = await self._listen("monitoring", self._settings.listen.monitoring)
        self.hooks_port = await self._listen("hooks", self._settings.listen.hooks)
        if self._lookup:
            self.admission_port = await self._listen("admission", self._settings.listen.admission, self._lookup.tls)
        for registries in (self._registries, self._hook_registries, self._strangers_registries):
            await self._clients.enter_async_context(registries)
        await self._gates.open(self._clients)
        self._run(self._work(), "work")
        log.info(
            "listener.started",
            version=__version__,
            hooks=self.hooks_port,
            monitoring=self.monitoring_port,
            registries=[registry.name for registry in self._settings.registries],
        )

    async def _work(self) -> None:
        """Learn what the cluster is, and do for ever what is to be done there."""
        self._is_on_openshift = await is_openshift(self._cluster)
        if self._is_on_openshift:
            await self._step_back()
        else:
            self._follow(StreamSink(self._state), self._kinds)
            self._begin()
        self._begun.set()
        await self.failed()

    async def _step_back(self) -> None:
        """OpenShift does all the rest itself."""
        log.info(
            "listener.on_openshift",
            does="imports a tag as soon as its registry tells of a push",
            leaves_to_openshift="histories, triggers, builds, lookups, scheduled imports",
        )
        if own := [registry.name for registry in self._settings.registries if registry.integrated]:
            log.warning("listener.integrated_ignored", registries=own, reason="OpenShift's own registry serves streams")
        if self._lookup:
            log.warning("listener.lookup_ignored", reason="OpenShift looks names up itself")
            await self._servers["admission"].close()
        self._follow(openshift.StreamSink(self._state.streams), ())

    def _follow(self, streams: Sink[Any, Any], kinds: Sequence[Kind]) -> None:
        namespaces = self._settings.namespaces or (None,)
        self._stream_watchers += [Watcher(self._cluster.streams(namespace), streams) for namespace in namespaces]
        self._watchers += self._stream_watchers
        self._watchers += [
            Watcher(self._cluster.workloads(kind, namespace), WorkloadSink(self._state, kind.label))
            for namespace in namespaces
            for kind in kinds
        ]
        self._unsynced = self._watchers.copy()
        for watcher in self._watchers:
            self._run(watcher.run(), f"watch {watcher.resource}")

    def _begin(self) -> None:
        """Everything that an OpenShift would do itself."""
        if self._lookup:
            self._run(self._lookup.keeper.run(), "certificate")
        if self._leadership:
            self._election = self._run(self._leadership.run(), "election")
            lease = self._cluster.lease(*self._leadership.key)
            self._run(Watcher(lease, self._leadership).run(), "watch lease")
        self._run(self._reconciler.run(), "streams")
        self._run(self._importer.run(), "imports")
        self._run(self._fan_out.run(), "fan-out")
        self._run(self._ledger.run(), "ledger")
        self._run(self._recorder.run(), "events")

    async def ready(self) -> None:
        """Wait until the cluster was seen as a whole."""
        await self._begun.wait()
        for watcher in self._watchers:
            await watcher.synced()

    async def _streams_known(self) -> None:
        await self._begun.wait()
        for watcher in self._stream_watchers:
            await watcher.synced()

    async def failed(self) -> None:
        """Wait for ever, unless one of our own loops ends: then raise what ended it."""
        await asyncio.shield(self._failure)

    async def stop(self) -> None:
        """Take no more hooks, answer those that are in, patch what waits, and end; all within some 27 s."""
        self._draining = True
        self._hooks.close()
        if self._lookup:
            self._lookup.door.close()
        log.info("listener.draining", workloads=len(self._state.queue))
        drained, _ = await asyncio.gather(
            _within(_DRAIN_HOOKS_SECONDS, self._hooks.drained()), self._hand_over(self._leadership)
        )
        if not self._leadership:
            self._state.rounds.flush()
            drained &= await _within(_DRAIN_PATCHES_SECONDS, self._state.queue.idle())
            drained &= await _within(_RECORD_SECONDS, self._ledger.flush())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._clients.aclose()
        if self._collector:
            await _within(_RECORD_SECONDS, self._collector.close())
        for server in self._servers.values():
            await server.close()
        # What was left is no loss: the history is stored, and the next start looks at every workload.
        log.info(
            "listener.stopped",
            drained=drained,
            workloads_left=len(self._state.queue),
            workloads_delayed=self._state.queue.delayed,
            events_left=len(self._recorder),
        )

    async def _hand_over(self, leadership: Leadership | None) -> None:
        """End what is under way, and let another replica go on at once: all that waits it knows too."""
        if leadership is None:
            return
        leadership.resign()
        await _within(_HAND_OVER_SECONDS, self._state.queue.settled())
        await _within(_RECORD_SECONDS, self._ledger.flush())
        if self._election:
            self._election.cancel()
            await asyncio.gather(self._election, return_exceptions=True)
        await leadership.release()

    # Health, as the probes ask for it

    def not_alive(self) -> list[str]:
        return [
            f"the watch of {watcher.resource} has hung for {watcher.idle_seconds:.0f} s"
            for watcher in self._watchers
            if watcher.idle_seconds > _STALLED_SECONDS
        ]

    def not_ready(self) -> list[str]:
        return (["shutting down"] if self._draining else []) + self._unknown()

    def _unknown(self) -> list[str]:
        """What of the cluster is not known yet."""
        if not self._begun.is_set():
            return ["the API server has not told yet what it serves"]
        if not self._unsynced:  # each hook asks
            return []
        self._unsynced = [watcher for watcher in self._unsynced if not watcher.is_synced]
        return [f"{resource} are not synced yet" for resource in sorted({each.resource for each in self._unsynced})]

    # Building

    def _hook(self, registry: Registry, number: int, intake: Intake) -> Hook:
        where = f"registries[{number}]"
        if registry.dialect != "auto" and registry.dialect not in DIALECTS:
            known = ", ".join(["auto", *DIALECTS])
            raise SettingsError(f"{where}.dialect: {registry.dialect!r} is not one of {known}")
        dialect = DIALECTS.get(registry.dialect)
        if dialect and not dialect.has_digests and not registry.verify:
            raise SettingsError(
                f"{where}.verify: the dialect {dialect.name} sends no digests, so that without asking the registry"
                " nobody knows what was pushed; set verify: true"
            )
        gate, confirm = self._gates.gate(registry, f"{where}.auth")
        origin = registry.origin()
        stepped_back = OpenShift(self._cluster, self._state.streams, self._metrics, self._turns, tracer=self._tracer)

        async def take(parsed: Parsed, arrival: Arrival, seconds: float) -> Receipt:
            if unknown := self._unknown():
                raise ClusterUnavailable(f"starting up, {', '.join(unknown)}")
            taker = stepped_back if self._is_on_openshift else intake
            return await taker.take(origin, parsed, arrival, patience_seconds=seconds)

        return Hook(registry.name, dialect, gate, take, confirm, is_open=bool(registry.auth.none))

    def _look_names_up(self, cluster: Cluster) -> _Lookup:
        """Build the door for API servers, and who keeps its certificate."""
        from listener.edges import certificates  # noqa: PLC0415 - 9 MiB that few need

        found, serving = self._settings.lookup, certificates.ServingContext()
        keeper: Keeper | FileKeeper
        if found.secret:
            namespace, _, name = found.secret.partition("/")
            keeper = Keeper(
                cluster,
                certificates,
                secret=(namespace, name),
                hosts=found.hosts,
                webhook=found.webhook,
                use=serving.use,
                now=_now,
            )
        else:
            files = certificates.Files(Path(found.cert_file or ""), Path(found.key_file or ""))
            keeper = FileKeeper(files, use=serving.use)
        door = Door(self._kinds, self._state.streams.get, self._streams_known, self._metrics)
        self._servers["admission"] = Server(door.connections())
        self._metrics.watch(
            "listener_lookup_certificate_expiry_timestamp_seconds",
            "When the certificate that API servers are shown ends.",
            None,
            lambda: {} if keeper.ends is None else {"": keeper.ends},
        )
        return _Lookup(door, keeper, serving.context)

    async def _listen(self, name: str, address: str, tls: ssl.SSLContext | None = None) -> int:
        host, _, port = address.rpartition(":")
        try:
            return await self._servers[name].start(Address(host.strip("[]"), int(port)), tls)
        except OSError as error:
            raise SettingsError(f"listen.{name}: cannot listen on {address}: {error.strerror or error}") from error

    def _run(self, loop: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(loop, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._failure.done():
            return
        error = task.exception() or RuntimeError(f"the loop {task.get_name()!r} ended")
        log.error("listener.bug", loop=task.get_name(), exc_info=error)
        self._failure.set_exception(error)
        self._failure.exception()  # read by `failed`, if anybody waits there

    def _watch_gauges(self, term: Term) -> None:
        state, watch = self._state, self._metrics.watch
        watch("listener_leader", "Whether this replica fans out and imports.", None, lambda: {"": float(term.is_on)})
        watch("listener_streams", "Image streams known.", None, lambda: {"": len(state.streams)})
        watch("listener_workloads", "Workloads with triggers.", "kind", lambda: self._by_kind(state.workloads.counts()))
        watch(
            "listener_invalid_triggers",
            "Workloads with a trigger that cannot be followed.",
            "kind",
            lambda: self._by_kind(self._fan_out.invalid()),
        )
        watch(
            "listener_waiting_triggers",
            "Workloads with a trigger whose tag has been missing for minutes.",
            "kind",
            lambda: self._by_kind(self._fan_out.waiting()),
        )
        watch(
            "listener_contested_workloads",
            "Workloads with an image that is left to somebody who keeps setting it back.",
            "kind",
            lambda: self._by_kind(state.contests.counts()),
        )
        watch("listener_queue_depth", "What waits or is being worked on.", "queue", lambda: self._queue_depths(term))
        watch(
            "listener_watch_age_seconds",
            "Time since the API server's last sign of life.",
            "resource",
            self._watch_ages,
        )
        watch(
            "listener_fan_out_limit",
            "Patches that may be under way at once, as the API server's answers allow.",
            None,
            lambda: {"": self._throttle.limit},
        )
        watch("listener_fan_out_in_flight", "Patches under way.", None, lambda: {"": self._throttle.in_flight})
        watch("listener_tasks", "Tasks alive in the event loop.", None, lambda: {"": float(len(asyncio.all_tasks()))})

    def _by_kind(self, found: Mapping[str, int]) -> Mapping[str, float]:
        """Zeros too: a gauge that vanishes looks like a target that vanished."""
        return {kind.label: found.get(kind.label, 0) for kind in self._kinds}

    def _queue_depths(self, term: Term) -> Mapping[str, float]:
        """Who does not lead works on nothing of the first two: what it knows of there is another's work."""
        return {
            "workloads": len(self._state.queue) if term.is_on else 0,
            "streams": len(self._state.stream_queue) if term.is_on else 0,
            "imports": len(self._importer),
            "events": len(self._recorder),
        }

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
    watches = (1 + len(settings.kinds())) * max(1, len(settings.namespaces))
    connections = watches + 2 * settings.fan_out.max_in_flight + 16
    return await Cluster.connect(
        kubeconfig=kubeconfig,
        context=context,
        max_connections=connections,
        with_lookups=settings.lookup.enabled,
    )


def _leadership(settings: Settings, cluster: Cluster) -> Leadership | None:
    if not settings.leader_election.enabled:
        return None
    # A process that is started again in its Pod is another one: what the former had sent may still arrive.
    identity = f"{os.environ.get('POD_NAME') or platform.node()}_{secrets.token_hex(4)}"
    return Leadership(cluster, (cluster.namespace, settings.leader_election.lease), identity, _now)


def _registries(settings: Settings, pace: PerHost | None = None) -> Registries:
    """A client for every registry. Those of the settings are trusted: they may be at any address."""
    found = settings.registries
    hosts = {r.host: HostSettings(insecure=r.insecure, ca_file=Path(r.ca_file) if r.ca_file else None) for r in found}
    policy = HostPolicy(settings.imports.allowed, frozenset(hosts))
    per_host = pace or settings.imports.per_host
    return Registries(hosts, policy, rate=per_host.rate, burst=per_host.burst)


def _settler(settings: Settings, state: State) -> Callable[[Stream], Stream]:
    """What brings a stream to where it belongs, by what is known of the others."""
    own = next((registry for registry in settings.registries if registry.integrated), None)
    serving = Serving(own.host, own.public_host or "") if own else Serving()

    def settle(stream: Stream) -> Stream:
        now = _now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return tracking.settle(serving.name(stream), state.streams.get, now=now, limit=settings.history.limit)

    return settle


def _bounds(imports: Imports) -> Bounds:
    return Bounds(seconds(imports.interval), seconds(imports.min_interval), seconds(imports.max_interval))


def _own_platform() -> Platform:
    """What this process runs on, in the registries' words."""
    machine = platform.machine().lower()
    return Platform("linux", {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(machine, machine))


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> bool:
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        return False
    return True


_now = partial(datetime.now, UTC)
