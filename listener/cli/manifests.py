"""Objects as people keep them in files: YAML with several documents, JSON, Lists, folders of these, stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from listener.cli.streams import CommandFailed

_SUFFIXES = (".yaml", ".yml", ".json")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object of a file, and the line where it begins."""

    file: str
    line: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A place where a file cannot be read on."""

    file: str
    line: int
    why: str


def read(name: str) -> Iterator[Manifest | Unreadable]:
    """Read a file, the files of a folder as kubectl does, or stdin (`-`). Raises CommandFailed if there is none.

    What is no object (no mapping with apiVersion and kind) is passed over.
    """
    if name == "-":
        yield from _read("stdin", sys.stdin.buffer.read())
        return
    path = Path(name)
    try:
        files = sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES) if path.is_dir() else [path]
        for file in files:
            yield from _read(str(file), file.read_bytes())
    except OSError as error:
        raise CommandFailed(f"{name} cannot be read: {error.strerror or error}") from error


def _read(file: str, content: bytes) -> Iterator[Manifest | Unreadable]:
    if content.lstrip()[:1] in (b"{", b"["):
        # YAML too, but for tabs; and ten times as fast.
        try:
            found = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        else:
            for document in found if isinstance(found, list) else [found]:
                yield from _objects(file, 1, document, None)
            return
    loader = _Loader(content)
    hint = "; it looks like a template, so look at what it is rendered to" if b"{{" in content else ""
    try:
        while loader.check_node():
            node = loader.get_node()
            yield from _objects(file, node.start_mark.line + 1, loader.construct_document(node), node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        yield Unreadable(file, mark.line + 1 if mark else 1, f"it is no YAML: {error.problem or error.context}{hint}")
    except (yaml.YAMLError, RecursionError) as error:
        yield Unreadable(file, 1, f"it is no YAML: {' '.join(str(error).split())}")
    finally:
        loader.dispose()


def _objects(file: str, line: int, document: Any, node: Any) -> Iterator[Manifest]:
    if not isinstance(document, dict) or not (document.get("apiVersion") and document.get("kind")):
        return
    items = document.get("items")
    if not (str(document["kind"]).endswith("List") and isinstance(items, list)):
        yield Manifest(file, line, document)
        return
    lines = _lines(node) or [line] * len(items)
    for item, place in zip(items, lines, strict=True):
        yield from _objects(file, place, item, None)


def _lines(node: Any) -> list[int]:
    """Where the items of a List begin."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value == "items" and isinstance(value, yaml.SequenceNode):
            return [item.start_mark.line + 1 for item in value.value]
    return []
