"""zot's CloudEvents."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from listener.core.events import Parsed, PushEvent
from listener.dialects import zot
from listener.errors import MalformedDelivery
from tests.dialects.bodies import (
    DIGEST,
    GONE,
    MANIFEST,
    SIGNATURE_TAG,
    changed,
    delivery,
    only_ignored,
    only_refused,
    pushed,
)

TEXT = '{"schemaVersion":2,"annotations":{"by":"é"}}'
OWN = "sha256:" + hashlib.sha256(TEXT.encode()).hexdigest()
BODY = {
    "name": "team/web",
    "reference": "v1",
    "digest": OWN,
    "mediaType": MANIFEST,
    "manifest": TEXT,
    "actor": {"name": "ci-bot"},
    "request": {"addr": "203.0.113.30:51822", "method": "PUT", "useragent": "skopeo/1.9.3"},
}
HEADERS = {
    "content-type": "application/json",
    "ce-specversion": "1.0",
    "ce-id": "e-1",
    "ce-source": "zotregistry.dev",
    "ce-type": "zotregistry.image.updated",
    "ce-time": "2026-11-23T00:38:20.123456789Z",
}
PUSHED = PushEvent(
    registry=None,
    repository="team/web",
    tag="v1",
    digest=OWN,
    media_type=MANIFEST,
    timestamp=datetime(2026, 11, 23, 0, 38, 20, 123_456, tzinfo=UTC),
    actor="ci-bot",
    event_id="e-1",
)


def parse(changes: dict[str, object], headers: dict[str, str] | None = None) -> Parsed:
    return zot.parse(delivery(changed(BODY, changes), {**HEADERS, **(headers or {})}))


@pytest.mark.parametrize(
    ("changes", "headers", "becomes"),
    [
        pytest.param({}, {}, {}, id="as it is"),
        pytest.param({"actor": GONE}, {}, {"actor": None}, id="anonymous, or by the sync"),
        pytest.param({"manifest": GONE, "digest": DIGEST}, {}, {"digest": DIGEST}, id="no manifest to check by"),
        pytest.param({"digest": GONE}, {}, {"digest": None}, id="no digest"),
        pytest.param(
            {"digest": "sha512:" + hashlib.sha512(TEXT.encode()).hexdigest()},
            {},
            {"digest": "sha512:" + hashlib.sha512(TEXT.encode()).hexdigest()},
            id="SHA-512",
        ),
        pytest.param({"mediaType": GONE}, {}, {"media_type": None}, id="no media type"),
        pytest.param({}, {"ce-time": "soon"}, {"timestamp": None}, id="no time"),
        pytest.param({}, {"ce-id": "a%20b"}, {"event_id": "a b"}, id="header values are percent-encoded"),
        pytest.param({}, {"ce-type": "zotregistry%2Eimage.updated"}, {}, id="the type too"),
        pytest.param({}, {"ce-type": "com.example.registry.image.updated"}, {}, id="a typePrefix of one's own"),
    ],
)
def test_a_push(changes: dict[str, object], headers: dict[str, str], becomes: dict[str, Any]) -> None:
    assert parse(changes, headers) == pushed(PUSHED, **becomes)


def test_a_push_in_one_piece_as_a_broker_sends_it_on() -> None:
    body = {
        "specversion": "1.0",
        "type": "zotregistry.image.updated",
        "source": "zotregistry.dev",
        "id": "e-1",
        "time": HEADERS["ce-time"],
        "data": BODY,
    }
    found = delivery(body, {"content-type": "application/cloudevents+json"})
    assert zot.recognises(found)
    assert zot.parse(found) == pushed(PUSHED)


@pytest.mark.parametrize(
    "kind",
    [
        "zotregistry.repository.created",
        "zotregistry.image.deleted",
        "zotregistry.image.lint_failed",
        "zotregistry.image.scanned",
        "zotregistry.image.to_come",
    ],
)
def test_only_an_updated_image_is_a_push(kind: str) -> None:
    assert only_ignored(parse({}, {"ce-type": kind}), "only an updated image")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"reference": OWN}, "by digest", id="by digest"),
        pytest.param({"reference": ""}, "by digest", id="empty reference"),
        pytest.param({"reference": GONE}, "by digest", id="no reference"),
        pytest.param({"reference": SIGNATURE_TAG}, "a signature", id="signature"),
        pytest.param({"mediaType": "application/octet-stream"}, "is no image manifest", id="no manifest"),
    ],
)
def test_what_no_workload_can_follow_is_ignored(changes: dict[str, object], why: str) -> None:
    assert only_ignored(parse(changes), why)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"digest": DIGEST}, "not that of the manifest", id="another manifest's digest"),
        pytest.param({"manifest": TEXT + "\ud800"}, "not that of the manifest", id="half a character"),
        pytest.param({"digest": "sha256:short"}, "the digest is none", id="short digest"),
        pytest.param({"name": GONE}, "the repository is missing", id="no name"),
        pytest.param({"name": "/team"}, "no repository name", id="no name by the grammar"),
        pytest.param({"reference": 7}, "a tag must be a text", id="reference is a number"),
        pytest.param({"reference": "a/b"}, "no tag", id="no tag by the grammar"),
    ],
)
def test_an_unusable_push_is_refused(changes: dict[str, object], why: str) -> None:
    assert only_refused(parse(changes), why)


@pytest.mark.parametrize("body", [b"", [], "x"], ids=["nothing", "list", "text"])
def test_an_event_about_nothing(body: object) -> None:
    parsed = zot.parse(delivery(body, HEADERS))
    assert (parsed.pushes, parsed.refused) == ((), ())
    assert parsed.ignored


@pytest.mark.parametrize(
    ("body", "headers"),
    [(BODY, {}), (b"{", HEADERS), ({"specversion": "1.0"}, {})],
    ids=["no CloudEvent", "no JSON", "half a CloudEvent"],
)
def test_another_body_is_malformed(body: object, headers: dict[str, str]) -> None:
    with pytest.raises(MalformedDelivery, match="zot"):
        zot.parse(delivery(body, headers))


def test_recognises() -> None:
    assert zot.recognises(delivery(b"", HEADERS))
    assert not zot.recognises(delivery(BODY, {**HEADERS, "ce-type": "harbor.artifact.pushed"}))
    assert not zot.recognises(delivery(BODY))
