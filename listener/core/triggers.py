"""The trigger annotation: which tags a workload follows, and which container's image each of them sets.

The annotation is OpenShift's, and whatever works there works here. Where OpenShift drops a whole annotation for one
bad entry, or a whole workload for one bad path, here the good entries go on and each bad one is a sentence for its
author. This room must not know how workloads are stored, nor what a tag points at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from sys import intern
from typing import Final, Literal, NoReturn, Protocol

from listener.core import references, streams
from listener.core.events import printable
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
_EXAMPLE: Final = '[{"from":{"kind":"ImageStreamTag","name":"STREAM:TAG"},"fieldPath":"…"}]'
_PAUSED: Final[Mapping[object, bool]] = {
    None: False,
    False: False,
    True: True,
    "": False,
    "false": False,
    "true": True,
}


class Named(Protocol):
    """What `locate` asks of a container."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Trigger:
    """One entry: when this tag moves, set that container's image. `container` is a name, or an index into `section`."""

    stream: StreamKey
    tag: str
    section: Section
    container: str | int
    paused: bool
    field_path: str


@dataclass(frozen=True, slots=True)
class Triggers:
    """What one annotation says, in its order, and a sentence for each entry that cannot be followed."""

    valid: tuple[Trigger, ...] = ()
    problems: tuple[str, ...] = ()


class _Fault(Exception):
    """An entry cannot be followed."""


def parse(text: str, *, namespace: str, pod_spec_path: tuple[str, ...]) -> Triggers:
    """Read the annotation of a workload in `namespace` whose pod spec stands at `pod_spec_path`. Never raises.

    null, [] and an empty text mean no triggers. Of two entries for the same container the first stays.
    """
    try:
        entries = _entries(text)
    except _Fault as fault:
        return Triggers((), (str(fault),))
    valid: dict[tuple[Section, str | int], tuple[int, Trigger]] = {}
    problems = []
    for position, entry in enumerate(entries[:_MAX_ENTRIES]):
        try:
            trigger = _trigger(entry, namespace, ".".join(pod_spec_path))
        except _Fault as fault:
            problems.append(f"triggers[{position}]{fault}")
            continue
        target = (trigger.section, trigger.container)
        first, _ = valid.setdefault(target, (position, trigger))
        if first != position:
            problems.append(
                f"triggers[{position}].fieldPath: triggers[{first}] sets the same container already,"
                " and that one counts; remove one of them"
            )
    if len(entries) > _MAX_ENTRIES:
        problems.append(f"triggers[{_MAX_ENTRIES}] and all after it are not read: at most {_MAX_ENTRIES} entries are")
    return Triggers(tuple(trigger for _, trigger in valid.values()), tuple(problems))


def locate(
    trigger: Trigger, containers: Sequence[Named], init_containers: Sequence[Named]
) -> tuple[Section, int] | str:
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
    other: Section = "initContainers" if trigger.section == "containers" else "containers"
    for section in (trigger.section, other):
        for index, container in enumerate(lists[section]):
            if container.name == trigger.container:
                return section, index
    known = ", ".join(container.name for container in (*containers, *init_containers)) or "none"
    return (
        f"fieldPath {trigger.field_path}: the workload has no container {trigger.container!r};"
        f" its containers are: {printable(known)}"
    )


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


def _trigger(entry: object, namespace: str, base: str) -> Trigger:
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
    field_path = entry.get("fieldPath")
    section, container = _container(field_path, base)
    paused = entry.get("paused")
    if not isinstance(paused, (str, bool, type(None))) or paused not in _PAUSED:
        _refuse("paused", "true or false", paused)
    return Trigger(
        stream=StreamKey(intern(stream_namespace), intern(stream)),
        tag=intern(tag),
        section=section,
        container=container if isinstance(container, int) else intern(container),
        paused=_PAUSED[paused],
        field_path=intern(str(field_path)),
    )


def _stream_and_tag(name: object) -> tuple[str, str]:
    expected = 'STREAM:TAG, such as "web:latest"'
    if not isinstance(name, str):
        _refuse("from.name", expected, name)
    stream, colon, tag = name.partition(":")
    if not colon or len(stream) > _MAX_NAME or not streams.is_name(stream):
        _refuse("from.name", expected, name)
    if tag and not references.is_tag(tag):
        _refuse("from.name", f"{expected}, with a tag of letters, digits, '_', '.' and '-'", name)
    return stream, tag or DEFAULT_TAG


def _container(field_path: object, base: str) -> tuple[Section, str | int]:
    expected = f'{base}.containers[?(@.name=="NAME")].image or {base}.containers[0].image (or initContainers)'
    if not isinstance(field_path, str) or not field_path.startswith(f"{base}."):
        _refuse("fieldPath", expected, field_path)
    match = _CONTAINER_PATH.fullmatch(field_path, len(base) + 1)
    if match is None:
        _refuse("fieldPath", expected, field_path)
    section: Section = "containers" if match["section"] == "containers" else "initContainers"
    return section, match["name"] or int(match["index"])


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
