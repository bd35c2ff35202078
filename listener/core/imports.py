"""What a stream wants from registries, and what becomes of the answer.

OpenShift's rules (openshift-controller-manager `imagestream_controller.go`, openshift-apiserver `imagestreamimport`),
where a generation above the observed one asks for an import. Beyond them: a spec tag that changed without a new
generation is seen, success is said, and what failed for a passing reason is tried again. This room must not know how a
registry is asked, nor what time it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from listener.core import conditions, history
from listener.core.conditions import IMPORT_SUCCESS, Problem
from listener.core.history import TagHistory, TagItem
from listener.core.references import Reference
from listener.core.streams import SpecTag, Stream

_INTERVAL: Final = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)
# Docker's own order for "the tags that matter": latest, then versions, newest first, then names.
_NUMBER, _REST = r"(0|[1-9][0-9]*)", r"(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
_MINOR: Final = re.compile(rf"v?{_NUMBER}\.{_NUMBER}{_REST}")
_FULL: Final = re.compile(rf"v?{_NUMBER}\.{_NUMBER}\.{_NUMBER}{_REST}")


@dataclass(frozen=True, slots=True)
class Imported:
    """What OpenShift says of an import that it was asked for: the digest, or else why there is none.

    `reason` is one of `Problem`'s words, or another that Kubernetes has.
    """

    digest: str = ""
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class ImportAnswer:
    """All of it, in the order in which it was asked; and the stream as it is since."""

    images: tuple[Imported, ...]
    stream: Stream | None = None


def wants_import(spec_tag: SpecTag, known: TagHistory) -> bool:
    """Tell whether a tag is to be imported now: its spec asks for what was not tried yet.

    A generation that is absent or 0 asks for it too, once it was given a number; where it cannot be given one, because
    the spec may not be written, a tag is imported once.
    """
    if spec_tag.source() is None:
        return False
    if known.resolved and not known.resolved.asks_the_same(spec_tag.asks()):
        return True
    if not spec_tag.generation:
        return known.resolved is None
    return spec_tag.generation > known.observed_generation


def number_generations(stream: Stream) -> tuple[Mapping[str, object], ...]:
    """Return the JSON Patch that gives each spec tag without a generation the one the stream is about to have.

    Kubernetes counts a stream's generation by itself, up by one for this very patch, so what is stored is what
    OpenShift's server would have stored. A tag that came with a greater one, from another cluster, gets one that is
    greater still: else it would count as observed. Empty if there is nothing to number.
    """
    wanting = [n for n, spec_tag in enumerate(stream.spec_tags) if not spec_tag.generation]
    if not wanting:
        return ()
    observed = {known.tag: known.observed_generation for known in stream.tags}
    return unchanged(stream), *(
        {
            "op": "add",
            "path": f"/spec/tags/{n}/generation",
            "value": max(stream.generation, observed.get(stream.spec_tags[n].name, 0)) + 1,
        }
        for n in wanting
    )


def add_tags(stream: Stream, tags: Iterable[str], repository: Reference) -> tuple[Mapping[str, object], ...]:
    """Return the JSON Patch that makes tags found in a repository tags of the stream, as numbered as the others."""
    policy = {"importPolicy": {"insecure": True}} if stream.insecure_repository else {}
    added = [
        {
            "name": tag,
            "from": {"kind": "DockerImage", "name": str(replace(repository, tag=tag, digest=None))},
            "generation": stream.generation + 1,
            **policy,
        }
        for tag in tags
    ]
    if not stream.spec_tags:
        return unchanged(stream), {"op": "add", "path": "/spec/tags", "value": added}
    return unchanged(stream), *({"op": "add", "path": "/spec/tags/-", "value": tag} for tag in added)


def unchanged(stream: Stream) -> Mapping[str, object]:
    """Return the test that makes a JSON Patch fail if somebody changed the stream since we read it."""
    return {"op": "test", "path": "/metadata/resourceVersion", "value": stream.resource_version}


def wants_repository(stream: Stream) -> bool:
    """Tell whether the whole `spec.dockerImageRepository` is to be imported: never tried, or asked for again."""
    return stream.whole_repository() is not None and not stream.is_checked


def is_scheduled(spec_tag: SpecTag, known: TagHistory) -> bool:
    """Tell whether a tag is imported from time to time. One that is pinned to a digest is, until it is there."""
    source = spec_tag.source()
    if source is None or not spec_tag.scheduled:
        return False
    is_there = known.newest is not None and failure(known) is None and not wants_import(spec_tag, known)
    return not (source.digest and is_there)


def failure(known: TagHistory) -> Problem | None:
    """Return why the last import failed, None if it did not."""
    condition = known.condition(IMPORT_SUCCESS)
    return _problem(condition.reason) if condition and condition.status == "False" else None


def unfinished(stream: Stream) -> Problem | None:
    """Return why a tag of the stream's repository that has no spec tag yet could not be imported, if one could not."""
    if stream.whole_repository() is None:
        return None
    named = {spec_tag.name for spec_tag in stream.spec_tags}
    return next((why for known in stream.tags if known.tag not in named and (why := failure(known))), None)


