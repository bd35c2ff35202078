"""The history of one tag: when an image that arrives is nothing new, amends the newest item, or becomes a new one.

The rules are OpenShift's (openshift-apiserver `imageutil.AddTagEventToImageStream`), one deviation stated at
`record`: history is bounded. Only the newest item, the head, is ever compared, so A, B, A makes three items and a
rollback is an ordinary move.

| same reference | same image | same generation | effect                                             |
|----------------|------------|-----------------|----------------------------------------------------|
| no items yet   |            |                 | the item is the history                            |
| yes            | yes        | yes             | nothing, conditions stay                           |
| yes            | yes        | no              | the head takes the generation; nothing moved       |
| yes            | no         | any             | the head takes image and generation                |
| no             | yes        | any             | the head takes reference and generation            |
| no             | no         | any             | the item is put before the head                    |

An image that was pushed again is as new as its last push: that time goes with the head too, as a change.

Two things OpenShift does not know: a push may arrive late (`standing`, `insert`), and a tag may be held, so that what
arrives waits (`arrive`, `release`). This room must not know where an item came from, what time it is, or how a
history is stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

IMPORT_SUCCESS: Final = "ImportSuccess"


@dataclass(frozen=True, slots=True)
class TagItem:
    """One image a tag has pointed at.

    `created` is RFC 3339 in UTC with whole seconds and `Z`. `image` is the digest, and "" for a tag that only records
    a name. `pushed` is when the registry says that it was pushed, RFC 3339 in UTC with six digits of fraction, so that
    two of them compare as texts; "" where nobody said.
    """

    created: str
    docker_image_reference: str
    image: str
    generation: int
    pushed: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """Where a tag with this head points: an item that differs in nothing of it moves nothing."""
        return self.docker_image_reference, self.image

    @property
    def repository(self) -> str:
        """The repository of a pull spec by digest."""
        return self.docker_image_reference.partition("@")[0]

    def begins(self, prefix: str) -> bool:
        """Tell whether the image's digest begins so, with its algorithm or without."""
        return bool(prefix) and (self.image.startswith(prefix) or self.image.partition(":")[2].startswith(prefix))


