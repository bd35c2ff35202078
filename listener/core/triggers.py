"""Triggers: which tags a workload follows, and what each of them sets. Here is the annotation that says so.

The annotation is OpenShift's, and whatever works there works here. Where OpenShift drops a whole annotation for one
bad entry, or a whole workload for one bad path, here the good entries go on and each bad one is a sentence for its
author. This room must not know how workloads are stored, nor what a tag points at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from sys import intern
from typing import Final, Literal, NoReturn, Protocol

from listener.core import references, streams
from listener.core.events import printable
from listener.core.kinds import Form, Kind
from listener.core.streams import DEFAULT_TAG, StreamKey

ANNOTATION: Final = "image.openshift.io/triggers"
ALPHA_ANNOTATION: Final = "image.alpha.openshift.io/triggers"

Section = Literal["containers", "initContainers"]

_MAX_TEXT: Final = 64 * 1024
_MAX_ENTRIES: Final = 64
_MAX_NAME: Final = 253

# Documentation, consoles and people write both kinds of quotes and blanks; OpenShift itself reads double quotes only.
_CONTAINER_PATH: Final = re.compile(
    r"""(?P<section>containers|initContainers)
        \[[ ]{0,8}(?:
            (?P<index>\d{1,4})
          | \?\([ ]{0,8}@\.name[ ]{0,8}==[ ]{0,8}(?P<quote>["'])(?P<name>[\w.-]{1,63})(?P=quote)[ ]{0,8}\)
        )[ ]{0,8}\]
        \.?image""",
    re.VERBOSE | re.ASCII,
)
_PARAMETER_PATH: Final = re.compile(
    r"""\[[ ]{0,8}
        \?\([ ]{0,8}@\.name[ ]{0,8}==[ ]{0,8}(?P<quote>["'])(?P<name>[\w.-]{1,253})(?P=quote)[ ]{0,8}\)
        [ ]{0,8}\]\.value""",
    re.VERBOSE | re.ASCII,
)
_EXAMPLE: Final = '[{"from":{"kind":"ImageStreamTag","name":"STREAM:TAG"},"fieldPath":"…"}]'
_PAUSED: Final[Mapping[object, bool]] = {
    None: False,
    False: False,
    True: True,
    "": False,
    "false": False,
    "true": True,
}


Place = tuple[Section, int]
"""A container's list, and its index there."""


class Named(Protocol):
    """What is asked of a container, to find it."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Trigger:
    """One entry: this tag is followed, unless it is paused. `field_path` is how its author calls the target."""

    stream: StreamKey
    tag: str
    paused: bool
    field_path: str

    def places(self, containers: Sequence[Named], init_containers: Sequence[Named]) -> Iterator[Place]:  # noqa: ARG002
        """The containers whose images it sets: none, for what sets no image."""
        return iter(())

    def as_written(self) -> Trigger:
        """The entry without what it did last, for kinds that record this in the entry itself."""
        return self


@dataclass(frozen=True, slots=True)
class ContainerTrigger(Trigger):
    """Set that container's image. `container` is a name, or an index into `section`."""

    section: Section
    container: str | int

    def places(self, containers: Sequence[Named], init_containers: Sequence[Named]) -> Iterator[Place]:
        found = locate(self, containers, init_containers)
        if not isinstance(found, str):
            yield found


@dataclass(frozen=True, slots=True)
class RunTrigger(Trigger):
    """Start a run, and pass it the pull spec as that parameter; "" is none."""

    parameter: str


@dataclass(frozen=True, slots=True)
class Triggers:
    """What one annotation says, in its order, and a sentence for each entry that cannot be followed."""

    valid: tuple[Trigger, ...] = ()
    problems: tuple[str, ...] = ()

    def say_the_same(self, other: Triggers) -> bool:
        """Tell whether the other ones ask for the same, whatever each of them did last."""
        return self == other or self._as_written() == other._as_written()

    def _as_written(self) -> tuple[object, ...]:
        return tuple(trigger.as_written() for trigger in self.valid), self.problems


class _Fault(Exception):
    """An entry cannot be followed."""


def parse(text: str, *, namespace: str, kind: Kind) -> Triggers:
    """Read the annotation of a workload of that kind in `namespace`: ContainerTriggers, or RunTriggers. Never raises.

    null, [] and an empty text mean no triggers. Of two entries with the same target the first stays.
    """
    try:
        entries = _entries(text)
    except _Fault as fault:
        return Triggers((), (str(fault),))
    valid: dict[Hashable, tuple[int, Trigger]] = {}
    problems = []
    for position, entry in enumerate(entries[:_MAX_ENTRIES]):
        try:
            trigger = _trigger(entry, namespace, kind)
        except _Fault as fault:
            problems.append(f"triggers[{position}]{fault}")
            continue
        first, holder = valid.setdefault(_target(trigger), (position, trigger))
        if first != position:
            same = f"triggers[{first}] has the same target {_already(holder)}"
            problems.append(f"triggers[{position}].fieldPath: {same}")
    if len(entries) > _MAX_ENTRIES:
        problems.append(f"triggers[{_MAX_ENTRIES}] and all after it are not read: at most {_MAX_ENTRIES} entries are")
    return Triggers(tuple(trigger for _, trigger in valid.values()), tuple(problems))


def locate(trigger: ContainerTrigger, containers: Sequence[Named], init_containers: Sequence[Named]) -> Place | str:
    """Find the container a trigger sets: its list and its index there, or the sentence why there is none.

    A name is looked for in the list that the path says, then in the other one: `oc set triggers` always writes
    `containers`. An index counts in its own list only.
    """
    lists: Mapping[Section, Sequence[Named]] = {"containers": containers, "initContainers": init_containers}
    if isinstance(trigger.container, int):
        if trigger.container < len(lists[trigger.section]):
            return trigger.section, trigger.container
        return (
            f"fieldPath {trigger.field_path}: there is no {trigger.section}[{trigger.container}], the workload has"
            f" {len(lists[trigger.section])} of them; name the container instead"
        )
    if found := find(trigger.container, containers, init_containers, first=trigger.section):
        return found
    known = ", ".join(container.name for container in (*containers, *init_containers)) or "none"
    return (
        f"fieldPath {trigger.field_path}: the workload has no container {trigger.container!r};"
        f" its containers are: {printable(known)}"
    )


def taken(trigger: ContainerTrigger, first: ContainerTrigger, container: str) -> str:
    """The sentence why a trigger sets nothing: another one before it has that container."""
    return f"fieldPath {trigger.field_path}: {first.field_path} sets container {container!r} {_already(first)}"


def _already(first: Trigger) -> str:
    return f"already, and that one counts{', though it is paused' if first.paused else ''}; remove one of them"


def find(
    name: str, containers: Sequence[Named], init_containers: Sequence[Named], *, first: Section = "containers"
) -> Place | None:
    """Find the container of that name, in the list `first` before the other one."""
    lists: tuple[tuple[Section, Sequence[Named]], ...] = (
        ("containers", containers),
        ("initContainers", init_containers),
    )
    for section, found in lists if first == "containers" else reversed(lists):
        for index, container in enumerate(found):
            if container.name == name:
                return section, index
    return None


def _entries(text: str) -> Sequence[object]:
    if len(text) > _MAX_TEXT:
        raise _Fault(f"the annotation has {len(text)} characters, at most {_MAX_TEXT} are read")
    if not text.strip():
        return ()
    try:
        found: object = json.loads(text)
    except RecursionError:
        raise _Fault(f"the annotation is nested too deeply; write {_EXAMPLE}") from None
    except ValueError as error:
        raise _Fault(f"the annotation is no JSON ({printable(str(error))}); write {_EXAMPLE}") from None
    if found is None:
        return ()
    if not isinstance(found, list):
        raise _Fault(f"the annotation must be a list, not {_shown(found)}; write {_EXAMPLE}")
    return found


def _target(trigger: Trigger) -> Hashable:
    match trigger:
        case ContainerTrigger():
            return trigger.section, trigger.container
        case RunTrigger():
            return trigger.parameter or (trigger.stream, trigger.tag)
    return trigger.field_path


def _trigger(entry: object, namespace: str, kind: Kind) -> Trigger:
    if not isinstance(entry, dict):
        raise _Fault(f": expected an object, found {_shown(entry)}; write {_EXAMPLE}")
    source = entry.get("from")
    if not isinstance(source, dict):
        _refuse("from", 'an object such as {"kind":"ImageStreamTag","name":"STREAM:TAG"}', source)
    if source.get("kind") != "ImageStreamTag":
        _refuse("from.kind", '"ImageStreamTag"', source.get("kind"))
    if (source.get("apiVersion") or "") not in ("", "image.openshift.io/v1"):
        _refuse("from.apiVersion", "nothing, or image.openshift.io/v1", source.get("apiVersion"))
    stream_namespace = source.get("namespace") or namespace
    if not isinstance(stream_namespace, str) or not (
        stream_namespace == namespace or streams.is_namespace(stream_namespace)
    ):
        _refuse("from.namespace", "the name of a namespace, or nothing for the workload's own", stream_namespace)
    stream, tag = _stream_and_tag(source.get("name"))
    paused = entry.get("paused")
    if not isinstance(paused, (str, bool, type(None))) or paused not in _PAUSED:
        _refuse("paused", "true or false", paused)
    field_path = entry.get("fieldPath")
    if kind.form is Form.RUN:
        parameter = _parameter(field_path, kind)
        return RunTrigger(
            StreamKey(intern(stream_namespace), intern(stream)),
            intern(tag),
            _PAUSED[paused],
            str(field_path or ""),
            parameter,
        )
    section, container = _container(field_path, ".".join(kind.pod_spec_path))
    return ContainerTrigger(
        stream=StreamKey(intern(stream_namespace), intern(stream)),
        tag=intern(tag),
        paused=_PAUSED[paused],
        field_path=intern(str(field_path)),
        section=section,
        container=container if isinstance(container, int) else intern(container),
    )


def stream_tag(name: str) -> tuple[str, str] | None:
    """Split `STREAM:TAG`; `STREAM:` means its latest. None for what names no stream tag."""
    stream, colon, tag = name.partition(":")
    if not colon or len(stream) > _MAX_NAME or not streams.is_name(stream):
        return None
    return (stream, tag or DEFAULT_TAG) if not tag or references.is_tag(tag) else None


def _stream_and_tag(name: object) -> tuple[str, str]:
    found = stream_tag(name) if isinstance(name, str) else None
    if found is None:
        expected = "STREAM:TAG, such as \"web:latest\", with a tag of letters, digits, '_', '.' and '-'"
        _refuse("from.name", expected, name)
    return found


def _container(field_path: object, base: str) -> tuple[Section, str | int]:
    expected = f'{base}.containers[?(@.name=="NAME")].image or {base}.containers[0].image (or initContainers)'
    if not isinstance(field_path, str) or not field_path.startswith(f"{base}."):
        _refuse("fieldPath", expected, field_path)
    match = _CONTAINER_PATH.fullmatch(field_path, len(base) + 1)
    if match is None:
        _refuse("fieldPath", expected, field_path)
    section: Section = "containers" if match["section"] == "containers" else "initContainers"
    return section, match["name"] or int(match["index"])


def _parameter(field_path: object, kind: Kind) -> str:
    """The parameter of a run that a path names; no path: the run needs to be told nothing."""
    base = ".".join(kind.runs.parameters) if kind.runs else ""
    if field_path in (None, ""):
        return ""
    if not isinstance(field_path, str) or not field_path.startswith(base):
        _refuse("fieldPath", f'nothing, or {base}[?(@.name=="PARAMETER")].value of the run', field_path)
    match = _PARAMETER_PATH.fullmatch(field_path, len(base))
    if match is None:
        _refuse("fieldPath", f'nothing, or {base}[?(@.name=="PARAMETER")].value of the run', field_path)
    return match["name"]


def _refuse(field: str, expected: str, found: object) -> NoReturn:
    raise _Fault(f".{field}: expected {expected}, found {_shown(found)}")


def _shown(value: object) -> str:
    """A value of the author's, as JSON if it is small: structures may be as large and as deep as the annotation."""
    match value:
        case None:
            return "nothing"
        case str():
            return f'"{printable(value, 120)}"'
        case bool():
            return "true" if value else "false"
        case dict():
            return "an object"
        case list():
            return "a list"
        case _:
            return "a number"
