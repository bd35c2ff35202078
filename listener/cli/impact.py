"""`listener impact`: which workloads would change if a tag moved, and to what."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import click

from listener.cli import output
from listener.cli.options import Common, run, stream_tag_argument, workload_options
from listener.cli.streams import CommandFailed, Streams, cluster_of, line, settings_of
from listener.cli.workloads import Listing, Snapshot, Workloads, each, named
from listener.core import impacts, lookup_states, lookups, overview, plans
from listener.core.actions import Plan
from listener.core.kinds import Form, Kind
from listener.core.names import TagName
from listener.core.outcomes import End, Outcome
from listener.core.overview import State, TriggerState
from listener.core.streams import Resolved, Stream, StreamKey
from listener.core.workloads import Workload
from listener.settings import Settings

_ATTEMPTS = 3
_WOULD: Final[Mapping[Form, str]] = {
    Form.POD_SPEC: "would change",
    Form.DEPLOYMENT_CONFIG: "would change",
    Form.BUILD_CONFIG: "would build",
    Form.RUN: "would run",
}
_WOULD_LOOK_UP: Final = "would be looked up"
_CANNOT_CHANGE: Final = "cannot be changed"
_STATES: Final = {
    lookup_states.State.DIFFERS: (State.DIFFERS, "its image is the tag's name"),
    lookup_states.State.WAITS: (State.WAITS, "its image is the name of a tag that points at nothing yet"),
}
_NOT_ASKED: Final = "not asked, for a build has no dry run"

Tag = tuple[StreamKey, str]


@click.command("impact")
@stream_tag_argument
@click.option(
    "--to",
    metavar="N|DIGEST|IMAGE",
    help="What the tag would point at: an item of `listener history`, by its number or the beginning of its digest; a"
    " digest of the same repository; any image. Default: what it points at now.",
)
@click.option(
    "--server-dry-run",
    is_flag=True,
    help="Ask the API server whether it would take each change (quotas, admission); nothing is stored.",
)
@workload_options
def command(common: Common, name: TagName, to: str | None, server_dry_run: bool) -> None:
    """Show which workloads follow a tag, and what would become of each.

    Also those whose image is the tag's name, still to be looked up. With --to those too that follow tags which follow
    this one, in whatever namespace. Nothing is changed.
    """
    run(_impact(common, settings_of(common), name, to, server_dry_run=server_dry_run))


@dataclass(frozen=True, slots=True)
class _Row:
    """One trigger on a tag that would move, or an image that is its name, and then without a trigger.

    `refusal` is what the API server says to it, once it was asked.
    """

    kind: Kind
    workload: Workload
    tag: Tag
    state: TriggerState
    refusal: str | None = None

    @property
    def is_lookup(self) -> bool:
        return self.state.trigger is None


@dataclass(frozen=True, slots=True)
class _Move:
    """What would move. `item` is what the asked tag would then resolve to."""

    name: TagName
    tags: frozenset[Tag]
    snapshot: Snapshot
    item: Resolved | None

    def concerns(self, workload: Workload) -> bool:
        return any((trigger.stream, trigger.tag) in self.tags for trigger in workload.triggers.valid) or any(
            (found.stream, found.tag) in self.tags for found in workload.lookups
        )


async def _impact(common: Common, settings: Settings, name: TagName, to: str | None, *, server_dry_run: bool) -> None:
    async with cluster_of(common, with_lookups=True) as cluster:
        own = common.namespace or cluster.namespace
        asked = name.within(own)
        workloads = Workloads(cluster, settings.kinds(), settings.namespaces)
        listing = Listing(settings.namespaces or [None], own)
        found = await Streams(cluster, timeout_seconds=0).get(asked.key)
        if to is None:
            found.must_have(asked.tag)
            snapshot = Snapshot({asked.key: found.stream}, settings.namespaces)
            move = _Move(asked, frozenset({(asked.key, asked.tag)}), snapshot, None)
        else:
            move = await _move(workloads, listing, asked, found.stream, to, settings)
        with output.Progress() as progress:
            progress.tell("listing workloads …")
            followers = await _followers(workloads, listing, move)
        listing.tell()
        snapshot = await _complete(workloads, move.snapshot, followers)
        plan = _planner(snapshot)
        rows = _rows(followers, plan, snapshot, move)
        if server_dry_run:
            rows = await _ask_all(workloads, rows, plan)
    _show(common, move, snapshot, rows)
    refused = len({row.workload.key for row in rows if row.refusal not in (None, "", _NOT_ASKED)})
    if refused:
        raise CommandFailed(f"the API server would not take {_count(refused, 'change')}; the table says why")


async def _move(
    workloads: Workloads, listing: Listing, asked: TagName, stream: Stream, to: str, settings: Settings
) -> _Move:
    item = impacts.destination(stream, asked.tag, to)
    everything = await listing.of(workloads.cluster.streams, lambda _: True)
    before = {each.key: each for each in everything} | {stream.key: stream}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    after = impacts.move(before, asked.key, asked.tag, item, now=now, limit=settings.history.limit)
    tags = impacts.moved_tags(before, after) | {(asked.key, asked.tag)}
    if not item.image:
        output.note(f"{item.docker_image_reference} is shown as it is written; the service would write its digest")
    return _Move(asked, tags, Snapshot(dict(after), settings.namespaces), after[asked.key].resolve(asked.tag))


async def _followers(workloads: Workloads, listing: Listing, move: _Move) -> list[tuple[Kind, Workload]]:
    async def of(kind: Kind) -> list[tuple[Kind, Workload]]:
        found = await listing.of(lambda namespace: workloads.cluster.workloads(kind, namespace), move.concerns)
        return [(kind, workload) for workload in found]

    return [pair for found in await each(of, workloads.kinds) for pair in found]


async def _complete(workloads: Workloads, snapshot: Snapshot, followers: Iterable[tuple[Kind, Workload]]) -> Snapshot:
    """Read the other streams too of what acts only when all its tags point at something."""
    wanted = {
        trigger.stream
        for kind, workload in followers
        if kind.form is not Form.POD_SPEC
        for trigger in workload.triggers.valid
    }
    more = await workloads.streams(wanted - snapshot.streams.keys())
    return replace(snapshot, streams={**more.streams, **snapshot.streams})


def _planner(snapshot: Snapshot) -> Callable[[Kind, Workload], Plan]:
    def plan(kind: Kind, workload: Workload) -> Plan:
        return plans.plan(workload, kind, snapshot.view, now=datetime.now(UTC))

    return plan


def _rows(
    followers: Iterable[tuple[Kind, Workload]],
    plan: Callable[[Kind, Workload], Plan],
    snapshot: Snapshot,
    move: _Move,
) -> list[_Row]:
    return [
        _Row(kind, workload, tag, state)
        for kind, workload in sorted(followers, key=lambda pair: (pair[1].key.namespace, *pair[1].key))
        for tag, state in (
            *_followed(kind, workload, plan(kind, workload), snapshot),
            *_named(workload, snapshot),
        )
        if tag in move.tags
    ]


def _followed(kind: Kind, workload: Workload, plan: Plan, snapshot: Snapshot) -> Iterator[tuple[Tag, TriggerState]]:
    for state in overview.look(workload, plan, snapshot.view, snapshot.missing):
        if state.trigger is None:
            continue
        is_too_late = state.state is State.DIFFERS and lookups.is_fixed(kind)
        told = replace(state, why=f"nobody can change a {kind.label}'s images") if is_too_late else state
        yield (state.trigger.stream, state.trigger.tag), told


def _named(workload: Workload, snapshot: Snapshot) -> Iterator[tuple[Tag, TriggerState]]:
    """The images that are names of tags, as if a trigger were on each."""
    for found in lookup_states.look(workload, snapshot.streams):
        if found.lookup and (told := _STATES.get(found.state)):
            state = TriggerState(found.container, None, found.image, found.tagged, *told)
            yield (found.lookup.stream, found.lookup.tag), state


# The API server's opinion


async def _ask_all(workloads: Workloads, rows: Sequence[_Row], plan: Callable[[Kind, Workload], Plan]) -> list[_Row]:
    """Ask about each workload that would change, some at a time."""
    asked = list({row.workload.key: row for row in rows if row.state.state is State.DIFFERS}.values())
    done = 0
    with output.Progress() as progress:

        async def ask(row: _Row) -> str:
            nonlocal done
            refusal = await _ask(workloads, row, plan)
            done += 1
            progress.tell(f"asking the API server: {done} of {len(asked)}")
            return refusal

        refusals = await each(ask, asked)
    found = {row.workload.key: refusal for row, refusal in zip(asked, refusals, strict=True)}
    return [
        replace(row, refusal=found.get(row.workload.key)) if row.state.state is State.DIFFERS else row for row in rows
    ]


async def _ask(workloads: Workloads, row: _Row, plan: Callable[[Kind, Workload], Plan]) -> str:
    """Return why the API server would not take a workload's change, "" if it would."""
    if row.kind.form is Form.BUILD_CONFIG:
        return _NOT_ASKED  # what OpenShift takes requests for builds with does not look at dryRun
    kind, workload = row.kind, row.workload
    for _ in range(_ATTEMPTS):
        outcome: Outcome[Any] = Outcome(End.APPLIED)
        wanted = plan(kind, workload)
        if wanted.start is not None:
            outcome = await workloads.cluster.start(workload.key.namespace, wanted.start, dry_run=True)
        if wanted.operations and outcome.end is End.APPLIED:
            outcome = await workloads.cluster.patch_workload(kind, workload.key, wanted.operations, dry_run=True)
        match outcome.end:
            case End.APPLIED:
                return ""
            case End.THROTTLED:
                await asyncio.sleep(outcome.retry_after_seconds or 1)
            case End.STALE:
                newer = await workloads.cluster.get_workload(kind, workload.key)
                if newer is None:
                    return "it is gone"
                workload = newer
            case _:
                break
    how = "not known" if outcome.end in (End.UNREACHABLE, End.THROTTLED, End.STALE) else "refused"
    return f"{how}: {line(outcome.message)}"


