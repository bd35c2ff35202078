"""What a person asks of a workload's triggers, as a JSON Patch (RFC 6902) of the workload.

The entries are those that `oc set triggers` writes; but an entry that nobody spoke of stays as its author wrote it,
with keys that we do not know, and also where it cannot be followed. Every patch begins with a test of the resource
version, so it is safe to write the whole list back; a failed test means: read, plan again.

Functions take the JSON of a workload and never change what they are given. This room must not know how a patch is sent,
nor what a tag points at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from listener.core import build_configs, deployment_configs, triggers
from listener.core.actions import Operation, annotate, pointer
from listener.core.edits import Document, EditRefused
from listener.core.events import printable
from listener.core.kinds import Form, Kind
from listener.core.streams import StreamKey
from listener.core.triggers import ALPHA_ANNOTATION, ANNOTATION, ContainerTrigger, RunTrigger, locate
from listener.core.workloads import Container, WorkloadKey

_ANY_SOURCE: Final = {"kind": "ImageStreamTag", "name": "any:any"}
_PAUSED_AS_WE_READ_IT: Final = (True, False, "true", "false")

Source = tuple[StreamKey, str]


@dataclass(frozen=True, slots=True)
class Found:
    """One workload, read once, as its owner wrote it."""

    kind: Kind
    document: Document

    @property
    def key(self) -> WorkloadKey:
        metadata = self.document["metadata"]
        return WorkloadKey(self.kind.label, metadata.get("namespace") or "", metadata["name"])

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.document["metadata"].get("annotations") or {}

    @property
    def annotation(self) -> str:
        """The key of the annotation that counts, or would: the alpha one only where it stands alone."""
        is_alpha = not self.annotations.get(ANNOTATION) and self.annotations.get(ALPHA_ANNOTATION)
        return ALPHA_ANNOTATION if is_alpha else ANNOTATION

    @property
    def spec(self) -> Document:
        return self.document.get("spec") or {}

    def containers(self, section: triggers.Section) -> tuple[Container, ...]:
        """The containers of its pod spec, none for a kind without one."""
        found: Any = self.document if self.kind.pod_spec_path else {}
        for part in self.kind.pod_spec_path:
            found = found.get(part) or {}
        return tuple(Container(each.get("name") or "", each.get("image") or "") for each in found.get(section) or ())

    @property
    def controller(self) -> str:
        """Who made it and replaces it, as `Kind NAME`; "" for what a person made, or follows tags all the same."""
        owners = () if self.kind.owned else self.document["metadata"].get("ownerReferences") or ()
        return next((f"{owner['kind']} {owner['name']}" for owner in owners if owner.get("controller")), "")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which triggers are meant, as far as somebody said: of that container or parameter, of that tag."""

    target: str | None = None
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """That a tag is followed, and what it sets: "" where nothing needs to be said."""

    source: Source
    target: str


def follow(found: Found, source: Source, target: str | None, *, paused: bool | None = None) -> tuple[Operation, ...]:
    """Plan the patch that lets a container (or parameter) follow a tag; nothing if it does.

    No `target`: the only container there is. `paused` of None leaves that as it is. Raises EditRefused.
    """
    author = _author(found)
    wanted = _Wanted(source, author.target(target))
    entries = author.entries()
    places = [n for n, entry in enumerate(entries) if author.is_replaced(entry, wanted)]
    entry = author.following(entries[places[0]] if places else None, wanted)
    if paused is not None:
        entry = author.paused(entry, paused)
    if places:
        kept = [entry if n == places[0] else known for n, known in enumerate(entries) if n not in places[1:]]
        return author.put(kept)
    return author.put([*entries, entry])


def pause(found: Found, choice: Choice, *, paused: bool) -> tuple[Operation, ...]:
    """Plan the patch that pauses triggers, or lets them act again; nothing if they are so. Raises EditRefused."""
    author = _author(found)
    entries = author.entries()
    places = _chosen(author, entries, choice)
    return author.put([author.paused(entry, paused) if n in places else entry for n, entry in enumerate(entries)])


def remove(found: Found, choice: Choice) -> tuple[Operation, ...]:
    """Plan the patch that takes triggers away. Raises EditRefused."""
    author = _author(found)
    if choice == Choice() and isinstance(author, _Annotation) and author.is_there:
        return author.put([])  # also of what cannot be read
    entries = author.entries()
    places = _chosen(author, entries, choice)
    return author.put([entry for n, entry in enumerate(entries) if n not in places])


def only_target(found: Found, target: str | None) -> str:
    """Return the container (or parameter) that is meant, "" where a kind needs none. Raises EditRefused."""
    return _author(found).target(target)


class _Author(Protocol):
    """The entries of one workload, read and written as its form has them."""

    def entries(self) -> list[Any]: ...
    def target(self, wanted: str | None) -> str: ...
    def targets(self, entry: Any) -> Sequence[str] | None:
        """What an entry sets; None for an entry that is no trigger of a tag."""

    def source(self, entry: Any) -> Source | None: ...
    def is_replaced(self, entry: Any, wanted: _Wanted) -> bool: ...
    def following(self, before: Any, wanted: _Wanted) -> Any: ...
    def paused(self, entry: Any, paused: bool) -> Any: ...
    def put(self, entries: list[Any]) -> tuple[Operation, ...]: ...


