"""The store alone: the bounded log, and lists as they were."""

from __future__ import annotations

import pytest

from listener.sandbox.cluster import store
from listener.sandbox.cluster.store import CompactedError, Object, Store

THINGS = ("example.com", "things")


def thing(name: str, namespace: str = "team", **more: object) -> Object:
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"{namespace}/{name}"}, **more}


def names(found: object) -> list[str]:
    return [entry.name for entry in found]  # type: ignore[attr-defined]


def removed(kept: Store, name: str) -> None:
    entry = kept.collection(THINGS).get("team", name)
    assert entry is not None
    kept.remove(THINGS, entry, entry.decode())


@pytest.fixture
def kept() -> Store:
    kept = Store()
    for name in "abc":
        kept.put(THINGS, thing(name))
    return kept


def test_undoes_what_happened_since(kept: Store) -> None:
    then = kept.revision
    kept.put(THINGS, thing("a", spec=1))
    removed(kept, "b")
    kept.put(THINGS, thing("d"))
    kept.put(THINGS, thing("b", spec=2))
    removed(kept, "c")
    collection = kept.collection(THINGS)
    assert names(collection.entries()) == ["a", "b", "d"]
    before = list(collection.entries_at(then))
    assert names(before) == ["a", "b", "c"]
    assert all("spec" not in entry.decode() for entry in before)
    assert names(collection.entries_at(then, after=("team", "a"))) == ["b", "c"]
    assert names(collection.entries_at(then, "other")) == []


def test_counts_what_it_would_yield(kept: Store) -> None:
    kept.put(THINGS, thing("z", "tea"))
    kept.put(THINGS, thing("z", "team2"))
    collection = kept.collection(THINGS)
    for namespace in (None, "team", "tea", "nowhere"):
        for after in (None, ("team", "a"), ("team", "bb"), ("zzz", "")):
            assert collection.count(namespace, after=after) == len(list(collection.entries(namespace, after=after)))


def test_is_restored_to_how_it_was_revision_and_all(kept: Store) -> None:
    kept.put(THINGS, thing("d", metadata=thing("d")["metadata"] | {"ownerReferences": [{"uid": "team/a"}]}))
    backup = kept.backup()
    kept.put(THINGS, thing("a", spec=1))
    removed(kept, "d")
    kept.put(THINGS, thing("e"))
    kept.restore(backup)
    collection = kept.collection(THINGS)
    assert names(collection.entries()) == ["a", "b", "c", "d"]
    assert all("spec" not in entry.decode() for entry in collection.entries())
    assert kept.locate("team/e") is None
    assert kept.dependents("team/a") == [(THINGS, ("team", "d"))]
    assert kept.put(THINGS, thing("f")).revision == backup.revision + 1
    with pytest.raises(CompactedError):
        collection.place(backup.revision - 1)
    assert [change.entry.name for change in collection.since(collection.place(backup.revision), 10)] == ["f"]


def test_the_log_is_bounded_in_length(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOG_LENGTH", 10)
    start = kept.collection(THINGS).place(0)
    for number in range(50):
        kept.put(THINGS, thing("a", spec=number))
    collection = kept.collection(THINGS)
    with pytest.raises(CompactedError):
        collection.since(start, 1)
    with pytest.raises(CompactedError):
        collection.place(3)
    assert 0 < collection.tail() - collection.place(collection.oldest) <= 10
    assert collection.since(collection.place(kept.revision - 2), 10)[-1].revision == kept.revision


def test_the_log_is_bounded_in_bytes(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOG_BYTES", 5_000)
    for number in range(20):
        kept.put(THINGS, thing("a", spec="x" * 1_000, number=number))
    collection = kept.collection(THINGS)
    log = collection.since(collection.place(collection.oldest), 100)
    assert sum(len(change.entry.body) for change in log) <= 5_000
    assert log[-1].revision == kept.revision


def test_a_watch_reads_on_from_its_place_through_a_trim(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOG_LENGTH", 10)
    collection = kept.collection(THINGS)
    place, seen = collection.tail(), []
    for number in range(50):
        kept.put(THINGS, thing("a", spec=number))
        changes = collection.since(place, 10)
        place += len(changes)
        seen += [change.revision for change in changes]
    assert seen == list(range(4, 54))


def test_knows_the_dependents_of_an_owner(kept: Store) -> None:
    owned = thing("child")
    owned["metadata"]["ownerReferences"] = [{"uid": "team/a"}]
    kept.put(THINGS, owned)
    assert kept.dependents("team/a") == [(THINGS, ("team", "child"))]
    kept.put(THINGS, thing("child"))
    assert kept.dependents("team/a") == []
    assert kept.locate("team/child") == (THINGS, ("team", "child"))
    removed(kept, "child")
    assert kept.locate("team/child") is None
