"""Local lookup: which images of a pod spec name a stream tag of their own namespace, and what they are then.

`ruby:2.7` means the tag 2.7 of the stream ruby, if the stream says so (`spec.lookupPolicy.local`), or if the object
does: then its names are *forced*. After OpenShift's image policy admission, but for one thing: what names a registry is
never taken for a stream, not even where names are forced. This room must not know who asks, nor when.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from sys import intern
from typing import Final, Protocol

from listener.core import references
from listener.core.kinds import JOB, Form, Kind
from listener.core.references import Reference
from listener.core.streams import DEFAULT_TAG, Resolved, Stream, StreamKey
from listener.core.triggers import Section, stream_tag
from listener.errors import InvalidReference

RESOLVE_NAMES: Final = "alpha.image.policy.openshift.io/resolve-names"
EVERY_NAME: Final = "*"
"""The only value of that annotation that means anything."""
WAITS_FOR: Final = "imagestreams.dev/waits-for"
"""Which names of an object stand for tags that point at nothing yet, by container, as JSON."""

_compact = json.JSONEncoder(separators=(",", ":")).encode


class Container(Protocol):
    """What is read of one."""

    @property
    def name(self) -> str: ...

    @property
    def image(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Lookup:
    """A container whose image is, or stands for, a name of a stream tag. `image` is what it has now.

    `name` is what the tag is called there, as its author wrote it. They differ where the tag points at nothing yet and
    its repository was put in, so that nothing else of that name is pulled meanwhile.
    """

    section: Section
    index: int
    container: str
    image: str
    name: str
    stream: StreamKey
    tag: str
    forced: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What a lookup leads to. `image` is what the container gets, "" if it keeps what it has.

    `resolved` is what the tag points at, if the image is set to that; `waits` tells that it points at nothing yet.
    `why` goes on where "image NAME" begins a sentence; "" where nothing is to be said about one that stays as it is.
    """

    image: str = ""
    resolved: Resolved | None = None
    waits: bool = False
    why: str = ""


def concerns(kind: Kind) -> bool:
    """Tell whether objects of the kind have a pod spec whose images may be names."""
    return kind.form in (Form.POD_SPEC, Form.DEPLOYMENT_CONFIG)


def is_fixed(kind: Kind) -> bool:
    """Tell whether the images of a pod spec of that kind stay as they were created.

    While a Job is suspended, its template may change in where the Pods run and, since Kubernetes 1.36, in what
    resources they ask for. Never in an image.
    """
    return kind.label == JOB.label


def find(
    namespace: str,
    sections: Mapping[Section, Sequence[Container]],
    *,
    forced: bool,
    waiting: Mapping[str, str] | None = None,
) -> tuple[Lookup, ...]:
    """Find the images that may be names of stream tags. `waiting` are the names that were put off, by container."""
    return tuple(_find(namespace, sections, forced=forced, waiting=waiting or {}))


def _find(
    namespace: str, sections: Mapping[Section, Sequence[Container]], *, forced: bool, waiting: Mapping[str, str]
) -> Iterator[Lookup]:
    for section, containers in sections.items():
        for index, container in enumerate(containers):
            image = container.image
            found = _tag(image, forced=forced)
            # What was put off has an image: the name itself, or its repository.
            name = image if found or not image else waiting.get(container.name, "")
            # A name that was put off was a name then: the object was forced, or else it has no slash in it.
            if found := found or _tag(name, forced=True):
                stream, tag = found
                key = StreamKey(intern(namespace), intern(stream))
                yield Lookup(
                    section, index, intern(container.name), intern(image), intern(name), key, intern(tag), forced
                )


def _tag(image: str, *, forced: bool) -> tuple[str, str] | None:
    """The stream and tag that an image may name. Where names are forced a namespace before it is left out."""
    # Most images of a cluster end here.
    if not image or "@" in image or image.count("/") > forced:
        return None
    namespace, _, name = image.rpartition("/")
    if "/" in image and (references.names_registry(image) or not references.is_repository(namespace)):
        return None
    return stream_tag(name if ":" in name else f"{name}:{DEFAULT_TAG}") if not name.endswith(":") else None


def look_up(lookup: Lookup, stream: Stream | None) -> Answer:
    """Tell what a container gets, by what is known of the stream it may name."""
    is_written = lookup.image == lookup.name  # else nobody reads that name anywhere
    if stream is None:
        is_told = lookup.forced and is_written
        return Answer(why=f"is not looked up: there is no ImageStream {lookup.stream}" if is_told else "")
    resolved = stream.resolve(lookup.tag)
    if not (lookup.forced or stream.local_lookup):
        # One might think it was: so say it, but not of each name that a stream happens to have too.
        is_told = resolved is not None and is_written
        why = f"is not looked up: ImageStream {lookup.stream} has no spec.lookupPolicy.local" if is_told else ""
        return Answer(why=why)
    repository = _waiting_image(stream, lookup)
    if not is_written and lookup.image != repository:
        return Answer()  # somebody else has decided since then
    tag = f"ImageStreamTag {lookup.stream}:{lookup.tag}"
    if resolved:
        if resolved.pull_spec == lookup.image:
            return Answer()
        if _tag(resolved.pull_spec, forced=lookup.forced):
            # It would be looked up in its turn, and might lead back here.
            why = f"is not looked up: {tag} points at {resolved.pull_spec}, which has no registry before it"
            return Answer(why=why)
        return Answer(resolved.pull_spec, resolved, why=f"is {resolved.pull_spec} now")
    why = f"waits for {tag}, which points at nothing yet"
    if not repository or repository == lookup.image:
        return Answer(waits=True, why=why)
    return Answer(repository, waits=True, why=f"{why}; until then it is {repository}")


def _waiting_image(stream: Stream, lookup: Lookup) -> str:
    """What a name gets while its tag points at nothing: the tag of the stream's own repository.

    "" if it has none, or one that would itself be looked up.
    """
    try:
        repository = references.parse(stream.status_repository) if stream.status_repository else None
    except InvalidReference:
        return ""
    if not isinstance(repository, Reference):
        return ""
    image = str(replace(repository, tag=lookup.tag, digest=None))
    return "" if _tag(image, forced=lookup.forced) else image


def is_forced(*annotations: str | None) -> bool:
    """Tell whether an object's names are forced, by that annotation on it and on its pod template."""
    return EVERY_NAME in annotations


def read_waiting(text: str | None) -> Mapping[str, str]:
    """Read which names were put off, by container. What is not of ours is nothing. Never raises."""
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {container: name for container, name in found.items() if isinstance(name, str)}


def write_waiting(waiting: Mapping[str, str]) -> str:
    """The annotation's value; "" means that it is to go."""
    return _compact(dict(sorted(waiting.items()))) if waiting else ""
