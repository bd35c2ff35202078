"""Image streams as far as decisions need them: what each tag asks for, what it points at, and what a push moves.

Meaning after OpenShift's `image.openshift.io/v1`. This room must not know how a stream is stored or watched, nor what
time it is.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, NamedTuple

from listener.core import references
from listener.core.fanouts import FanOutRecord
from listener.core.history import Condition, Resolution, TagHistory, TagItem
from listener.core.references import Reference
from listener.errors import InvalidReference

DEFAULT_TAG: Final = "latest"
HOLD: Final = "imagestreams.dev/hold"
IMPORT_INTERVAL: Final = "imagestreams.dev/import-interval"
SHARED_WITH: Final = "imagestreams.dev/shared-with"
REPOSITORY_CHECK: Final = "openshift.io/image.dockerRepositoryCheck"
INSECURE_REPOSITORY: Final = "openshift.io/image.insecureRepository"
PREFER_OS: Final = "importer.image.openshift.io/prefer-os"
PREFER_ARCHITECTURE: Final = "importer.image.openshift.io/prefer-arch"

PRESERVE_ORIGINAL: Final = "PreserveOriginal"
EVERY_NAMESPACE: Final = "*"
_SUMMARY_WIDTH: Final = 40


# A stream's name is a path component of a repository, a namespace's a DNS label. (As OpenShift's `ValidateImageStream`;
# its underscores do no harm, for a custom resource cannot have them.)
_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def is_name(text: str) -> bool:
    """Tell whether a stream can be called so."""
    return _NAME.fullmatch(text) is not None


def is_namespace(text: str) -> bool:
    """Tell whether a namespace can be called so."""
    return _NAMESPACE.fullmatch(text) is not None


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


class Source(NamedTuple):
    """One image of a registry as it is asked for: completed as `Reference.with_defaults` does, by tag or by digest.

    With a digest there is no tag, for the digest is what counts.
    """

    registry: str
    repository: str
    tag: str
    digest: str

    def __str__(self) -> str:
        return str(self.reference)

    @property
    def reference(self) -> Reference:
        return Reference(self.registry, self.repository, self.tag or None, self.digest or None)

    @classmethod
    def of(cls, reference: Reference) -> Source:
        found = reference.with_defaults()
        digest = found.digest or ""
        return cls(found.registry, found.repository, "" if digest else found.tag or DEFAULT_TAG, digest)


@dataclass(frozen=True, slots=True)
class SpecTag:
    """What a stream's owner asks of a tag. `from_kind` is "" for a placeholder: a tag that is only pushed to.

    `hold` is None for a tag that may move, "" for one that is held where it is, else the image (or pull spec) of its
    history that it is held at. `import_interval` is the owner's own text, "" where there is none.
    """

    name: str
    from_kind: str = ""
    from_namespace: str = ""
    from_name: str = ""
    reference: bool = False
    generation: int | None = None
    reference_policy: str = "Source"
    import_mode: str = "Legacy"
    scheduled: bool = False
    insecure: bool = False
    hold: str | None = None
    import_interval: str = ""
    prefer_os: str = ""
    prefer_architecture: str = ""

    def image(self) -> Reference | None:
        """Return the image of a registry that this tag imports, as its owner wrote it; None if it imports none.

        That is so for tags of other kinds, for names that are recorded as they are (`reference`), and for no names.
        """
        return _parsed(self.from_name) if self.from_kind == "DockerImage" and not self.reference else None

    def repository_name(self) -> str:
        """Return the repository of the image that this tag imports, as its owner wrote it; "" if it imports none."""
        image = self.image()
        return _name(image) if image else ""

    def source(self) -> Source | None:
        """Return the image of a registry that this tag imports, as the registry is asked for it."""
        return _source(self.from_name) if self.from_kind == "DockerImage" and not self.reference else None

    def follows(self) -> tuple[Repository, str] | None:
        """Return the repository and tag of a registry this tag takes its images from, if it does.

        One that is pinned to a digest follows nothing.
        """
        source = self.source()
        if source is None or source.digest:
            return None
        return Repository(source.registry, source.repository), source.tag

    def asks(self) -> Resolution:
        """Return what this tag asks for, to be compared with what it asked for when it was last resolved."""
        return Resolution(self.from_kind, self.from_namespace, self.from_name, self.reference, self.import_mode)


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

    `repository` is `spec.dockerImageRepository`, `status_repository` the one the cluster serves the stream under, and
    `public_repository` the same as it is called outside. `shared_with` are the namespaces that may take its tags beside
    its own. `is_checked` tells that an import of it was tried once (the annotation dockerRepositoryCheck). `fan_outs`
    are the accounts of its last fan-outs, newest first.
    `local_lookup` tells that images may name its tags in its own namespace, without a registry.
    """

    key: StreamKey
    uid: str
    resource_version: str
    generation: int
    repository: str
    status_repository: str
    spec_tags: tuple[SpecTag, ...]
    tags: tuple[TagHistory, ...]
    public_repository: str = ""
    conditions: tuple[Condition, ...] = ()
    shared_with: frozenset[str] = frozenset()
    is_checked: bool = False
    insecure_repository: bool = False
    local_lookup: bool = False
    fan_outs: tuple[FanOutRecord, ...] = ()
    _resolved: dict[str, Resolved] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What `resolve_all` found: it is asked for at each review and each patch, and a stream may have many tags."""
    _earlier: dict[str, frozenset[str]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What `earlier` found, by tag: it is asked for at each patch too."""

    def history(self, tag: str) -> TagHistory:
        """Return the status tag, an empty one if there is none."""
        for history in self.tags:
            if history.tag == tag:
                return history
        return TagHistory(tag)

    def with_history(self, history: TagHistory) -> Stream:
        """Return the stream with that status tag put in its place, sorted by tag."""
        others = [known for known in self.tags if known.tag != history.tag]
        others.insert(bisect_left(others, history.tag, key=lambda known: known.tag), history)
        return replace(self, tags=tuple(others))

    def spec_tag(self, name: str) -> SpecTag | None:
        """Return the spec tag of that name."""
        return next((spec_tag for spec_tag in self.spec_tags if spec_tag.name == name), None)

    def shares_with(self, namespace: str) -> bool:
        """Tell whether streams of that namespace may take tags from this one."""
        return namespace == self.key.namespace or bool(self.shared_with & {namespace, EVERY_NAMESPACE})

    def is_at_its_source(self, tag: str) -> bool:
        """Tell whether a tag is where its spec brought it, and was not moved by a push since."""
        spec_tag, known = self.spec_tag(tag), self.history(tag)
        head = known.head
        if spec_tag is None or head is None:
            return False
        match spec_tag.from_kind:
            case "ImageStreamTag":
                followed = known.resolved.followed if known.resolved else ""
                return followed == f"{head.docker_image_reference} {head.image}"
            case "ImageStreamImage":
                return head.begins(spec_tag.from_name.rpartition("@")[2])
            case "DockerImage" if spec_tag.reference:
                return head.docker_image_reference == spec_tag.from_name
            case "DockerImage":
                return head.repository == spec_tag.repository_name()
        return False

    def is_held(self, tag: str) -> bool:
        """Tell whether the tag may not move."""
        found = self.spec_tag(tag)
        return found is not None and found.hold is not None

    def resolve(self, tag: str) -> Resolved | None:
        """Return what a consumer of the tag ("" is latest) pulls, None while it points at nothing.

        A digest under the cluster's own repository if the spec tag's reference policy is Local and there is such a
        repository, else what the head says.
        """
        return self.resolve_all().get(tag or DEFAULT_TAG)

    def resolve_all(self) -> Mapping[str, Resolved]:
        """Resolve every tag that points at something, in one pass."""
        if not self._resolved:
            spec_tags = {spec_tag.name: spec_tag for spec_tag in self.spec_tags}
            for history in self.tags:
                if history.head and (resolved := self._pulled(history.head, spec_tags.get(history.tag))):
                    self._resolved[history.tag] = resolved
        return self._resolved

    def earlier(self, tag: str) -> frozenset[str]:
        """Return what consumers of the tag ("" is latest) pulled before it moved to where it is."""
        tag = tag or DEFAULT_TAG
        if tag not in self._earlier:
            spec_tag = self.spec_tag(tag)
            pulled = (self._pulled(item, spec_tag) for item in self.history(tag).items[1:])
            self._earlier[tag] = frozenset(resolved.pull_spec for resolved in pulled if resolved)
        return self._earlier[tag]

    def repositories(self) -> frozenset[Repository]:
        """Return what the stream takes images from. Names that are no references are skipped."""
        images = [image for spec_tag in self.spec_tags if (image := spec_tag.image())]
        if whole := self.whole_repository():
            images.append(whole)
        sources = (Source.of(image) for image in images)
        return frozenset(Repository(source.registry, source.repository) for source in sources)

    def sources(self) -> frozenset[StreamKey]:
        """Return the other streams that tags of this one come from."""
        return frozenset(
            key for spec_tag in self.spec_tags if (key := self.source_stream(spec_tag)) and key != self.key
        )

    def source_stream(self, spec_tag: SpecTag) -> StreamKey | None:
        """Return the stream that a tag of this one comes from.

        None if it comes from a registry or nowhere, or if its name is none: more than one separator, or nothing before.
        """
        separator = {"ImageStreamTag": ":", "ImageStreamImage": "@"}.get(spec_tag.from_kind)
        if separator is None:
            return None
        name, found, rest = spec_tag.from_name.partition(separator)
        if separator in rest or (found and not name):
            return None
        return StreamKey(spec_tag.from_namespace or self.key.namespace, name if found else self.key.name)

    def fed_by(self, repository: Repository, tag: str) -> Mapping[str, str]:
        """Return which status tags a push to that tag of that (completed) repository moves, sorted by name.

        Those are the spec tags that follow it, whatever their own name, and, where the stream takes the whole
        repository, the tag of the same name, unless a spec tag of that name says it comes from elsewhere. With each
        stands the repository as the stream's owner wrote it: so its pull specs are the same, whoever moves the tag.
        """
        moved = {
            spec_tag.name: spec_tag.repository_name()
            for spec_tag in self.spec_tags
            if spec_tag.follows() == (repository, tag)
        }
        whole = self.whole_repository()
        if whole and _repository(whole) == repository:
            own = self.spec_tag(tag)
            if own is None or not own.from_kind:
                moved[tag] = _name(whole)
        return dict(sorted(moved.items()))

    def whole_repository(self) -> Reference | None:
        """Return `spec.dockerImageRepository`, as it is written, if it is one."""
        return _parsed(self.repository)

    def _pulled(self, head: TagItem, spec_tag: SpecTag | None) -> Resolved | None:
        pull_spec = head.docker_image_reference
        if spec_tag and spec_tag.reference_policy == "Local" and head.image:
            local = _parsed(self.status_repository)
            if local:
                pull_spec = str(replace(local, digest=head.image))
        # An item without a name could only empty a workload's image field.
        return Resolved(pull_spec, head.image, head.generation) if pull_spec else None


