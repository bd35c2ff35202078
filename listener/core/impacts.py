"""What else would move if a tag pointed elsewhere.

The rules are those that move tags (`tracking`), applied to streams as they might be. Nothing here says that it will
happen: a tag may be held, and its source may say something else. This room must not know how streams are stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from listener.core import edits, references, tracking
from listener.core.edits import EditRefused
from listener.core.history import TagItem
from listener.core.streams import SpecTag, Stream, StreamKey
from listener.errors import InvalidReference

_DIGEST_OR_NUMBER: Final = re.compile(r"[0-9a-f]+|sha(256|384|512):[0-9a-f]*")


def destination(stream: Stream, tag: str, wanted: str) -> TagItem:
    """Return what a tag would point at: an item of its history by number or digest, or any other image.

    A whole digest that its history does not hold is one of the repository that the tag is at. Raises EditRefused.
    """
    history = stream.history(tag)
    if not _DIGEST_OR_NUMBER.fullmatch(wanted):
        try:
            reference = references.parse(wanted)
        except InvalidReference as error:
            raise EditRefused(f"{error}; write a number of the history, a digest or an image") from error
        return TagItem("", str(reference), reference.digest or "", 0)
    everything = (*history.items, *history.waiting)
    if not references.is_digest(wanted) or any(item.image == wanted for item in everything):
        return edits.find(history, wanted, stream.key)
    spec_tag = stream.spec_tag(tag)
    repository = (history.head.repository if history.head else "") or (spec_tag.repository_name() if spec_tag else "")
    if not repository:
        raise EditRefused(f"{stream.key}:{tag} names no repository that {wanted} could be of; write REPOSITORY@DIGEST")
    return TagItem("", f"{repository}@{wanted}", wanted, 0)


def move(
    streams: Mapping[StreamKey, Stream], key: StreamKey, tag: str, item: TagItem, *, now: str, limit: int
) -> Mapping[StreamKey, Stream]:
    """Return the streams as they would be if that tag pointed at `item`, held or not: with all tags that follow it."""
    known = dict(streams)
    known[key] = _pointed(known[key], tag, item)
    moved = [key]
    while moved:
        source = moved.pop(0)
        for stream in [each for each in known.values() if each.key == source or source in each.sources()]:
            settled = tracking.settle(stream, known.get, now=now, limit=limit)
            if settled.resolve_all() != stream.resolve_all():
                moved.append(stream.key)
            known[stream.key] = settled
    return known


def moved_tags(
    before: Mapping[StreamKey, Stream], after: Mapping[StreamKey, Stream]
) -> frozenset[tuple[StreamKey, str]]:
    """Return the tags that consumers would pull something else by."""
    found = set()
    for key, stream in after.items():
        was, now = before[key].resolve_all() if key in before else {}, stream.resolve_all()
        found |= {(key, tag) for tag in was.keys() | now.keys() if was.get(tag) != now.get(tag)}
    return frozenset(found)


def _pointed(stream: Stream, tag: str, item: TagItem) -> Stream:
    """The stream with its tag at `item`, and nothing that would take it away from there again."""
    history = stream.history(tag)
    spec_tags = tuple(
        SpecTag(tag, reference_policy=spec_tag.reference_policy) if spec_tag.name == tag else spec_tag
        for spec_tag in stream.spec_tags
    )
    pointed = replace(history, items=(item, *history.items), waiting=(), conditions=())
    return replace(stream.with_history(pointed), spec_tags=spec_tags)
