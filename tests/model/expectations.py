"""What must be true of the cluster, by the model and by what the service was told.

The model says it exactly as long as news came in a row. Where it did not, where the same image came twice, or was told
of and never acknowledged, several ends are right: such a tag is *blurred*, and then only so much is asked of it that
every one of them has. Once all has come to rest the model goes on from what was found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from tests.end_to_end.objects import images
from tests.model import documents
from tests.model.reference import Item, Place, Reference
from tests.model.witness import Witness

PUSHED: Final = ("web:latest", "web:next", "base:latest")
POINTED: Final = ("web:next", "web:prod", "web:canary", "base:stable")
TAGS: Final = (*PUSHED, *POINTED[1:])  # one is both


class Expectations:
    def __init__(self) -> None:
        self.model = Reference()
        self.witness = Witness()
        self.blurred: set[str] = set()
        self._acked: dict[str, set[int]] = defaultdict(set)
        self._stored: dict[str, set[str]] = defaultdict(set)  # digests that must not get lost
        self._lost: dict[str, set[str]] = defaultdict(set)  # digests that may be stored, though nobody said so
        self._asked_for: dict[str, int] = {}  # what a registry served when the service, still alive, was told of a tag
        self._ever_served: set[Place] = set()
        self._pushed_over: set[str] = set()  # tags with a source that were pushed to since they were pointed there

    # What happened

    def pushed(self, name: str, item: Item) -> None:
        """A registry has taken a push; nobody was told."""
        self.model.served[name] = item
        self._ever_served.add(item.place)

    def pointed(self, name: str) -> None:
        if name in PUSHED:
            self._pushed_over.discard(name)
            self.blurred.add(name)

    def lost(self, name: str, digest: str) -> None:
        """A hook that was never acknowledged does not come again."""
        self.blurred.add(name)
        self._lost[name].add(digest)

    def died(self) -> None:
        """What the service was about to ask it does not ask any more."""
        self._asked_for.clear()

    def acknowledged(self, name: str, item: Item, *, in_a_row: bool) -> None:
        """A hook was answered 2xx: then the push is stored. Raises AssertionError if it is not.

        `in_a_row`: no other push to the tag waits to be told, or no image was pushed twice.
        """
        tag, served = self.model.tag(name), self.model.served[name]
        self._asked_for[name] = served.number
        if not in_a_row:
            self.blurred.add(name)
        if all(item.number > known for known in self._acked[name]):
            self._pushed_over.add(name)
        self._acked[name].add(item.number)
        if served.digest != item.digest and tag.newest and not tag.newest.number:
            # The registry was beyond it, and no time orders it: its own answer is taken instead.
            self.blurred.add(name)
        else:
            self._stored[name].add(item.digest)
            known = {each.digest for part in self.stand(name) for each in part}
            assert item.digest in known, f"{name}: an acknowledged push is not stored: {item.digest}"
        self.model.push(name, item)

    def adopt(self, name: str, items: Sequence[Item], waiting: Sequence[Item]) -> None:
        """Go on from what was found: it was right, or what is right depends on it."""
        tag = self.model.tag(name)
        numbers = {item.place: item.number for item in (*tag.items, *tag.waiting)}
        tag.items = [item._replace(number=numbers.get(item.place, 0)) for item in items]
        tag.waiting = [item._replace(number=numbers.get(item.place, 0)) for item in waiting]

    def rested(self) -> None:
        """All was as it should be, and nothing is under way."""
        for name in TAGS:
            self.adopt(name, *self.stand(name))
        self.blurred = {name for name in self.blurred if self._is_untold(name)}

    # How the cluster stands

    def stand(self, name: str) -> tuple[list[Item], list[Item]]:
        stream, _, tag = name.partition(":")
        return documents.status_tag(self.witness.streams.get(stream, {}), tag)

    def everything(self) -> dict[str, Any]:
        """All that a restart must leave as it is."""
        found: dict[str, Any] = {f"patches of {uid}": count for uid, count in self.witness.patches.items()}
        for name, stream in self.witness.streams.items():
            found[name] = stream.get("spec")
            found |= {f"{name}:{tag}": status for tag, status in self.witness.tags(name).items()}
        return found

    def is_contradicted(self) -> bool:
        """Whether a registry names another image than the one where a tag stands."""
        heads = {name: self.stand(name)[0][:1] for name in PUSHED}
        served = self.model.served
        return any(heads[name] and name in served and heads[name][0].digest != served[name].digest for name in PUSHED)

    def differences(self) -> list[str]:
        """What is not yet as it should be."""
        found = [
            f"{name} has a tag without a generation" for name in self.witness.streams if not self._is_numbered(name)
        ]
        for name in TAGS:
            is_pushed = name in PUSHED and (name in self._pushed_over or self.model.tag(name).source is None)
            if why := self._pushed_wrong(name) if is_pushed else self._pointed_wrong(name):
                found.append(f"{name}: {why}")
            elif name in self.blurred:
                self.adopt(name, *self.stand(name))  # what follows it follows what it is
        return found + [f"{name}: {why}" for name in self.witness.workloads if (why := self._runs_wrong(name))]

    def _is_numbered(self, stream: str) -> bool:
        return all(tag.get("generation") for tag in documents.spec_tags(self.witness.streams[stream]))

    def _pushed_wrong(self, name: str) -> str:
        tag = self.model.tag(name)
        items, waiting = self.stand(name)
        if tag.is_held and _places(items)[:1] != _places(tag.items)[:1]:
            return f"is held at {tag.head}, and is at {items[:1]}"
        if name not in self.blurred:
            if (_places(items), _places(waiting)) != (_places(tag.items), _places(tag.waiting)):
                expected = f"{_short(tag.items)}, waiting {_short(tag.waiting)}"
                return f"expected {expected}; found {_short(items)}, {_short(waiting)}"
            return ""
        if lost := self._stored[name] - {item.digest for item in (*items, *waiting)}:
            return f"lost {lost}"
        newest, served = (waiting or items)[:1], self.model.served.get(name)
        allowed = {served.digest} if served else set()
        if tag.newest and (self._is_untold(name) or name in POINTED):
            allowed |= {tag.newest.digest} | self._lost[name]
        if wanted := self.model.wanted(name):
            allowed |= {wanted[1]}
        if newest and newest[0].digest not in allowed:
            return f"expected one of {allowed} as the newest, found {newest}"
        return _implausible(items, waiting, is_held=tag.is_held)

    def _pointed_wrong(self, name: str) -> str:
        tag, wanted = self.model.tag(name), self.model.wanted(name)
        items, waiting = self.stand(name)
        if tag.is_held and tag.items and _places(items)[:1] != _places(tag.items)[:1]:
            return f"is held at {tag.head}, and is at {items[:1]}"
        newest = (waiting or items)[:1]
        if wanted and _places(newest) != [wanted]:
            return f"expected {wanted} as the newest, found {newest}"
        if foreign := {*_places(items), *_places(waiting)} - self.witness.ever() - self._ever_served - {wanted}:
            return f"holds what no tag ever had: {foreign}"
        return _implausible(items, waiting, is_held=tag.is_held)

    def _runs_wrong(self, name: str) -> str:
        found = self.witness.workloads[name]
        has = images(found)
        for container, tag in documents.follows(found).items():
            items, _ = self.stand(tag)
            if items and has[container] != items[0].pull_spec:
                return f"container {container} follows {tag} at {items[0].pull_spec} and runs {has[container]}"
        return ""

    def _is_untold(self, name: str) -> bool:
        """Whether nobody was ever told of what the registry serves, nor has asked since, after another hook."""
        served = self.model.served.get(name)
        known = {*self._acked[name], self._asked_for.get(name)}
        return served is not None and served.number not in known


def _places(items: Sequence[Item]) -> list[Place]:
    return [item.place for item in items]


def _short(items: Sequence[Item]) -> str:
    return "[" + ", ".join(f"{item.pull_spec.partition('/')[2]:.26}" for item in items) + "]"


def _implausible(items: Sequence[Item], waiting: Sequence[Item], *, is_held: bool) -> str:
    if waiting and not is_held:
        return f"is not held, and {waiting} waits"
    if any(newer.place == older.place for part in (items, waiting) for newer, older in pairwise(part)):
        return f"holds the same twice in a row: {items}, {waiting}"
    return ""
