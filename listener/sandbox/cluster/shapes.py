"""Stored entries to the bytes a client asked for: whole objects, Tables, or metadata only; one, a list, or a watch
event.

Whole objects are sent as they are stored, without being decoded.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from listener.sandbox.cluster import events, tables
from listener.sandbox.cluster.listing import Page
from listener.sandbox.cluster.resources import Resource
from listener.sandbox.cluster.store import Entry, Object

Shape = Literal["plain", "Table", "PartialObjectMetadata", "PartialObjectMetadataList", "APIGroupDiscoveryList"]
_encode = msgspec.json.Encoder().encode


class Shaper:
    """Shows the objects of one type in one shape. `include` is a Table's includeObject."""

    def __init__(self, resource: Resource, shape: Shape, include: str = "Metadata") -> None:
        self.resource = resource
        self.shape = shape
        self.include = include
        self._told_columns = False

    def one(self, entry: Entry) -> bytes:
        if self.shape == "plain":
            return self._whole(entry)
        if self.shape == "Table":
            return _encode(self._table([entry], {"resourceVersion": str(entry.revision)}, columns=True))
        return _encode(tables.partial(entry.decode()))

    def many(self, page: Page) -> bytes:
        metadata: Object = {"resourceVersion": str(page.revision)}
        if page.token:
            metadata["continue"] = page.token
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
        if self.shape == "plain":
            return self._whole_list(page.entries, metadata)
        if self.shape == "Table":
            return _encode(self._table(page.entries, metadata, columns=True))
        items = [tables.partial(entry.decode()) for entry in page.entries]
        found = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
        return _encode({**found, "items": items})

    def event(self, kind: str, entry: Entry) -> bytes:
        """Return one line of a watch. Only the first Table of a watch tells the columns."""
        if self.shape == "Table":
            metadata = {"resourceVersion": str(entry.revision)}
            shown = _encode(self._table([entry], metadata, columns=not self._told_columns))
            self._told_columns = True
        else:
            shown = self.one(entry)
        return b'{"type":"%s","object":%s}\n' % (kind.encode(), shown)

    def bookmark(self, revision: int, *, initial_events_end: bool = False) -> bytes:
        metadata: Object = {"resourceVersion": str(revision)}
        if initial_events_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        if self.shape == "Table":
            shown = tables.table(None, [], metadata)
        elif self.shape == "plain":
            shown = {"kind": self.resource.kind, "apiVersion": self.resource.api_version, "metadata": metadata}
        else:
            shown = tables.partial({"metadata": metadata})
        return _encode({"type": "BOOKMARK", "object": shown}) + b"\n"

    def _table(self, entries: list[Entry], metadata: Object, *, columns: bool) -> Object:
        layout = tables.layout(self.resource)
        named = {"kind": self.resource.kind, "apiVersion": self.resource.api_version}
        objects = ({**named, **entry.decode()} for entry in entries)
        rows = tables.rows(self.resource, objects, datetime.now(UTC), self.include)
        return tables.table(layout.definitions() if columns else None, rows, metadata)

    def _whole(self, entry: Entry) -> bytes:
        if _converted(self.resource):
            return self.resource.head + _encode(events.outward(entry.decode()))[1:]
        return self.resource.head + entry.body

    def _whole_list(self, entries: Iterable[Entry], metadata: Object) -> bytes:
        resource = self.resource
        if _converted(resource):
            items = [_encode(events.outward(entry.decode())) for entry in entries]
        else:
            items = [resource.item_head + entry.body for entry in entries]
        head = f'{{"kind":"{resource.list_kind}","apiVersion":"{resource.api_version}","metadata":'.encode()
        return b'%s%s,"items":[%s]}\n' % (head, _encode(metadata), b",".join(items))


def _converted(resource: Resource) -> bool:
    return resource.group == "events.k8s.io"


def error_event(status: dict[str, Any]) -> bytes:
    return _encode({"type": "ERROR", "object": status}) + b"\n"