def repository_failure(stream: Stream) -> Problem | None:
    """Return why the last import of the whole repository failed, None if it did not."""
    found = next((c for c in stream.conditions if c.type == IMPORT_SUCCESS and c.status == "False"), None)
    return _problem(found.reason) if found else None


def imported(
    stream: Stream, spec_tag: SpecTag, *, name: str, digest: str, followed: str, now: str, limit: int
) -> TagHistory:
    """Return the history of a tag whose image a registry has named: `name` is its repository as the owner wrote it.

    `digest` is what the tag takes, `followed` what the registry answered (the index, where `digest` is of one of its
    images). The very same history comes back when that is known already.
    """
    known = stream.history(spec_tag.name)
    reference = f"{name}@{digest}"
    newest = known.newest
    is_there = newest is not None and (newest.docker_image_reference, newest.image) == (reference, digest)
    if is_there and not wants_import(spec_tag, known) and failure(known) is None:
        return known
    generation = max(spec_tag.generation or stream.generation, known.observed_generation)
    item = TagItem(now, reference, digest, generation)
    after = history.arrive(known, item, held=spec_tag.hold is not None, limit=limit)
    success = conditions.succeeded(now=now, generation=generation)
    return replace(
        after,
        conditions=conditions.put(known.conditions, success),
        resolved=replace(spec_tag.asks(), followed=followed),
    )


def import_failed(stream: Stream, spec_tag: SpecTag, problem: Problem, message: str, *, now: str) -> TagHistory:
    """Return the history of a tag that could not be imported: its items stay, a condition says why."""
    known = stream.history(spec_tag.name)
    asks = spec_tag.asks()
    if known.resolved and known.resolved.asks_the_same(asks):
        asks = known.resolved
    generation = spec_tag.generation or stream.generation
    condition = conditions.failed(IMPORT_SUCCESS, problem, message, now=now, generation=generation)
    return replace(known, conditions=conditions.put(known.conditions, condition), resolved=asks)


def confirmed(stream: Stream, tag: str, *, name: str, digest: str, now: str, limit: int) -> TagHistory:
    """Return the history of a tag without a source of its own, after its registry was asked where it stands."""
    known = stream.history(tag)
    if known.newest and known.newest.image == digest:
        return known
    item = TagItem(now, f"{name}@{digest}", digest, stream.generation)
    return history.arrive(known, item, held=stream.is_held(tag), limit=limit)


@lru_cache(maxsize=1024)
def interval_seconds(text: str) -> float | None:
    """Read how often a tag is imported: `90s`, `15m`, `1h30m`, as Go and Kubernetes write it. None if it is none."""
    match = _INTERVAL.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(hours * 3600 + minutes * 60 + seconds) or None


def order_tags(tags: Iterable[str]) -> list[str]:
    """Put a repository's tags in OpenShift's order: latest, minor versions and full versions downwards, then names.

    `5.1` comes before `5.1.3`, of two equal versions the one without a `v` comes first, and a pre-release stands
    below its release (semver's rules).
    """
    return sorted(tags, key=_priority)


def _priority(tag: str) -> tuple[object, ...]:
    if tag == "latest":
        return (0,)
    for rank, pattern in ((1, _MINOR), (2, _FULL)):
        if match := pattern.fullmatch(tag):
            *numbers, pre_release = match.groups()
            return rank, tuple(-int(number) for number in numbers), _Downwards(pre_release), tag.startswith("v"), tag
    return 3, tag


class _Downwards:
    """Orders pre-releases the newest first. None, a release, is newer than each of them."""

    __slots__ = ("_key",)

    def __init__(self, pre_release: str | None) -> None:
        # A number is below every word, a shorter list below its own continuation.
        parts = pre_release.split(".") if pre_release else ()
        identifiers = tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts)
        self._key = (pre_release is None, identifiers)

    def __lt__(self, other: _Downwards) -> bool:
        return self._key > other._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Downwards) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def _problem(reason: str) -> Problem:
    """A reason that somebody else wrote may be any word."""
    return next((problem for problem in Problem if problem == reason), Problem.INTERNAL_ERROR)
