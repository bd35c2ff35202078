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

This room must not know where an item came from, what time it is, or how a history is stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class TagItem:
    """One image a tag has pointed at.

    `created` is RFC 3339 in UTC with whole seconds and `Z`. `image` is the digest, and "" for a tag that only records
    a name.
    """

    created: str
    docker_image_reference: str
    image: str
    generation: int


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
class TagHistory:
    """A status tag: its items, newest first, and its conditions."""

    tag: str
    items: tuple[TagItem, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @property
    def head(self) -> TagItem | None:
        """The newest item: what the tag points at."""
        return self.items[0] if self.items else None


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
    if head is None:
        return TagHistory(history.tag, (item,)), TagChange(history.tag, None, item)
    same_reference = head.docker_image_reference == item.docker_image_reference
    same_image = head.image == item.image
    if same_reference and same_image and head.generation == item.generation:
        return history, None
    if same_reference or same_image:
        after = replace(item, created=head.created)
        older = history.items[1:]
    else:
        after = item
        older = history.items
    change = None if same_reference and same_image else TagChange(history.tag, head, after)
    return TagHistory(history.tag, (after, *older)[:limit]), change
