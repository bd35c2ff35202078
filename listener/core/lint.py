"""What is wrong with streams and triggers, as far as one can see without doing anything.

An *error* stays until somebody mends it; a *warning* may be meant so, or pass by itself; an *info* is what could not be
looked at. What is not known is never called wrong: a stream of a file has no status, and a stream that is not in the
files may be in the cluster. This room must not know where objects come from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from listener.core import edits, lookup_edits, lookup_states, lookups, overview, references, streams, tracking
from listener.core.actions import Plan, View
from listener.core.conditions import Problem
from listener.core.edits import Document
from listener.core.history import Condition
from listener.core.imports import interval_seconds
from listener.core.kinds import Form, Kind
from listener.core.lookup_states import LookupState
from listener.core.lookups import EVERY_NAME, RESOLVE_NAMES
from listener.core.overview import State, TriggerState
from listener.core.streams import IMPORT_INTERVAL, SpecTag, Stream, StreamKey
from listener.core.trigger_edits import Found
from listener.core.triggers import ALPHA_ANNOTATION, ANNOTATION
from listener.core.workloads import Workload
from listener.errors import InvalidReference

_FROM_KINDS: Final = ("DockerImage", "ImageStreamTag", "ImageStreamImage")
_IMPORT_MODES: Final = ("", "Legacy", "PreserveOriginal")
_REFERENCE_POLICIES: Final = ("", "Source", "Local")
_LONGEST_NAME: Final = 255  # NAMESPACE/NAME is the name of a repository
_SHOWN_TAGS: Final = 10
_OFF: Final = ("", "false")


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence about one object."""

    severity: Severity
    text: str


@dataclass(frozen=True, slots=True)
class Known:
    """The streams that were looked at, None for those that do not exist. `unknown` says why others were not.

    `namespaces` are those of the settings, none means all.
    """

    streams: Mapping[StreamKey, Stream | None]
    unknown: str
    namespaces: Collection[str] = ()

    def get(self, key: StreamKey) -> Stream | None:
        return self.streams.get(key)


def check_stream(stream: Stream, document: Document, known: Known) -> list[Finding]:
    """Look at a stream, read and as its owner wrote it."""
    return [*_names(stream), *_repository(stream), *_Tags(stream, document, known).check(), *_conditions(stream)]


def check_workload(workload: Workload, found: Found, known: Known) -> list[Finding]:
    """Look at the triggers of an object whose kind follows tags, and at the names that its images may be."""
    if found.controller:
        return []  # it is a copy, and so is its annotation
    view = View(lambda key, tag: _resolved(known, key, tag), lambda _, __: None)
    states = overview.look(workload, Plan(), view, lambda _, __: "")
    # Where there are no containers at all the object is a part of one, such as a patch for kustomize.
    is_partial = not (found.document.get("metadata", {}).get("uid") or workload.containers)
    return [
        *(_of_state(state, is_partial=is_partial) for state in states if state.why),
        *(finding for state in states if (finding := _of_tag(state, known))),
        *_too_late(workload, found.kind),
        *_annotations(found),
        *_forcing(found),
        *_lookups(workload, found, known),
    ]


def check_other(document: Document) -> list[Finding]:
    """Look at an object whose kind follows no tags."""
    annotations = _at(document, "metadata", "annotations")
    what = f"{document.get('kind')} of {document.get('apiVersion')}"
    advice = "if it has a pod spec, name the kind in the settings' `workloads`, and that file with --config"
    found = []
    if any(annotations.get(key) for key in (ANNOTATION, ALPHA_ANNOTATION)):
        why = f"nobody reads its trigger annotation, for {what} is no kind that follows tags; {advice}"
        found.append(Finding(Severity.ERROR, why))
    if annotations.get(RESOLVE_NAMES) == EVERY_NAME:
        why = f"nobody reads its annotation {RESOLVE_NAMES}, for {what} is no kind whose images are looked up; {advice}"
        found.append(Finding(Severity.ERROR, why))
    return found


# Streams


def _names(stream: Stream) -> Iterator[Finding]:
    name = stream.key.name
    if not streams.is_name(name):
        yield Finding(
            Severity.ERROR,
            f"{name!r} is no name of a stream: expected lower-case letters and digits, in parts joined by '.' or '-'",
        )
    if len(str(stream.key)) > _LONGEST_NAME:
        yield Finding(Severity.ERROR, f"namespace and name together have more than {_LONGEST_NAME} characters")


