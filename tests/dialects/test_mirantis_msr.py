"""MSR's webhooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from listener.core.events import Parsed, PushEvent
from listener.dialects import mirantis_msr
from listener.errors import MalformedDelivery
from tests.dialects.bodies import DIGEST, GONE, SIGNATURE_TAG, changed, delivery, only_ignored, only_refused, pushed

BODY = {
    "type": "TAG_PUSH",
    "createdAt": "2026-11-23T00:38:14.607337713Z",
    "contents": {
        "namespace": "acme",
        "repository": "web",
        "tag": "v1",
        "digest": DIGEST,
        "imageName": "msr.example.com:4443/acme/web:v1",
        "os": "linux",
        "architecture": "amd64",
        "author": "ci-bot",
        "pushedAt": "2026-11-23T00:38:12Z",
    },
    "location": "/repositories/acme/web/tags/v1",
}
PUSHED = PushEvent(
    registry="msr.example.com:4443",
    repository="acme/web",
    tag="v1",
    digest=DIGEST,
    media_type=None,
    timestamp=datetime(2026, 11, 23, 0, 38, 12, tzinfo=UTC),
    actor="ci-bot",
    event_id=None,
)


def parse(changes: dict[str, object]) -> Parsed:
    return mirantis_msr.parse(delivery(changed(BODY, changes)))


@pytest.mark.parametrize(
    ("changes", "becomes"),
    [
        pytest.param({}, {}, id="as it is"),
        pytest.param({"contents.imageName": "acme/web:v1"}, {"registry": None}, id="no host in the name"),
        pytest.param({"contents.imageName": "other/acme/shop:v1"}, {"registry": None}, id="another name"),
        pytest.param({"contents.imageName": GONE}, {"registry": None}, id="no name"),
        pytest.param(
            {"contents.imageName": f"MSR.example.com/Acme/web@{DIGEST}"}, {"registry": "msr.example.com"}, id="capitals"
        ),
        pytest.param({"contents.digest": ""}, {"digest": None}, id="no digest"),
        pytest.param(
            {"contents.pushedAt": GONE},
            {"timestamp": datetime(2026, 11, 23, 0, 38, 14, 607_337, tzinfo=UTC)},
            id="the time of the event",
        ),
        pytest.param({"contents.author": GONE}, {"actor": None}, id="by nobody"),
    ],
)
def test_a_push(changes: dict[str, object], becomes: dict[str, Any]) -> None:
    assert parse(changes) == pushed(PUSHED, **becomes)


@pytest.mark.parametrize(
    "kind",
    [
        "TAG_PULL",
        "TAG_DELETE",
        "MANIFEST_PUSH",
        "MANIFEST_PULL",
        "MANIFEST_DELETE",
        "SCAN_COMPLETED",
        "SCAN_FAILED",
        "PROMOTION",
        "PUSH_MIRRORING",
        "POLL_MIRRORING",
        "REPO_CREATED",
        "CHART_PUSH",
        "TO_COME",
    ],
)
def test_only_a_pushed_tag_is_a_push(kind: str) -> None:
    assert only_ignored(parse({"type": kind}), "only a TAG_PUSH")
    assert only_ignored(parse({"type": kind, "contents": GONE}), "only a TAG_PUSH")


def test_a_signature_is_ignored() -> None:
    assert only_ignored(parse({"contents.tag": SIGNATURE_TAG}), "a signature")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"contents": GONE}, "the repository is missing", id="no contents"),
        pytest.param({"contents.namespace": GONE}, "the repository is missing", id="half a name"),
        pytest.param({"contents.tag": GONE}, "the tag is missing", id="no tag"),
        pytest.param({"contents.tag": 7}, "a tag must be a text", id="tag is a number"),
        pytest.param({"contents.tag": DIGEST}, "no tag", id="tag is a digest"),
        pytest.param({"contents.digest": "a" * 64}, "the digest is none", id="bare digest"),
        pytest.param({"contents.repository": "a:b"}, "no repository name", id="no name by the grammar"),
    ],
)
def test_an_unusable_push_is_refused(changes: dict[str, object], why: str) -> None:
    assert only_refused(parse(changes), why)


@pytest.mark.parametrize("body", [b"", [], {}, {"type": ["TAG_PUSH"]}])
def test_another_body_is_malformed(body: object) -> None:
    with pytest.raises(MalformedDelivery, match="MSR"):
        mirantis_msr.parse(delivery(body))


@pytest.mark.parametrize(
    ("body", "known"),
    [(BODY, True), ({"type": "TAG_PUSH"}, False), ({"contents": {}}, False), (b"", False)],
    ids=["push", "no contents", "no type", "empty"],
)
def test_recognises(body: object, known: bool) -> None:
    assert mirantis_msr.recognises(delivery(body)) is known
