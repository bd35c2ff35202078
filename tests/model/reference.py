"""Image streams in two hundred lines: what tags, holds and triggers mean, with no cluster, no registry and no clock.

Read it from the top; it is written to be learnt from. A *stream* is a set of *tags*. A tag points at its *head*, the
newest item of its history, and a *workload* runs what the heads of its tags say. A tag moves for one of these reasons:

- somebody pushes an image to it (`push`);
- its owner says where it comes from (`point`), and there it is, or comes to be: another tag (an alias), one image of a
  history (a pin), an image of a registry (an import), or a bare name;
- its owner rolls it back (`roll_back`) or lets it go again (`release`).

While a tag is held nothing moves it: what arrives waits.

Written from OpenShift's behaviour (tag history: openshift-apiserver `AddTagEventToImageStream`) and from what the
README promises beyond it. It shares no code with the service, so that both can be wrong only in different ways.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

Place = tuple[str, str]
"""Where a tag points: a pull spec and its digest, "" for a bare name."""


class Item(NamedTuple):
    """One entry of a history. `number` counts the pushes to its tag, 0 for what came in another way."""

    pull_spec: str
    digest: str
    number: int = 0

    @property
    def place(self) -> Place:
        return self.pull_spec, self.digest


class Alias(NamedTuple):
    """`from: {kind: ImageStreamTag}`: the head of that tag, now and whenever it moves."""

    tag: str


class Pin(NamedTuple):
    """`from: {kind: ImageStreamImage}`: that image of a history, once and for all."""

    stream: str
    place: Place


class Import(NamedTuple):
    """`from: {kind: DockerImage}`, scheduled: whatever that registry serves under the name."""

    image: str


class Name(NamedTuple):
    """`from: {kind: DockerImage}` with `reference: true`: the name itself, which nobody looks up."""

    name: str


Source = Alias | Pin | Import | Name


@dataclass
class Tag:
    """One tag of one stream: what its owner wrote, and what became of it. Items are newest first.

    `source` None is a tag that is only pushed to, or whose owner does not say any more where it comes from.
    """

    source: Source | None = None
    is_held: bool = False
    items: list[Item] = field(default_factory=list)
    waiting: list[Item] = field(default_factory=list)

    @property
    def head(self) -> Item | None:
        return self.items[0] if self.items else None

    @property
    def newest(self) -> Item | None:
        """The head, or what would be it if the tag were not held."""
        return self.waiting[0] if self.waiting else self.head


def record(items: list[Item], item: Item) -> list[Item]:
    """Put an item into a history, by comparing it with the head only.

    Another pull spec *and* another image make a new item. If only one of them differs the head is amended; so A, B, A
    makes three items, and A, A makes one.
    """
    if items and (items[0].pull_spec == item.pull_spec or items[0].digest == item.digest):
        same_image = items[0].digest == item.digest
        return [replace_number(item, items[0].number if same_image else 0), *items[1:]]
    return [item, *items]


def replace_number(item: Item, known: int) -> Item:
    """An image that is pushed again is as new as its last push."""
    return item._replace(number=max(item.number, known))


def record_late(items: list[Item], item: Item) -> list[Item]:
    """Put a push whose news came late behind those that were made after it. It moves nothing."""
    place = next((n for n, known in enumerate(items) if n and 0 < known.number < item.number), len(items))
    return [*items[:place], item, *items[place:]]


class Reference:
    """All tags by name (`web:latest`), and what registries serve."""

    def __init__(self) -> None:
        self.tags: dict[str, Tag] = {}
        self.served: dict[str, Item] = {}
        """What a registry serves now for a tag or an image: the last push, whether anybody was told or not."""

    def tag(self, name: str) -> Tag:
        return self.tags.setdefault(name, Tag())

    # What moves a tag

    def arrive(self, name: str, item: Item) -> None:
        """Something new for a tag: it moves, or, held, it keeps its head and lets it wait."""
        tag = self.tag(name)
        if not tag.is_held:
            tag.items = record(tag.items, item)
        elif not tag.waiting and tag.head and tag.head.place == item.place:
            tag.items = record(tag.items, item)  # it is there already
        else:
            tag.waiting = record(tag.waiting, item)

    def push(self, name: str, item: Item) -> None:
        """News of a push came, perhaps late, perhaps once more."""
        tag = self.tag(name)
        known = [*tag.waiting, *tag.items]
        if (tag.newest and tag.newest.digest == item.digest) or all(each.number < item.number for each in known):
            self.arrive(name, item)
        elif all(each.digest != item.digest for each in known):
            is_behind_hold = tag.waiting and any(
                0 < each.number < item.number for each in (*tag.waiting, *tag.items[:1])
            )
            if tag.waiting and (is_behind_hold or not tag.items):
                tag.waiting = record_late(tag.waiting, item)
            else:
                tag.items = record_late(tag.items, item)

    def roll_back(self, name: str, item: Item) -> None:
        """Go back to an item of the history and stay there. What the tag had comes again with its release."""
        tag = self.tag(name)
        tag.is_held = True
        if not tag.waiting and tag.head and tag.head.place != item.place:
            tag.waiting = [tag.head]
        tag.items = record(tag.items, Item(*item.place))

    def release(self, name: str) -> None:
        """Go to the newest of what waited; the rest goes into the history, unless it is there."""
        tag = self.tag(name)
        tag.is_held = False
        waiting, tag.waiting = tag.waiting, []
        for item in reversed(waiting):
            if item is waiting[0] or all(known.digest != item.digest for known in tag.items):
                tag.items = record(tag.items, item)

    # Where a tag belongs

    def wanted(self, name: str) -> Place | None:
        """Where a tag would be by what its owner says of it, held or not. None: nobody says, so it stays."""
        match self.tag(name).source:
            case Alias(tag):
                head = self.tag(tag).head
                return None if head is None or self.is_circular(name) else head.place
            case Pin(_, place):
                return place
            case Import(image):
                served = self.served.get(image)
                return served.place if served else None
            case Name(text):
                return text, ""
        return None

    def is_circular(self, name: str) -> bool:
        """Whether a tag follows itself in the end. Such tags stay where they are."""
        passed, current = set[str](), name
        while current not in passed:
            passed.add(current)
            source = self.tag(current).source
            if not isinstance(source, Alias):
                return False
            current = source.tag
        return current == name
