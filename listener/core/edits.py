"""What a person asks of a stream's tags, as JSON Patches (RFC 6902) of the stream.

`oc tag` and `oc import-image` replace a spec tag as a whole, and what is not said again is lost: annotations, policies,
a schedule. Here each edit starts from the tag as its owner wrote it and changes what was asked for. Every patch begins
with a test of the resource version, so it is safe to write the merged tag back; a failed test means: read, plan again.

Functions take *documents*, the JSON of a stream or of one spec tag, for an edit must not lose what `Stream` does not
hold. None of them changes what it is given. This room must not know how a patch is sent, nor what time it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from listener.core import conditions
from listener.core.history import Condition, TagHistory, TagItem
from listener.core.imports import unchanged
from listener.core.names import Kind, TagSource
from listener.core.streams import DEFAULT_TAG, HOLD, REPOSITORY_CHECK, SpecTag, Stream, StreamKey, summarise
from listener.errors import ListenerError

Document = Mapping[str, Any]
Operation = Mapping[str, object]

# What the API server fills in by itself: a placeholder that holds nothing else says nothing.
_DEFAULTS: Final[Document] = {"importPolicy": {"importMode": "Legacy"}, "referencePolicy": {"type": "Source"}}
_LONGEST_NUMBER: Final = 4  # histories hold at most 1,000 items; longer digits are the beginning of a digest


class EditRefused(ListenerError):
    """What was asked for cannot be done to the stream as it is. The message says why, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Found:
    """One stream, read once: as decisions need it, and as its owner wrote it."""

    stream: Stream
    document: Document

    def spec_tag(self, name: str) -> Document | None:
        """Return the spec tag of that name, as its owner wrote it."""
        return next((tag for tag in self.spec_tags if tag["name"] == name), None)

    @property
    def spec_tags(self) -> Sequence[Document]:
        return self.spec.get("tags") or ()

    @property
    def spec(self) -> Document:
        return self.document.get("spec") or {}

    def must_have(self, tag: str) -> None:
        """Raise EditRefused if there is no such tag, neither in the spec nor in the status."""
        known = tag_names(self.stream)
        if tag not in known:
            raise EditRefused(
                f"there is no tag {tag} in ImageStream {self.stream.key}; there are: {', '.join(known) or 'none'}"
            )


def tag_names(stream: Stream) -> list[str]:
    """Return the tags of a stream, those that were asked for and those that have a history."""
    return sorted({tag.name for tag in stream.spec_tags} | {known.tag for known in stream.tags})


@dataclass(frozen=True, slots=True)
class Policies:
    """How a tag is imported and pulled, as far as somebody said: None leaves it as it is."""

    scheduled: bool | None = None
    insecure: bool | None = None
    import_mode: str | None = None
    reference_policy: str | None = None


# Spec tags


def point(
    before: Document | None, name: str, source: TagSource, *, namespace: str, reference: bool, policies: Policies
) -> Document:
    """Make a tag come from `source`, and ask for it now; its annotations and its policies stay.

    `namespace` is the stream's own. `reference` belongs to the source, so it is set or taken away. A schedule goes
    with the registry it was for: the API refuses it for any other source.
    """
    after = {**(before or {}), "name": name, "from": _from(source, namespace), "generation": 0}
    after.pop("reference", None)
    if reference:
        after["reference"] = True
    after = _with_policies(after, policies)
    if source.kind is not Kind.DOCKER_IMAGE and "scheduled" in (after.get("importPolicy") or {}):
        after["importPolicy"] = {key: value for key, value in after["importPolicy"].items() if key != "scheduled"}
    return after


def ask_again(before: Document, policies: Policies) -> Document:
    """Ask for an import of what the tag names already."""
    return _with_policies({**before, "generation": 0}, policies)


def hold(before: Document | None, name: str, at: str = "") -> Document:
    """Keep a tag where it is, or `at` an image of its history. One without a spec tag gets a placeholder."""
    placeholder = before or {"name": name}
    return {**placeholder, "annotations": {**(placeholder.get("annotations") or {}), HOLD: at or "true"}}


