"""What a push does to a stream: whether it moves a tag, comes late, waits, or must be checked with its registry first.

A hook is news, and news arrives late, twice and in the wrong order, and anybody may have written it. So what it would
bring into a history must be seen in its repository first. The registry's own time puts it into its place; where there
is none, an image that the tag had before may be an old hook or a push back to it, and only the registry knows. This
room must not know who asks it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from listener.core import conditions, events, history
from listener.core.conditions import IMPORT_SUCCESS
from listener.core.history import Standing, TagHistory, TagItem
from listener.core.streams import Source, Stream

CLOCKS_APART: Final = timedelta(minutes=5)
"""So far the clocks of a registry and of ours may be apart."""

Place = tuple[str, str]
"""A pull spec and its image, as `TagItem.place`."""


@dataclass(frozen=True, slots=True)
class Push:
    """An image for one tag of a stream.

    `source` is where it was pushed to, `name` that repository as the stream's owner wrote it. `digest` is the image
    that the tag takes, `followed` what was pushed (an index, where `digest` is one of its images). `created` is
    RFC 3339 in UTC with whole seconds. `pushed` is the registry's time, in the form of `TagItem.pushed`.

    `is_there` says that the repository was seen to hold the image. `is_sure` says that the registry itself has said
    where its tag is; it was asked while the stream's tag was at `stood`, None if that does not matter.
    """

    tag: str
    source: Source
    name: str
    digest: str
    followed: str
    created: str
    pushed: str = ""
    is_there: bool = False
    is_sure: bool = False
    stood: Place | None = None


class Effect(StrEnum):
    MOVED = "moved"
    UNCHANGED = "unchanged"
    LATE = "late"
    """It is in the history, behind what was pushed after it."""
    WAITS = "waits"
    """The tag is held."""
    UNSURE = "unsure"
    """Nothing was done: ask the registry where the tag is, and come again."""
    UNSEEN = "unseen"
    """Nothing was done: see whether the repository holds the image, and come again."""


def take(stream: Stream, push: Push, *, limit: int) -> tuple[Stream, Effect]:
    """Return the stream after the push, the very same one if nothing changed, and what became of it."""
    known = stream.history(push.tag)
    item = TagItem(push.created, f"{push.name}@{push.digest}", push.digest, stream.generation, push.pushed)
    standing = _standing(known, item, push)
    if standing is Standing.UNSURE:
        return stream, Effect.UNSURE
    held = stream.is_held(push.tag)
    if standing is Standing.OLDER:
        after = history.insert(known, item, limit=limit)
    else:
        after = history.arrive(known, item, held=held, limit=limit)
    if after is known:
        return stream, Effect.UNCHANGED
    if not (push.is_there or push.is_sure) and _leads_elsewhere(known, after):
        return stream, Effect.UNSEEN
    if standing is Standing.OLDER:
        return stream.with_history(after), Effect.LATE
    spec_tag = stream.spec_tag(push.tag)
    if spec_tag and spec_tag.source() == push.source:
        # A push to what the tag follows is as good as its import. One to a repository of the stream's own name is not.
        resolved = replace(spec_tag.asks(), followed=push.followed)
        after = replace(after, resolved=resolved, conditions=conditions.drop(after.conditions, IMPORT_SUCCESS))
    if after.head and (known.head is None or known.head.place != after.head.place):
        return stream.with_history(after), Effect.MOVED
    return stream.with_history(after), Effect.WAITS if after.waiting != known.waiting else Effect.UNCHANGED


def is_head(stream: Stream, tag: str, found: Place, pushed: datetime | None) -> bool:
    """Tell whether the tag is at that very push, and nothing waits: then the push `is_recorded`, and `take` changes
    nothing. It needs no `Push`, and costs a tenth; to read a time takes less than to write one.
    """
    known = stream.history(tag)
    head = known.head
    return (
        head is not None
        and pushed is not None
        and head.place == found
        and events.timestamp(head.pushed) == pushed
        and head.generation == stream.generation
        and not known.waiting
    )


def is_recorded(stream: Stream, push: Push) -> bool:
    """Tell whether the history has this very push, by the registry's own time of it.

    Then it is no news to any later state of the stream either: whatever came after it came after it.
    """
    known = stream.history(push.tag)
    found = f"{push.name}@{push.digest}", push.digest
    return bool(push.pushed) and any(
        item.pushed == push.pushed and item.place == found for item in (*known.items, *known.waiting)
    )


def place(known: TagHistory) -> Place:
    """Return where a tag is, or would be if it were not held: for `Push.stood`."""
    return known.newest.place if known.newest else ("", "")


def age(push: Push) -> timedelta | None:
    """Return how long before its news came the registry says that it was pushed. None where it does not say."""
    pushed, came = events.timestamp(push.pushed), events.timestamp(push.created)
    return came - pushed if pushed and came else None


def time_text(moment: datetime | None) -> str:
    """Write the registry's time of a push as `TagItem.pushed` has it; "" for none. `moment` must be in UTC."""
    # Not strftime, which writes a year before 1000 in less than four digits.
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z" if moment else ""


def _standing(known: TagHistory, item: TagItem, push: Push) -> Standing:
    standing = history.standing(known, item)
    if standing is Standing.CURRENT:
        return standing
    if push.is_sure:
        # The answer is of the moment it was asked for: a tag that moved since may be ahead of it.
        return Standing.NEWER if push.stood in (None, place(known)) else Standing.UNSURE
    if standing is Standing.NEWER and known.newest and _may_be_behind(item, known.newest):
        return Standing.UNSURE
    return standing


def _may_be_behind(item: TagItem, newest: TagItem) -> bool:
    """Whether a push may be older than what the tag has from elsewhere, such as an import that overtook its hook."""
    if newest.pushed or not item.pushed:
        return False
    pushed, found = events.timestamp(item.pushed), events.timestamp(newest.created)
    return pushed is not None and found is not None and pushed <= found + CLOCKS_APART


def _leads_elsewhere(known: TagHistory, after: TagHistory) -> bool:
    """Whether the tag came to another place, or an image into its history."""
    return place(after) != place(known) or not _places(after) <= _places(known)


def _places(known: TagHistory) -> set[Place]:
    return {item.place for item in (*known.items, *known.waiting)}
