"""Amazon ECR through EventBridge and an HTTP(S) subscription of SNS.

The event is a text in the `Message` of a notification, or the whole body if the subscription delivers raw. A new
subscription sends nothing until the URL in its first message was asked; whether we ask is decided where signatures
are checked, and which URL is Amazon's at all is decided here.

Facts:
- Messages are signed with Amazon's key, over the fields and not the body; a raw delivery is not signed at all.
- An answer is waited for 15 s. 5xx, 429 and silence: three more tries, 20 s apart, and an hour at most. Any other 4xx
  is for good. The same `MessageId` on every try, and the same event `id` inside.
- The content type is text/plain. At least once, in any order.
- A topic may carry other messages too: they are no error.

Documented at https://docs.aws.amazon.com/sns/latest/dg/sns-http-https-endpoint-as-subscriber.html
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qs

from listener.core.events import Delivery, Parsed
from listener.dialects import ecr_events, payload
from listener.dialects.payload import Findings, Unusable
from listener.errors import MalformedDelivery

_EXPECTED: Final = 'a message of SNS: a JSON object with "Type"'
# No user, no port, no path, no fragment; only characters that no reader of URLs takes for something else.
_CONFIRM: Final = re.compile(r"https://sns\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/\?([A-Za-z0-9&=:%._~+-]{1,2048})")
_MOST_PARAMETERS: Final = 16
_FOREIGN: Final = "no event of Amazon ECR"


def recognises(delivery: Delivery) -> bool:
    """Tell by its header."""
    return "x-amz-sns-message-type" in delivery.headers


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is no message, unless it is delivered raw: then it is anybody's."""
    findings = Findings()
    if delivery.headers.get("x-amz-sns-rawdelivery", "").strip().lower() == "true":
        _take_text(delivery.body, findings)
        return findings.parsed()
    message = payload.json_object(delivery, _EXPECTED)
    kind = payload.text(message, "Type")
    if kind == "SubscriptionConfirmation":
        return _confirmation(message, findings)
    if kind == "Notification":
        _take_text(payload.text(message, "Message"), findings)
    elif kind:
        findings.ignore(
            f"{kind} of {payload.text(message, 'TopicArn') or 'a topic'}", "only a Notification tells of a push"
        )
    elif ecr_events.is_event(message):
        ecr_events.take(message, findings)
    else:
        raise MalformedDelivery(f'expected {_EXPECTED}, the body has no "Type"')
    return findings.parsed()


def _take_text(text: bytes | str, findings: Findings) -> None:
    try:
        found = payload.unpacked(text, "it")
    except Unusable as unusable:
        findings.ignore("message", f"{_FOREIGN}: {unusable}")
        return
    several: list[Any] = found if isinstance(found, list) else [found]
    for event in several[: payload.MAX_EVENTS]:
        if ecr_events.is_event(event):
            ecr_events.take(event, findings)
        else:
            findings.ignore("message", _FOREIGN)


def _confirmation(message: dict[str, Any], findings: Findings) -> Parsed:
    topic, url = payload.text(message, "TopicArn"), payload.text(message, "SubscribeURL")
    what = f"SubscriptionConfirmation of {topic or 'a topic'}"
    if why := _distrust(url, topic):
        findings.refuse(what, f'"SubscribeURL" is not asked: {why}')
        return findings.parsed()
    findings.ignore(what, "the subscription is confirmed if the topic may send to us")
    return findings.parsed()._replace(confirm=url)


def _distrust(url: str, topic: str) -> str | None:
    """Why the URL may not be the one with which SNS has this topic's subscription confirmed."""
    found = _CONFIRM.fullmatch(url)
    if not found:
        return "it is none of https://sns.REGION.amazonaws.com/?…"
    try:
        asked = parse_qs(found[2], max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return "it has too many parameters"
    if asked.get("Action") != ["ConfirmSubscription"] or len(asked.get("Token", ())) != 1:
        return "it does something else than to confirm a subscription"
    if asked.get("TopicArn", [topic]) != [topic] or not topic:
        return "it is about another topic than the message"
    if topic.split(":")[3:4] != [found[1]]:
        return "it is in another region than the topic"
    return None
