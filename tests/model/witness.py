"""Who saw everything: each version of each stream and workload, as the cluster stored them, and whether it was right.

It stands inside the sandbox's store, because a watch over HTTP would suffer from the faults that are meant for the
service, and would see some versions only after the fact.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

from listener.sandbox.cluster import Cluster
from listener.sandbox.cluster.store import Change, Collection
from tests.end_to_end.objects import images
from tests.model import documents
from tests.model.reference import Place

_REASON: Final = "imagestreams.dev/last-triggered"
_STREAMS: Final = ("image.openshift.io", "imagestreams")
_WORKLOADS: Final = frozenset({("apps", "deployments"), ("apps", "statefulsets"), ("batch", "cronjobs")})


@dataclass(frozen=True, slots=True)
class Seen:
    """One version of a workload. `follows` says which tag each container named then, paused ones not counted."""

    name: str
    uid: str
    revision: int
    images: dict[str, str]
    follows: dict[str, str]
    reason: str


@dataclass
class Witness:
    """`streams` and `workloads` are what is stored now. `own` are the revisions that the people of this test wrote."""

    streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    workloads: dict[str, dict[str, Any]] = field(default_factory=dict)
    heads: dict[str, list[tuple[int, Place]]] = field(default_factory=lambda: defaultdict(list))
    own: set[int] = field(default_factory=set)
    is_blind: bool = False
    """Whether the service may not have seen for a while what people do to workloads: their watches are broken."""
    _unjudged: list[Seen] = field(default_factory=list)
    _lives: dict[str, list[Seen]] = field(default_factory=lambda: defaultdict(list))
    _last_head: dict[tuple[str, str, str], int] = field(default_factory=dict)
    patches: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """How often the service has changed the images of each workload that ever was, by uid."""

    def watch(self, sandbox: Cluster) -> None:
        sandbox.observe(self._see)

    def tags(self, stream: str) -> dict[str, dict[str, Any]]:
        """The status tags of a stream, by name."""
        found = self.streams.get(stream, {}).get("status", {}).get("tags") or ()
        return {tag["tag"]: tag for tag in found}

    def ever(self) -> set[Place]:
        """Every place where any tag ever was."""
        return {place for heads in self.heads.values() for _, place in heads}

    def _see(self, collection: Collection, change: Change) -> None:
        if collection.storage == _STREAMS:
            self._see_stream(change)
        elif collection.storage in _WORKLOADS:
            self._see_workload(change)

    def _see_stream(self, change: Change) -> None:
        name = change.entry.name
        if change.type == "DELETED":
            self.streams.pop(name, None)
            return
        self.streams[name] = change.entry.decode()
        for tag, found in self.tags(name).items():
            if not found.get("items"):
                continue
            heads, head = self.heads[f"{name}:{tag}"], found["items"][0]
            place = head["dockerImageReference"], head["image"]
            if not heads or heads[-1][1] != place:
                heads.append((change.revision, place))

    def _see_workload(self, change: Change) -> None:
        name, found = change.entry.name, change.entry.decode()
        if change.type == "DELETED":
            self.workloads.pop(name, None)
            return
        self.workloads[name] = found
        seen = Seen(
            name,
            change.entry.uid,
            change.revision,
            images(found),
            documents.follows(found),
            (found["metadata"].get("annotations") or {}).get(_REASON, ""),
        )
        self._unjudged.append(seen)

    def judge(self) -> None:
        """Look at what was seen since. Raises AssertionError for a patch that should not have been."""
        seen, self._unjudged = self._unjudged, []
        for after in seen:
            life = self._lives[after.uid]
            before = life[-1] if life else None
            life.append(after)
            if before is None or after.revision in self.own:
                continue
            changed = {name for name, image in after.images.items() if before.images.get(name) != image}
            assert changed or after.reason == before.reason, f"a patch that changes no image: {after}"
            for container in changed:
                self._judge(life, container)
            self.patches[after.uid] += bool(changed)

    def _judge(self, life: list[Seen], container: str) -> None:
        """A patch may set what a tag says that the container names, or what it said when it was named last."""
        *earlier, after = life
        image, tag = after.images[container], earlier[-1].follows.get(container)
        if tag is None:
            left = next((n for n in range(len(earlier) - 1, -1, -1) if container in earlier[n].follows), None)
            assert left is not None, f"{after.name} never followed a tag, and got {image}"
            tag, until = earlier[left].follows[container], earlier[left + 1].revision
            # A patch tests the image that it replaces, not the annotation: who cannot see a pause does not keep it.
            known = {place[0] for revision, place in self.heads[tag] if revision < until or self.is_blind}
            assert image in known, f"{after.name} does not follow {tag} any more, and got {image}, which came later"
            return
        named = {seen.follows[container] for seen in earlier if container in seen.follows}
        found = [
            (n, name)
            for name in named
            for n, (revision, place) in enumerate(self.heads[name])
            if revision < after.revision and place[0] == image
        ]
        assert found, f"{after.name} got {image} in {container}: none of its tags, {named}, was ever there"
        of_this = [n for n, name in found if name == tag]
        if not of_this:
            return  # what it named before, by a patch that was under way
        key = (after.uid, container, tag)
        assert max(of_this) >= self._last_head.get(key, 0), f"{after.name} went back to {image}, an old head of {tag}"
        self._last_head[key] = max(of_this)

    def most_patches(self, uid: str) -> int:
        """How often a workload had to be patched at most: once for each move of its tags, and for each of its edits."""
        life = self._lives[uid]
        named = {tag for seen in life for tag in seen.follows.values()}
        moves = sum(len(self.heads[tag]) for tag in named)
        return moves + sum(seen.revision in self.own for seen in life)
