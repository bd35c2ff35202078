"""Deliveries of CNCF Distribution: recorded ones, and those a stranger might make up."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.core import references
from listener.core.events import Delivery, Parsed, PushEvent
from listener.dialects import distribution
from listener.errors import MalformedDelivery

SAMPLES = Path(__file__).parent / "samples" / "distribution"
INDEX: list[dict[str, Any]] = json.loads((SAMPLES / "index.json").read_bytes())["files"]
V1 = "application/vnd.docker.distribution.events.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DIGEST = "sha256:" + "a" * 64


def delivery(body: bytes, content_type: str | None = V1) -> Delivery:
    return Delivery({"content-type": content_type} if content_type else {}, {}, body)


def parse(*events: object) -> Parsed:
    return distribution.parse(delivery(json.dumps({"events": events}).encode()))


def push(**changes: object) -> dict[str, Any]:
    """An ordinary push by tag; `target__tag=...` changes a member of a member, None takes it away."""
    event: dict[str, Any] = {
        "id": "e-1",
        "timestamp": "2026-11-23T00:38:06.082777999Z",
        "action": "push",
        "target": {"mediaType": MANIFEST, "digest": DIGEST, "repository": "shop/web", "tag": "v1"},
        "request": {"host": "r.io", "method": "PUT"},
        "actor": {"name": "ci-bot"},
    }
    for path, value in changes.items():
        holder, _, key = path.rpartition("__")
        place = event[holder] if holder else event
        if value is None:
            del place[key]
        else:
            place[key] = value
    return event


PUSHED = PushEvent(
    registry="r.io",
    repository="shop/web",
    tag="v1",
    digest=DIGEST,
    media_type=MANIFEST,
    timestamp=datetime(2026, 11, 23, 0, 38, 6, 82_777, tzinfo=UTC),
    actor="ci-bot",
    event_id="e-1",
)


def expected(found: dict[str, Any]) -> PushEvent:
    return PushEvent(**{**found, "timestamp": datetime.fromisoformat(found["timestamp"])})


@pytest.mark.parametrize("sample", INDEX, ids=lambda sample: sample["file"])
def test_recorded_deliveries(sample: dict[str, Any]) -> None:
    received = delivery((SAMPLES / sample["file"]).read_bytes(), sample["content_type"])
    assert distribution.recognises(received)

    parsed = distribution.parse(received)

    by_tag = tuple(expected(found) for found in sample["expect"] if found["tag"])
    assert parsed.pushes == by_tag
    assert parsed.refused == ()
    events = json.loads(received.body).get("events") or []
    assert len(parsed.ignored) == len(events) - len(by_tag)


def test_every_sample_is_in_the_index_and_every_kind_is_there() -> None:
    assert {path.name for path in SAMPLES.glob("*.json")} == {sample["file"] for sample in INDEX} | {"index.json"}
    assert {"tag-push", "digest-push", "blob-push", "pull", "mount", "delete"} <= {sample["kind"] for sample in INDEX}


@pytest.mark.parametrize("body", [b"{}", b'{"events": null}', b'{"events": []}', b'\xef\xbb\xbf{"events": []}'])
def test_an_empty_envelope_is_legal(body: bytes) -> None:
    assert distribution.parse(delivery(body)) == Parsed()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"events=1", "no JSON", id="a form"),
        pytest.param(b'{"events": [', "no JSON", id="cut off"),
        pytest.param(b"\xff\xfe\xfd", "no JSON", id="no UTF"),
        pytest.param(b"[]", "no object", id="list"),
        pytest.param(b"null", "no object", id="null"),
        pytest.param(b'"events"', "no object", id="text"),
        pytest.param(b'{"events": {}}', "must be a list", id="events is an object"),
        pytest.param(b'{"events": "x"}', "must be a list", id="events is a text"),
        pytest.param(b'{"events": 0}', "must be a list", id="events is a number"),
        pytest.param(b'{"events":' + b"[" * 10_000, "nested too deeply", id="lists in lists"),
        pytest.param(b'{"events":' + b'{"a":' * 10_000, "nested too deeply", id="objects in objects"),
        pytest.param(b'{"events": [' + b"9" * 5_000 + b"]}", "no JSON", id="a number too long for Python"),
        pytest.param(b'{"events": [' + b",".join([b"0"] * 10_001) + b"]}", "at most 10000", id="too many events"),
    ],
)
def test_a_body_that_is_no_envelope_says_what_was_expected(body: bytes, told: str) -> None:
    with pytest.raises(MalformedDelivery, match=told) as caught:
        distribution.parse(delivery(body))
    assert "events" in str(caught.value)
    assert len(str(caught.value)) < 512


@pytest.mark.parametrize(
    ("event", "becomes"),
    [
        pytest.param(push(), {}, id="as it is"),
        pytest.param(push(target__digest=None), {"digest": None}, id="the digest is none"),
        pytest.param(push(target__digest=""), {"digest": None}, id="empty digest"),
        pytest.param(push(request=None), {"registry": None}, id="no request"),
        pytest.param(push(request__host=""), {"registry": None}, id="empty host"),
        pytest.param(
            push(request__host="Reg.Internal:5000"), {"registry": "reg.internal:5000"}, id="host in lower case"
        ),
        pytest.param(
            push(request__host="a\nb"), {"registry": "a\ufffdb"}, id="an invented host stays recognisably wrong"
        ),
        pytest.param(push(actor={}), {"actor": None}, id="anonymous"),
        pytest.param(push(actor="root"), {"actor": None}, id="actor of another type"),
        pytest.param(push(actor__name="x\x1b[0m"), {"actor": "x\ufffd[0m"}, id="actor with an escape"),
        pytest.param(push(id=None), {"event_id": None}, id="no id"),
        pytest.param(push(timestamp="soon"), {"timestamp": None}, id="no time"),
        pytest.param(push(timestamp=float("inf")), {"timestamp": None}, id="time is a number"),
        pytest.param(push(target__size=float("nan"), target__length=1e308), {}, id="odd numbers"),
        pytest.param(push(target__repository="Shop/Web"), {}, id="repository in lower case"),
        pytest.param(push(target__tag="Latest"), {"tag": "Latest"}, id="case of a tag is kept"),
        pytest.param(push(new={"a": [1]}, target__platform={"os": "linux"}), {}, id="unknown fields"),
        *(
            pytest.param(push(target__mediaType=kind), {"media_type": kind}, id=kind)
            for kind in (
                "application/vnd.oci.image.index.v1+json",
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.distribution.manifest.list.v2+json",
                "application/vnd.docker.distribution.manifest.v1+json",
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
            )
        ),
    ],
)
def test_a_push_by_tag(event: dict[str, Any], becomes: dict[str, Any]) -> None:
    parsed = parse(event)
    wanted = PUSHED._asdict() | becomes
    assert parsed == Parsed((PushEvent(**wanted),), (), ())


@pytest.mark.parametrize(
    ("event", "what", "why"),
    [
        pytest.param(push(action="pull"), "pull shop/web:v1", "only a push", id="pull, HEAD too"),
        pytest.param(push(action="mount"), "mount shop/web:v1", "only a push", id="mount"),
        pytest.param(push(action="delete"), "delete shop/web:v1", "only a push", id="delete"),
        pytest.param(push(action="scan"), "scan shop/web:v1", "only a push", id="an action to come"),
        pytest.param(
            push(target__mediaType="application/octet-stream", target__tag=None),
            f"push shop/web@{DIGEST}",
            "application/octet-stream is no image manifest",
            id="layer",
        ),
        pytest.param(
            push(target__mediaType="application/vnd.oci.artifact.manifest.v1+json"),
            "push shop/web:v1",
            "is no image manifest",
            id="artifact manifest",
        ),
        pytest.param(
            push(target__mediaType="", target__tag=""), f"push shop/web@{DIGEST}", "a blob", id="neither type nor tag"
        ),
        pytest.param(push(target__tag=None), f"push shop/web@{DIGEST}", "pushed by digest", id="child of an index"),
        pytest.param(push(target__tag=""), f"push shop/web@{DIGEST}", "pushed by digest", id="empty tag"),
        pytest.param(push(target=None), "push unnamed repository", "a blob", id="a push of nothing"),
    ],
)
def test_what_is_not_for_us_is_ignored(event: dict[str, Any], what: str, why: str) -> None:
    parsed = parse(event)
    assert (parsed.pushes, parsed.refused) == ((), ())
    (remark,) = parsed.ignored
    assert remark.what == what
    assert why in remark.why


@pytest.mark.parametrize(
    ("event", "why"),
    [
        pytest.param("push", "must be a JSON object", id="a text"),
        pytest.param(None, "must be a JSON object", id="null"),
        pytest.param({}, '"action" is missing', id="empty"),
        pytest.param(push(action=1), '"action" is missing', id="action is a number"),
        pytest.param(push(target__mediaType=None), '"target.mediaType" is missing', id="no media type, but a tag"),
        pytest.param(push(target__repository=None), "the repository is missing", id="no repository"),
        pytest.param(push(target__repository=["a"]), "the repository is missing", id="repository is a list"),
        pytest.param(push(target__repository="a/../b"), "no repository name: a/../b", id="path traversal"),
        pytest.param(push(target__repository="a:b"), "no repository name", id="repository with a tag"),
        pytest.param(push(target__repository="a" * 5_000), "no repository name", id="endless repository"),
        pytest.param(push(target__tag=7), "a tag must be a text", id="tag is a number"),
        pytest.param(push(target__tag=DIGEST), "no tag: ", id="tag is a digest"),
        pytest.param(push(target__tag="a/b"), "no tag: ", id="tag with a slash"),
        pytest.param(push(target__tag="v1\n"), "no tag: ", id="tag with a line end"),
        pytest.param(push(target__tag="\ud800"), "no tag: ", id="half a character"),
        pytest.param(push(target__digest="sha256:short"), "the digest is none", id="short digest"),
        pytest.param(push(target__digest="sha256:" + "A" * 64), "the digest is none", id="upper-case digest"),
        pytest.param(push(target__digest=7), "the digest is none", id="digest is a number"),
    ],
)
def test_an_unusable_push_is_refused_alone(event: object, why: str) -> None:
    parsed = parse(push(), event, push(action="pull"))
    assert parsed.pushes == (PUSHED,)
    assert len(parsed.ignored) == 1
    (remark,) = parsed.refused
    assert why in remark.why
    assert remark.what.isprintable()
    assert len(remark.what) <= 256
    assert len(remark.why) <= 256


def test_an_event_without_a_name_is_told_by_its_position() -> None:
    (remark,) = parse(push(), "x").refused
    assert remark.what == "events[1]"


def test_the_same_digest_under_several_tags_is_several_pushes_in_order() -> None:
    assert [found.tag for found in parse(*(push(target__tag=tag) for tag in "cab")).pushes] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("content_type", "body", "known"),
    [
        pytest.param(V1, b"garbage", True, id="v1"),
        pytest.param("application/vnd.docker.distribution.events.v2+json; charset=utf-8", b"", True, id="v2, charset"),
        pytest.param("Application/VND.docker.distribution.events.v1+json", b"", True, id="another case"),
        pytest.param("application/json", b'{"events": []}', True, id="a proxy rewrote the type"),
        pytest.param(None, b'{"events": null}', True, id="a proxy dropped the type"),
        pytest.param("application/json", b"{}", False, id="an empty envelope could be anybody's"),
        pytest.param("application/json", b'{"push_data": {}}', False, id="another product"),
        pytest.param("application/json", b"[]", False, id="list"),
        pytest.param("application/json", b"[" * 10_000, False, id="deep nesting"),
        pytest.param(None, b"\xff", False, id="no JSON"),
    ],
)
def test_recognises(content_type: str | None, body: bytes, known: bool) -> None:
    assert distribution.recognises(delivery(body, content_type)) is known


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["push", MANIFEST, DIGEST]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["action", "target", "tag", "host", "name", "events", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
near_events = st.fixed_dictionaries(
    {"action": st.just("push") | json_values},
    optional={
        "id": json_values,
        "timestamp": st.datetimes().map(datetime.isoformat) | json_values,
        "request": st.fixed_dictionaries({}, optional={"host": json_values}) | json_values,
        "actor": st.fixed_dictionaries({}, optional={"name": json_values}) | json_values,
        "target": st.fixed_dictionaries(
            {},
            optional={
                "mediaType": st.just(MANIFEST) | json_values,
                "repository": st.text("abA/.:", max_size=8) | json_values,
                "tag": st.text("ab1.-:", max_size=5) | json_values,
                "digest": st.just(DIGEST) | json_values,
            },
        )
        | json_values,
    },
)


@given(
    st.builds(lambda events: json.dumps({"events": events}).encode(), st.lists(near_events | json_values, max_size=6))
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=200)
)
def test_any_body_is_parsed_or_malformed(body: bytes) -> None:
    try:
        parsed = distribution.parse(delivery(body))
    except MalformedDelivery:
        return
    envelope = json.loads(body)
    if envelope and "events" not in envelope:
        assert [remark.what for remark in parsed.ignored] == ["the delivery"]
    else:
        events = envelope.get("events") or []
        assert len(parsed.pushes) + len(parsed.ignored) + len(parsed.refused) == len(events)
    for found in parsed.pushes:
        assert references.is_repository(found.repository)
        assert references.is_tag(found.tag)
        assert found.digest is None or references.is_digest(found.digest)
    for remark in (*parsed.ignored, *parsed.refused):
        assert remark.what.isprintable()
        assert remark.why.isprintable()
        assert len(remark.what) + len(remark.why) <= 512
