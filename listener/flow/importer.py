"""Ask registries where tags stand: for what is new, on a schedule, and a moment after each hook.

The unit of work is a source, an image as a registry names it: however many tags of however many streams follow it, it
is asked for once (for each way of asking, as pull secrets differ), and the answer goes to all of them. Nothing about a
source is kept but when it is due and how often; who follows it is read when the work runs.

An answer is a fact of the moment it was asked for. It moves a tag only if the tag still stands where it stood then,
and, shortly after a hook, only if it is given twice: registries tell of a push before they have moved the tag.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple, Protocol

import structlog

from listener.core import imports
from listener.core.conditions import Problem
from listener.core.history import TagHistory
from listener.core.polling import Bounds, Pace
from listener.core.references import Reference
from listener.core.streams import Repository, Source, SpecTag, Stream, StreamKey
from listener.errors import ClusterError, RegistryError, RegistryUnavailable
from listener.flow import marks, repositories
from listener.flow.backoff import Backoff
from listener.flow.bookkeeper import Bookkeeper
from listener.flow.findings import Finding, Findings, Follower, Recorder
from listener.flow.inquiry import Access, Inquiry
from listener.flow.lanes import Lanes
from listener.flow.leadership import Endless, Term
from listener.flow.marks import Marks
from listener.flow.queue import KeyQueue
from listener.flow.repositories import Repositories
from listener.flow.state import State

log = structlog.get_logger()

_CONFIRM_SECONDS = 1.0  # registries move a tag some milliseconds after their hook
_SETTLING_SECONDS = 5.0  # between looks, while it is fresh, for what a hook told of and is nowhere yet
_FRESH_SECONDS = 30.0  # so long after a hook one answer alone moves nothing
_GRACE_SECONDS = 30.0  # so long a hook may lag behind a poll that was faster
_JITTER = 0.1
_NO_ACCESS = Problem.UNAUTHORIZED
LANE_WIDTH = 16  # questions to one host at once
# A registry that is away comes back in seconds or minutes; a missing image or secret waits for somebody.
_SOON, _LATER = (2.0, 300.0), (60.0, 3600.0)
# Names that are none stay so; everything else somebody may mend, here or there.
_RETRIED = {problem: _LATER for problem in Problem if problem is not Problem.INVALID} | {Problem.INTERNAL_ERROR: _SOON}
_TROUBLE = (5.0, 300.0)  # between tries while the cluster cannot be read or written
_MARK_SECONDS = 1.0  # imports of many tags of a stream leave one mark


class Mark(NamedTuple):
    """A stream whose imports have changed something, which is to be noted on it."""

    stream: StreamKey


Job = Source | StreamKey | Mark
"""A source to ask for; a stream whose whole repository is to be imported; a stream to be marked."""


class StreamStore(marks.StreamStore, repositories.StreamStore, Protocol):
    """The cluster, as far as an import writes to the spec and the annotations of streams."""


class Meter(Protocol):
    def imported(self, registry: str, outcome: str) -> None: ...

    def hook_missed(self, registry: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """The registries of the settings, by host: the name of each, and which of them serve streams under their names."""

    names: Mapping[str, str]
    integrated: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Failure:
    """What a registry answered instead, and to whom."""

    error: RegistryError
    access: Access

    @property
    def problem(self) -> Problem:
        return Problem(self.error.reason)

    @property
    def advice(self) -> float:
        """Seconds that the registry wants to be left alone."""
        return (self.error.retry_after_seconds or 0.0) if isinstance(self.error, RegistryUnavailable) else 0.0


@dataclass(slots=True)
class _Watched:
    """What is remembered of a source while somebody follows it."""

    pace: Pace = field(default_factory=Pace)
    base: float = 0.0
    announced_at: float = float("-inf")
    announced_digest: str = ""
    last_answer: str = ""
    unannounced: str = ""
    backoff: Backoff | None = None
    pushed: str | None = None
    """When the newest image that we saw was pushed; None until we saw one."""

    def announced(self, digest: str) -> None:
        """A hook spoke of it. "" is an unknown digest."""
        self.pace = self.pace.announced()
        self.announced_at = asyncio.get_running_loop().time()
        self.announced_digest = digest
        self.last_answer = ""
        if digest in ("", self.unannounced):
            self.unannounced = ""

    @property
    def is_announced(self) -> bool:
        return self.announced_at > float("-inf")


class Importer:
    """`look` and `announced` say what is to be asked for; `run` asks."""

    def __init__(
        self,
        store: StreamStore,
        state: State,
        bookkeeper: Bookkeeper,
        inquiry: Inquiry,
        recorder: Recorder,
        meter: Meter,
        now: Callable[[], datetime],
        *,
        known: Known,
        bounds: Bounds,
        history_limit: int,
        max_tags: int,
        uniform: Callable[[float, float], float] = random.uniform,
        term: Term | None = None,
    ) -> None:
        self._term = term or Endless()
        self._state = state
        self._inquiry = inquiry
        self._meter = meter
        self._known = known
        self._bounds = bounds
        self._uniform = uniform
        self._queue = KeyQueue[Job]()
        self._lanes = Lanes(self._queue, self._place, self._work, width=LANE_WIDTH)
        self._findings = Findings(state, bookkeeper, recorder, now, history_limit=history_limit)
        self._marks = Marks(store, state, now)
        self._repositories = Repositories(
            store,
            state,
            bookkeeper,
            inquiry,
            self._findings,
            self._marks,
            recorder,
            self._queue,
            self._backoff,
            max_tags=max_tags,
        )
        self._sources: dict[Source, _Watched] = {}
        self._troubles: dict[Job, Backoff] = {}

    def __len__(self) -> int:
        """How many questions wait or are under way, those not counted that are not due yet."""
        return len(self._queue)

    async def run(self) -> None:
        await self._lanes.run()

    def look(self, stream: Stream) -> None:
        """See to it that what a stream wants from registries is asked for, now or when it is due."""
        self._repositories.look(stream)
        histories = {known.tag: known for known in stream.tags}
        for spec_tag in stream.spec_tags:
            source = spec_tag.source()
            if source is None:
                continue
            known = histories.get(spec_tag.name) or TagHistory(spec_tag.name)
            if watched := self._sources.get(source):
                self._hear_elsewhere(watched, known)
            failure = imports.failure(known)
            if imports.wants_import(spec_tag, known):
                self._queue.add(source)
            elif failure and source not in self._sources:
                self._retry(source, failure)
            if imports.is_scheduled(spec_tag, known):
                self._schedule(source, spec_tag)

    def announced(self, source: Source, digest: str) -> None:
        """A hook spoke of a source: see in a moment where the registry has put the tag. "" is an unknown digest."""
        watched = self._sources.setdefault(source, _Watched())
        watched.announced(digest)
        self._queue.add_after(source, _CONFIRM_SECONDS)

    @staticmethod
    def _hear_elsewhere(watched: _Watched, known: TagHistory) -> None:
        """Take a push that another replica stored as a hook of ours: that one asks, and we know of it."""
        newest = known.newest
        if newest is None:
            return
        digest = known.resolved.followed if known.resolved else newest.image
        is_news = watched.pushed is not None and newest.pushed > watched.pushed
        watched.pushed = max(newest.pushed, watched.pushed or "")  # tags of one source may stand at different pushes
        if is_news and digest != watched.announced_digest:
            watched.announced(digest)

    # When

    def _schedule(self, source: Source, spec_tag: SpecTag) -> None:
        """Have a scheduled source polled. A restart must not ask for all of them at once."""
        base = self._bounds.base(imports.interval_seconds(spec_tag.import_interval))
        watched = self._sources.get(source)
        if watched is None:
            watched = self._sources[source] = _Watched(base=base)
            self._queue.add_after(source, self._uniform(0, base))
        elif not watched.base or base < watched.base:
            watched.base = base
            self._queue.add_after(source, self._jittered(watched.pace.interval(base, self._bounds)))

    def _jittered(self, seconds: float) -> float:
        return seconds * self._uniform(1 - _JITTER, 1 + _JITTER)

    def _backoff(self, problem: Problem) -> Backoff | None:
        return Backoff(*_RETRIED[problem], self._uniform) if problem in _RETRIED else None

    def _retry(self, source: Source, problem: Problem, at_least_seconds: float = 0) -> None:
        """Come back to what failed, if coming back can help."""
        backoff = self._backoff(problem)
        if backoff is None:
            return
        watched = self._sources.setdefault(source, _Watched())
        if watched.backoff is None:
            log.info("registry.asked_in_vain", source=str(source), why=str(problem))
            watched.backoff = backoff
        self._queue.add_after(source, max(watched.backoff.next(), at_least_seconds))

    # What

    def _place(self, job: Job) -> tuple[str, str]:
        """The host that is asked, "" for our own cluster, and the namespace whose work it is: one that follows it."""
        if isinstance(job, Source):
            followers = self._state.streams.importing(job)
            return job.registry, min(followers)[0].namespace if followers else ""
        if isinstance(job, Mark):
            return "", job.stream.namespace
        stream = self._state.streams.get(job)
        whole = stream.whole_repository() if stream else None
        return Source.of(whole).registry if whole else "", job.namespace

    async def _work(self, job: Job) -> None:
        if not (self._term.is_on or self._is_ours(job)):
            self._hand_over(job)
            return
        try:
            await self._do(job)
        except ClusterError as error:
            log.warning("import.unstored", job=_name(job), reason=str(error))
            self._later(job)
        except Exception:
            # Our bug. This job fails loudly and comes again later; the others go on.
            log.exception("import.bug", job=_name(job))
            self._later(job)
        else:
            self._troubles.pop(job, None)

    def _is_ours(self, job: Job) -> bool:
        """Whether nobody else knows of it: what a hook told us of, until its registry has answered."""
        if not isinstance(job, Source):
            return isinstance(job, Mark)
        watched = self._sources.get(job)
        return watched is not None and (self._is_fresh(watched) or (watched.is_announced and bool(watched.backoff)))

    def _hand_over(self, job: Job) -> None:
        """Leave it to whoever leads. Should that be us again, the streams that want it are looked at anew."""
        if isinstance(job, Source):
            self._sources.pop(job, None)
            for key, _ in self._state.streams.importing(job):
                self._state.stream_queue.add(key)
        elif isinstance(job, StreamKey):
            self._state.stream_queue.add(job)

    async def _do(self, job: Job) -> None:
        if isinstance(job, Source):
            await self._ask(job)
        elif isinstance(job, Mark):
            await self._marks.import_changed(job.stream)
        else:
            await self._take_repository(job)

    def _later(self, job: Job) -> None:
        backoff = self._troubles.setdefault(job, Backoff(*_TROUBLE, self._uniform))
        self._queue.add_after(job, backoff.next())

    async def _ask(self, source: Source) -> None:
        asked_at = asyncio.get_running_loop().time()
        followers = self._followers(source)
        if not followers:
            self._sources.pop(source, None)
            return
        found: list[Finding] = []
        answers: list[str] = []
        failures: list[_Failure] = []
        for access, asking in (await self._by_access(source.reference, followers)).items():
            heard = await self._heard(source.reference, access, asking)
            found += heard
            answers += sorted({finding.followed for finding in heard if finding.followed})
            # Those who ask alike fail alike: it is one failure, however many they are.
            errors = {id(finding.error): finding.error for finding in heard if finding.error}
            failures += [_Failure(error, access) for error in errors.values()]
            self._forget_secrets(heard)
        if answers and self._is_too_early(source, found, " ".join(answers)):
            self._queue.add_after(source, _CONFIRM_SECONDS)
            return
        stored = await self._findings.store(found)
        for late in stored.late:
            # The tag moved while we asked: what we heard may be older than that.
            if late.spec_tag and (again := late.spec_tag.source()):
                self._queue.add_after(again, _CONFIRM_SECONDS)
        for key in stored.changed:
            self._queue.add_after(Mark(key), _MARK_SECONDS)
        self._count(source.registry, "failed" if failures else "moved" if stored.moved else "unchanged")
        self._plan_next(source, followers, found, asked_at, failures, moved=stored.moved)
        if stored.failure:
            raise stored.failure

    async def _take_repository(self, key: StreamKey) -> None:
        """Import a whole repository, and with it, as OpenShift does, what else the stream has in registries."""
        stream, (host, _) = self._state.streams.get(key), self._place(key)
        changed = await self._repositories.take(key)
        if stream is None or not host:
            return
        self._count(host, "failed" if changed is None else "moved" if changed else "unchanged")
        for spec_tag in stream.spec_tags:
            if source := spec_tag.source():
                self._queue.add(source)

    def _count(self, host: str, outcome: str) -> None:
        self._meter.imported(self._known.names.get(host, "other"), outcome)

    async def _by_access(self, reference: Reference, followers: Iterable[Follower]) -> Mapping[Access, list[Follower]]:
        """The followers by how the registry is asked for them. Raises ClusterUnavailable."""
        found: dict[Access, list[Follower]] = defaultdict(list)
        ways: dict[tuple[str, bool], Access] = {}
        for follower in followers:
            way = (follower.stream.namespace, follower.insecure)
            if way not in ways:
                ways[way] = await self._inquiry.access(way[0], reference, insecure=way[1])
            found[ways[way]].append(follower)
        return found

    async def _heard(self, reference: Reference, access: Access, followers: Sequence[Follower]) -> list[Finding]:
        """What the registry says to those who ask in one way: of an index once for each wish."""
        try:
            described = await self._inquiry.head(reference, access)
        except RegistryError as error:
            return [Finding(follower, error=error) for follower in followers]
        chosen: dict[tuple[str, str, str], str | RegistryError] = {}
        found = []
        for follower in followers:
            spec_tag = follower.spec_tag
            if spec_tag is None:
                found.append(Finding(follower, described.digest, described.digest))
                continue
            wish = (spec_tag.import_mode, spec_tag.prefer_os, spec_tag.prefer_architecture)
            if wish not in chosen:
                try:
                    chosen[wish] = await self._inquiry.image(reference, described, spec_tag, access)
                except RegistryError as error:
                    chosen[wish] = error
            answer = chosen[wish]
            if isinstance(answer, RegistryError):
                found.append(Finding(follower, error=answer))
            else:
                found.append(Finding(follower, answer, described.digest))
        return found

    def _followers(self, source: Source) -> list[Follower]:
        """Every tag that takes its images from a source, now."""
        repository = Repository(source.registry, source.repository)
        # A tag without history is looked for only if a hook spoke of it, which could not be taken then.
        watched = self._sources.get(source)
        is_news = watched is not None and (self._is_fresh(watched) or watched.backoff is not None)
        found: dict[tuple[StreamKey, str], Follower] = {}
        for key, tag in sorted(self._state.streams.importing(source)):
            if (stream := self._state.streams.get(key)) and (spec_tag := stream.spec_tag(tag)):
                found[key, tag] = Follower.of(stream, tag, spec_tag.repository_name())
        if not source.digest:
            for key in sorted(self._state.streams.fed_by(repository)):
                stream = self._state.streams.get(key)
                if stream and stream.whole_repository() and (is_news or stream.history(source.tag).newest):
                    for tag, name in stream.fed_by(repository, source.tag).items():
                        found.setdefault((key, tag), Follower.of(stream, tag, name))
        if source.registry in self._known.integrated:
            namespace, _, name = source.repository.partition("/")
            stream = self._state.streams.get(StreamKey(namespace, name))
            # A tag that is where its owner has brought it is not the registry's to confirm: a look after a hook of
            # before would take that back. A push since then has moved it, and is confirmed.
            is_owners = stream is not None and stream.is_at_its_source(source.tag)
            if stream and not is_owners and (is_news or stream.history(source.tag).newest):
                place = (stream.key, source.tag)
                found.setdefault(place, replace(Follower.of(stream, source.tag, str(repository)), spec_tag=None))
        return list(found.values())

    # What became of it

    def _is_too_early(self, source: Source, found: Sequence[Finding], answer: str) -> bool:
        """Whether an answer that contradicts a hook of just now has yet to be given a second time."""
        watched = self._sources.get(source)
        if watched is None or not self._is_fresh(watched) or not any(finding.contradicts for finding in found):
            return False
        is_first = watched.last_answer != answer
        watched.last_answer = answer
        return is_first

    def _plan_next(
        self,
        source: Source,
        followers: Sequence[Follower],
        found: Sequence[Finding],
        asked_at: float,
        failures: Sequence[_Failure],
        *,
        moved: bool,
    ) -> None:
        """When to ask again: sooner if it failed, on schedule if a tag is on one, never otherwise."""
        is_import = any(follower.spec_tag for follower in followers)
        for failure in failures:
            if failure.advice and not failure.access.credentials:
                # What a registry tells a login is for that one; what it tells nobody in particular is for all of us.
                self._lanes.pause(source.registry, min(failure.advice, _SOON[1]))
        # A tag that is only pushed to and is not there any more stays where it is.
        again = [each for each in failures if is_import or isinstance(each.error, RegistryUnavailable)]
        if again:
            first = min(again, key=lambda each: (each.problem is not Problem.INTERNAL_ERROR, each.advice))
            self._retry(source, first.problem, first.advice)
        watched = self._sources.get(source)
        if watched and not failures:
            watched.backoff = None
            watched.last_answer = ""
        if (
            watched
            and self._is_fresh(watched)
            and not is_import
            and any(f.problem is Problem.NOT_FOUND for f in failures)
        ):
            self._queue.add_after(source, _SETTLING_SECONDS)
            return
        bases = [
            self._bounds.base(imports.interval_seconds(spec_tag.import_interval))
            for follower in followers
            if (stream := self._state.streams.get(follower.stream))
            and (spec_tag := stream.spec_tag(follower.tag))
            and imports.is_scheduled(spec_tag, stream.history(follower.tag))
        ]
        if not bases:
            if watched and watched.backoff is None and watched.announced_at < asked_at:
                del self._sources[source]
            return
        if watched is None:
            watched = self._sources[source] = _Watched()
        watched.base = min(bases)
        if not failures and not self._is_fresh(watched):
            if moved:
                self._suspect(source, watched, found)
            else:
                watched.pace = watched.pace.quiet(watched.base, self._bounds)
        self._queue.add_after(source, self._jittered(watched.pace.interval(watched.base, self._bounds)))

    def _is_fresh(self, watched: _Watched) -> bool:
        return asyncio.get_running_loop().time() - watched.announced_at <= _FRESH_SECONDS

    def _suspect(self, source: Source, watched: _Watched, found: Sequence[Finding]) -> None:
        """A poll found what no hook has announced. It may only have been faster: give the hook a moment."""
        registry = self._known.names.get(source.registry)
        news = {finding.followed for finding in found if finding.contradicts}
        if registry is None or not news or watched.announced_digest in news:
            return
        watched.unannounced = min(news)
        asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._count_missed, source, watched.unannounced, registry)

    def _count_missed(self, source: Source, digest: str, registry: str) -> None:
        watched = self._sources.get(source)
        if watched is None or watched.unannounced != digest:
            return
        watched.unannounced = ""
        watched.pace = watched.pace.missed()
        self._meter.hook_missed(registry)
        log.warning("hook.missed", registry=registry, source=str(source), digest=digest)
        self._queue.add_after(source, self._jittered(watched.pace.interval(watched.base, self._bounds)))

    def _forget_secrets(self, found: Iterable[Finding]) -> None:
        for namespace in {f.follower.stream.namespace for f in found if f.error and f.error.reason == _NO_ACCESS}:
            self._inquiry.forget_secrets(namespace)


def _name(job: Job) -> str:
    return f"mark of {job.stream}" if isinstance(job, Mark) else str(job)
