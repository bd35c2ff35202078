"""Alibaba Cloud Container Registry, its triggers.

Much like Docker Hub's payload, with a digest and a region.

Facts:
- Nothing is signed and no header can be set: the secret can only be in the URL.
- The host is made of the region, as a personal instance has it. An enterprise instance has a host of its own, which is
  not in the payload: name this one among the registry's `aliases` then.
- `pushed_at` has no zone, so it orders nothing. No id, no media type, nobody's name.
- When it is sent again, and how long an answer is waited for, is not documented.

Documented at https://www.alibabacloud.com/help/en/acr/user-guide/manage-triggers
"""

from __future__ import annotations

from typing import Any, Final

from listener.core.events import Delivery, Parsed, PushEvent
from listener.dialects import payload
from listener.dialects.payload import Findings, Unusable
from listener.errors import MalformedDelivery

_EXPECTED: Final = 'a JSON object with "push_data" and "repository"'


def recognises(delivery: Delivery) -> bool:
    """Tell by the region, which Docker Hub does not have."""
    found = payload.peek_object(delivery)
    return "push_data" in found and bool(payload.text(payload.child(found, "repository"), "region"))


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is no trigger's."""
    found = payload.json_object(delivery, _EXPECTED)
    pushed, repository = found.get("push_data"), found.get("repository")
    if not isinstance(pushed, dict) or not isinstance(repository, dict):
        raise MalformedDelivery(f"expected {_EXPECTED}, the body lacks one of them")
    findings = Findings()
    name = payload.text(repository, "repo_full_name") or _joined(repository)
    tag, digest = payload.text(pushed, "tag"), payload.text(pushed, "digest")
    what = payload.title("push", name, tag, digest)
    try:
        if digest and not pushed.get("tag"):
            findings.ignore(what, payload.BY_DIGEST)
        else:
            findings.push(_push(name, pushed, payload.text(repository, "region").lower()))
    except Unusable as unusable:
        findings.refuse(what, str(unusable))
    return findings.parsed()


def _joined(repository: dict[str, Any]) -> str:
    names = (payload.text(repository, "namespace"), payload.text(repository, "name"))
    return "/".join(names) if all(names) else ""


def _push(name: str, pushed: dict[str, Any], region: str) -> PushEvent:
    return payload.push(
        registry=payload.shown(f"registry.{region}.aliyuncs.com") if region else None,
        repository=name,
        tag=pushed.get("tag"),
        digest=pushed.get("digest"),
    )