# What is printed


def _show(common: Common, move: _Move, snapshot: Snapshot, rows: Sequence[_Row]) -> None:
    if common.output != "table":
        output.say(output.document(_document(move, snapshot, rows), common.output))
        return
    where = f" at {output.short(move.item.pull_spec)}" if move.item else ""
    subject = f"{move.name.full}{where}"
    if not rows:
        output.say(f"{subject}: no workload follows it")
        return
    several = any(_tag(row) != move.name.full for row in rows)
    header = ["WORKLOAD", "CONTAINER", *(["FOLLOWS"] if several else []), "NOW", "WOULD BE", "STATE"]
    table = [
        [
            named(row.workload.key),
            row.state.target or "-",
            *([_tag(row)] if several else []),
            output.short(row.state.now) or "-",
            output.short(row.state.tagged) or "-",
            _state(row),
        ]
        for row in rows
    ]
    counts = Counter(_word(row) for row in rows)
    output.say(output.table(header, table))
    output.say(f"\n{subject}: {', '.join(f'{number} {word}' for word, number in counts.items())}")


def _word(row: _Row) -> str:
    if row.state.state is not State.DIFFERS:
        return str(row.state.state)
    if row.refusal and row.refusal != _NOT_ASKED:
        return row.refusal.partition(":")[0]
    if row.is_lookup:
        return _WOULD_LOOK_UP
    return _CANNOT_CHANGE if lookups.is_fixed(row.kind) else _WOULD[row.kind.form]


