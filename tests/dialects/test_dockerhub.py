"""Docker Hub's webhooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from listener.core.events import Parsed, PushEvent
from listener.dialects import dockerhub
from listener.errors import MalformedDelivery
from tests.dialects.bodies import GONE, SIGNATURE_TAG, changed, delivery, only_ignored, only_refused, pushed

BODY = {
    "callback_url": "https://registry.hub.docker.com/u/acme/web/hook/x/",
    "push_data": {"pushed_at": 1795394292, "pusher": "acmebot", "tag": "1.2.3"},
    "repository": {"name": "web", "namespace": "acme", "owner": "acme", "repo_name": "acme/web", "status": "Active"},
}
PUSHED = PushEvent(
    registry="docker.io",
    repository="acme/web",
    tag="1.2.3",
    digest=None,
    media_type=None,
    timestamp=datetime(2026, 11, 23, 0, 38, 12, tzinfo=UTC),
    actor="acmebot",
    event_id=None,
)


def parse(changes: dict[str, object]) -> Parsed:
    return dockerhub.parse(delivery(changed(BODY, changes)))


@pytest.mark.parametrize(
    ("changes", "becomes"),
    [
        pytest.param({}, {}, id="as it is"),
        pytest.param({"push_data.pushed_at": 1.795394292e9}, {}, id="a float"),
        pytest.param({"push_data.pushed_at": GONE}, {"timestamp": None}, id="no time"),
        pytest.param({"push_data.pushed_at": True}, {"timestamp": None}, id="true is no time"),
        pytest.param({"push_data.pusher": GONE}, {"actor": None}, id="by nobody"),
        pytest.param({"push_data.media_type": "application/vnd.docker.container.image.v1+json"}, {}, id="the config's"),
        pytest.param({"push_data.images": ["x"]}, {}, id="images"),
        pytest.param({"repository.repo_name": GONE}, {}, id="the name in two pieces"),
        pytest.param({"repository.repo_name": "redis"}, {"repository": "library/redis"}, id="an official image"),
        pytest.param({"callback_url": GONE}, {}, id="no callback"),
    ],
)
def test_a_push(changes: dict[str, object], becomes: dict[str, Any]) -> None:
    assert parse(changes) == pushed(PUSHED, **becomes)


def test_the_time_as_older_payloads_write_it() -> None:
    body = delivery(BODY).body.replace(b"1795394292", b"1.795394292e+09")
    assert dockerhub.parse(delivery(body)) == pushed(PUSHED)


def test_a_signature_is_ignored() -> None:
    assert only_ignored(parse({"push_data.tag": SIGNATURE_TAG}), "a signature")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"push_data.tag": ""}, "the tag is missing", id="empty tag"),
        pytest.param({"push_data.tag": GONE}, "the tag is missing", id="no tag"),
        pytest.param({"push_data.tag": ["v1"]}, "a tag must be a text", id="tag is a list"),
        pytest.param({"push_data.tag": "a b"}, "no tag: a b", id="no tag by the grammar"),
        pytest.param({"repository": GONE}, "the repository is missing", id="no repository"),
        pytest.param({"repository.repo_name": GONE, "repository.name": ""}, "the repository is missing", id="half"),
        pytest.param({"repository.repo_name": "a/b:c"}, "no repository name", id="no name by the grammar"),
    ],
)
def test_an_unusable_push_is_refused(changes: dict[str, object], why: str) -> None:
    assert only_refused(parse(changes), why)


@pytest.mark.parametrize("body", [b"", b"null", [], {}, {"push_data": None}, {"push_data": []}])
def test_another_body_is_malformed(body: object) -> None:
    with pytest.raises(MalformedDelivery, match="Docker Hub"):
        dockerhub.parse(delivery(body))


@pytest.mark.parametrize(
    ("body", "known"),
    [(BODY, True), (changed(BODY, {"repository.region": "cn-hangzhou"}), False), ({}, False), (b"", False)],
    ids=["push", "Alibaba's", "another product", "empty"],
)
def test_recognises(body: object, known: bool) -> None:
    assert dockerhub.recognises(delivery(body)) is known
