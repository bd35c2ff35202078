"""What is printed, for people and for programs."""

from __future__ import annotations

import json

import pytest
import yaml

from listener.cli import output
from listener.core.history import Condition, TagHistory, TagItem
from listener.core.streams import SpecTag, Stream, StreamKey

A, B, C = ("sha256:" + letter * 64 for letter in "abc")


def item(image: str, reference: str = "", pushed: str = "") -> TagItem:
    return TagItem("2026-01-01T00:00:00Z", reference or f"r.io/web@{image}", image, 3, pushed)


def history(*items: TagItem, waiting: tuple[TagItem, ...] = ()) -> TagHistory:
    return TagHistory("prod", items, waiting=waiting)


def test_a_table_is_aligned_and_has_no_blanks_at_the_end_of_a_line() -> None:
    text = output.table(("TAG", "IMAGE", "X"), [("latest", "a", ""), ("v1", "long one", "y")])
    assert text.split("\n") == [
        "TAG      IMAGE      X",
        "latest   a",
        "v1       long one   y",
    ]


def test_one_tag_for_programs_has_every_field_as_the_api_spells_it() -> None:
    condition = Condition("ImportSuccess", "False", "2026-01-01T00:00:00Z", "NotFound", "no such image", 3)
    known = TagHistory("prod", (item(A, pushed="2026-01-01T00:00:00.000000Z"),), (condition,), (item(B),))
    stream = Stream(StreamKey("shop", "web"), "u", "1", 3, "", "", (SpecTag("prod", hold=A),), (known,))
    expected = {
        "tag": "prod",
        "held": True,
        "heldAt": A,
        "items": [
            {
                "created": "2026-01-01T00:00:00Z",
                "dockerImageReference": f"r.io/web@{A}",
                "image": A,
                "generation": 3,
                "pushed": "2026-01-01T00:00:00.000000Z",
            }
        ],
        "waiting": [
            {
                "created": "2026-01-01T00:00:00Z",
                "dockerImageReference": f"r.io/web@{B}",
                "image": B,
                "generation": 3,
            }
        ],
        "conditions": [
            {
                "type": "ImportSuccess",
                "status": "False",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
                "reason": "NotFound",
                "message": "no such image",
                "generation": 3,
            }
        ],
    }
    found = output.stream_document(stream, ["prod"])
    assert found == {"stream": "web", "namespace": "shop", "tags": [expected]}
    assert json.loads(output.document(found, "json")) == found
    assert yaml.safe_load(output.document(found, "yaml")) == found


@pytest.mark.parametrize(("hold", "held", "at"), [(None, False, None), ("", True, None), (A, True, A)])
def test_whether_a_tag_is_held_and_where(hold: str | None, held: bool, at: str | None) -> None:
    stream = Stream(StreamKey("shop", "web"), "u", "1", 3, "", "", (SpecTag("prod", hold=hold),), ())
    found = output.tag_document(stream, "prod")
    assert (found["held"], found["heldAt"], found["items"], found["waiting"]) == (held, at, [], [])


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        pytest.param(history(item(A)), history(item(B), item(A)), f"moved from {A} to {B}", id="it moved"),
        pytest.param(history(item(A)), history(item(A)), f"unchanged at {A}", id="it stayed"),
        pytest.param(history(), history(item(A)), f"now points at {A}", id="for the first time"),
        pytest.param(history(), history(), "points at nothing yet", id="nothing"),
        pytest.param(
            history(item(A)),
            history(item(A), waiting=(item(C), item(B))),
            f"unchanged at {A}; {C} waits",
            id="it waits",
        ),
        pytest.param(
            history(),
            history(waiting=(item(B),)),
            f"points at nothing yet; {B} waits",
            id="it waits for the first time",
        ),
        pytest.param(
            history(item("", "r.io/web:1")),
            history(item("", "r.io/web:2")),
            "moved from r.io/web:1 to r.io/web:2",
            id="names that are recorded",
        ),
    ],
)
def test_where_a_tag_has_moved(before: TagHistory, after: TagHistory, text: str) -> None:
    assert output.moved_or_waits(before, after) == text


def test_what_waits_is_not_told_where_nobody_asks() -> None:
    assert output.moved(history(item(A)), history(item(B), waiting=(item(C),))) == f"moved from {A} to {B}"
