"""Our own words, as people write them, and the mistakes they make."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from listener.core.events import Delivery, Parsed, PushEvent
from listener.dialects import generic
from listener.errors import MalformedDelivery

DIGEST = "sha256:" + "a" * 64
INDEX = "application/vnd.oci.image.index.v1+json"
NOTHING = PushEvent(None, "team/web", "v1", None, None, None, None, None)


def delivery(body: object) -> Delivery:
    return Delivery({}, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def parse(body: object) -> Parsed:
    return generic.parse(delivery(body))


def said(**members: object) -> dict[str, object]:
    return {"repository": "team/web", "tag": "v1"} | members


@pytest.mark.parametrize(
    ("body", "becomes"),
    [
        pytest.param(said(), {}, id="as short as it gets"),
        pytest.param(said(tag="V1", repository="Team/Web"), {"tag": "V1"}, id="repository in lower case, not the tag"),
        pytest.param(said(digest=DIGEST), {"digest": DIGEST}, id="digest"),
        pytest.param(said(registry="R.io:5000"), {"registry": "r.io:5000"}, id="registry"),
        pytest.param(
            said(registry="r.io", repository="a.b/web"), {"registry": "r.io", "repository": "a.b/web"}, id="dots"
        ),
        pytest.param(said(mediaType=INDEX), {"media_type": INDEX}, id="media type"),
        pytest.param(said(media_type=INDEX.upper()), {"media_type": INDEX}, id="media type, the other spelling"),
        pytest.param(
            said(timestamp="2026-11-23T01:38:12+01:00"),
            {"timestamp": datetime(2026, 11, 23, 0, 38, 12, tzinfo=UTC)},
            id="time",
        ),
        pytest.param(said(actor="me\n", id="17"), {"actor": "me\ufffd", "event_id": "17"}, id="actor and id"),
        pytest.param(said(digest=None, registry="", actor=None, timestamp=""), {}, id="empty is absent"),
        pytest.param(said(commit="abc", size=7), {}, id="more than we know"),
        pytest.param({"repository": "r.io/team/web:v1"}, {"registry": "r.io"}, id="reference"),
        pytest.param(
            {"repository": f"R.io:5000/Team/Web:V1@{DIGEST}"},
            {"registry": "r.io:5000", "tag": "V1", "digest": DIGEST},
            id="whole reference",
        ),
        pytest.param(
            {"repository": f"localhost/team/web@{DIGEST}", "tag": "v1"},
            {"registry": "localhost", "digest": DIGEST},
            id="reference by digest, and a tag",
        ),
        pytest.param({"repository": "r.io/team/web:v1", "tag": "v1"}, {"registry": "r.io"}, id="the tag twice"),
    ],
)
def test_a_push(body: dict[str, object], becomes: dict[str, Any]) -> None:
    assert generic.recognises(delivery(body))
    wanted = NOTHING._asdict() | becomes
    assert parse(body) == Parsed((PushEvent(**wanted),))
    assert parse([body]) == parse(body)


def test_every_push_of_a_list_counts_in_order() -> None:
    assert [push.tag for push in parse([said(tag=tag) for tag in "cab"]).pushes] == ["c", "a", "b"]


def test_an_empty_list_is_nothing() -> None:
    assert parse([]) == Parsed()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(said(mediaType="application/vnd.cncf.helm.config.v1+json"), id="no manifest"),
        pytest.param(said(tag=f"sha256-{'a' * 64}.sig"), id="signature"),
    ],
)
def test_what_is_not_for_us_is_ignored(body: object) -> None:
    parsed = parse(body)
    assert (parsed.pushes, parsed.refused) == ((), ())
    assert parsed.ignored[0].what.startswith("push team/web:")


@pytest.mark.parametrize(
    ("entry", "what", "why"),
    [
        pytest.param(7, "[0]", "must be a JSON object", id="a number"),
        pytest.param({}, "[0]", '"repository" is missing (there is nothing)', id="empty"),
        pytest.param({"repo": "a", "tag": "b"}, "[0]", 'there is "repo", "tag"', id="a name misspelt"),
        pytest.param(said(repository=["a"]), "[0]", '"repository" must be a text', id="repository is a list"),
        pytest.param({"repository": "team/web"}, "push team/web", "the tag is missing", id="no tag"),
        pytest.param(
            {"repository": "team/web", "digest": DIGEST}, "push team/web", "the tag is missing", id="by digest"
        ),
        pytest.param(said(tag=1.2), "push team/web", '"tag" must be a text, in quotes', id="tag is a number"),
        pytest.param(said(tag="a b"), "push team/web:a b", "no tag: a b", id="no tag's grammar"),
        pytest.param(said(digest="sha256:abc"), "push team/web:v1", "digest is none", id="short digest"),
        pytest.param(said(digest=7), "push team/web:v1", '"digest" must be a text', id="digest is a number"),
        pytest.param(said(registry="https://r.io"), "push team/web:v1", "is no host", id="registry is a URL"),
        pytest.param(said(registry="r.io/team"), "push team/web:v1", "is no host", id="registry with a path"),
        pytest.param(
            said(registry="r.io", repository="R.io/web"),
            "push R.io/web:v1",
            "begins with the registry",
            id="host twice",
        ),
        pytest.param(
            said(registry="r.io", repository="web:v1"), "push web:v1:v1", "no repository name", id="tag inside"
        ),
        pytest.param(said(repository="r.io/web:v2"), "push r.io/web:v2:v1", "names the tag v2", id="two tags"),
        pytest.param(
            said(repository=f"r.io/web@{DIGEST}", digest="sha256:" + "b" * 64),
            f"push r.io/web@{DIGEST}:v1",
            "names the digest",
            id="two digests",
        ),
        pytest.param(said(repository="a/../b"), "push a/../b:v1", "no image reference", id="path traversal"),
        pytest.param(said(repository="https://r.io/web"), "push https://r.io/web:v1", "no image reference", id="URL"),
        pytest.param(said(timestamp="yesterday"), "push team/web:v1", "no time with a zone", id="no time"),
        pytest.param(said(timestamp="2026-11-23T00:38:12"), "push team/web:v1", "no time with a zone", id="no zone"),
        pytest.param(said(timestamp=1763858292), "push team/web:v1", '"timestamp" must be a text', id="seconds"),
        pytest.param(said(mediaType=7), "push team/web:v1", '"mediaType" must be a text', id="type is a number"),
        pytest.param(said(actor={}), "push team/web:v1", '"actor" must be a text', id="actor is an object"),
    ],
)
def test_a_mistake_is_told_and_refused_alone(entry: object, what: str, why: str) -> None:
    parsed = parse([entry, said()])
    assert parsed.pushes == (NOTHING,)
    (remark,) = parsed.refused
    assert remark.what == what[:255] + "…" if len(what) > 256 else remark.what == what
    assert why in remark.why


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"{'repository': 'team/web'}", "no JSON", id="single quotes"),
        pytest.param(b"repository=team/web&tag=v1", "no JSON", id="form"),
        pytest.param(b'"team/web:v1"', "neither", id="a text"),
        pytest.param(b'{"repo": "team/web", "tag": "v1"}', 'no "repository"', id="a name misspelt"),
        pytest.param([7] * 10_001, "at most 10000", id="a list without end"),
    ],
)
def test_what_is_none_of_ours_says_what_was_expected(body: object, told: str) -> None:
    with pytest.raises(MalformedDelivery, match=told):
        parse(body)


@pytest.mark.parametrize(
    ("body", "known"),
    [
        pytest.param(said(), True, id="object"),
        pytest.param([said()], True, id="list"),
        pytest.param({"repository": "team/web"}, True, id="a tag is missing, which is to be told"),
        pytest.param({"repository": {"name": "a"}}, False, id="another's repository"),
        pytest.param([], False, id="empty list"),
        pytest.param(b"x", False, id="no JSON"),
    ],
)
def test_recognises(body: object, known: bool) -> None:
    assert generic.recognises(delivery(body)) is known