def _repository(stream: Stream) -> Iterator[Finding]:
    if not stream.repository:
        return
    try:
        reference = references.parse(stream.repository)
    except InvalidReference as error:
        yield Finding(Severity.ERROR, f"spec.dockerImageRepository: {error}")
        return
    if reference.tag or reference.digest:
        yield Finding(
            Severity.ERROR,
            f"spec.dockerImageRepository: expected a repository without tag and digest, found {stream.repository!r}",
        )


def _conditions(stream: Stream) -> Iterator[Finding]:
    for condition in stream.conditions:
        if condition.status == "False":
            yield _failed("", condition)
    for known in stream.tags:
        for condition in known.conditions:
            if condition.status == "False":
                yield _failed(f"tag {known.tag}: ", condition)


def _failed(subject: str, condition: Condition) -> Finding:
    passes = condition.reason == Problem.INTERNAL_ERROR
    message = " ".join(condition.message.split())
    why = ": ".join(part for part in (condition.reason, message) if part)
    told = f"{subject}{condition.type}=False since {condition.last_transition_time}, {why}"
    return Finding(Severity.WARNING if passes else Severity.ERROR, told)


class _Tags:
    """The spec tags of one stream."""

    def __init__(self, stream: Stream, document: Document, known: Known) -> None:
        self._stream = stream
        self._written: Sequence[Document] = _at(document, "spec").get("tags") or ()
        self._known = known
        # A condition says it already, and says more.
        self._told = {each.tag for each in stream.tags if any(c.status == "False" for c in each.conditions)}

    def check(self) -> Iterator[Finding]:
        circles = self._circles()
        seen = set()
        for spec_tag, written in zip(self._stream.spec_tags, self._written, strict=True):
            for severity, text in self._of_tag(spec_tag, written, circles):
                yield Finding(severity, f"tag {spec_tag.name}: {text}")
            if spec_tag.name in seen:
                yield Finding(Severity.ERROR, f"tag {spec_tag.name}: spec.tags names it more than once")
            seen.add(spec_tag.name)

    def _of_tag(
        self, spec_tag: SpecTag, written: Document, circles: Mapping[str, str]
    ) -> Iterator[tuple[Severity, str]]:
        if not references.is_tag(spec_tag.name):
            expected = "1 to 128 letters, digits, '_', '.' and '-', not beginning with '.' or '-'"
            yield Severity.ERROR, f"no tag is called so: expected {expected}"
        yield from self._policies(spec_tag)
        if not written.get("from"):
            return
        if spec_tag.from_kind not in _FROM_KINDS:
            yield Severity.ERROR, f"from.kind: expected {_one_of(_FROM_KINDS)}, found {_shown(spec_tag.from_kind)}"
        elif not spec_tag.from_name:
            yield Severity.ERROR, "from.name: expected the source's name, found nothing"
        elif spec_tag.from_kind == "DockerImage":
            try:
                references.parse(spec_tag.from_name)
            except InvalidReference as error:
                yield Severity.ERROR, f"from.name: {error}"
        elif why := circles.get(spec_tag.name):
            yield Severity.ERROR, why
        elif spec_tag.name not in self._told:
            yield from self._source(spec_tag)

    def _policies(self, spec_tag: SpecTag) -> Iterator[tuple[Severity, str]]:
        if spec_tag.scheduled and spec_tag.from_kind != "DockerImage":
            yield Severity.ERROR, "importPolicy.scheduled goes only with a source of kind DockerImage"
        for field, value, allowed in (
            ("importPolicy.importMode", spec_tag.import_mode, _IMPORT_MODES),
            ("referencePolicy.type", spec_tag.reference_policy, _REFERENCE_POLICIES),
        ):
            if value not in allowed:
                yield Severity.ERROR, f"{field}: expected {_one_of(allowed[1:])}, found {_shown(value)}"
        if spec_tag.import_interval and not interval_seconds(spec_tag.import_interval):
            found = _shown(spec_tag.import_interval)
            yield Severity.WARNING, f"annotation {IMPORT_INTERVAL}: expected a duration such as 30m, found {found}"

    def _source(self, spec_tag: SpecTag) -> Iterator[tuple[Severity, str]]:
        key = self._stream.source_stream(spec_tag)
        is_tag = spec_tag.from_kind == "ImageStreamTag"
        if key is None:
            expected = "TAG or STREAM:TAG" if is_tag else "DIGEST or STREAM@DIGEST"
            yield Severity.ERROR, f"from.name: expected {expected}, found {_shown(spec_tag.from_name)}"
            return
        source = self._known.get(key)
        if source and not source.shares_with(self._stream.key.namespace):
            why = f"ImageStream {_named(key)} does not share its tags with namespace {self._stream.key.namespace}"
            yield Severity.ERROR, f"{why}: its owner can say so in the annotation {streams.SHARED_WITH}"
        elif is_tag:
            tag = spec_tag.from_name.rpartition(":")[2] or streams.DEFAULT_TAG
            if finding := _tag(self._known, key, tag):
                yield finding
        elif finding := _image(self._known, key, spec_tag.from_name.rpartition("@")[2]):
            yield finding

    def _circles(self) -> Mapping[str, str]:
        """The tags that follow each other, with the sentence that says so."""
        settled = tracking.settle(self._stream, self._known.get, now="", limit=1)
        found = {}
        for known in settled.tags:
            for condition in known.conditions:
                if condition.reason == Problem.CIRCULAR and known.tag not in self._told:
                    found[known.tag] = condition.message
        return found


