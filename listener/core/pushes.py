"""What a push does to a stream: whether it moves a tag, comes late, waits, or must be checked with its registry first.

A hook is news, and news arrives late, twice and in the wrong order. The registry's own time puts it into its place;
where there is none, an image that the tag had before may be an old hook or a push back to it, and only the registry
knows. This room must not know who asks it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from listener.core import conditions, history
from listener.core.conditions import IMPORT_SUCCESS
from listener.core.history import Standing, TagItem
from listener.core.streams import Source, Stream


@dataclass(frozen=True, slots=True)
class Push:
    """An image for one tag of a stream.

    `source` is where it was pushed to, `name` that repository as the stream's owner wrote it. `digest` is the image
    that the tag takes, `followed` what was pushed (an index, where `digest` is one of its images). `created` is
    RFC 3339 in UTC with whole seconds. `pushed` is the registry's time, in the form of `TagItem.pushed`. `is_sure` says
    that the registry itself has said where the tag stands.
    """

    tag: str
    source: Source
    name: str
    digest: str
    followed: str
    created: str
    pushed: str = ""
    is_sure: bool = False


class Effect(StrEnum):
    MOVED = "moved"
    UNCHANGED = "unchanged"
    LATE = "late"
    """It is in the history, behind what was pushed after it."""
    WAITS = "waits"
    """The tag is held."""
    UNSURE = "unsure"
    """Nothing was done: ask the registry, and come again."""


def take(stream: Stream, push: Push, *, limit: int) -> tuple[Stream, Effect]:
    """Return the stream after the push, the very same one if nothing changed, and what became of it."""
    known = stream.history(push.tag)
    item = TagItem(push.created, f"{push.name}@{push.digest}", push.digest, stream.generation, push.pushed)
    standing = history.standing(known, item)
    if push.is_sure and standing is not Standing.CURRENT:
        standing = Standing.NEWER
    if standing is Standing.UNSURE:
        return stream, Effect.UNSURE
    if standing is Standing.OLDER:
        after = history.insert(known, item, limit=limit)
        return (stream, Effect.UNCHANGED) if after is known else (stream.with_history(after), Effect.LATE)
    held = stream.is_held(push.tag)
    after = history.arrive(known, item, held=held, limit=limit)
    if after is known:
        return stream, Effect.UNCHANGED
    spec_tag = stream.spec_tag(push.tag)
    if spec_tag and spec_tag.source() == push.source:
        # A push to what the tag follows is as good as its import. One to a repository of the stream's own name is not.
        resolved = replace(spec_tag.asks(), followed=push.followed)
        after = replace(after, resolved=resolved, conditions=conditions.drop(after.conditions, IMPORT_SUCCESS))
    if after.head and (known.head is None or known.head.place != after.head.place):
        return stream.with_history(after), Effect.MOVED
    return stream.with_history(after), Effect.WAITS if after.waiting != known.waiting else Effect.UNCHANGED


def time_text(moment: datetime | None) -> str:
    """Write the registry's time of a push as `TagItem.pushed` has it; "" for none. `moment` must be in UTC."""
    # Not strftime, which writes a year before 1000 in less than four digits.
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z" if moment else ""