def _author(found: Found) -> _Author:
    match found.kind.form:
        case Form.DEPLOYMENT_CONFIG:
            return _Config(found)
        case Form.BUILD_CONFIG:
            return _Build(found)
        case Form.POD_SPEC | Form.RUN:
            return _Annotation(found)


def _chosen(author: _Author, entries: list[Any], choice: Choice) -> set[int]:
    known = [(n, entry, found) for n, entry in enumerate(entries) if (found := author.targets(entry)) is not None]
    places = {
        n
        for n, entry, found in known
        if (choice.target is None or choice.target in found)
        and (choice.source is None or choice.source == author.source(entry))
    }
    if places:
        return places
    if not known:
        raise EditRefused("it follows no tag; let it follow one with --from-image STREAM:TAG")
    names = sorted({name for _, _, found in known for name in found if name})
    which = " and ".join(
        part
        for part in (
            f"on {choice.source[0]}:{choice.source[1]}" if choice.source else "",
            f"for {choice.target!r}" if choice.target else "",
        )
        if part
    )
    has = f"; it has some for: {', '.join(names)}" if names else ""
    raise EditRefused(f"it has no trigger {which}{has}")


def _container(found: Found, wanted: str | None) -> str:
    containers = found.containers("containers")
    names = [container.name for container in (*containers, *found.containers("initContainers"))]
    if wanted is None and len(containers) == 1:
        return containers[0].name
    if wanted is None:
        raise EditRefused(f"its containers are {', '.join(names) or 'none'}: say with -c which of them is meant")
    if wanted not in names:
        raise EditRefused(f"it has no container {wanted!r}; its containers are {', '.join(names) or 'none'}")
    return wanted


def _reference(source: Source, namespace: str) -> dict[str, str]:
    key, tag = source
    found = {"kind": "ImageStreamTag", "name": f"{key.name}:{tag}"}
    return found if key.namespace == namespace else {**found, "namespace": key.namespace}


def _unchanged(found: Found) -> Operation:
    return {"op": "test", "path": "/metadata/resourceVersion", "value": found.document["metadata"]["resourceVersion"]}


class _Annotation:
    """The annotation of kinds with a pod spec, and of those that are run."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._kind = found.kind
        self._namespace = found.key.namespace
        self.is_there = bool(found.annotations.get(found.annotation))

    def entries(self) -> list[Any]:
        text = self._found.annotations.get(self._found.annotation) or "null"
        where = f"its annotation {self._found.annotation}"
        advice = "mend it with `kubectl edit`, or take all of it away with --remove"
        try:
            entries = json.loads(text)
        except RecursionError:
            raise EditRefused(f"{where} is nested too deeply; {advice}") from None
        except ValueError as error:
            raise EditRefused(f"{where} is no JSON ({printable(str(error))}); {advice}") from None
        if entries is not None and not isinstance(entries, list):
            raise EditRefused(f"{where} is no list of triggers; {advice}")
        return entries or []

    def target(self, wanted: str | None) -> str:
        if self._kind.form is Form.RUN:
            return wanted or ""
        return _container(self._found, wanted)

    def targets(self, entry: Any) -> Sequence[str] | None:
        if not isinstance(entry, dict):
            return ()
        match self._read({"from": _ANY_SOURCE, "fieldPath": entry.get("fieldPath")}):
            case RunTrigger() as trigger:
                return (trigger.parameter,)
            case ContainerTrigger() as trigger:
                lists = {section: self._found.containers(section) for section in ("containers", "initContainers")}
                place = locate(trigger, lists["containers"], lists["initContainers"])
                return (str(trigger.container) if isinstance(place, str) else lists[place[0]][place[1]].name,)
        return ()

    def source(self, entry: Any) -> Source | None:
        if not isinstance(entry, dict):
            return None
        path = None if self._kind.form is Form.RUN else f"{self._base}.containers[0].image"
        trigger = self._read({"from": entry.get("from"), "fieldPath": path})
        return (trigger.stream, trigger.tag) if trigger else None

    def is_replaced(self, entry: Any, wanted: _Wanted) -> bool:
        if not isinstance(entry, dict) or wanted.target not in (self.targets(entry) or ()):
            return False
        # A run that is told no image may follow several tags; a container follows one.
        return bool(wanted.target) or self.source(entry) == wanted.source

    def following(self, before: Any, wanted: _Wanted) -> Any:
        entry: dict[str, Any] = {"from": _reference(wanted.source, self._namespace)}
        if path := self._path(wanted.target):
            entry["fieldPath"] = path
        if not before:
            return entry
        kept = {key: value for key, value in before.items() if key not in ("from", "fieldPath")}
        if kept.get("paused") not in _PAUSED_AS_WE_READ_IT:
            kept.pop("paused", None)
        return entry | kept

    def paused(self, entry: Any, paused: bool) -> Any:
        if not isinstance(entry, dict):
            return entry
        if paused:
            return entry if entry.get("paused") in (True, "true") else {**entry, "paused": True}
        return {key: value for key, value in entry.items() if key != "paused"}

    def put(self, entries: list[Any]) -> tuple[Operation, ...]:
        annotations = self._found.annotations
        if not entries:
            # Were only the one taken away that counts, the other one would.
            there = [key for key in (ANNOTATION, ALPHA_ANNOTATION) if key in annotations]
            operations = tuple({"op": "remove", "path": pointer("metadata", "annotations", key)} for key in there)
            return (_unchanged(self._found), *operations) if operations else ()
        if self.is_there and entries == self.entries():
            return ()
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False)
        key = self._found.annotation
        if annotations:
            return _unchanged(self._found), annotate(key, text)
        return _unchanged(self._found), {"op": "add", "path": "/metadata/annotations", "value": {key: text}}

    @property
    def _base(self) -> str:
        return ".".join(self._kind.pod_spec_path)

    def _path(self, target: str) -> str:
        if self._kind.form is Form.RUN:
            base = ".".join(self._kind.runs.parameters) if self._kind.runs else ""
            return f'{base}[?(@.name=="{target}")].value' if target else ""
        inits = {container.name for container in self._found.containers("initContainers")}
        section = "initContainers" if target in inits else "containers"
        return f'{self._base}.{section}[?(@.name=="{target}")].image'

    def _read(self, entry: Mapping[str, Any]) -> triggers.Trigger | None:
        found = triggers.parse(json.dumps([entry]), namespace=self._namespace, kind=self._kind).valid
        return found[0] if found else None


class _Specified:
    """`spec.triggers`, as OpenShift's own kinds have it. What is no image change is passed over, and kept."""

    parameters = ""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._namespace = found.key.namespace

    def entries(self) -> list[Any]:
        return list(self._found.spec.get("triggers") or ())

    def is_image_change(self, entry: Any) -> bool:
        return isinstance(entry, dict) and entry.get("type") == "ImageChange"

    def put(self, entries: list[Any]) -> tuple[Operation, ...]:
        if entries == self.entries():
            return ()
        return _unchanged(self._found), {"op": "add", "path": "/spec/triggers", "value": entries}

    def _with(self, entry: Any, **changes: Any) -> Any:
        """An entry with other parameters; None takes one away."""
        inner = {**(entry.get(self.parameters) or {}), **changes}
        return {**entry, self.parameters: {key: value for key, value in inner.items() if value is not None}}