@dataclass(frozen=True, slots=True)
class Condition:
    """What the last import of a tag said. `last_transition_time` is RFC 3339; `generation` the one that was tried."""

    type: str
    status: str
    last_transition_time: str
    reason: str
    message: str
    generation: int | None


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a spec tag asked for when its tag was last resolved: the answer to "did it change since?".

    The first five are the spec tag's own. `followed` is what its source pointed at then: for a tag of a stream the
    pull spec and image of its head, for a registry's tag the digest that the registry named (of the index, where an
    image of it was chosen). `version` is the resource version of another stream that was followed: who knows only an
    older state of it has nothing to say.
    """

    kind: str
    namespace: str
    name: str
    reference: bool
    import_mode: str
    followed: str = ""
    version: str = ""

    def asks_the_same(self, other: Resolution) -> bool:
        """Whether both come from the same spec, whatever its source pointed at."""
        return self._asked == other._asked

    @property
    def _asked(self) -> tuple[str, str, str, bool, str]:
        return self.kind, self.namespace, self.name, self.reference, self.import_mode


@dataclass(frozen=True, slots=True)
class TagHistory:
    """A status tag: its items, newest first, and its conditions.

    `waiting` is what arrived while the tag was held, newest first. `resolved` is None for a tag that no spec tag has
    brought here.
    """

    tag: str
    items: tuple[TagItem, ...] = ()
    conditions: tuple[Condition, ...] = ()
    waiting: tuple[TagItem, ...] = ()
    resolved: Resolution | None = None

    @property
    def head(self) -> TagItem | None:
        """The newest item: what the tag points at."""
        return self.items[0] if self.items else None

    @property
    def newest(self) -> TagItem | None:
        """What the tag points at, or would if it were not held."""
        return self.waiting[0] if self.waiting else self.head

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to keep: such a status tag is not stored."""
        return not (self.items or self.conditions or self.waiting)

    @property
    def observed_generation(self) -> int:
        """The generation of the spec tag that was acted on last, be it in vain; 0 if none was."""
        tried = self.condition(IMPORT_SUCCESS)  # others speak of a generation that was only seen
        found = [item.generation for item in (self.head, self.newest) if item]
        return max([*found, (tried.generation or 0) if tried else 0])

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of that type."""
        return next((condition for condition in self.conditions if condition.type == kind), None)


@dataclass(frozen=True, slots=True)
class TagChange:
    """A tag now points elsewhere: reference or image of its head differ."""

    tag: str
    before: TagItem | None
    after: TagItem


def record(history: TagHistory, item: TagItem, *, limit: int) -> tuple[TagHistory, TagChange | None]:
    """Return the history after `item` arrived, and where the tag moved, if it did.

    The very same history object comes back when nothing changes. `created` of an amended head stays. Whatever changes
    the history also clears its conditions and prunes it to `limit` (>= 1) items, oldest first, which OpenShift never
    does.
    """
    if limit < 1:
        raise ValueError(f"the history limit must be at least 1, not {limit}")
    head = history.head
    items = _with(history.items, item)
    if items is history.items:
        return history, None
    after = replace(history, items=items[:limit], conditions=())
    is_same = head is not None and head.place == item.place
    return after, None if is_same else TagChange(history.tag, head, items[0])


class Standing(Enum):
    """How an image that a registry says was pushed stands to what is known of the tag."""

    CURRENT = auto()
    """The tag points there already."""
    NEWER = auto()
    """Pushed after what the tag points at, or nothing says otherwise."""
    OLDER = auto()
    """Pushed before what the tag points at: its news is late."""
    UNSURE = auto()
    """The tag has pointed there before, and nothing says whether it does again: ask the registry."""


def standing(history: TagHistory, item: TagItem) -> Standing:
    """Tell how a pushed `item` stands to the newest one known, waiting ones included.

    Times are compared within one repository only: no two registries have the same clock.
    """
    newest = history.newest
    if newest is None:
        return Standing.NEWER
    if newest.image == item.image:
        return Standing.CURRENT
    everything = (*history.waiting, *history.items)
    timed = [known for known in everything if known.pushed and known.repository == item.repository]
    if item.pushed and any(known.pushed > item.pushed for known in timed):
        return Standing.OLDER
    if not newest.pushed and any(known.place == item.place and known.pushed == item.pushed for known in timed):
        return Standing.OLDER  # this very push was told of before, and an import came between
    if newest.pushed and item.pushed > newest.pushed and newest.repository == item.repository:
        return Standing.NEWER
    was_there = any(known.image == item.image for known in everything)
    return Standing.UNSURE if was_there else Standing.NEWER


def insert(history: TagHistory, item: TagItem, *, limit: int) -> TagHistory:
    """Return the history with a late `item` where it belongs, behind what was pushed after it. The tag does not move.

    An image that the history holds already is not put in twice. While the tag is held, what was pushed after its head
    waits.
    """
    if any(known.image == item.image for known in (*history.waiting, *history.items)):
        return history
    held_before = any(known.pushed and known.pushed < item.pushed for known in (*history.waiting, *history.items[:1]))
    if history.waiting and (held_before or not history.items):
        waiting = _behind(history.waiting, item)[:limit]
        return history if waiting == history.waiting else replace(history, waiting=waiting)
    items = _behind(history.items, item)[:limit]
    return history if items == history.items else replace(history, items=items)


def arrive(history: TagHistory, item: TagItem, *, held: bool, limit: int) -> TagHistory:
    """Return the history after `item` arrived: recorded, or, while the tag is held, waiting. The head then stays.

    What still waits at a tag that is held no longer came before the item, and goes into the history before it.
    """
    if not held:
        return record(release(history, limit=limit), item, limit=limit)[0]
    if not history.waiting and history.head and history.head.place == item.place:
        # What a held tag points at already waits for nothing; that it was asked for again is worth knowing.
        items = _with(history.items, item)
        return history if items is history.items else replace(history, items=items)
    waiting = _with(history.waiting, item)
    return history if waiting is history.waiting else replace(history, waiting=waiting[:limit])


def release(history: TagHistory, *, limit: int) -> TagHistory:
    """Return the history of a tag that is held no longer: what waited goes into it, in its order.

    What the tag has pointed at already, such as the image it was rolled back from, comes again only if it is the
    newest. Conditions stay: a release is no news of the source.
    """
    if not history.waiting:
        return history
    released = replace(history, waiting=())
    newest = history.waiting[0]
    for item in reversed(history.waiting):
        if item is newest or all(known.image != item.image for known in released.items):
            released, _ = record(released, item, limit=limit)
    return replace(released, conditions=history.conditions)


def _with(items: tuple[TagItem, ...], item: TagItem) -> tuple[TagItem, ...]:
    """The table above, for a list of items."""
    if not items:
        return (item,)
    head = items[0]
    same_reference = head.docker_image_reference == item.docker_image_reference
    same_image = head.image == item.image
    if same_reference or same_image:
        # The same image may be pushed again, and told of in any order: it is as new as its last push.
        pushed = max(head.pushed, item.pushed) if same_image else item.pushed
        amended = replace(item, created=head.created, pushed=pushed)
        return items if amended == head else (amended, *items[1:])
    return item, *items


def _behind(items: tuple[TagItem, ...], item: TagItem) -> tuple[TagItem, ...]:
    """Items with a late one before the first that was pushed before it, but never in front."""
    place = next((n for n, known in enumerate(items) if n and known.pushed and known.pushed < item.pushed), len(items))
    return *items[:place], item, *items[place:]
