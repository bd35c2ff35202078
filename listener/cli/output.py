"""What commands print: plain tables as kubectl draws them, JSON and YAML, and progress for those who watch."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
import msgspec
import yaml

from listener.core.history import TagHistory, TagItem
from listener.core.streams import Stream
from listener.edges import objects

_GAP = "   "
_SHORT_DIGEST = 12  # as docker shows them


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Align columns to the left, without lines and without blanks at the end of a line."""
    found = [header, *rows]
    widths = [max(len(row[n]) for row in found) for n in range(len(header))]
    lines = (_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in found)
    return "\n".join(line.rstrip() for line in lines)


def document(value: Mapping[str, Any], output: str) -> str:
    """Write JSON as kubectl indents it, or a YAML document."""
    if output == "json":
        return msgspec.json.format(msgspec.json.encode(value), indent=4).decode()
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, explicit_start=True).rstrip("\n")


def tag_document(stream: Stream, tag: str) -> dict[str, Any]:
    """One tag for programs: what it points at and has pointed at, whether it is held, and what waits meanwhile.

    `heldAt` is null where it is held wherever it is.
    """
    spec_tag = stream.spec_tag(tag)
    (written,) = objects.write_tags([stream.history(tag)])
    return {
        "tag": tag,
        "held": stream.is_held(tag),
        "heldAt": (spec_tag.hold if spec_tag else None) or None,
        "items": written["items"],
        "waiting": written.get("waiting", []),
        "conditions": written.get("conditions", []),
    }


def stream_document(stream: Stream, tags: Iterable[str]) -> dict[str, Any]:
    """Several tags of a stream for programs."""
    return {
        "stream": stream.key.name,
        "namespace": stream.key.namespace,
        "tags": [tag_document(stream, tag) for tag in tags],
    }


def fan_outs_document(stream: Stream, tags: Iterable[str]) -> dict[str, Any]:
    """The accounts of those tags' fan-outs for programs, newest first."""
    shown = frozenset(tags)
    return {"fanOuts": objects.write_fan_outs(record for record in stream.fan_outs if record.tag in shown)}


def shown(item: TagItem) -> str:
    """An item in a sentence: its digest, or the name that it records."""
    return item.image or item.docker_image_reference


def short(pull_spec: str) -> str:
    """A pull spec for a table's cell: of a digest only the beginning, which names the image in commands too."""
    name, at, digest = pull_spec.partition("@")
    algorithm, colon, value = digest.partition(":")
    return f"{name}{at}{algorithm}{colon}{value[:_SHORT_DIGEST]}"


def moved(before: TagHistory, after: TagHistory) -> str:
    """Tell where a tag has moved, as the end of a sentence that begins with its name."""
    if after.head is None:
        return "points at nothing yet"
    if before.head is None:
        return f"now points at {shown(after.head)}"
    if shown(before.head) == shown(after.head):
        return f"unchanged at {shown(after.head)}"
    return f"moved from {shown(before.head)} to {shown(after.head)}"


def moved_or_waits(before: TagHistory, after: TagHistory) -> str:
    """Tell where a tag has moved, and what waits because it is held."""
    how = moved(before, after)
    return f"{how}; {shown(after.waiting[0])} waits" if after.waiting else how


def say(text: str) -> None:
    """Print a result."""
    click.echo(text)


def note(text: str) -> None:
    """Tell a person, beside the result."""
    click.echo(f"listener: {text}", err=True)


class Progress:
    """One line on a terminal's stderr that is written over and gone at the end; nothing in a pipe."""

    def __init__(self) -> None:
        self._is_watched = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._write("")

    def tell(self, text: str) -> None:
        self._write(text)

    def _write(self, text: str) -> None:
        if self._is_watched:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
