"""Forgejo's headers. What both forges send is in `test_packages`."""

from __future__ import annotations

import pytest

from listener.core.events import Delivery
from listener.dialects import forgejo

BODY = b'{"action": "created", "package": {"type": "container", "owner": {"login": "a"}, "name": "b", "version": "c"}}'


def test_its_own_headers_count() -> None:
    headers = {
        "x-forgejo-event": "package",
        "x-forgejo-delivery": "ours",
        "x-gitea-event": "push",
        "x-gitea-delivery": "theirs",
    }
    (push,) = forgejo.parse(Delivery(headers, {}, BODY)).pushes
    assert push.event_id == "ours"


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        pytest.param({"x-forgejo-event": "package"}, True, id="package"),
        pytest.param({"x-forgejo-event": "push", "x-github-event": "push"}, True, id="another event"),
        pytest.param({"x-github-event": "package"}, False, id="GitHub"),
        pytest.param({}, False, id="no header"),
    ],
)
def test_recognises(headers: dict[str, str], known: bool) -> None:
    assert forgejo.recognises(Delivery(headers, {}, BODY)) is known
