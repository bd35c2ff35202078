"""What a stream's tags follow inside the cluster: other tags, images of a history, names recorded as they are, holds.

`settle` is level-triggered: it compares what each spec tag asks with what its tag was last resolved to (`Resolution`),
so it does not matter how often it is called, or how many changes it missed. OpenShift resolves when a stream is
written, and therefore never again for a source in another stream; here the same rules hold whenever either side
changes, and chains are followed to their end.

| from.kind        | reference | what the tag becomes                                                        |
|------------------|-----------|-----------------------------------------------------------------------------|
| DockerImage      | true      | the name, verbatim, without an image                                        |
| DockerImage      | false     | (imported: `imports`)                                                       |
| ImageStreamTag   | any       | the head of that tag, now and whenever it moves                             |
| ImageStreamImage | any       | that image of the source's history, be it waiting there, once               |

One deviation: OpenShift rewrites a pull spec that points into its own registry to the destination's repository, whose
server then fetches the image from the source's. Registries elsewhere do not do that, and the pull would fail; so a
copied pull spec stays as it is.

This room must not know how streams are found, stored or watched, nor what time it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from listener.core import conditions, history
from listener.core.conditions import HELD, IMPORT_SUCCESS, Problem
from listener.core.history import TagHistory, TagItem
from listener.core.streams import DEFAULT_TAG, SHARED_WITH, SpecTag, Stream, StreamKey
from listener.core.versions import is_surely_older

Lookup = Callable[[StreamKey], Stream | None]

_Place = tuple[StreamKey, str]
_LONGEST_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class _Fault:
    problem: Problem
    message: str


def settle(stream: Stream, lookup: Lookup, *, now: str, limit: int) -> Stream:
    """Return the stream with every tag where it belongs, as far as the cluster alone can tell.

    `lookup` finds other streams as they are known now; `now` is RFC 3339 in UTC with whole seconds. The very same
    object comes back when nothing changes, and settling what was settled changes nothing, unless the limit has just
    pushed out the last of several images that a tag's source could mean.
    """
    return _Settling(stream, lookup, now, limit).run()


class _Settling:
    def __init__(self, stream: Stream, lookup: Lookup, now: str, limit: int) -> None:
        self._stream = stream
        self._lookup = lookup
        self._now = now
        self._limit = limit
        self._spec_tags = {spec_tag.name: spec_tag for spec_tag in stream.spec_tags}
        self._histories = {known.tag: known for known in stream.tags}
        self._visited: set[str] = set()
        # The circle that a tag is part of, and where in it; an empty one if of none. Tags not looked at are not there.
        self._circles: dict[str, tuple[tuple[_Place, ...], int]] = {}

    def run(self) -> Stream:
        for known in self._stream.tags:
            spec_tag = self._spec_tags.get(known.tag)
            if spec_tag is None or spec_tag.hold is None:
                released = self._released(known)
                self._put(replace(released, conditions=conditions.drop(released.conditions, HELD)))
        for spec_tag in self._in_order():
            self._settle_chain(spec_tag)
        after = tuple(self._histories[tag] for tag in sorted(self._histories) if not self._histories[tag].is_empty)
        said = self._stream.conditions
        if self._stream.whole_repository() is None:
            said = conditions.drop(said, IMPORT_SUCCESS)  # of a repository that the stream takes no more
        if (after, said) == (self._stream.tags, self._stream.conditions):
            return self._stream
        return replace(self._stream, tags=after, conditions=said)

    def _released(self, known: TagHistory) -> TagHistory:
        """The history of a tag that is held no longer. It comes to point at the newest now, whenever that arrived."""
        released = history.release(known, limit=self._limit)
        if released.head is None or (known.head and known.head.place == released.head.place):
            return released
        return replace(released, items=(replace(released.head, created=self._now), *released.items[1:]))

    def _in_order(self) -> list[SpecTag]:
        """All spec tags, those last that an image of this stream's own history leads to: any other may bring it."""
        followers: dict[str, list[str]] = defaultdict(list)
        for spec_tag in self._spec_tags.values():
            if source := self._own_source(spec_tag):
                followers[source.name].append(spec_tag.name)
        late = [
            spec_tag.name
            for spec_tag in self._spec_tags.values()
            if spec_tag.from_kind == "ImageStreamImage" and self._stream.source_stream(spec_tag) == self._stream.key
        ]
        for name in late:
            late += followers[name]
        last = frozenset(late)
        return sorted(self._spec_tags.values(), key=lambda spec_tag: spec_tag.name in last)

    def _own_source(self, spec_tag: SpecTag) -> SpecTag | None:
        """The spec tag of this stream that another one follows."""
        if spec_tag.from_kind != "ImageStreamTag" or self._stream.source_stream(spec_tag) != self._stream.key:
            return None
        return self._spec_tags.get(_source_tag(spec_tag))

    def _settle_chain(self, spec_tag: SpecTag) -> None:
        """Bring a tag to where it belongs, and before it what it follows in its own stream."""
        chain: list[SpecTag] = []
        link: SpecTag | None = spec_tag
        while link and link.name not in self._visited:
            self._visited.add(link.name)
            chain.append(link)
            link = self._own_source(link)
        for settled in reversed(chain):
            self._settle(settled)

    def _settle(self, spec_tag: SpecTag) -> None:
        match spec_tag.from_kind:
            case "":
                self._leave(spec_tag)
            case "ImageStreamTag":
                self._follow(spec_tag)
            case "ImageStreamImage":
                self._pin(spec_tag)
            case "DockerImage" if spec_tag.reference:
                self._record_name(spec_tag)
            case "DockerImage" if spec_tag.image() is None:
                self._complain(spec_tag, _Fault(Problem.INVALID, "invalid name: invalid reference format"))
        self._hold(spec_tag)

    def _leave(self, spec_tag: SpecTag) -> None:
        """A placeholder asks for nothing. That is remembered too, for it may ask again."""
        known = self._known(spec_tag.name)
        left = conditions.drop(known.conditions, IMPORT_SUCCESS)
        self._put(replace(known, resolved=None if known.is_empty else spec_tag.asks(), conditions=left))

    def _record_name(self, spec_tag: SpecTag) -> None:
        if _is_due(spec_tag, self._known(spec_tag.name)):
            self._move(spec_tag, TagItem(self._now, spec_tag.from_name, "", self._generation(spec_tag)))

    def _follow(self, spec_tag: SpecTag) -> None:
        source = self._source(spec_tag)
        if isinstance(source, _Fault):
            self._complain(spec_tag, source)
            return
        tag = _source_tag(spec_tag)
        head = (self._known(tag) if source is self._stream else source.history(tag)).head
        if circle := self._circle(spec_tag):
            self._complain(spec_tag, _Fault(Problem.CIRCULAR, f"the tags follow each other: {circle}"))
            return
        if head is None:
            self._complain(spec_tag, _Fault(Problem.NOT_FOUND, f"{source.key}:{tag} does not point at an image yet"))
            return
        known = self._known(spec_tag.name)
        followed = f"{head.docker_image_reference} {head.image}"
        is_due = _is_due(spec_tag, known)
        if not is_due and known.resolved and known.resolved.followed == followed:
            return
        generation, version = self._generation(spec_tag), source.resource_version
        if source is self._stream:
            generation, version = max(generation, head.generation), ""
        elif known.resolved and is_surely_older(version, known.resolved.version):
            return  # another replica has seen more of the source than we have
        self._move(spec_tag, replace(head, generation=generation), followed, version)

    def _pin(self, spec_tag: SpecTag) -> None:
        if not _is_due(spec_tag, self._known(spec_tag.name)):
            return
        source = self._source(spec_tag)
        if isinstance(source, _Fault):
            self._complain(spec_tag, source)
            return
        prefix = spec_tag.from_name.rpartition("@")[2]
        histories = [self._histories[tag] for tag in sorted(self._histories)] if source is self._stream else source.tags
        known_items = (item for known in histories for item in (*known.items, *known.waiting))
        items = [item for item in known_items if item.begins(prefix)]
        found = {item.image: item for item in reversed(items)}
        match list(found.values()):
            case []:
                why = f"{source.key} has no image {prefix} in its history"
                self._complain(spec_tag, _Fault(Problem.NOT_FOUND, why))
            case [item]:
                pinned = TagItem(self._now, item.docker_image_reference, item.image, self._generation(spec_tag))
                self._move(spec_tag, pinned)
            case several:
                names = ", ".join(sorted(item.image for item in several)[:3])
                why = f"multiple images match the prefix {prefix} in {source.key}: {names}; write more of the digest"
                self._complain(spec_tag, _Fault(Problem.INVALID, why))

    def _source(self, spec_tag: SpecTag) -> Stream | _Fault:
        """The stream that a tag comes from. Whether one exists that is not shared with us is told to nobody."""
        key = self._stream.source_stream(spec_tag)
        if key is None:
            expected = "TAG or STREAM:TAG" if spec_tag.from_kind == "ImageStreamTag" else "DIGEST or STREAM@DIGEST"
            return _Fault(Problem.INVALID, f"invalid name {spec_tag.from_name!r}: write {expected}")
        if key == self._stream.key:
            return self._stream
        found = self._lookup(key)
        if key.namespace == self._stream.key.namespace:
            return found or _Fault(Problem.NOT_FOUND, f"ImageStream {key} does not exist")
        if found is None or not found.shares_with(self._stream.key.namespace):
            why = (
                f"ImageStream {key} does not exist, or does not share its tags with namespace"
                f" {self._stream.key.namespace}: its owner can say so in the annotation {SHARED_WITH}"
            )
            return _Fault(Problem.FORBIDDEN, why)
        return found

    def _circle(self, spec_tag: SpecTag) -> str:
        """The tags that lead from this one back to itself, by name; "" if they do not."""
        if spec_tag.name not in self._circles:
            self._look_for_circle(spec_tag)
        places, n = self._circles[spec_tag.name]
        if not places:
            return ""
        turned = [*places[n : n + _LONGEST_SHOWN], *places[:n]][:_LONGEST_SHOWN]
        names = [self._shown(*place) for place in turned]
        return " -> ".join([*names, *(["..."] if len(turned) < len(places) else []), spec_tag.name])

    def _look_for_circle(self, spec_tag: SpecTag) -> None:
        """Go from source to source; note a circle for each tag of this stream in it, so that it is gone round once."""
        start = (self._stream.key, spec_tag.name)
        passed = {start: None}  # in their order
        stream: Stream = self._stream
        current: SpecTag | None = spec_tag
        while current and current.from_kind == "ImageStreamTag":
            key, tag = stream.source_stream(current), _source_tag(current)
            following = self._stream if key == self._stream.key else self._lookup(key) if key else None
            if following is None or not following.shares_with(stream.key.namespace):
                break
            place = (following.key, tag)
            if place == start:
                circle = tuple(passed)
                self._circles |= {tag: (circle, n) for n, (key, tag) in enumerate(circle) if key == self._stream.key}
                return
            if place in passed or (following is self._stream and tag in self._circles):
                break  # it leads into a circle, or to where none is: this tag is part of none
            passed[place] = None
            stream = following
            current = self._spec_tags.get(tag) if stream is self._stream else stream.spec_tag(tag)
        self._circles[spec_tag.name] = (), 0

    def _shown(self, key: StreamKey, tag: str) -> str:
        """A tag as a reader in this namespace may see it."""
        if key == self._stream.key:
            return tag
        return f"{key}:{tag}" if key.namespace == self._stream.key.namespace else f"a tag in {key.namespace}"

    def _hold(self, spec_tag: SpecTag) -> None:
        known = self._known(spec_tag.name)
        head, newest = known.head, known.newest
        if not spec_tag.hold or newest is None or (head and spec_tag.hold in _names(head)):
            self._put(replace(known, conditions=conditions.drop(known.conditions, HELD)))
            return
        wanted = next((item for item in (*known.items, *known.waiting) if spec_tag.hold in _names(item)), None)
        if wanted is None:
            why = f"the tag is to be held at {spec_tag.hold}, which its history does not hold"
            self._complain(spec_tag, _Fault(Problem.NOT_FOUND, why), HELD)
            return
        # What the tag is taken away from is what its source says: it comes back with the release.
        waiting = known.waiting or (newest,)
        held = replace(wanted, created=self._now, generation=(head or wanted).generation, pushed="")
        moved, _ = history.record(known, held, limit=self._limit)
        self._put(replace(moved, waiting=waiting, conditions=conditions.drop(known.conditions, HELD)))

    def _move(self, spec_tag: SpecTag, item: TagItem, followed: str = "", version: str = "") -> None:
        known = self._known(spec_tag.name)
        moved = history.arrive(known, item, held=spec_tag.hold is not None, limit=self._limit)
        resolved = replace(spec_tag.asks(), followed=followed, version=version)
        self._put(replace(moved, resolved=resolved, conditions=conditions.drop(moved.conditions, IMPORT_SUCCESS)))

    def _complain(self, spec_tag: SpecTag, fault: _Fault, kind: str = IMPORT_SUCCESS) -> None:
        known = self._known(spec_tag.name)
        condition = conditions.failed(
            kind, fault.problem, fault.message, now=self._now, generation=self._generation(spec_tag)
        )
        after = replace(known, conditions=conditions.put(known.conditions, condition))
        if kind == IMPORT_SUCCESS:
            # A change must be seen, by who imports too, though the generation may stay what was tried.
            after = replace(after, resolved=spec_tag.asks())
        self._put(after)

    def _generation(self, spec_tag: SpecTag) -> int:
        return spec_tag.generation or self._stream.generation

    def _known(self, tag: str) -> TagHistory:
        return self._histories.get(tag) or TagHistory(tag)

    def _put(self, found: TagHistory) -> None:
        if found != self._known(found.tag):
            self._histories[found.tag] = found


def _is_due(spec_tag: SpecTag, known: TagHistory) -> bool:
    """Whether the spec asks for something that was not done yet.

    A tag whose generation is 0 or absent is about to get one; until then it is as due as its spec is new.
    """
    condition = known.condition(IMPORT_SUCCESS)
    if (condition and condition.status == "False") or known.resolved is None or known.is_empty:
        return True
    return not known.resolved.asks_the_same(spec_tag.asks()) or (spec_tag.generation or 0) > known.observed_generation


def _source_tag(spec_tag: SpecTag) -> str:
    """The tag that an ImageStreamTag source names: TAG, or STREAM:TAG, where an empty one is latest."""
    return spec_tag.from_name.rpartition(":")[2] or DEFAULT_TAG


def _names(item: TagItem) -> tuple[str, str]:
    return item.image, item.docker_image_reference
