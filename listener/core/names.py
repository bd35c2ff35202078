"""Tags and their sources as a person writes them on a command line: `web:prod`, `shop/web:prod`, `quay.io/team/web:v1`.

After `oc tag`, so that its habits hold here. This room knows texts: it must not know which streams, tags and images
there are, nor what is done with them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

from listener.core import references, streams
from listener.core.streams import DEFAULT_TAG, StreamKey
from listener.errors import InvalidReference, ListenerError


class InvalidName(ListenerError, ValueError):
    """A text that names no tag, or no source of one. The message holds the text and what was expected."""


class TagName(NamedTuple):
    """`[NAMESPACE/]STREAM[:TAG]`. What was not written is ""."""

    namespace: str
    stream: str
    tag: str

    def __str__(self) -> str:
        return f"{self.stream}:{self.tag}" if self.tag else self.stream

    @property
    def key(self) -> StreamKey:
        """The stream; only after `within`."""
        return StreamKey(self.namespace, self.stream)

    @property
    def full(self) -> str:
        """The name with its namespace; only after `within`."""
        return f"{self.namespace}/{self}"

    def within(self, namespace: str) -> TagName:
        """Complete a name that says no namespace."""
        return self if self.namespace else self._replace(namespace=namespace)


class Kind(StrEnum):
    """Where a tag may come from: the kinds of `spec.tags[].from`."""

    DOCKER_IMAGE = "DockerImage"
    IMAGE_STREAM_TAG = "ImageStreamTag"
    IMAGE_STREAM_IMAGE = "ImageStreamImage"


@dataclass(frozen=True, slots=True)
class TagSource:
    """A source of a tag.

    `name` is a pull spec, TAG or an image of `stream`, by kind; `stream` and `namespace` are "" for a pull spec.
    """

    kind: Kind
    name: str
    stream: str = ""
    namespace: str = ""

    def __str__(self) -> str:
        return self.name if self.kind is Kind.DOCKER_IMAGE else f"{self.stream}{_SEPARATOR[self.kind]}{self.name}"

    @property
    def key(self) -> StreamKey:
        """The stream that it belongs to; only for a tag or an image of one, and only after `within`."""
        return StreamKey(self.namespace, self.stream)

    def within(self, namespace: str) -> TagSource:
        """Complete a source of a stream that says no namespace."""
        if self.kind is Kind.DOCKER_IMAGE or self.namespace:
            return self
        return replace(self, namespace=namespace)


_SEPARATOR: Final = {Kind.IMAGE_STREAM_TAG: ":", Kind.IMAGE_STREAM_IMAGE: "@"}


def parse_tag(text: str, *, any_tag: bool = False) -> TagName:
    """Read `[NAMESPACE/]STREAM[:TAG]`. With `any_tag` even a tag that no registry would take. Raises InvalidName."""
    name, colon, tag = text.partition(":")
    namespace, stream = _split(text, name, "[NAMESPACE/]STREAM:TAG")
    if colon and not tag:
        raise InvalidName(f"{text!r}: the tag is missing after the colon; write [NAMESPACE/]STREAM:TAG")
    if tag and not any_tag and not references.is_tag(tag):
        raise InvalidName(
            f"{text!r}: {tag!r} is no tag: 1 to 128 letters, digits, '_', '.' and '-', not beginning with '.' or '-'"
        )
    return TagName(namespace, stream, tag)


def parse_source(text: str, kind: Kind | None = None) -> TagSource:
    """Read the source of a tag; its kind from its looks, unless that is said.

    | looks                              | kind             |
    |------------------------------------|------------------|
    | begins with a registry's host      | DockerImage      |
    | `[NAMESPACE/]STREAM@DIGEST`        | ImageStreamImage |
    | `[NAMESPACE/]STREAM:TAG`           | ImageStreamTag   |
    | a name alone                       | DockerImage      |

    A beginning of a digest will do. Raises InvalidName.
    """
    match kind or _looks(text):
        case Kind.IMAGE_STREAM_IMAGE:
            name, _, digest = text.partition("@")
            namespace, stream = _split(text, name, "[NAMESPACE/]STREAM@DIGEST")
            if not digest or "@" in digest:
                raise InvalidName(f"{text!r} names no image of a stream; write [NAMESPACE/]STREAM@DIGEST")
            return TagSource(Kind.IMAGE_STREAM_IMAGE, digest, stream, namespace)
        case Kind.IMAGE_STREAM_TAG:
            found = parse_tag(text)
            return TagSource(Kind.IMAGE_STREAM_TAG, found.tag or DEFAULT_TAG, found.stream, found.namespace)
        case _:
            try:
                references.parse(text)
            except InvalidReference as error:
                raise InvalidName(str(error)) from error
            return TagSource(Kind.DOCKER_IMAGE, text)


def _looks(text: str) -> Kind:
    first, slash, _ = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return Kind.DOCKER_IMAGE
    if "@" in text:
        return Kind.IMAGE_STREAM_IMAGE
    return Kind.IMAGE_STREAM_TAG if ":" in text else Kind.DOCKER_IMAGE


def _split(text: str, name: str, expected: str) -> tuple[str, str]:
    """Take `[NAMESPACE/]STREAM` apart."""
    namespace, slash, stream = name.rpartition("/")
    if slash and not streams.is_namespace(namespace):
        raise InvalidName(f"{text!r}: {namespace!r} is no namespace; write {expected}")
    if not streams.is_name(stream):
        raise InvalidName(
            f"{text!r}: {stream!r} is no name of a stream (lower-case letters and digits, joined by '.' or '-');"
            f" write {expected}"
        )
    return namespace, stream
