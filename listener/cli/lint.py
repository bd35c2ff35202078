"""`listener lint`: what is wrong with streams, triggers and names of tags, in the cluster or in files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection as Several
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec

from listener.cli import output
from listener.cli.manifests import Manifest, Unreadable, read
from listener.cli.options import Common, run, workload_options
from listener.cli.streams import CommandFailed, cluster_of, settings_of
from listener.cli.workloads import Listing, Workloads, each
from listener.core import lint, lookup_states, lookups
from listener.core.kinds import Kind
from listener.core.lint import Finding, Known, Severity
from listener.core.streams import Stream, StreamKey
from listener.core.trigger_edits import Found
from listener.core.workloads import Workload
from listener.edges import objects
from listener.settings import Settings

if TYPE_CHECKING:
    from listener.edges.cluster import Collection

_STREAM = ("image.openshift.io", "ImageStream")
_STREAMS = Kind("ImageStream", "image.openshift.io/v1", "imagestreams", ())
_MENTION = re.compile(rb"image\.(?:alpha\.)?openshift\.io/triggers|image\.policy\.openshift\.io/resolve-names")


@click.command("lint")
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    metavar="FILE",
    help="Look at a file of YAML or JSON, at the files of a folder, or at stdin (-), and not at the cluster. May be"
    " repeated.",
)
@click.option(
    "--cluster", "lookup", is_flag=True, help="With -f: look in the cluster for streams that are not in the files."
)
@click.option("-A", "--all-namespaces", is_flag=True, help="Look at all namespaces.")
@workload_options
def command(common: Common, files: tuple[str, ...], lookup: bool, all_namespaces: bool) -> None:
    """Find streams whose tags cannot be resolved, triggers that cannot be followed, names that would not be looked up.

    Without -f in the cluster: in the namespace of -n, or in all of them with -A. Exit code 1 if there are errors;
    warnings (what may be meant so, or pass by itself) and infos (what could not be looked at) are none.
    """
    if all_namespaces and (common.namespace or files):
        raise click.UsageError(f"-A goes with no {'-f' if files else '-n'}")
    if lookup and not files:
        raise click.UsageError("--cluster goes with -f: without it, the cluster is looked at anyway")
    settings = settings_of(common)
    if files:
        run(_lint_files(common, settings, files, lookup=lookup))
    else:
        run(_lint_cluster(common, settings, all_namespaces=all_namespaces))


@dataclass(frozen=True, slots=True)
class _Looked:
    """One object, read as far as it can be. `file` is "" for one of the cluster, `problem` why it cannot be read."""

    name: str
    document: Mapping[str, Any]
    file: str = ""
    line: int = 0
    kind: Kind | None = None
    stream: Stream | None = None
    workload: Workload | None = None
    problem: str = ""

    def wanted(self) -> Iterable[StreamKey]:
        """The streams that one must know to judge it.

        Most images that may be names are none: where the streams of a namespace were listed, none else is asked for.
        """
        if self.stream:
            return self.stream.sources()
        if self.workload is None:
            return ()
        names = {found.stream for found in self.workload.lookups if self.file or found.forced}
        return names | {trigger.stream for trigger in self.workload.triggers.valid}

    def check(self, known: Known) -> list[Finding]:
        if self.problem:
            return [Finding(Severity.ERROR, self.problem)]
        if self.stream:
            return lint.check_stream(self.stream, self.document, known)
        if self.workload and self.kind:
            return lint.check_workload(self.workload, Found(self.kind, self.document), known)
        return lint.check_other(self.document)


async def _lint_files(common: Common, settings: Settings, files: Sequence[str], *, lookup: bool) -> None:
    kinds, namespaces = settings.kinds(), settings.namespaces
    found = [each for file in files for each in read(file)]
    if not lookup:
        looked = [_look(each, kinds, common.namespace or "") for each in found]
        _show(common, looked, Known(_streams(looked), "is not in these files", namespaces))
        return
    async with cluster_of(common) as cluster:
        looked = [_look(each, kinds, common.namespace or cluster.namespace) for each in found]
        inside = _streams(looked)
        more = await Workloads(cluster).streams(_wanted(looked) - inside.keys())
        _show(common, looked, Known({**more.streams, **inside}, "may not be read by you", namespaces))


async def _lint_cluster(common: Common, settings: Settings, *, all_namespaces: bool) -> None:
    kinds = settings.kinds()
    async with cluster_of(common) as cluster:
        own = common.namespace or cluster.namespace
        listing = Listing([None if all_namespaces else own], own)
        workloads = Workloads(cluster, kinds)

        async def of(kind: Kind) -> list[_Looked]:
            def collection(namespace: str | None) -> Collection[Any, _Looked]:
                return cluster.of_kind(kind, namespace, partial(_workload, kind, inside.keys()))

            return await listing.of(collection, lambda _: True)

        def streams(namespace: str | None) -> Collection[Any, _Looked]:
            return cluster.of_kind(_STREAMS, namespace, _stream)

        with output.Progress() as progress:
            progress.tell("listing streams and workloads …")
            looked = await listing.of(streams, lambda _: True)
            inside = _streams(looked)
            for found in await each(of, kinds):
                looked += found
        listing.tell()
        more = await workloads.streams(_wanted(looked) - inside.keys())
        _show(common, looked, Known({**more.streams, **inside}, "may not be read by you", settings.namespaces))


def _streams(looked: Iterable[_Looked]) -> dict[StreamKey, Stream | None]:
    return {each.stream.key: each.stream for each in looked if each.stream}


def _wanted(looked: Iterable[_Looked]) -> set[StreamKey]:
    return {key for each in looked for key in each.wanted()}


def _look(found: Manifest | Unreadable, kinds: Sequence[Kind], namespace: str) -> _Looked:
    """Read an object of a file. One without a namespace is meant for the one of -n; its name may be for the server."""
    if isinstance(found, Unreadable):
        return _Looked("", {}, found.file, found.line, problem=found.why)
    document = found.document
    metadata = document.get("metadata")
    if isinstance(metadata, dict):
        filled = {"name": metadata.get("generateName"), **metadata}
        document = {**document, "metadata": {**filled, "namespace": metadata.get("namespace") or namespace}}
    name = _name(document)
    group = str(document["apiVersion"]).rpartition("/")[0]
    try:
        raw = msgspec.json.encode(document)
        if (group, document["kind"]) == _STREAM:
            return _Looked(name, document, found.file, found.line, stream=objects.read_stream(raw))
        for kind in kinds:
            if (kind.api_version.rpartition("/")[0], kind.name) == (group, document["kind"]):
                workload = objects.read_workload(kind, raw)
                if lookups.concerns(kind):
                    workload = lookup_states.with_lookups(workload, Found(kind, document))
                return _Looked(name, document, found.file, found.line, kind, workload=workload)
    except (msgspec.MsgspecError, TypeError, RecursionError) as error:
        what, _, where = str(error).partition(" - at ")
        why = f"{where.strip('`').removeprefix('$.') or 'it'}: {what}"
        return _Looked(name, document, found.file, found.line, problem=why)
    return _Looked(name, document, found.file, found.line)


def _stream(raw: bytes | msgspec.Raw) -> _Looked:
    document = msgspec.json.decode(raw)
    return _Looked(_name({**document, "kind": "ImageStream"}), document, stream=objects.read_stream(raw))


def _workload(kind: Kind, streams: Several[StreamKey], raw: bytes | msgspec.Raw) -> _Looked:
    """Read a workload. Most follow nothing, and name none of the streams: of these not even the name is kept, for there
    may be thousands.
    """
    workload = objects.read_workload(kind, raw, with_lookups=True)
    text = bytes(raw)
    document = None
    if lookups.concerns(kind) and lookups.is_fixed(kind):  # its names are too late, which is worth saying
        document = msgspec.json.decode(text)
        workload = lookup_states.with_lookups(workload, Found(kind, document))
    names = any(found.forced or found.stream in streams for found in workload.lookups)
    if not (workload.triggers.valid or workload.triggers.problems or names or _MENTION.search(text)):
        return _Looked("", {})
    document = document or msgspec.json.decode(text)
    return _Looked(_name({**document, "kind": kind.label}), document, kind=kind, workload=workload)


def _name(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    found = metadata if isinstance(metadata, dict) else {}
    kind = str(document["kind"])
    name = str(found.get("name") or found.get("generateName") or "<no name>")
    where = f"{found['namespace']}/" if found.get("namespace") else ""
    return f"{kind.lower()} {where}{name}"


def _show(common: Common, looked: Sequence[_Looked], known: Known) -> None:
    found = [(each, finding) for each in looked for finding in each.check(known)]
    counts = Counter(finding.severity for _, finding in found)
    if common.output != "table":
        output.say(output.document(_document(found, counts, len(looked)), common.output))
    else:
        if found:
            output.say(output.table(*_table(found)))
            output.say("")
        output.say(_summary(counts, len(looked)))
    if errors := counts[Severity.ERROR]:
        raise CommandFailed(f"{_count(errors, 'error')} found; mend {'it' if errors == 1 else 'them'} and look again")


def _table(found: Sequence[tuple[_Looked, Finding]]) -> tuple[Sequence[str], list[Sequence[str]]]:
    if any(each.file for each, _ in found):
        header: Sequence[str] = ("FILE", "OBJECT", "SEVERITY", "FINDING")
        return header, [
            (f"{each.file}:{each.line}", each.name or "-", str(finding.severity), finding.text)
            for each, finding in found
        ]
    return ("OBJECT", "SEVERITY", "FINDING"), [
        (each.name, str(finding.severity), finding.text) for each, finding in found
    ]


def _summary(counts: Mapping[Severity, int], objects_seen: int) -> str:
    said = [_count(counts[severity], severity) for severity in Severity if counts.get(severity)]
    return f"{', '.join(said) or 'nothing found'} in {_count(objects_seen, 'object')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _document(
    found: Sequence[tuple[_Looked, Finding]], counts: Mapping[Severity, int], objects_seen: int
) -> dict[str, Any]:
    return {
        "findings": [
            {
                "file": each.file or None,
                "line": each.line or None,
                "object": each.name or None,
                "severity": str(finding.severity),
                "message": finding.text,
            }
            for each, finding in found
        ],
        "errors": counts[Severity.ERROR],
        "warnings": counts[Severity.WARNING],
        "objects": objects_seen,
    }
