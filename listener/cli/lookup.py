"""`listener lookup`: which images may be names of stream tags, what they mean, and letting them be such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from listener.cli import output
from listener.cli.options import Common, run, workload_options
from listener.cli.streams import Change, CommandFailed, Streams, cluster_of, settings_of
from listener.cli.workloads import Listing, Workloads, each, named
from listener.core import edits, kind_names, lookup_edits, lookup_states, lookups
from listener.core.edits import EditRefused
from listener.core.kinds import Kind
from listener.core.lookup_states import LookupState, State
from listener.core.names import InvalidName, parse_tag
from listener.core.streams import Stream, StreamKey, summarise
from listener.core.trigger_edits import Found
from listener.core.workloads import Workload, WorkloadKey
from listener.edges import objects
from listener.errors import ClusterError
from listener.settings import Settings

if TYPE_CHECKING:
    from listener.edges.cluster import Cluster, Collection

_NONE: Final = "-"
_STREAM_WORDS: Final = ("is", "imagestream", "imagestreams", "imagestream.image.openshift.io")
_WORDS: Final[Mapping[State, str]] = {
    State.NONE: _NONE,
    State.OFF: "not looked up",
    State.UNFIT: "points at a name",
    State.DIFFERS: "to be resolved",
    State.WAITS: "waits",
    State.TRIGGERED: "left to a trigger",
    State.LATE: "too late",
    State.MISSING: "no such stream",
    State.UNKNOWN: "unknown",
}


@click.command("lookup")
@click.argument("name", required=False, metavar="[STREAM|KIND/NAME]")
@click.option("--on/--off", "on", default=None, help="Let images name the stream's tags, or of a workload any; or not.")
@click.option("--all", "all_streams", is_flag=True, help="Switch all streams of the namespace.")
@workload_options
def command(common: Common, name: str | None, on: bool | None, all_streams: bool) -> None:
    """Show which images may be names of stream tags, and what they mean; or change it.

    `image: web:latest` in a manifest means the tag latest of the stream web of its own namespace, if the stream or the
    object says so. Of a STREAM are shown its tags and the workloads whose images name them: with --on these are
    resolved too, and so roll. Of KIND/NAME (KIND as for kubectl) are shown its containers; --on there has every name
    looked up, whatever the streams say. Without a name: the streams of the namespace.
    """
    if all_streams and name:
        raise click.UsageError("--all means every stream of the namespace: leave the name out")
    if all_streams and on is None:
        raise click.UsageError("--all goes with --on or --off")
    if on is not None and not (name or all_streams):
        raise click.UsageError("--on and --off need a STREAM or KIND/NAME, or --all for every stream of the namespace")
    settings = settings_of(common)
    if name is None:
        run(_streams(common, on))
        return
    kind, slash, rest = name.partition("/")
    if slash and kind.lower() not in _STREAM_WORDS:
        try:
            kind_and_name = kind_names.parse(name, settings.kinds())
        except InvalidName as error:
            raise click.UsageError(f"{error}; the namespace of a stream is named with -n") from error
        if not lookups.concerns(kind_and_name[0]):
            raise click.UsageError(f"a {kind_and_name[0].name} has no pod spec whose images could be names")
        run(_workload(common, *kind_and_name, on))
        return
    stream = _stream_name(rest if slash else name)
    run(_stream(common, settings, stream, on))


def _stream_name(text: str) -> str:
    try:
        found = parse_tag(text)
    except InvalidName as error:
        raise click.UsageError(str(error)) from error
    if found.tag or found.namespace:
        raise click.UsageError(f"expected a stream without tag, such as {found.stream}, or KIND/NAME; found {text!r}")
    return found.stream


# All streams


async def _streams(common: Common, on: bool | None) -> None:
    async with cluster_of(common) as cluster:
        namespace = common.namespace or cluster.namespace
        listing = Listing([namespace], namespace)
        found = await listing.of(cluster.streams, lambda _: True)
        listing.tell()
        if on is not None:
            streams = Streams(cluster, timeout_seconds=0)
            for done, stream in enumerate(found):
                try:
                    found[done] = (await switch(streams, stream.key, on=on)).after
                except (CommandFailed, ClusterError) as error:
                    how = f"{done} of {len(found)} streams are switched, from here on none"
                    raise CommandFailed(f"ImageStream {stream.key}: {error}\n{how}: run it again") from error
    if common.output != "table":
        documents = [_stream_document(stream) for stream in found]
        output.say(output.document({"namespace": namespace, "streams": documents}, common.output))
    elif found:
        rows = [(each.key.name, _yes(each.local_lookup), summarise(each.tags).tags or _NONE) for each in found]
        output.say(output.table(("STREAM", "LOOKED UP", "TAGS"), rows))
    else:
        output.say(f"there is no ImageStream in namespace {namespace}")


async def switch(streams: Streams, key: StreamKey, *, on: bool) -> Change:
    """Write whether images may name a stream's tags. Raises CommandFailed."""
    return await streams.change(key, partial(edits.look_up, on=on))