def release(before: Document) -> Document | None:
    """Let a tag go. None where nothing is left of its spec tag: it was a placeholder for the hold."""
    after = dict(before)
    annotations = {key: value for key, value in (after.pop("annotations", None) or {}).items() if key != HOLD}
    if annotations:
        after["annotations"] = annotations
    said = {key: value for key, value in after.items() if key not in ("name", "generation")}
    if all(not value or value == _DEFAULTS.get(key) for key, value in said.items()):
        return None
    return after


# Patches


def put(found: Found, *tags: Document) -> tuple[Operation, ...]:
    """Plan the patch that puts spec tags in their places, new ones at the end; nothing if they all stand there."""
    places = {known["name"]: n for n, known in enumerate(found.spec_tags)}
    changed = [tag for tag in tags if tag != found.spec_tag(tag["name"])]
    operations: list[Operation] = [
        {"op": "replace", "path": f"/spec/tags/{places[tag['name']]}", "value": tag}
        for tag in changed
        if tag["name"] in places
    ]
    new = [tag for tag in changed if tag["name"] not in places]
    if places:
        operations += [{"op": "add", "path": "/spec/tags/-", "value": tag} for tag in new]
    elif new:
        # JSON Patch adds to what is there only, so the list, and what holds it, are made along.
        operations.append({"op": "add", "path": "/spec", "value": {**found.spec, "tags": new}})
    return (unchanged(found.stream), *operations) if operations else ()


def remove(found: Found, name: str) -> tuple[Operation, ...]:
    """Plan the patch that takes a spec tag out; nothing if there is none."""
    index = next((n for n, known in enumerate(found.spec_tags) if known["name"] == name), None)
    return () if index is None else (unchanged(found.stream), {"op": "remove", "path": f"/spec/tags/{index}"})


def forget(found: Found, name: str) -> tuple[Operation, ...]:
    """Plan the patch of the *status* that takes a tag's history out; nothing if there is none.

    The summary that tables show goes along.
    """
    status = found.document.get("status") or {}
    index = next((n for n, known in enumerate(status.get("tags") or ()) if known["tag"] == name), None)
    if index is None:
        return ()
    summary = summarise(history for history in found.stream.tags if history.tag != name)
    operations: list[Operation] = [unchanged(found.stream), {"op": "remove", "path": f"/status/tags/{index}"}]
    if summary.updated:
        value = {"tags": summary.tags, "updated": summary.updated}
        operations.append({"op": "add", "path": "/status/summary", "value": value})
    elif "summary" in status:
        operations.append({"op": "remove", "path": "/status/summary"})
    return tuple(operations)


def take_repository(found: Found, repository: str) -> tuple[Operation, ...]:
    """Plan the patch that makes the stream take the whole of a repository; nothing if it does."""
    if found.stream.repository == repository:
        return ()
    value = {**found.spec, "dockerImageRepository": repository}
    return unchanged(found.stream), {"op": "add", "path": "/spec", "value": value}


def look_up(found: Found, *, on: bool) -> tuple[Operation, ...]:
    """Plan the patch that lets images name the stream's tags, or not; nothing if it is so."""
    if found.stream.local_lookup == on:
        return ()
    policy = {**(found.spec.get("lookupPolicy") or {}), "local": on}
    if not found.spec:
        operation: Operation = {"op": "add", "path": "/spec", "value": {"lookupPolicy": policy}}
    elif found.spec.get("lookupPolicy"):
        operation = {"op": "add", "path": "/spec/lookupPolicy/local", "value": on}
    else:
        operation = {"op": "add", "path": "/spec/lookupPolicy", "value": policy}
    return unchanged(found.stream), operation


