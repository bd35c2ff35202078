"""Objects in memory: the newest version of each as JSON bytes, and for each type a bounded log of what changed.

An object is kept encoded, once per version; lists, watches and replies send these bytes as they are, and who wants to
read fields decodes its own copy. That is a fifth of the memory of the same object as dictionaries, and no caller can
change what is stored. There is one revision for the whole store, an increasing integer, as etcd has.

Nothing here knows what objects mean, only `metadata`. Everything is lost when the process ends.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

LOG_LENGTH = 10_000  # changes kept per type; a watch that asks for older ones is told 410 and lists again
LOG_BYTES = 64 * 1024 * 1024  # per type too: it is the big objects that would otherwise fill the memory

Object = dict[str, Any]
Key = tuple[str, str]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of one object.

    `body` is its JSON without the opening brace, kind and apiVersion: see `Resource.head`.
    """

    namespace: str
    name: str
    uid: str
    revision: int
    labels: Mapping[str, str] | None
    owners: tuple[str, ...]
    body: bytes

    @property
    def key(self) -> Key:
        return self.namespace, self.name

    def decode(self) -> Object:
        """Return the object without kind and apiVersion. Each call decodes: the caller owns the result."""
        return _decode(b"{" + self.body)


@dataclass(frozen=True, slots=True)
class Change:
    """What happened at one revision. A deletion's `entry` is the last version, at the revision of the deletion."""

    revision: int
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    entry: Entry
    previous: Entry | None


class CompactedError(Exception):
    """The log no longer reaches back to the revision asked for. `oldest` is the first it can still start from."""

    def __init__(self, oldest: int) -> None:
        super().__init__(oldest)
        self.oldest = oldest


