"""A watch: what is there, then what changes, as lines of JSON, from a revision on or from now.

Reads the bounded log of a collection; a watch that the log has outrun gets an ERROR event with 410 and ends. An object
that begins or ceases to fit the selection is ADDED or DELETED for this watch. Knows no HTTP: it yields whole lines, the
server sends them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from itertools import islice

import msgspec

from listener.sandbox.cluster.listing import Selection
from listener.sandbox.cluster.requests import WatchQuery
from listener.sandbox.cluster.shapes import Shaper, error_event
from listener.sandbox.cluster.status import too_old
from listener.sandbox.cluster.store import Change, Collection, CompactedError, Entry, Store

_BATCH = 100  # lines sent at once: half a megabyte of workloads
_encode = msgspec.json.Encoder().encode


async def lines(
    store: Store, selection: Selection, query: WatchQuery, shaper: Shaper, bookmark_seconds: float
) -> AsyncGenerator[bytes, None]:
    """Yield lines, many at once, until the time is up. An empty yield means: woken, and nothing to send."""
    loop = asyncio.get_running_loop()
    collection = store.collection(selection.resource.storage)
    ends = loop.time() + query.timeout_seconds
    waiter = asyncio.Event()
    collection.subscribe(waiter)
    try:
        try:
            place, initial = _start(store, collection, selection, query)
        except CompactedError as compacted:
            yield error_event(too_old(query.revision or 0, compacted.oldest).status())
            return
        revision = store.revision
        while batch := list(islice(initial, _BATCH)):
            yield b"".join(shaper.event("ADDED", entry) for entry in batch)
        if query.initial_events and query.bookmarks:
            yield shaper.bookmark(revision, initial_events_end=True)
        bookmark_at = loop.time() + bookmark_seconds
        while True:
            waiter.clear()
            try:
                changes = collection.since(place, _BATCH)
            except CompactedError as compacted:
                yield error_event(too_old(revision, compacted.oldest).status())
                return
            if changes:
                place += len(changes)
                revision = changes[-1].revision
                # A revision from the future is waited for: what comes before it is not shown.
                yield b"".join(_lines(selection, shaper, [c for c in changes if c.revision > (query.revision or 0)]))
                continue
            moment = loop.time()
            if query.bookmarks and moment >= min(bookmark_at, ends):
                # Of a revision from the future, nothing is said either until it has come.
                if store.revision >= (query.revision or 0):
                    yield shaper.bookmark(store.revision)
                bookmark_at = moment + bookmark_seconds
            if collection.closed or moment >= ends:
                return
            try:
                async with asyncio.timeout_at(min(bookmark_at, ends) if query.bookmarks else ends):
                    await waiter.wait()
            except TimeoutError:
                continue
            yield b""
    finally:
        collection.unsubscribe(waiter)


def _start(
    store: Store, collection: Collection, selection: Selection, query: WatchQuery
) -> tuple[int, Iterator[Entry]]:
    """Return where in the log the watch goes on, and what it shows before that. Raises `CompactedError`."""
    shows_state = query.initial_events or (query.revision is None and query.initial_events is None)
    if not shows_state:
        revision = store.revision if query.revision is None else query.revision
        return collection.place(min(revision, store.revision)), iter(())
    entries = collection.entries(selection.namespace)
    # A list, not an iterator: the collection changes while these are sent.
    return collection.tail(), iter([entry for entry in entries if selection.covers(entry)])


def _lines(selection: Selection, shaper: Shaper, changes: list[Change]) -> Iterator[bytes]:
    for change in changes:
        entry, previous = change.entry, change.previous
        was = previous is not None and selection.covers(previous)
        if change.type == "DELETED":
            if was:
                yield shaper.event("DELETED", entry)
        elif selection.covers(entry):
            yield shaper.event("MODIFIED" if was else "ADDED", entry)
        elif was and previous is not None:
            yield shaper.event("DELETED", _at(previous, entry.revision))


def _at(entry: Entry, revision: int) -> Entry:
    """Return an earlier version under a later revision: so a watch shows what has left its selection."""
    obj = entry.decode()
    obj["metadata"]["resourceVersion"] = str(revision)
    body = _encode(obj)[1:]
    return Entry(entry.namespace, entry.name, entry.uid, revision, entry.labels, entry.owners, body)
