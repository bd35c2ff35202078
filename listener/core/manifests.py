"""Manifests and indexes: the media types, what an index names, and which of its images stands for the whole.

An index (OCI) and a manifest list (Docker) are the same thing by two names. This room knows bytes that were already
fetched and verified; it must not know registries, references or streams.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from listener.core import references
from listener.errors import InvalidManifest

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"

INDEX_TYPES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on, in Go's words: linux, amd64."""

    os: str
    architecture: str
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Described:
    """What a tag or digest stands for in a registry."""

    digest: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Child:
    """One entry of an index."""

    digest: str
    media_type: str
    platform: Platform | None = None


_UNKNOWN: Final = "unknown"
_DEFAULT_PLATFORM: Final = Platform("linux", "amd64")


def is_index(media_type: str) -> bool:
    return media_type in INDEX_TYPES


def media_type_of(body: bytes) -> str | None:
    """Tell the media type from the content itself: it may say so, else it has an index's or a manifest's shape.

    None for what is no manifest at all.
    """
    content = _decoded(body)
    if not isinstance(content, dict):
        return None
    written = content.get("mediaType")
    if isinstance(written, str) and written:
        return written
    if isinstance(content.get("manifests"), list):
        return OCI_INDEX
    return OCI_MANIFEST if isinstance(content.get("layers"), list) else None


def read_index(body: bytes) -> tuple[Child, ...]:
    """List what an index names, in its order. Raises InvalidManifest with what was expected."""
    content = _decoded(body)
    if not isinstance(content, dict):
        raise InvalidManifest("an image index must be a JSON object")
    entries = content.get("manifests")
    if not isinstance(entries, list):
        raise InvalidManifest('an image index must have a list "manifests"')
    return tuple(_child(f"manifests[{number}]", entry) for number, entry in enumerate(entries))


def choose(children: Sequence[Child], *, preferred_os: str, preferred_architecture: str, own: Platform) -> Child | None:
    """Choose the one image that a Legacy import stores for an index. None for an empty index.

    The first that is there of: what the tag's annotations prefer (where they leave a part open, our own part before
    any other), our own platform, linux/amd64, whatever stands first. Attestations, whose platform is
    unknown/unknown, are no images: they are chosen only if there is nothing else.
    """
    images = [child for child in children if not _is_attestation(child)] or list(children)
    for wish in _wishes(preferred_os, preferred_architecture, own):
        matches = [child for child in images if _fits(child.platform, wish)]
        if matches:
            return next(
                (child for child in matches if child.platform and child.platform.variant == wish.variant), matches[0]
            )
    return images[0] if images else None


def _wishes(preferred_os: str, preferred_architecture: str, own: Platform) -> Iterator[Platform]:
    """Platforms, the best first; "" is any."""
    if preferred_os or preferred_architecture:
        yield Platform(preferred_os or own.os, preferred_architecture or own.architecture)
        yield Platform(preferred_os, preferred_architecture)
    yield own
    yield _DEFAULT_PLATFORM


def _fits(platform: Platform | None, wish: Platform) -> bool:
    if platform is None:
        return False
    return wish.os in ("", platform.os) and wish.architecture in ("", platform.architecture)


def _is_attestation(child: Child) -> bool:
    return child.platform is not None and child.platform.os == child.platform.architecture == _UNKNOWN


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _child(place: str, entry: object) -> Child:
    if not isinstance(entry, Mapping):
        raise InvalidManifest(f"{place} must be an object")
    digest = entry.get("digest")
    if not isinstance(digest, str) or not references.is_digest(digest):
        raise InvalidManifest(f"{place}.digest must be a digest (such as sha256: and 64 hexadecimal digits)")
    media_type = entry.get("mediaType")
    if not isinstance(media_type, str) or not media_type:
        raise InvalidManifest(f"{place}.mediaType must be the media type of what the digest names")
    return Child(digest, media_type, _platform(f"{place}.platform", entry.get("platform")))


def _platform(place: str, value: object) -> Platform | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InvalidManifest(f"{place} must be an object")
    parts = [value.get("os", ""), value.get("architecture", ""), value.get("variant") or ""]
    if not all(isinstance(part, str) for part in parts):
        raise InvalidManifest(f"{place} must hold os, architecture and variant as texts")
    return Platform(*parts)