def ask_all(found: Found, policies: Policies) -> tuple[Operation, ...]:
    """Plan the patch that asks for everything a stream has in registries: its repository, and each of its tags.

    The repository by taking back the mark that it was tried. Nothing if all that was asked for already. Raises
    EditRefused if there is nothing to ask for.
    """
    tags = [tag for name in importable(found.stream) if (tag := found.spec_tag(name))]
    if not tags and not found.stream.repository:
        raise EditRefused(
            f"ImageStream {found.stream.key} has nothing to import: no repository, and no tag that comes from a"
            " registry; give it one with --from IMAGE"
        )
    operations = put(found, *(ask_again(tag, policies) for tag in tags))
    if not found.stream.repository or not found.stream.is_checked:
        return operations
    annotations = {**found.document["metadata"]["annotations"], REPOSITORY_CHECK: ""}
    marked = {"op": "add", "path": "/metadata/annotations", "value": annotations}
    return (*(operations or (unchanged(found.stream),)), marked)


# What is meant


def pinned(source: TagSource, stream: Stream) -> TagSource:
    """Return what a tag points at now as a source that never moves: its image, or the name that it records.

    Raises EditRefused.
    """
    head = stream.history(source.name).head
    if head is None:
        raise EditRefused(
            f"ImageStreamTag {stream.key}:{source.name} is not currently pointing to an image; push or import one"
            " first, or follow the tag with --alias"
        )
    if not head.image:
        return TagSource(Kind.DOCKER_IMAGE, head.docker_image_reference)
    return TagSource(Kind.IMAGE_STREAM_IMAGE, head.image, stream.key.name, stream.key.namespace)


def importable(stream: Stream) -> tuple[str, ...]:
    """Return the spec tags whose images are imported from a registry."""
    return tuple(tag.name for tag in stream.spec_tags if tag.image() is not None)


def import_target(stream: Stream, name: str) -> SpecTag | None:
    """Return the spec tag to import when `name` is asked for: what it follows in its own stream, to the end.

    None if the stream does not say where that tag comes from. Raises EditRefused for one that nothing is imported to.
    """
    tag = stream.spec_tag(name)
    passed = [name]
    while tag and tag.from_kind == Kind.IMAGE_STREAM_TAG:
        following = tag.from_name.rpartition(":")[2] or DEFAULT_TAG
        if stream.source_stream(tag) != stream.key:
            raise EditRefused(
                f"tag {_chain(passed)} of ImageStream {stream.key} follows {tag.from_name}"
                f" of {stream.source_stream(tag)}: import that one"
            )
        passed.append(following)
        if following in passed[:-1]:
            raise EditRefused(
                f"the tags {_chain(passed)} of ImageStream {stream.key} follow each other; give one of them another"
                " source with `listener tag`"
            )
        tag = stream.spec_tag(following)
    if tag is None and len(passed) > 1:
        raise EditRefused(
            f"tag {_chain(passed)} of ImageStream {stream.key} follows a tag that its spec does not hold; give"
            f" {passed[-1]} a source with `listener tag`"
        )
    if tag and not tag.from_kind:
        raise EditRefused(
            f"tag {_chain(passed)} of ImageStream {stream.key} has no source to import from; give it one with"
            " `listener tag`"
        )
    if tag and tag.from_kind != Kind.DOCKER_IMAGE:
        raise EditRefused(
            f"tag {_chain(passed)} of ImageStream {stream.key} points to {tag.from_kind} {tag.from_name}, which cannot"
            " be imported again; give it another source with `listener tag`"
        )
    return tag


def find(history: TagHistory, wanted: str, key: StreamKey) -> TagItem:
    """Find an item of a tag's history by number (0 is the current one) or by the beginning of its digest.

    By digest also what waits. Raises EditRefused.
    """
    name = f"{key}:{history.tag}"
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) <= _LONGEST_NUMBER):
        return _by_digest(history, wanted, name)
    if int(wanted) >= len(history.items):
        raise EditRefused(
            f"the history of {name} has no item {wanted}: it holds {len(history.items)}, counted from 0;"
            f" `listener history {key.name}:{history.tag}` shows them"
        )
    return history.items[int(wanted)]


def choose(history: TagHistory, wanted: str, key: StreamKey) -> TagItem:
    """Find the item that a tag shall go back to, which is not the current one. Raises EditRefused."""
    found = find(history, wanted, key)
    if history.head and found.place == history.head.place:
        raise EditRefused(
            f"{key}:{history.tag} points at {found.image or found.docker_image_reference} already; to keep it there,"
            f" use `listener hold {key.name}:{history.tag}`"
        )
    return found


