"""Image references: the grammar, and apart from it the customs of Docker Hub.

The grammar is the one of OpenShift (library-go `pkg/image/reference`) and of distribution/reference. What is *legal*
is decided by `parse`, which adds nothing; what is *customary* (docker.io, library/, latest) is added only by
`Reference.with_defaults`. This room knows names. It must not know streams, registries that exist, or whether an image
does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from listener.errors import InvalidReference

DOCKER_HUB: Final = "docker.io"

_MAX_TEXT: Final = 1024
_MAX_REPOSITORY: Final = 255
_HUB_ALIASES: Final = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F]*:[0-9a-fA-F:]*\])(?::[0-9]{{1,5}})?")
_COMPONENT: Final = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_REPOSITORY: Final = re.compile(rf"{_COMPONENT.pattern}(?:/{_COMPONENT.pattern})*")
_TAG: Final = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
# The algorithms the OCI image specification registers, and sha384, which every Go client knows too.
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True, slots=True)
class Reference:
    """One image reference, taken apart.

    `registry` is "" when none was written. `tag` and `digest` may both be present; the digest is then the more
    specific one.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        """Return the exact form: nothing defaulted, and the digest instead of the tag where there is one."""
        name = f"{self.registry}/{self.repository}" if self.registry else self.repository
        if self.digest:
            return f"{name}@{self.digest}"
        return f"{name}:{self.tag}" if self.tag else name

    def with_defaults(self) -> Reference:
        """Return the reference as a container runtime would complete it.

        Docker Hub's three host names become `docker.io`, which is also the default; `library/` is put before a name
        of one component, on Docker Hub only; `latest` is the tag where there is neither tag nor digest. Host names
        are compared without case, so the registry comes back in lower case.
        """
        registry = self.registry.lower() or DOCKER_HUB
        repository = self.repository
        if registry in _HUB_ALIASES:
            registry = DOCKER_HUB
            if "/" not in repository:
                repository = f"library/{repository}"
        tag = self.tag or (None if self.digest else "latest")
        if (registry, repository, tag) == (self.registry, self.repository, self.tag):
            return self
        return Reference(registry, repository, tag, self.digest)


def parse(text: str) -> Reference:
    """Take an image reference apart, adding nothing.

    The first component is a registry if it contains a `.` or a `:` or is `localhost`. A lone registry (`quay.io`),
    which OpenShift's parser lets through with an empty name, is refused: nothing can be pulled by it.

    Raises `InvalidReference` with the text and the reason.
    """
    reference = _split(text)
    fault = _fault(text, reference)
    if fault:
        raise InvalidReference(f"{text[:_MAX_TEXT]!r} is no image reference: {fault}")
    return reference


def canonical_registry(host: str) -> str:
    """Return the one name of a registry by which names of registries compare: lower case, and one for Docker Hub."""
    return Reference(host, "any").with_defaults().registry


def names_registry(text: str) -> bool:
    """Tell whether a reference, be it legal or not, begins with a registry."""
    first, slash, _ = text.partition("/")
    return bool(slash) and _looks_like_registry(first)


def is_registry(text: str) -> bool:
    """Tell whether the text is a host name, IPv4 address or bracketed IPv6 address, with or without a port."""
    return _REGISTRY.fullmatch(text) is not None


def is_repository(text: str) -> bool:
    """Tell whether the text can stand in a reference between the registry and the tag."""
    return len(text) <= _MAX_REPOSITORY and _REPOSITORY.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Tell whether the text is a tag: 1 to 128 ASCII word characters, dots and dashes, the first a word character."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Tell whether the text is a whole digest: known algorithm, exact length, lower-case hexadecimal."""
    return _DIGEST.fullmatch(text) is not None


def _looks_like_registry(component: str) -> bool:
    return "." in component or ":" in component or component == "localhost"


def _split(text: str) -> Reference:
    """Cut at the punctuation alone; `_fault` judges the pieces."""
    name, at, digest = text.partition("@")
    first, path = "", name
    if names_registry(name):
        first, _, path = name.partition("/")
    repository, colon, tag = path.partition(":")
    return Reference(first, repository, tag if colon else None, digest if at else None)


def _fault(text: str, reference: Reference) -> str | None:
    if not text:
        return "it is empty"
    if len(text) > _MAX_TEXT:
        return f"it is longer than {_MAX_TEXT} characters"
    if "://" in text:
        return "it must be written without a scheme such as https://"
    if "/" not in text and _looks_like_registry(reference.repository):
        return "it names a registry but no repository; write registry/repository"
    if reference.registry and not is_registry(reference.registry):
        return f"{reference.registry!r} is no registry host"
    if fault := _repository_fault(reference.repository):
        return fault
    if reference.tag is not None and not is_tag(reference.tag):
        return f"{reference.tag!r} is no tag (1 to 128 letters, digits, '_', '.', '-', not starting with '.' or '-')"
    if reference.digest is not None and not is_digest(reference.digest):
        return f"{reference.digest!r} is no digest (such as sha256: and 64 lower-case hexadecimal digits)"
    return None


def _repository_fault(repository: str) -> str | None:
    if not repository:
        return "the repository is missing"
    if len(repository) > _MAX_REPOSITORY:
        return f"the repository is longer than {_MAX_REPOSITORY} characters"
    if repository != repository.lower():
        return "the repository must be in lower case"
    for component in repository.split("/"):
        if not component:
            return "the repository has an empty component (a slash too many)"
        if not _COMPONENT.fullmatch(component):
            return f"{component!r} must be lower-case letters and digits, joined by '.', '_', '__' or dashes"
    return None