@dataclass(frozen=True, slots=True)
class Serving:
    """The registry that serves streams under their own names. `host` is how the cluster calls it, `public_host` how
    the outside does; either may be "".
    """

    host: str = ""
    public_host: str = ""

    def name(self, stream: Stream) -> Stream:
        """Return the stream with the repositories it is served under; without such a registry, the one it imports."""
        own = f"{self.host}/{stream.key.namespace}/{stream.key.name}" if self.host else stream.repository
        public = f"{self.public_host}/{stream.key.namespace}/{stream.key.name}" if self.public_host else ""
        if (own, public) == (stream.status_repository, stream.public_repository):
            return stream
        return replace(stream, status_repository=own, public_repository=public)


@dataclass(frozen=True, slots=True)
class Summary:
    """A stream's tags in one line, for a table: `latest,v2 + 3 more...`, and when one last moved (RFC 3339, or "")."""

    tags: str
    updated: str


def hindrance(key: StreamKey, namespaces: Collection[str]) -> str:
    """Tell why a stream cannot be followed where only these namespaces are looked at, "" if it can; none means all.

    One of a file may have no namespace yet.
    """
    if not namespaces or key.namespace in ("", *namespaces):
        return ""
    why = f"namespace {key.namespace} is not among the `namespaces` of the settings"
    return f"ImageStream {key} cannot be followed: {why}"


def summarise(histories: Iterable[TagHistory]) -> Summary:
    """Sum up the tags that have a history as `oc get imagestreams` does: the one that moved last first, 40 wide."""
    heads = {history.tag: history.head.created for history in histories if history.head}
    names = sorted(sorted(heads), key=lambda name: heads[name], reverse=True)
    shown = next(
        (n for n in range(len(names), 1, -1) if len(",".join(names[:n])) <= _SUMMARY_WIDTH), min(1, len(names))
    )
    more = f" + {len(names) - shown} more..." if shown < len(names) else ""
    return Summary(",".join(names[:shown]) + more, max(heads.values(), default=""))


# A poll asks for the same names again and again, thousands of them in a large cluster.
@lru_cache(maxsize=32_768)
def _parsed(text: str) -> Reference | None:
    try:
        return references.parse(text) if text else None
    except InvalidReference:
        return None


@lru_cache(maxsize=32_768)
def _source(text: str) -> Source | None:
    reference = _parsed(text)
    return Source.of(reference) if reference else None


def _repository(reference: Reference) -> Repository:
    source = Source.of(reference)
    return Repository(source.registry, source.repository)


def _name(reference: Reference) -> str:
    return str(replace(reference, tag=None, digest=None))
