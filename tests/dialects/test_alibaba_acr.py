"""Alibaba's triggers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from listener.core.events import Delivery, Parsed, PushEvent
from listener.dialects import alibaba_acr
from listener.errors import MalformedDelivery

DIGEST = "sha256:" + "a" * 64
PUSHED = PushEvent("registry.cn-hangzhou.aliyuncs.com", "acme/web", "V1", DIGEST, None, None, None, None)


def trigger(repository: dict[str, object] | None = None, **pushed: object) -> dict[str, Any]:
    return {
        "push_data": {"digest": DIGEST, "pushed_at": "2026-11-23 08:38:12", "tag": "V1"} | pushed,
        "repository": {"name": "web", "namespace": "acme", "region": "cn-hangzhou", "repo_full_name": "acme/web"}
        | (repository or {}),
    }


def parse(body: object) -> Parsed:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return alibaba_acr.parse(Delivery({}, {}, raw))


@pytest.mark.parametrize(
    ("body", "becomes"),
    [
        pytest.param(trigger(), {}, id="as it is"),
        pytest.param(trigger({"repo_full_name": ""}), {}, id="named in two parts"),
        pytest.param(trigger(digest=None), {"digest": None}, id="no digest"),
        pytest.param(trigger({"region": ""}), {"registry": None}, id="no region"),
        pytest.param(
            trigger({"region": "CN-Beijing"}), {"registry": "registry.cn-beijing.aliyuncs.com"}, id="host in lower case"
        ),
    ],
)
def test_a_push(body: object, becomes: dict[str, Any]) -> None:
    wanted = PUSHED._asdict() | becomes
    assert parse(body) == Parsed((PushEvent(**wanted),))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(trigger(tag=""), id="by digest"),
        pytest.param(trigger(tag=f"sha256-{'a' * 64}.att"), id="attestation"),
    ],
)
def test_what_is_not_for_us_is_ignored(body: object) -> None:
    parsed = parse(body)
    assert (parsed.pushes, parsed.refused) == ((), ())
    assert len(parsed.ignored) == 1


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(trigger(tag="", digest=""), "tag is missing", id="a push of nothing"),
        pytest.param(trigger(tag=7), "a tag must be a text", id="tag is a number"),
        pytest.param(trigger({"repo_full_name": "", "name": ""}), "repository is missing", id="no name"),
        pytest.param(trigger({"repo_full_name": "a:b"}), "no repository name", id="no name's grammar"),
        pytest.param(trigger(digest="md5:1"), "digest is none", id="another digest"),
    ],
)
def test_an_unusable_push_is_refused(body: object, why: str) -> None:
    assert why in parse(body).refused[0].why


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b"{}", b'{"push_data": {}}', b'{"push_data": [], "repository": {}}']
)
def test_what_is_no_trigger_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedDelivery, match='"push_data" and "repository"'):
        parse(body)


@pytest.mark.parametrize(
    ("body", "known"),
    [
        pytest.param(trigger(), True, id="Alibaba"),
        pytest.param({"push_data": {}, "repository": {"repo_name": "acme/web"}}, False, id="Docker Hub"),
        pytest.param({"repository": {"region": "x"}}, False, id="no push"),
        pytest.param([], False, id="list"),
    ],
)
def test_recognises(body: object, known: bool) -> None:
    assert alibaba_acr.recognises(Delivery({}, {}, json.dumps(body).encode())) is known