def _state(row: _Row) -> str:
    if row.refusal == _NOT_ASKED:
        return f"{_word(row)} ({row.refusal})"
    if row.refusal is not None:
        return row.refusal or f"{_word(row)} (accepted)"
    return f"{_word(row)}: {row.state.why}" if row.state.why else _word(row)


def _tag(row: _Row) -> str:
    stream, tag = row.tag
    return f"{stream}:{tag}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _document(move: _Move, snapshot: Snapshot, rows: Sequence[_Row]) -> dict[str, Any]:
    """What would be, for programs. `dryRun` is null where nothing was asked, else the API server's word."""
    resolved = snapshot.resolve(move.name.key, move.name.tag)
    return {
        "stream": move.name.stream,
        "namespace": move.name.namespace,
        "tag": move.name.tag,
        "image": resolved.pull_spec if resolved else None,
        "tags": sorted(f"{key}:{tag}" for key, tag in move.tags),
        "workloads": [
            {
                "apiVersion": row.kind.api_version,
                "kind": row.kind.name,
                "namespace": row.workload.key.namespace,
                "name": row.workload.key.name,
                "container": row.state.target or None,
                "follows": _tag(row),
                "image": row.state.now or None,
                "wouldBe": row.state.tagged or None,
                "state": _word(row),
                "reason": row.state.why or None,
                "dryRun": None if row.refusal is None else row.refusal or "accepted",
            }
            for row in rows
        ],
    }
