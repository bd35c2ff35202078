"""Gitea's headers. What both forges send is in `test_packages`."""

from __future__ import annotations

import pytest

from listener.core.events import Delivery
from listener.dialects import gitea

BODY = b'{"action": "created", "package": {"type": "container", "owner": {"login": "a"}, "name": "b", "version": "c"}}'


def test_its_own_headers_count() -> None:
    headers = {
        "x-gitea-event": "package",
        "x-gitea-delivery": "ours",
        "x-forgejo-event": "push",
        "x-forgejo-delivery": "theirs",
    }
    (push,) = gitea.parse(Delivery(headers, {}, BODY)).pushes
    assert push.event_id == "ours"


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        pytest.param({"x-gitea-event": "package"}, True, id="package"),
        pytest.param({"x-gitea-event": "push", "x-github-event": "push"}, True, id="another event"),
        pytest.param({"x-github-event": "package"}, False, id="GitHub"),
        pytest.param({}, False, id="no header"),
    ],
)
def test_recognises(headers: dict[str, str], known: bool) -> None:
    assert gitea.recognises(Delivery(headers, {}, BODY)) is known
