"""Image streams as far as decisions need them: what each tag asks for, what it points at, and what a push moves.

Meaning after OpenShift's `image.openshift.io/v1`. This room must not know how a stream is stored or watched, nor what
time it is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from listener.core import references
from listener.core.history import TagHistory, TagItem
from listener.errors import InvalidReference

DEFAULT_TAG: Final = "latest"
_SUMMARY_WIDTH: Final = 40


class StreamKey(NamedTuple):
    """Which stream."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Repository(NamedTuple):
    """A repository of a registry, completed as `Reference.with_defaults` does, so that equal ones compare equal."""

    registry: str
    name: str

    def __str__(self) -> str:
        return f"{self.registry}/{self.name}"


@dataclass(frozen=True, slots=True)
class SpecTag:
    """What a stream's owner asks of a tag. `from_kind` is "" for a placeholder: a tag that is only pushed to."""

    name: str
    from_kind: str
    from_namespace: str
    from_name: str
    reference: bool
    generation: int | None
    reference_policy: str

    def follows(self) -> tuple[Repository, str] | None:
        """Return the repository and tag of a registry this tag takes its images from, if it does.

        None for tags of other kinds, for names that are recorded as they are (`reference`), pinned to a digest, or no
        names.
        """
        if self.from_kind != "DockerImage" or self.reference:
            return None
        source = _parsed(self.from_name)
        if source is None or source.digest:
            return None
        return Repository(source.registry, source.repository), source.tag or DEFAULT_TAG


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a consumer of a tag pulls.

    `digest` is "" for a reference tag, whose `pull_spec` is the recorded name. `generation` is the head's.
    """

    pull_spec: str
    digest: str
    generation: int


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream.

    `repository` is `spec.dockerImageRepository`, `status_repository` the one the cluster serves the stream under.
    """

    key: StreamKey
    uid: str
    resource_version: str
    generation: int
    repository: str
    status_repository: str
    spec_tags: tuple[SpecTag, ...]
    tags: tuple[TagHistory, ...]

    def history(self, tag: str) -> TagHistory:
        """Return the status tag, an empty one if there is none."""
        return next((history for history in self.tags if history.tag == tag), TagHistory(tag))

    def with_history(self, history: TagHistory) -> Stream:
        """Return the stream with that status tag put in its place, sorted by tag."""
        others = [known for known in self.tags if known.tag != history.tag]
        others.insert(bisect_left(others, history.tag, key=lambda known: known.tag), history)
        return replace(self, tags=tuple(others))

    def spec_tag(self, name: str) -> SpecTag | None:
        """Return the spec tag of that name."""
        return next((spec_tag for spec_tag in self.spec_tags if spec_tag.name == name), None)

    def resolve(self, tag: str) -> Resolved | None:
        """Return what a consumer of the tag ("" is latest) pulls, None while it points at nothing.

        A digest under the cluster's own repository if the spec tag's reference policy is Local and there is such a
        repository, else what the head says.
        """
        name = tag or DEFAULT_TAG
        head = self.history(name).head
        return self._resolved(head, self.spec_tag(name)) if head else None

    def resolve_all(self) -> Mapping[str, Resolved]:
        """Resolve every tag that points at something, in one pass."""
        spec_tags = {spec_tag.name: spec_tag for spec_tag in self.spec_tags}
        found = {}
        for history in self.tags:
            resolved = self._resolved(history.head, spec_tags.get(history.tag)) if history.head else None
            if resolved:
                found[history.tag] = resolved
        return found

    def repositories(self) -> frozenset[Repository]:
        """Return what the stream takes images from. Names that are no references are skipped."""
        found = {source[0] for spec_tag in self.spec_tags if (source := spec_tag.follows())}
        whole = self._whole_repository()
        return frozenset(found | {whole} if whole else found)

    def fed_by(self, repository: Repository, tag: str) -> tuple[str, ...]:
        """Return which status tags a push to that tag of that (completed) repository moves, sorted.

        Those are the spec tags that follow it, whatever their own name, and, where the stream takes the whole
        repository, the tag of the same name, unless a spec tag of that name says it comes from elsewhere.
        """
        moved = {spec_tag.name for spec_tag in self.spec_tags if spec_tag.follows() == (repository, tag)}
        if self._whole_repository() == repository:
            own = self.spec_tag(tag)
            if own is None or not own.from_kind:
                moved.add(tag)
        return tuple(sorted(moved))

    def _whole_repository(self) -> Repository | None:
        source = _parsed(self.repository)
        return Repository(source.registry, source.repository) if source else None

    def _resolved(self, head: TagItem, spec_tag: SpecTag | None) -> Resolved | None:
        pull_spec = head.docker_image_reference
        if spec_tag and spec_tag.reference_policy == "Local" and head.image:
            local = _parsed(self.status_repository, complete=False)
            if local:
                pull_spec = str(replace(local, digest=head.image))
        # An item without a name could only empty a workload's image field.
        return Resolved(pull_spec, head.image, head.generation) if pull_spec else None


@dataclass(frozen=True, slots=True)
class Summary:
    """A stream's tags in one line, for a table: `latest,v2 + 3 more...`, and when one last moved (RFC 3339, or "")."""

    tags: str
    updated: str


def summarise(histories: Iterable[TagHistory]) -> Summary:
    """Sum up the tags that have a history as `oc get imagestreams` does: the one that moved last first, 40 wide."""
    heads = {history.tag: history.head.created for history in histories if history.head}
    names = sorted(sorted(heads), key=lambda name: heads[name], reverse=True)
    shown = next(
        (n for n in range(len(names), 1, -1) if len(",".join(names[:n])) <= _SUMMARY_WIDTH), min(1, len(names))
    )
    more = f" + {len(names) - shown} more..." if shown < len(names) else ""
    return Summary(",".join(names[:shown]) + more, max(heads.values(), default=""))


def _parsed(text: str, *, complete: bool = True) -> references.Reference | None:
    if not text:
        return None
    try:
        parsed = references.parse(text)
    except InvalidReference:
        return None
    return parsed.with_defaults() if complete else parsed
