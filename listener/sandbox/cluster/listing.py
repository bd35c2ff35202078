"""Lists: which objects, in which order, in which pages.

A continued list shows the collection as it was on the first page, by undoing the log of changes; when the log no longer
reaches back that far, the answer is 410 and the client starts again. Knows no HTTP and does not encode.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from listener.sandbox.cluster import events
from listener.sandbox.cluster.resources import Resource
from listener.sandbox.cluster.selectors import EVERY_FIELD, EVERY_LABEL, FieldSelector, LabelSelector, value_at
from listener.sandbox.cluster.status import ApiError, bad_request, continue_expired, too_large
from listener.sandbox.cluster.store import Collection, CompactedError, Entry, Key, Store


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a type a list, a watch or a deletecollection is about. `namespace` None means all."""

    resource: Resource
    namespace: str | None = None
    labels: LabelSelector = EVERY_LABEL
    fields: FieldSelector = EVERY_FIELD

    def __bool__(self) -> bool:
        return bool(self.labels or self.fields)

    def covers(self, entry: Entry) -> bool:
        if self.namespace is not None and entry.namespace != self.namespace:
            return False
        if not self.labels.matches(entry.labels):
            return False
        return not self.fields or self.fields.matches(self._fields(entry))

    def _fields(self, entry: Entry) -> dict[str, str]:
        found = {"metadata.name": entry.name, "metadata.namespace": entry.namespace}
        others = self.fields.paths - found.keys()
        if others:
            obj = entry.decode()
            found |= {path: _field(obj, path) for path in others}
        return found


def _field(obj: dict[str, Any], path: str) -> str:
    stored = events.stored_path(path)
    if stored == "source" and "involvedObject" in obj:
        return value_at(obj, "source.component") or value_at(obj, "reportingComponent")
    return value_at(obj, stored)


@dataclass(frozen=True, slots=True)
class Query:
    """How to list: `resourceVersion`, `resourceVersionMatch`, `limit` (0: all) and `continue`, as asked for."""

    revision: str = ""
    exact: bool = False
    limit: int = 0
    token: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """`remaining` is None when nothing is left, and when a selector makes the count unknown."""

    revision: int
    entries: list[Entry]
    token: str = ""
    remaining: int | None = None


def page(store: Store, selection: Selection, query: Query) -> Page:
    """Return one page. Raises `ApiError` 410 for a revision or token that has expired, 504 for one from the future."""
    collection = store.collection(selection.resource.storage)
    asked = int(query.revision or 0)
    if asked > store.revision:
        raise too_large(asked, store.revision)
    start, revision = _decode_token(query.token) if query.token else (None, asked if query.exact else store.revision)
    # Only a list that asks for "any" state is served without pages: as a real server's watch cache does.
    limit = 0 if query.revision == "0" and not query.token else query.limit
    try:
        found = list(
            islice(_chosen(collection, selection, start, revision, store.revision), limit + 1 if limit else None)
        )
    except CompactedError:
        raise _expired(query) from None
    if not limit or len(found) <= limit:
        return Page(revision, found)
    last = found[limit - 1].key
    remaining = None if selection else _left(collection, selection, last, revision, store.revision)
    return Page(revision, found[:limit], _encode_token(revision, last), remaining)


def _chosen(
    collection: Collection, selection: Selection, start: Key | None, revision: int, current: int
) -> Iterator[Entry]:
    name = selection.fields.name
    candidates: Iterable[Entry]
    if name is not None and selection.namespace is not None and start is None and revision == current:
        entry = collection.get(selection.namespace, name)
        candidates = [entry] if entry is not None else []
    else:
        candidates = _at(collection, selection.namespace, start, revision, current)
    return (entry for entry in candidates if selection.covers(entry)) if selection else iter(candidates)


def _at(
    collection: Collection, namespace: str | None, start: Key | None, revision: int, current: int
) -> Iterator[Entry]:
    if revision == current:
        return collection.entries(namespace, after=start)
    return collection.entries_at(revision, namespace, after=start)


def _left(collection: Collection, selection: Selection, last: Key, revision: int, current: int) -> int:
    if revision == current:
        return collection.count(selection.namespace, after=last)
    return sum(1 for _ in collection.entries_at(revision, selection.namespace, after=last))


def _expired(query: Query) -> ApiError:
    if query.token:
        return continue_expired()
    return ApiError(410, "The resourceVersion for the provided list is too old.")


def _encode_token(revision: int, last: Key) -> str:
    token = {"v": "meta.k8s.io/v1", "rv": revision, "start": "/".join(last)}
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


class _Token(msgspec.Struct):
    rv: int
    start: str


def _decode_token(text: str) -> tuple[Key, int]:
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Token)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from None
    namespace, _, name = token.start.partition("/")
    return (namespace, name), token.rv
