"""Messages of SNS: the event inside, raw ones, and which URL may be asked to confirm a subscription."""

from __future__ import annotations

import json
from typing import Any

import pytest

from listener.core.events import Delivery, Parsed
from listener.dialects import aws_sns
from listener.errors import MalformedDelivery

DIGEST = "sha256:" + "a" * 64
TOPIC = "arn:aws:sns:eu-west-1:123456789012:ecr-push"
URL = f"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37f"
EVENT = {
    "id": "e-1",
    "detail-type": "ECR Image Action",
    "source": "aws.ecr",
    "account": "123456789012",
    "time": "2026-11-23T00:38:12Z",
    "region": "eu-west-1",
    "detail": {
        "result": "SUCCESS",
        "repository-name": "team/web",
        "image-digest": DIGEST,
        "action-type": "PUSH",
        "image-tag": "v1",
    },
}
RAW = {"x-amz-sns-message-type": "Notification", "x-amz-sns-rawdelivery": "true"}


def message(kind: str = "Notification", **changes: object) -> dict[str, Any]:
    return {"Type": kind, "MessageId": "m-1", "TopicArn": TOPIC, "Message": json.dumps(EVENT)} | changes


def parse(body: object, headers: dict[str, str] | None = None) -> Parsed:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return aws_sns.parse(Delivery(headers or {}, {}, raw))


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(message(), {"x-amz-sns-message-type": "Notification"}, id="notification"),
        pytest.param(message(), {}, id="a proxy took the headers away"),
        pytest.param(message(Message=json.dumps([EVENT])), {}, id="a list inside"),
        pytest.param(EVENT, RAW, id="raw"),
        pytest.param(EVENT, {}, id="raw, without its header"),
    ],
)
def test_a_push(body: object, headers: dict[str, str]) -> None:
    parsed = parse(body, headers)
    (push,) = parsed.pushes
    assert push.registry == "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    assert (push.repository, push.tag, push.digest, push.event_id) == ("team/web", "v1", DIGEST, "e-1")
    assert (parsed.ignored, parsed.refused, parsed.confirm) == ((), (), None)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(message(Message="deployed"), {}, id="a text"),
        pytest.param(message(Message=None), {}, id="nothing"),
        pytest.param(message(Message='{"a": 1}'), {}, id="another object"),
        pytest.param(message(Message="[" * 10_000), {}, id="deep nesting inside"),
        pytest.param(message(Message=json.dumps(EVENT | {"detail-type": "ECR Image Scan"})), {}, id="a scan"),
        pytest.param(b"deployed", RAW, id="raw text"),
        pytest.param(b"\xff\xfe\xfd", RAW, id="raw bytes"),
        pytest.param(message("UnsubscribeConfirmation", SubscribeURL=URL), {}, id="unsubscribed"),
        pytest.param(message("ToCome", SubscribeURL=URL), {}, id="a type to come"),
    ],
)
def test_what_is_not_for_us_is_ignored(body: object, headers: dict[str, str]) -> None:
    parsed = parse(body, headers)
    assert (parsed.pushes, parsed.refused, parsed.confirm) == ((), (), None)
    assert len(parsed.ignored) == 1


def test_a_bad_event_inside_is_refused() -> None:
    parsed = parse(message(Message=json.dumps(EVENT | {"account": ""})))
    assert "account" in parsed.refused[0].why


@pytest.mark.parametrize(
    ("url", "topic"),
    [
        pytest.param(URL, TOPIC, id="as documented"),
        pytest.param(URL.replace(f"TopicArn={TOPIC}&", ""), TOPIC, id="without the topic"),
        pytest.param(URL.replace(":", "%3A").replace("https%3A", "https:"), TOPIC, id="percent-encoded"),
        pytest.param(
            URL.replace("eu-west-1", "cn-north-1").replace(".com/", ".com.cn/").replace("arn:aws:", "arn:aws-cn:"),
            TOPIC.replace("eu-west-1", "cn-north-1").replace("arn:aws:", "arn:aws-cn:"),
            id="China",
        ),
    ],
)
def test_a_subscription_asks_to_be_confirmed(url: str, topic: str) -> None:
    parsed = parse(message("SubscriptionConfirmation", SubscribeURL=url, TopicArn=topic))
    assert parsed.confirm == url
    assert (parsed.pushes, parsed.refused) == ((), ())


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param(7, id="a number"),
        pytest.param(URL.replace("https:", "http:"), id="http"),
        pytest.param(URL.replace("https:", "HTTPS:"), id="scheme in another case"),
        pytest.param(URL.replace("sns.eu-west-1.amazonaws.com", "sns.eu-west-1.example.test"), id="another domain"),
        pytest.param(URL.replace("amazonaws.com", "amazonaws.com.evil.test"), id="domain goes on"),
        pytest.param(URL.replace("amazonaws.com", "amazonaws.com.cn.evil.test"), id="Chinese domain goes on"),
        pytest.param(URL.replace("sns.", "evil.sns."), id="longer name"),
        pytest.param(URL.replace("sns.eu-west-1", "sns.eu-west-1.s3"), id="another service of the domain"),
        pytest.param(URL.replace("sns.eu-west-1", "s3.eu-west-1"), id="another service"),
        pytest.param(URL.replace("sns.", "user@sns."), id="user"),
        pytest.param(URL.replace("sns.", "sns.evil.test\\@sns."), id="backslash"),
        pytest.param(URL.replace(".com/", ".com:8443/"), id="port"),
        pytest.param(URL.replace(".com/", ".com@evil.test/"), id="the domain as user"),
        pytest.param(URL.replace("/?", "/path?"), id="path"),
        pytest.param(URL + "#x", id="fragment"),
        pytest.param(URL + "\n", id="line end"),
        pytest.param(" " + URL, id="space in front"),
        pytest.param(URL.replace("ConfirmSubscription", "DeleteTopic"), id="another action"),
        pytest.param(URL + "&Action=DeleteTopic", id="two actions"),
        pytest.param(URL.replace("&Token=2336412f37f", ""), id="no token"),
        pytest.param(URL.replace("ecr-push", "other"), id="another topic"),
        pytest.param(URL.replace("sns.eu-west-1", "sns.us-east-1"), id="another region"),
        pytest.param(URL + "&a=b" * 20, id="many parameters"),
        pytest.param(URL + "&a=" + "b" * 3_000, id="long"),
    ],
)
def test_a_url_that_is_not_amazons_is_refused(url: object) -> None:
    parsed = parse(message("SubscriptionConfirmation", SubscribeURL=url))
    assert parsed.confirm is None
    assert "is not asked" in parsed.refused[0].why


def test_a_confirmation_without_a_topic_is_refused() -> None:
    assert parse(message("SubscriptionConfirmation", SubscribeURL=URL, TopicArn=None)).confirm is None


@pytest.mark.parametrize("body", [b"", b"x", b"{}", b"[]", b'{"Message": "x"}'])
def test_what_is_no_message_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedDelivery, match="message of SNS"):
        parse(body)


@pytest.mark.parametrize(("headers", "known"), [(RAW, True), ({}, False), ({"x-amz-sns-topic-arn": TOPIC}, False)])
def test_recognises(headers: dict[str, str], known: bool) -> None:
    assert aws_sns.recognises(Delivery(headers, {}, json.dumps(message()).encode())) is known