# One stream


@dataclass(frozen=True, slots=True)
class _Row:
    """A container whose image names a tag of the stream. `would` is what it would be if the stream were looked up."""

    kind: Kind
    workload: Workload
    state: LookupState
    would: LookupState


async def _stream(common: Common, settings: Settings, name: str, on: bool | None) -> None:
    async with cluster_of(common) as cluster:
        key = StreamKey(common.namespace or cluster.namespace, name)
        streams = Streams(cluster, timeout_seconds=0)
        stream = (await streams.get(key)).stream
        # Before anything is changed: what cannot be listed then is told, and nothing is half done.
        listing = Listing([key.namespace], key.namespace)
        with output.Progress() as progress:
            progress.tell("listing workloads …")
            found = await _naming(cluster, listing, settings.kinds(), key)
        listing.tell()
        change = await switch(streams, key, on=on) if on is not None else Change(stream, stream)
    rows = _rows(found, change.after)
    if common.output != "table":
        document = {**_stream_document(change.after), "workloads": [_row_document(row) for row in rows]}
        output.say(output.document({"namespace": key.namespace, **document}, common.output))
        return
    tags = change.after.resolve_all()
    names = edits.tag_names(change.after)
    parts = []
    if names and on is None:
        heads = [(tag, output.short(tags[tag].pull_spec) if tag in tags else "nothing yet") for tag in names]
        parts.append(output.table(("TAG", "POINTS AT"), heads))
    if rows:
        cells = [(named(row.workload.key), row.state.container, row.state.image, *_cells(row)) for row in rows]
        parts.append(output.table(("WORKLOAD", "CONTAINER", "IMAGE", "POINTS AT", "STATE"), cells))
    output.say("\n\n".join([*parts, _told(change, rows, on)]))


async def _naming(
    cluster: Cluster, listing: Listing, kinds: Sequence[Kind], key: StreamKey
) -> list[tuple[Kind, Workload]]:
    """The workloads with images that name tags of the stream, if such names are looked up."""

    async def of(kind: Kind) -> list[tuple[Kind, Workload]]:
        def collection(namespace: str | None) -> Collection[Any, Workload]:
            return cluster.of_kind(kind, namespace, partial(objects.read_workload, kind, with_lookups=True))

        found = await listing.of(collection, lambda workload: any(each.stream == key for each in workload.lookups))
        return [(kind, workload) for workload in found]

    concerned = [kind for kind in kinds if lookups.concerns(kind)]
    return [pair for found in await each(of, concerned) for pair in found]


def _rows(found: Sequence[tuple[Kind, Workload]], stream: Stream) -> list[_Row]:
    rows = []
    for kind, workload in sorted(found, key=lambda pair: pair[1].key):
        now = lookup_states.look(workload, {stream.key: stream})
        would = lookup_states.look(workload, {stream.key: replace(stream, local_lookup=True)})
        rows += [
            _Row(kind, workload, state, other)
            for state, other in zip(now, would, strict=True)
            if state.lookup and state.lookup.stream == stream.key and other.state is not State.NONE
        ]
    return rows


def _cells(row: _Row) -> tuple[str, str]:
    """What the tag points at, and what comes of that."""
    state = row.state
    if state.state is State.OFF:
        would = "would be resolved" if row.would.state is State.DIFFERS else "would wait"
        return output.short(state.tagged) or _NONE, f"{_WORDS[State.OFF]}; with --on it {would}"
    return output.short(state.tagged) or _NONE, _WORDS[state.state]


