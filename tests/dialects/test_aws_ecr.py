"""Events of Amazon ECR: as they are, in lists, and transformed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from listener.core.events import Delivery, Parsed, PushEvent
from listener.dialects import aws_ecr
from listener.errors import MalformedDelivery

DIGEST = "sha256:" + "a" * 64
INDEX = "application/vnd.oci.image.index.v1+json"
HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
PUSHED = PushEvent(HOST, "team/web", "v1", DIGEST, None, datetime(2026, 11, 23, 0, 38, 12, tzinfo=UTC), None, "e-1")


def event(detail: dict[str, object] | None = None, **changes: object) -> dict[str, Any]:
    return {
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
        }
        | (detail or {}),
    } | changes


def transformed(data: dict[str, object] | None = None, **changes: object) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "e-1",
        "type": "com.amazon.ecr.image.push",
        "source": "urn:aws:ecr:eu-west-1:123456789012:repository/team/web",
        "time": "2026-11-23T00:38:12Z",
        "data": {"repositoryName": "team/web", "imageDigest": DIGEST, "imageTag": "v1", "registryId": "123456789012"}
        | (data or {}),
    } | changes


def delivery(body: object) -> Delivery:
    return Delivery({}, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def parse(body: object) -> Parsed:
    return aws_ecr.parse(delivery(body))


@pytest.mark.parametrize(
    ("body", "becomes"),
    [
        pytest.param(event(), {}, id="event"),
        pytest.param([event()], {}, id="list"),
        pytest.param(transformed(), {}, id="transformed"),
        pytest.param([transformed()], {}, id="transformed, in a list"),
        pytest.param(
            transformed({"registryId": None, "repositoryName": ""}), {}, id="transformed, named by the source"
        ),
        pytest.param(transformed({"registryId": 7}), {}, id="transformed, the account by the source alone"),
        pytest.param(event({"manifest-media-type": INDEX}), {"media_type": INDEX}, id="media type"),
        pytest.param(event({"artifact-media-type": "application/x"}), {}, id="the configuration's type does not count"),
        pytest.param(event({"image-digest": ""}), {"digest": None}, id="no digest"),
        pytest.param(event(time="soon"), {"timestamp": None}, id="no time"),
        pytest.param(
            event(region="cn-northwest-1"),
            {"registry": "123456789012.dkr.ecr.cn-northwest-1.amazonaws.com.cn"},
            id="China",
        ),
    ],
)
def test_a_push(body: object, becomes: dict[str, Any]) -> None:
    assert aws_ecr.recognises(delivery(body))
    wanted = PUSHED._asdict() | becomes
    assert parse(body) == Parsed((PushEvent(**wanted),))


@pytest.mark.parametrize(
    ("found", "why"),
    [
        pytest.param(event({"action-type": "DELETE"}), "only a PUSH", id="deletion"),
        pytest.param(event({"result": "FAILURE"}), "FAILURE", id="failed"),
        pytest.param(event({"result": None}), "no result", id="no result"),
        pytest.param(event({"image-tag": None}), "by digest", id="by digest"),
        pytest.param(event({"image-tag": ""}), "by digest", id="empty tag"),
        pytest.param(event({"manifest-media-type": "application/x"}), "no image manifest", id="no manifest"),
        pytest.param(event({"image-tag": f"sha256-{'a' * 64}.sig"}), "signature", id="signature"),
        *(
            pytest.param(event() | {"detail-type": title}, "tells of a push", id=title)
            for title in ("ECR Image Scan", "ECR Scan Resource Change", "ECR Pull Through Cache Action", "to come")
        ),
        pytest.param(event(source="aws.s3"), "of aws.s3", id="of another service"),
        pytest.param(transformed(type="com.amazon.ecr.image.delete"), "moves a tag", id="transformed deletion"),
        pytest.param(transformed(type="com.other"), "not of aws.ecr", id="another's CloudEvent"),
        pytest.param(transformed({"imageTag": ""}), "by digest", id="transformed, by digest"),
    ],
)
def test_what_is_not_for_us_is_ignored(found: dict[str, Any], why: str) -> None:
    parsed = parse(found)
    assert (parsed.pushes, parsed.refused) == ((), ())
    assert why in parsed.ignored[0].why
    assert len(parse([found, event()]).pushes) == 1


@pytest.mark.parametrize(
    ("found", "why"),
    [
        pytest.param(event(account=None), "account or the region", id="no account"),
        pytest.param(event(region=""), "account or the region", id="no region"),
        pytest.param(event(account=123456789012), "the account must be a text", id="account is a number"),
        pytest.param(event(region=["eu-west-1"]), "the region must be a text", id="region is a list"),
        pytest.param(event(account="a/b"), "make no host of a registry", id="an account with a path"),
        pytest.param(event(region="9" * 250), "make no host of a registry", id="a region without an end"),
        pytest.param(event({"repository-name": None}), "repository is missing", id="no repository"),
        pytest.param(event({"image-tag": 7}), "a tag must be a text", id="tag is a number"),
        pytest.param(event({"image-digest": "sha256:short"}), "digest is none", id="short digest"),
        pytest.param(transformed(source="x"), "account or the region", id="transformed, no region"),
        pytest.param(
            transformed({"registryId": 7}, source="x"), "the account must be a text", id="transformed, account a number"
        ),
        pytest.param(transformed({"imageTag": 7}), "a tag must be a text", id="transformed, tag is a number"),
        pytest.param(7, '"detail-type"', id="a number"),
        pytest.param({}, '"detail-type"', id="empty"),
    ],
)
def test_a_bad_event_is_refused_alone(found: object, why: str) -> None:
    parsed = parse([found, event()])
    assert parsed.pushes == (PUSHED,)
    assert why in parsed.refused[0].why


@pytest.mark.parametrize("body", [b"", b"x", b"{}", b"7", b'{"events": []}'])
def test_what_is_no_event_and_no_list_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedDelivery, match="EventBridge"):
        parse(body)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'[{"eventType": "x"}]', b"\xff", b'{"specversion":"1.0","type":"x"}'])
def test_does_not_take_others_for_its_own(body: bytes) -> None:
    assert not aws_ecr.recognises(delivery(body))