def _image(known: Known, key: StreamKey, digest: str) -> tuple[Severity, str] | None:
    """What is wrong with an image of a stream's history."""
    if missing := _stream(known, key):
        return missing
    stream = known.get(key)
    if stream is None or not stream.uid:
        return None
    items = (item for history in stream.tags for item in (*history.items, *history.waiting))
    if any(item.begins(digest) for item in items):
        return None
    return Severity.ERROR, f"ImageStream {_named(key)} has no image {digest} in its history"


# Workloads


def _of_state(state: TriggerState, *, is_partial: bool) -> Finding:
    if state.state is State.PAUSED:
        return Finding(Severity.WARNING, f"{state.why} (the trigger is paused)")
    is_about_containers = state.trigger is not None
    return Finding(Severity.INFO if is_partial and is_about_containers else Severity.ERROR, state.why)


def _of_tag(state: TriggerState, known: Known) -> Finding | None:
    trigger = state.trigger
    if trigger is None or trigger.paused:
        return None
    found = _tag(known, trigger.stream, trigger.tag)
    if found is None:
        return None
    severity, why = found
    who = f"the trigger for {state.target}" if state.target else "a trigger"
    return Finding(severity, f"{who} follows {_named(trigger.stream)}:{trigger.tag}: {why}")


def _too_late(workload: Workload, kind: Kind) -> Iterator[Finding]:
    if lookups.is_fixed(kind) and (workload.triggers.valid or workload.triggers.problems):
        why = f"a trigger on a {kind.label} can never act, for nobody can change a {kind.label}'s images"
        advice = f"put it on the CronJob, or whatever else creates the {kind.label}"
        yield Finding(Severity.WARNING, f"{why}; {advice}")


def _annotations(found: Found) -> Iterator[Finding]:
    annotations, kind = found.annotations, found.kind
    ours, alpha = annotations.get(ANNOTATION), annotations.get(ALPHA_ANNOTATION)
    if kind.form in (Form.DEPLOYMENT_CONFIG, Form.BUILD_CONFIG):
        if ours or alpha:
            text = f"nobody reads its trigger annotation: a {kind.name} says in spec.triggers which tags it follows"
            yield Finding(Severity.WARNING, text)
        return
    if ours and alpha and ours != alpha:
        text = f"{ALPHA_ANNOTATION} says something else than {ANNOTATION}, and only the latter is read; remove one"
        yield Finding(Severity.WARNING, text)
    for path in _templates(kind):
        inner = _at(found.document, *path, "annotations")
        for key in (ANNOTATION, ALPHA_ANNOTATION):
            if inner.get(key):
                text = f"nobody reads {key} in {'.'.join(path)}: it belongs into the object's own metadata.annotations"
                yield Finding(Severity.WARNING if ours or alpha else Severity.ERROR, text)


def _templates(kind: Kind) -> Iterator[tuple[str, ...]]:
    """Where the templates on the way to a pod spec have their metadata."""
    path = kind.pod_spec_path
    for n, part in enumerate(path):
        if n and part == "spec":
            yield (*path[:n], "metadata")


# Names that are looked up


def _forcing(found: Found) -> Iterator[Finding]:
    """The annotation that has all names looked up, where it does not."""
    kind, read = found.kind, ("metadata", "annotations")
    templates = {(*path, "annotations"): path for path in _templates(kind)}
    for path in (read, *templates):
        value = _at(found.document, *path).get(RESOLVE_NAMES)
        where = ".".join(path)
        if not isinstance(value, str) or value in _OFF:
            continue
        if value != EVERY_NAME:
            text = f"{where}: {RESOLVE_NAMES} means something only with the value {EVERY_NAME!r}, found {_shown(value)}"
            yield Finding(Severity.ERROR, text)
        elif not kind.pod_spec_path:
            text = f"nobody reads its annotation {RESOLVE_NAMES}: a {kind.name} has no pod spec"
            yield Finding(Severity.ERROR, text)
        elif path not in (read, lookup_edits.template_path(kind)):
            text = f"nobody reads {RESOLVE_NAMES} in {where}: it belongs into the object's own metadata.annotations"
            yield Finding(Severity.ERROR, text)


