"""Google Artifact Registry (and gcr.io) through a push subscription of Pub/Sub.

The topic is `gcr`. Its message is wrapped, as base64 of JSON, or is the body itself, with or without headers that
name it.

Facts:
- A token of Google may be sent with it. Anybody with a project can have one made for our URL: the address of the
  service account tells whose it is.
- 102, 200, 201, 202 and 204 acknowledge. Anything else, and silence beyond the acknowledgement deadline (10 s), has the
  message sent again until its retention ends, which is days. So nothing raises here: what cannot be read is
  acknowledged, with a remark.
- An upload and its tag are two messages, and a tag put on an image that was there is one too. At least once, in any
  order; `messageId` stays the same.
- Neither who pushed nor a media type is said. The time is that of the message.

Documented at https://cloud.google.com/artifact-registry/docs/configure-notifications and
https://cloud.google.com/pubsub/docs/push
"""

from __future__ import annotations

from typing import Any, Final

from listener.core import events
from listener.core.events import Delivery, Parsed, PushEvent
from listener.dialects import payload
from listener.dialects.payload import Findings, Unusable

_FOREIGN: Final = "no message of Artifact Registry"
_UNWRAPPED: Final = frozenset({"action", "digest", "tag"})


def recognises(delivery: Delivery) -> bool:
    """Tell by its headers, by the wrapping, or by the three members that its data has."""
    if "x-goog-pubsub-message-id" in delivery.headers:
        return True
    found = payload.peek_object(delivery)
    if "message" in found and "subscription" in found:
        return True
    return len(found) > 1 and "action" in found and found.keys() <= _UNWRAPPED


def parse(delivery: Delivery) -> Parsed:
    """Never raises."""
    findings = Findings()
    try:
        body = payload.document(delivery)
        wrapped = isinstance(body, dict) and isinstance(body.get("message"), dict)
        message = body["message"] if wrapped else _from_headers(delivery)
        found = _data(message) if wrapped else body
    except Unusable as unusable:
        findings.ignore("message", f"{_FOREIGN}: {unusable}")
        return findings.parsed()
    if not isinstance(found, dict) or not payload.text(found, "action"):
        findings.ignore("message", _FOREIGN)
    else:
        _take(found, message, findings)
    return findings.parsed()


def _from_headers(delivery: Delivery) -> dict[str, Any]:
    return {
        "messageId": delivery.headers.get("x-goog-pubsub-message-id"),
        "publishTime": delivery.headers.get("x-goog-pubsub-publish-time"),
    }


def _data(message: dict[str, Any]) -> Any:
    return payload.unpacked(payload.from_base64(payload.text(message, "data"), "the data"), "the data")


def _take(found: dict[str, Any], message: dict[str, Any], findings: Findings) -> None:
    action, by_tag, by_digest = (payload.text(found, key) for key in ("action", "tag", "digest"))
    what = f"{action} {by_tag or by_digest or 'of nothing'}"
    if action.upper() != "INSERT":
        findings.ignore(what, "only an INSERT moves a tag")
        return
    if by_digest and not found.get("tag"):
        findings.ignore(what, payload.BY_DIGEST)
        return
    try:
        if not isinstance(found.get("tag"), str | None):
            raise Unusable('"tag" must be a text, in quotes')
        findings.push(_push(by_tag, by_digest, message))
    except Unusable as unusable:
        findings.refuse(what, str(unusable))


def _push(by_tag: str, by_digest: str, message: dict[str, Any]) -> PushEvent:
    tagged, tag = _cut_tag(by_tag)
    pushed, at, digest = by_digest.partition("@")
    if not at:
        pushed, digest = "", by_digest
    if tagged and pushed and tagged.lower() != pushed.lower():
        raise Unusable('"tag" and "digest" name different repositories')
    name = tagged or pushed
    return payload.push(
        registry=payload.host(name),
        repository=name.partition("/")[2],
        tag=tag,
        digest=digest,
        timestamp=events.timestamp(payload.text(message, "publishTime") or payload.text(message, "publish_time")),
        event_id=payload.label(message, "messageId") or payload.label(message, "message_id"),
    )


def _cut_tag(text: str) -> tuple[str, str]:
    """Name and tag; a tag alone has been seen, and has no name."""
    name, colon, tag = text.rpartition(":")
    if colon and "/" not in tag:
        return name, tag
    return (text, "") if "/" in text else ("", text)