def _told(change: Change, rows: Sequence[_Row], on: bool | None) -> str:
    stream = change.after
    moved = len({row.workload.key for row in rows if row.state.state is State.DIFFERS})
    already = " already" if on is not None and change.before.local_lookup == on else ""
    who = f"ImageStream {stream.key}"
    if not stream.local_lookup:
        forced = f"; {_count(moved)} whose own names are all looked up will roll" if moved else ""
        return f"{who}: its tags are not looked up{already}{forced}"
    roll = f"; {_count(moved)} above will roll when the service resolves {'it' if moved == 1 else 'them'}"
    return f"{who}: its tags are looked up{already}{roll if moved else ''}"


def _count(workloads: int) -> str:
    return f"{workloads} workload{'' if workloads == 1 else 's'}"


def _stream_document(stream: Stream) -> dict[str, Any]:
    """A stream for programs; a tag that points at nothing has a null image."""
    tags = stream.resolve_all()
    return {
        "stream": stream.key.name,
        "local": stream.local_lookup,
        "tags": [
            {"tag": tag, "image": tags[tag].pull_spec if tag in tags else None} for tag in edits.tag_names(stream)
        ],
    }


def _row_document(row: _Row) -> dict[str, Any]:
    return {
        "apiVersion": row.kind.api_version,
        "kind": row.kind.name,
        "name": row.workload.key.name,
        **_container(row.state),
        "stateIfOn": str(row.would.state),
    }


# One workload


async def _workload(common: Common, kind: Kind, name: str, on: bool | None) -> None:
    async with cluster_of(common) as cluster:
        key = WorkloadKey(kind.label, common.namespace or cluster.namespace, name)
        workloads = Workloads(cluster)

        def plan(found: Found) -> Sequence[edits.Operation]:
            try:
                return lookup_edits.force(found, on=bool(on))
            except EditRefused as error:
                raise EditRefused(f"{named(key)}: {error}") from error

        before, changed = None, False
        if on is not None:
            before, changed = await workloads.change(kind, key, plan)
        found, read = await workloads.get(kind, key)
        workload = lookup_states.with_lookups(read, found)
        snapshot = await workloads.streams(each.stream for each in workload.lookups)
    hindrance = lookup_edits.hindrance(found)
    states = lookup_states.look(workload, snapshot.streams, hindrance=hindrance)
    if common.output != "table":
        output.say(output.document(_workload_document(found, states), common.output))
        return
    header = ("CONTAINER", "IMAGE", "NAMES", "POINTS AT", "STATE")
    parts = [output.table(header, [_state_cells(state) for state in states])] if states else []
    is_forced = lookup_edits.is_forced(found)
    how = "all names of its images are looked up" if is_forced else "its images are names where their streams say so"
    already = " already" if before is not None and not changed else ""
    against = f"; but {hindrance}" if hindrance else ""
    output.say("\n\n".join([*parts, f"{named(key)}: {how}{already}{against}"]))
    if changed and before is not None and not on and lookup_edits.restarts(before):
        output.note(f"{named(key)}: its pod template had the annotation {lookups.RESOLVE_NAMES}, so its Pods restart")


def _state_cells(state: LookupState) -> tuple[str, ...]:
    lookup = state.lookup
    why = f": image {lookup.name} {state.why}" if state.why and lookup else ""
    return (
        state.container or _NONE,
        output.short(state.image) or _NONE,
        f"{lookup.stream.name}:{lookup.tag}" if lookup and state.state is not State.NONE else _NONE,
        output.short(state.tagged) or _NONE,
        f"{_WORDS[state.state]}{why}",
    )


def _workload_document(found: Found, states: Sequence[LookupState]) -> dict[str, Any]:
    """A workload for programs. `forced` tells that all its names are looked up. What is not there is null."""
    return {
        "apiVersion": found.kind.api_version,
        "kind": found.kind.name,
        "namespace": found.key.namespace,
        "name": found.key.name,
        "forced": lookup_edits.is_forced(found),
        "hindrance": lookup_edits.hindrance(found) or None,
        "containers": [_container(state) for state in states],
    }


def _container(state: LookupState) -> dict[str, Any]:
    lookup = state.lookup
    return {
        "container": state.container or None,
        "image": state.image or None,
        "names": f"{lookup.stream.name}:{lookup.tag}" if lookup else None,
        "tagged": state.tagged or None,
        "state": str(state.state),
        "reason": state.why or None,
    }


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
