"""CNCF Distribution ("registry:2", "registry:3") and what was built from it: GitLab's registry, OpenShift's own.

An envelope `{"events": [...]}` per request, one event per envelope today and any number by its format. A non-2xx
answer makes the sender repeat that envelope for ever and send nothing else meanwhile, so one unusable event never
fails the others.

Facts (measured on 2.8.2 unless said otherwise):
- A layer is a `push` too; only the media type tells it from a manifest. A manifest pushed by digest (the child of an
  index) has no tag. HEAD and GET both come as `pull`, our own look-ups included.
- `request.host` is whatever the pusher wrote into its Host header.
- `id` is the same on every retry; `timestamp` has 0 to 9 digits of fraction; `actor` is `{}` without authentication.
- The content type says v1; current source says v2, and sends "" and 0 where 2.8.2 left a key out. `{}` and
  `{"events": null}` are legal envelopes.

Documented at https://distribution.github.io/distribution/about/notifications/
"""

from __future__ import annotations

import json
from typing import Final

from listener.core import events, references
from listener.core.events import Delivery, Parsed, PushEvent, Remark
from listener.errors import MalformedDelivery

_CONTENT_TYPE: Final = "application/vnd.docker.distribution.events."
_MAX_EVENTS: Final = 10_000
_MANIFESTS: Final = frozenset(
    {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)


class _Unusable(Exception):
    """An event that was meant as a push cannot be used."""


def recognises(delivery: Delivery) -> bool:
    """Tell by the content type, or by the envelope where a proxy rewrote that."""
    if delivery.headers.get("content-type", "").strip().lower().startswith(_CONTENT_TYPE):
        return True
    try:
        return "events" in _envelope(delivery.body)
    except MalformedDelivery:
        return False


def parse(delivery: Delivery) -> Parsed:
    """Return what the envelope holds.

    Raises `MalformedDelivery` if the body is no envelope; a bad event inside one is refused alone.
    """
    found = _envelope(delivery.body).get("events")
    if found is None:
        return Parsed()
    if not isinstance(found, list):
        raise MalformedDelivery('"events" must be a list of events')
    if len(found) > _MAX_EVENTS:
        raise MalformedDelivery(f"the envelope holds {len(found)} events, at most {_MAX_EVENTS} are taken")
    pushes, ignored, refused = [], [], []
    for position, event in enumerate(found):
        if not isinstance(event, dict):
            refused.append(Remark(f"events[{position}]", "an event must be a JSON object"))
            continue
        what = _title(event)
        try:
            if why := _reason_to_ignore(event):
                ignored.append(Remark(what, why))
            else:
                pushes.append(_push(event))
        except _Unusable as unusable:
            refused.append(Remark(what, str(unusable)))
    return Parsed(tuple(pushes), tuple(ignored), tuple(refused))


def _envelope(body: bytes) -> dict[str, object]:
    expected = 'expected a JSON object {"events": [...]}'
    try:
        found: object = json.loads(body)
    except RecursionError:
        raise MalformedDelivery(f"{expected}, the body is nested too deeply") from None
    except ValueError as error:
        raise MalformedDelivery(f"{expected}, the body is no JSON: {events.printable(str(error))}") from None
    if not isinstance(found, dict):
        raise MalformedDelivery(f"{expected}, the body is JSON but no object")
    return found


def _reason_to_ignore(event: dict[str, object]) -> str | None:
    action = _text(event, "action")
    if not action:
        raise _Unusable('"action" is missing')
    if action != "push":
        return "only a push moves a tag"
    target = _object(event, "target")
    media_type = _text(target, "mediaType").lower()
    tag = target.get("tag")
    if not media_type and tag:
        raise _Unusable('"target.mediaType" is missing, so nothing tells a manifest from a blob')
    if media_type not in _MANIFESTS:
        return f"{media_type or 'a blob'} is no image manifest or index"
    return None if tag else "pushed by digest, without a tag"


def _push(event: dict[str, object]) -> PushEvent:
    target = _object(event, "target")
    # OpenShift and Docker compare repositories in lower case, and so does every pull spec.
    repository, tag, digest = _text(target, "repository").lower(), target.get("tag"), target.get("digest")
    if not repository:
        raise _Unusable('"target.repository" is missing')
    if not references.is_repository(repository):
        raise _Unusable(f'"target.repository" is no repository name: {repository}')
    if not isinstance(tag, str) or not references.is_tag(tag):
        raise _Unusable('"target.tag" is no tag')
    if digest and not (isinstance(digest, str) and references.is_digest(digest)):
        raise _Unusable('"target.digest" is no digest (such as sha256: and 64 lower-case hexadecimal digits)')
    return PushEvent(
        registry=_label(_object(event, "request"), "host", lower=True),
        repository=repository,
        tag=tag,
        digest=digest if isinstance(digest, str) and digest else None,
        media_type=_label(target, "mediaType", lower=True),
        timestamp=events.timestamp(_text(event, "timestamp")),
        actor=_label(_object(event, "actor"), "name"),
        event_id=_label(event, "id"),
    )


def _title(event: dict[str, object]) -> str:
    target = _object(event, "target")
    tag, digest = _text(target, "tag"), _text(target, "digest")
    name = _text(target, "repository") or "unnamed repository"
    return f"{_text(event, 'action') or 'event'} {name}" + (f":{tag}" if tag else f"@{digest}" if digest else "")


def _object(holder: dict[str, object], key: str) -> dict[str, object]:
    """The member, empty if it is absent or of another type: what needs it will miss it by name."""
    member = holder.get(key)
    return member if isinstance(member, dict) else {}


def _text(holder: dict[str, object], key: str) -> str:
    """The member, empty if it is absent or of another type."""
    member = holder.get(key)
    return member if isinstance(member, str) else ""


def _label(holder: dict[str, object], key: str, *, lower: bool = False) -> str | None:
    """A text that is only shown or compared, bounded and printable."""
    text = _text(holder, key)
    return events.printable(text.lower() if lower else text) or None