@dataclass
class Collection:
    """All objects of one type, and the log of their changes."""

    storage: tuple[str, str]
    oldest: int = 0
    closed: bool = False
    _entries: dict[Key, Entry] = field(default_factory=dict)
    _keys: list[Key] = field(default_factory=list)
    _log: list[Change] = field(default_factory=list)
    _log_start: int = 0
    _log_bytes: int = 0
    _waiters: set[asyncio.Event] = field(default_factory=set)

    def get(self, namespace: str, name: str) -> Entry | None:
        return self._entries.get((namespace, name))

    def keys(self, namespace: str | None = None, *, after: Key | None = None) -> Iterator[Key]:
        """Yield keys in order, of one namespace or of all, beginning behind `after`.

        The store must not change meanwhile.
        """
        first = 0 if namespace is None else bisect_left(self._keys, (namespace, ""))
        if after is not None:
            first = max(first, bisect_right(self._keys, after))
        for position in range(first, len(self._keys)):
            key = self._keys[position]
            if namespace is not None and key[0] != namespace:
                return
            yield key

    def entries(self, namespace: str | None = None, *, after: Key | None = None) -> Iterator[Entry]:
        return (self._entries[key] for key in self.keys(namespace, after=after))

    def count(self, namespace: str | None = None, *, after: Key | None = None) -> int:
        """Return how many entries `entries` would yield."""
        first = 0 if namespace is None else bisect_left(self._keys, (namespace, ""))
        if after is not None:
            first = max(first, bisect_right(self._keys, after))
        # No name holds a NUL, so this is behind the namespace's last key and before the next namespace's first.
        last = len(self._keys) if namespace is None else bisect_left(self._keys, (namespace + "\0", ""))
        return max(0, last - first)

    def entries_at(self, revision: int, namespace: str | None = None, *, after: Key | None = None) -> Iterator[Entry]:
        """Yield the entries as they were at an earlier revision, by undoing the log. Raises `CompactedError`."""
        before: dict[Key, Entry | None] = {}
        for change in reversed(self._log[self._position(revision) :]):
            before[change.entry.key] = change.previous
        if not before:
            yield from self.entries(namespace, after=after)
            return
        gone = [key for key, entry in before.items() if entry is not None and key not in self._entries]
        for key in sorted([*self._keys, *gone]):
            if (namespace is not None and key[0] != namespace) or (after is not None and key <= after):
                continue
            entry = before[key] if key in before else self._entries[key]
            if entry is not None:
                yield entry

    def tail(self) -> int:
        """Return the place behind the newest change, for `since`."""
        return self._log_start + len(self._log)

    def place(self, revision: int) -> int:
        """Return the place of the first change after `revision`. Raises `CompactedError`."""
        return self._log_start + self._position(revision)

    def since(self, place: int, limit: int) -> list[Change]:
        """Return up to `limit` changes from a place on. Raises `CompactedError` when the log has moved past it."""
        if place < self._log_start:
            raise CompactedError(self.oldest)
        start = place - self._log_start
        return self._log[start : start + limit]

    def _position(self, revision: int) -> int:
        if revision < self.oldest:
            raise CompactedError(self.oldest)
        return bisect_right(self._log, revision, key=lambda change: change.revision)

    def compact(self, keep: int = 0) -> None:
        """Forget all but the newest `keep` changes: watches from before are told 410."""
        drop = len(self._log) - keep
        if drop > 0:
            self.oldest = self._log[drop - 1].revision
            self._log_bytes -= sum(len(change.entry.body) for change in self._log[:drop])
            del self._log[:drop]
            self._log_start += drop

    def restore(self, entries: Mapping[Key, Entry], revision: int) -> None:
        """Hold these and no others. There is no log of how they came to be."""
        self.compact()
        self.oldest = revision
        self._entries = dict(entries)
        self._keys = sorted(entries)

    def record(self, change: Change) -> None:
        key = change.entry.key
        if change.type == "DELETED":
            del self._entries[key]
            del self._keys[bisect_left(self._keys, key)]
        else:
            if key not in self._entries:
                insort(self._keys, key)
            self._entries[key] = change.entry
        self._log.append(change)
        self._log_bytes += len(change.entry.body)
        # Trimmed by a tenth at a time: a list that gives up its head at every append would copy itself each time.
        while len(self._log) > LOG_LENGTH or (self._log_bytes > LOG_BYTES and len(self._log) > 1):
            self.compact(keep=len(self._log) - max(1, len(self._log) // 10))
        self.wake()

    def subscribe(self, waiter: asyncio.Event) -> None:
        """Set `waiter` at each change from now on; it can be cleared and waited for again."""
        self._waiters.add(waiter)

    def unsubscribe(self, waiter: asyncio.Event) -> None:
        self._waiters.discard(waiter)

    def wake(self) -> None:
        for waiter in self._waiters:
            waiter.set()


@dataclass(frozen=True, slots=True)
class Backup:
    """All objects as they were at a revision."""

    revision: int
    entries: Mapping[tuple[str, str], Mapping[Key, Entry]]


class Store:
    """Every collection, and the one revision they share."""

    def __init__(self) -> None:
        self.revision = 0
        self._collections: dict[tuple[str, str], Collection] = {}
        self._dropped: dict[tuple[str, str], int] = {}
        self._by_uid: dict[str, tuple[tuple[str, str], Key]] = {}
        self._dependents: dict[str, set[tuple[tuple[str, str], Key]]] = {}
        self._observers: list[Callable[[Collection, Change], None]] = []

    def collection(self, storage: tuple[str, str]) -> Collection:
        found = self._collections.get(storage)
        if found is None:
            found = self._collections[storage] = Collection(storage, oldest=self._dropped.get(storage, 0))
        return found

    def collections(self) -> list[Collection]:
        return list(self._collections.values())

    def drop(self, storage: tuple[str, str]) -> None:
        """Forget a collection, which must be empty, and end the waits on it."""
        gone = self._collections.pop(storage, None)
        if gone is not None:
            gone.closed = True
            self._dropped[storage] = self.revision
            gone.wake()

    def backup(self) -> Backup:
        return Backup(
            self.revision,
            {found.storage: {entry.key: entry for entry in found.entries()} for found in self.collections()},
        )

    def restore(self, backup: Backup) -> None:
        """Go back to how it was, revision and all, as an etcd does that is restored from a snapshot. Nobody is told."""
        self.revision = backup.revision
        self._by_uid.clear()
        self._dependents.clear()
        for storage in {*self._collections, *backup.entries}:
            entries = backup.entries.get(storage, {})
            self.collection(storage).restore(entries, backup.revision)
            for entry in entries.values():
                self._index(storage, entry, None)

    def observe(self, observer: Callable[[Collection, Change], None]) -> None:
        """Call `observer` in step with every change, after it is stored. It must be quick and must not write."""
        self._observers.append(observer)

    def put(self, storage: tuple[str, str], obj: Object) -> Entry:
        """Store an object under the next revision, which is written into its `metadata`.

        The caller gives the object away.
        """
        metadata = obj["metadata"]
        self.revision += 1
        metadata["resourceVersion"] = str(self.revision)
        entry = self._entry(obj)
        collection = self.collection(storage)
        previous = collection.get(*entry.key)
        self._index(storage, entry, previous)
        change = Change(self.revision, "ADDED" if previous is None else "MODIFIED", entry, previous)
        self._publish(collection, change)
        return entry

    def remove(self, storage: tuple[str, str], entry: Entry, obj: Object) -> Entry:
        """Delete `entry`; `obj` is its last state, which watchers are shown under the revision of the deletion."""
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        last = self._entry(obj)
        self._by_uid.pop(entry.uid, None)
        self._forget(storage, entry)
        self._publish(self.collection(storage), Change(self.revision, "DELETED", last, entry))
        return last

    def draft(self, obj: Object) -> Entry:
        """Return the entry that `put` would store, without storing it and without a revision of its own."""
        return self._entry(obj)

    def locate(self, uid: str) -> tuple[tuple[str, str], Key] | None:
        """Return where the object with this uid is."""
        return self._by_uid.get(uid)

    def dependents(self, uid: str) -> list[tuple[tuple[str, str], Key]]:
        """Return where the objects are whose `ownerReferences` name this uid, in order."""
        return sorted(self._dependents.get(uid, ()))

    def _publish(self, collection: Collection, change: Change) -> None:
        collection.record(change)
        for observer in self._observers:
            observer(collection, change)

    def _entry(self, obj: Object) -> Entry:
        metadata = obj["metadata"]
        rest = {name: value for name, value in obj.items() if name not in {"kind", "apiVersion"}}
        return Entry(
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            uid=metadata["uid"],
            revision=self.revision,
            labels=metadata.get("labels"),
            owners=tuple(each["uid"] for each in metadata.get("ownerReferences") or ()),
            body=_encode(rest)[1:],
        )

    def _index(self, storage: tuple[str, str], entry: Entry, previous: Entry | None) -> None:
        if previous is None:
            self._by_uid[entry.uid] = (storage, entry.key)
        elif previous.owners != entry.owners:
            self._forget(storage, previous)
        for owner in entry.owners:
            self._dependents.setdefault(owner, set()).add((storage, entry.key))

    def _forget(self, storage: tuple[str, str], entry: Entry) -> None:
        for owner in entry.owners:
            left = self._dependents.get(owner, set())
            left.discard((storage, entry.key))
            if not left:
                self._dependents.pop(owner, None)