def _lookups(workload: Workload, found: Found, known: Known) -> Iterator[Finding]:
    hindrance = lookup_edits.hindrance(found)
    if lookup_edits.owner(found) or lookup_edits.is_over(found):
        return
    states = lookup_states.look(lookup_states.with_lookups(workload, found), known.streams, hindrance=hindrance)
    for state in states:
        yield from _of_name(state, known, found.kind)


def _of_name(state: LookupState, known: Known, kind: Kind) -> Iterator[Finding]:
    lookup = state.lookup
    if lookup is None:
        return
    subject = f"container {state.container}: image {lookup.name}"
    namespace = lookup.name.rpartition("/")[0]
    means = f"{lookup.stream.name}:{lookup.tag}"
    if namespace not in ("", lookup.stream.namespace):
        own = lookup.stream.namespace or "the object"
        text = f"{subject} means {means} of {own} itself: where all names are looked up, a namespace is left out"
        yield Finding(Severity.WARNING, text)
    match state.state:
        case lookup_states.State.UNKNOWN if lookup.forced:
            yield Finding(Severity.INFO, f"{subject}: ImageStream {_named(lookup.stream)} {known.unknown}")
        case lookup_states.State.MISSING:
            why = f"there is no ImageStream {_named(lookup.stream)}"
            yield Finding(Severity.WARNING, f"{subject} is not looked up: {why}")
        case lookup_states.State.LATE:
            yield Finding(Severity.WARNING, f"{subject} {state.why}; delete the object and create it anew")
        case lookup_states.State.OFF if _has(known, lookup.stream, lookup.tag):
            why = f"ImageStream {_named(lookup.stream)} has that tag, but no spec.lookupPolicy.local"
            text = f"{subject} is not looked up: {why} (`listener lookup {lookup.stream.name} --on`)"
            yield Finding(Severity.WARNING, text)
        case lookup_states.State.UNFIT:
            yield Finding(Severity.WARNING, f"{subject} {state.why}: write its registry there")
        case lookup_states.State.WAITS:
            if found := _tag(known, lookup.stream, lookup.tag):
                severity, text = found
                if lookups.is_fixed(kind):
                    severity = Severity.WARNING
                    text += f"; a {kind.label} is never changed: create it when the tag is there"
                yield Finding(severity, f"{subject}: {text}")


def _has(known: Known, key: StreamKey, tag: str) -> bool:
    stream = known.get(key)
    return stream is not None and tag in edits.tag_names(stream)


# Tags


def _resolved(known: Known, key: StreamKey, tag: str) -> streams.Resolved | None:
    stream = known.get(key)
    return stream.resolve(tag) if stream else None


def _stream(known: Known, key: StreamKey) -> tuple[Severity, str] | None:
    if hindrance := streams.hindrance(key, known.namespaces):
        return Severity.ERROR, hindrance
    if key not in known.streams:
        return Severity.INFO, f"ImageStream {_named(key)} {known.unknown}"
    return None if known.get(key) else (Severity.ERROR, f"there is no ImageStream {_named(key)}")


def _tag(known: Known, key: StreamKey, tag: str) -> tuple[Severity, str] | None:
    """What is wrong with a tag that somebody follows."""
    if missing := _stream(known, key):
        return missing
    stream = known.get(key)
    if stream is None or stream.resolve(tag):
        return None
    is_live = bool(stream.uid)
    tags = edits.tag_names(stream)
    if tag in tags:
        return (Severity.WARNING, f"{_named(key)}:{tag} points at nothing yet") if is_live else None
    if stream.repository and not is_live:
        return None  # the registry knows which tags there will be
    has = f"its tags are {', '.join(tags[:_SHOWN_TAGS])}{', ...' if len(tags) > _SHOWN_TAGS else ''}"
    why = f"ImageStream {_named(key)} has no tag {tag} until somebody pushes it ({has if tags else 'it has none'})"
    return Severity.WARNING if is_live else Severity.INFO, why


def _named(key: StreamKey) -> str:
    """A stream in a sentence; one of a file may have no namespace."""
    return str(key) if key.namespace else key.name


def _at(document: Document, *path: str) -> Mapping[str, Any]:
    """What lies there, as far as it is a mapping."""
    found: Any = document
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _one_of(values: Sequence[str]) -> str:
    return f"{', '.join(values[:-1])} or {values[-1]}"


def _shown(value: str) -> str:
    return repr(value) if value else "nothing"