def previous(history: TagHistory, key: StreamKey) -> TagItem:
    """Find the image that a tag had before the one that it points at.

    Of a tag that was rolled back that is the image before that, and none that it was taken away from: two rollbacks
    lead two images back, and not to the bad one again. Raises EditRefused.
    """
    passed = {item.place for item in (*history.items[:1], *history.waiting)}
    start = 1
    if history.waiting:
        # A rollback put an old item at the head once more: what was before it stands behind the place it had.
        start += max((n for n, item in enumerate(history.items) if item.place == history.items[0].place), default=0)
    found = next((item for item in history.items[start:] if item.place not in passed), None)
    if found is None:
        raise EditRefused(
            f"{key}:{history.tag} had no other image before; `listener history {key.name}:{history.tag}` shows what it"
            " had, and --to names one"
        )
    return found


def held_at(history: TagHistory, item: TagItem) -> str:
    """Return by which name a tag is held at an item of its history: the image, if that means no other item."""
    first = next((known for known in (*history.items, *history.waiting) if known.image == item.image), item)
    is_it = item.image and first.place == item.place
    return item.image if is_it else item.docker_image_reference


def is_held_at(history: TagHistory, at: str) -> bool:
    """Tell whether a tag has come to where it is to be held."""
    return history.head is not None and at in history.head.place


def is_done(stream: Stream, name: str, *, after: int) -> bool:
    """Tell whether the service has done what a spec tag asks for, since the stream's generation was `after`."""
    tag = stream.spec_tag(name)
    generation = (tag.generation or 0) if tag else 0
    return generation > after and stream.history(name).observed_generation >= generation


def is_repository_done(stream: Stream, *, asked: int) -> bool:
    """Tell whether the whole repository was tried since the stream's generation was `asked`."""
    condition = repository_condition(stream)
    return stream.is_checked and condition is not None and (condition.generation or 0) >= asked


def repository_condition(stream: Stream) -> Condition | None:
    """Return what the last import of the whole repository said."""
    return next((known for known in stream.conditions if known.type == conditions.IMPORT_SUCCESS), None)


def complaint(stream: Stream, name: str) -> Condition | None:
    """Return why what is asked for of a tag now could not be done; None if it could, or was not tried yet."""
    tag = stream.spec_tag(name)
    asked = (tag.generation or 0) if tag else 0
    found = stream.history(name).condition(conditions.IMPORT_SUCCESS)
    if found is None or found.status != "False":
        return None
    return found if (found.generation or 0) >= asked else None


def _by_digest(history: TagHistory, wanted: str, name: str) -> TagItem:
    found = [
        item
        for item in (*history.items, *history.waiting)
        if wanted and (item.docker_image_reference == wanted or item.begins(wanted))
    ]
    if not found:
        raise EditRefused(
            f"the history of {name} holds no image {wanted!r}; `listener history` shows the images that it holds"
        )
    if len(images := sorted({item.image for item in found})) > 1:
        raise EditRefused(f"{wanted} begins several images of {name}: {', '.join(images)}; write more of the digest")
    return found[0]


def _chain(tags: Sequence[str]) -> str:
    return " -> ".join(tags)


def _from(source: TagSource, namespace: str) -> Document:
    written = {"kind": str(source.kind), "name": str(source)}
    if source.kind is not Kind.DOCKER_IMAGE and source.namespace != namespace:
        written["namespace"] = source.namespace
    return written


def _with_policies(tag: dict[str, Any], policies: Policies) -> dict[str, Any]:
    said = {"scheduled": policies.scheduled, "insecure": policies.insecure, "importMode": policies.import_mode}
    changes = {key: value for key, value in said.items() if value is not None}
    if changes:
        tag = {**tag, "importPolicy": {**(tag.get("importPolicy") or {}), **changes}}
    if policies.reference_policy is not None:
        tag = {**tag, "referencePolicy": {**(tag.get("referencePolicy") or {}), "type": policies.reference_policy}}
    return tag
