"""From an object that somebody wants to create or change to what an admission webhook makes of it: images looked up.

The answer is a JSON Patch of what changes, and no more; none where nothing does. Nobody is refused: an image that
means no stream tag goes on as it is. This room must not know how an AdmissionReview is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from listener.core import lookups
from listener.core.actions import Operation, pointer
from listener.core.kinds import Kind
from listener.core.lookups import WAITS_FOR, Answer, Lookup
from listener.core.streams import Stream, StreamKey
from listener.core.triggers import Section
from listener.core.workloads import Container


class Outcome(StrEnum):
    """What came of one container's image."""

    RESOLVED = "resolved"
    WAITING = "waiting"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True, slots=True)
class Subject:
    """An object as the API server shows it. `forced` tells that all its names are to be looked up, `waiting` which of
    them were put off, by container. `has_annotations` is asked for before one is added.
    """

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    forced: bool = False
    is_owned: bool = False
    has_annotations: bool = False
    waiting: str | None = None

    @property
    def sections(self) -> Mapping[Section, Sequence[Container]]:
        return {"initContainers": self.init_containers, "containers": self.containers}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is done to an object. `warnings` are for its author, in the order of its containers, as `outcomes` are."""

    operations: tuple[Operation, ...] = ()
    warnings: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()


NOTHING = Verdict()


def judge(
    kind: Kind,
    namespace: str,
    subject: Subject,
    before: Subject | None,
    stream: Callable[[StreamKey], Stream | None],
) -> Verdict:
    """Look up the names of an object that is created, or, with what it was `before`, changed.

    What a controller made is what its template says, and stays so. Of a change only those containers count whose image
    is another one now, or all of them if names are forced now and were not before, or the other way round.
    """
    is_fixed = lookups.is_fixed(kind)
    if subject.is_owned or not lookups.concerns(kind) or (before is not None and is_fixed):
        return NOTHING
    same = _unchanged(subject, before)
    kept = same if before and before.forced == subject.forced else frozenset()
    waited = lookups.read_waiting(subject.waiting)
    answers = [
        (found, lookups.look_up(found, stream(found.stream)))
        for found in lookups.find(namespace, subject.sections, forced=subject.forced, waiting=waited)
        if found.container not in kept
    ]
    operations: list[Operation] = []
    # A container that is renamed meanwhile is another one: nobody can tell.
    waiting = {container: name for container, name in waited.items() if container in same}
    for found, answer in answers:
        if answer.image:
            path = pointer(*kind.pod_spec_path, found.section, str(found.index), "image")
            operations.append({"op": "replace", "path": path, "value": answer.image})
        if answer.waits or answer.resolved:
            waiting.pop(found.container, None)
        if answer.waits and not is_fixed and (answer.image or found.image) != found.name:
            waiting[found.container] = found.name
    operations += _remember(subject, waiting)
    return Verdict(
        tuple(operations),
        tuple(_warning(kind, found, answer) for found, answer in answers if answer.why),
        tuple(_outcome(answer) for _, answer in answers if answer.why),
    )


def _unchanged(subject: Subject, before: Subject | None) -> frozenset[str]:
    """The containers that have the image they had, in whichever list."""
    if before is None:
        return frozenset()
    had = {(found.name, found.image) for section in before.sections.values() for found in section}
    return frozenset(
        found.name for section in subject.sections.values() for found in section if (found.name, found.image) in had
    )


def _remember(subject: Subject, waiting: Mapping[str, str]) -> Iterator[Operation]:
    """Keep the annotation as it must be; one that is right is left as it is."""
    if waiting == lookups.read_waiting(subject.waiting):
        return
    path = pointer("metadata", "annotations", WAITS_FOR)
    text = lookups.write_waiting(waiting)
    if not subject.has_annotations:
        yield {"op": "add", "path": "/metadata/annotations", "value": {WAITS_FOR: text}}
    elif text:
        yield {"op": "add", "path": path, "value": text}
    else:
        yield {"op": "remove", "path": path}


def _warning(kind: Kind, found: Lookup, answer: Answer) -> str:
    why = answer.why
    if answer.waits and lookups.is_fixed(kind):
        instead = f"is {answer.image} for good" if answer.image else "stays for good"
        tag = f"{found.stream}:{found.tag}"
        why = f"{instead}: a {kind.label} is never changed, and ImageStreamTag {tag} points at nothing yet"
    return f'container {found.container}: image "{found.name}" {why}'


def _outcome(answer: Answer) -> Outcome:
    if answer.waits:
        return Outcome.WAITING
    return Outcome.RESOLVED if answer.image else Outcome.UNRESOLVED