class _Config(_Specified):
    """A DeploymentConfig's: each names the containers it sets."""

    parameters = "imageChangeParams"

    def target(self, wanted: str | None) -> str:
        return _container(self._found, wanted)

    def targets(self, entry: Any) -> Sequence[str] | None:
        if not self.is_image_change(entry):
            return None
        return tuple((entry.get(self.parameters) or {}).get("containerNames") or ())

    def source(self, entry: Any) -> Source | None:
        found = deployment_configs.read([entry], namespace=self._namespace).valid
        return (found[0].stream, found[0].tag) if found else None

    def is_replaced(self, entry: Any, wanted: _Wanted) -> bool:
        targets = self.targets(entry) or ()
        if wanted.target in targets and len(targets) > 1:
            raise EditRefused(
                f"one entry of its spec.triggers sets {', '.join(targets)} together, and -c names one of them: change"
                " it with `kubectl edit`"
            )
        return wanted.target in targets

    def following(self, before: Any, wanted: _Wanted) -> Any:
        if before and self.source(before) == wanted.source:
            return before
        parameters = {"automatic": True, "containerNames": [wanted.target]}
        entry = before or {"type": "ImageChange", self.parameters: parameters}
        # What was resolved last was another tag's.
        return self._with(entry, **{"from": _reference(wanted.source, self._namespace), "lastTriggeredImage": None})

    def paused(self, entry: Any, paused: bool) -> Any:
        return self._with(entry, automatic=not paused)


class _Build(_Specified):
    """A BuildConfig's: each follows a tag, and what is built of it is the strategy's affair."""

    parameters = "imageChange"

    def target(self, wanted: str | None) -> str:
        if wanted is not None:
            raise EditRefused("the triggers of a BuildConfig set no container: leave -c out")
        return ""

    def targets(self, entry: Any) -> Sequence[str] | None:
        return ("",) if self.is_image_change(entry) else None

    def source(self, entry: Any) -> Source | None:
        spec = {**self._found.spec, "triggers": [entry]}
        found = build_configs.read(spec, {}, namespace=self._namespace).valid
        return (found[0].stream, found[0].tag) if found else None

    def is_replaced(self, entry: Any, wanted: _Wanted) -> bool:
        return self.source(entry) == wanted.source

    def following(self, before: Any, wanted: _Wanted) -> Any:
        if before:
            return before
        # The image that is built from is followed by an entry without a source.
        bare = {"type": "ImageChange", self.parameters: {}}
        if self.source(bare) == wanted.source:
            return bare
        return self._with(bare, **{"from": _reference(wanted.source, self._namespace)})

    def paused(self, entry: Any, paused: bool) -> Any:
        return self._with(entry, paused=True if paused else None)
