"""An event of Amazon ECR, as EventBridge hands it on and as a documented input transformer writes it (a CloudEvent).

Facts:
- The event names account and region, and from these the host is made; China has a domain of its own.
- ECR sends to EventBridge by "best effort": some are never sent. `id` stays the same on a retry.
- Deletions and failed pushes are `ECR Image Action` as well; scans, replications and cache fills have other titles.
- `artifact-media-type` is that of the image's configuration; the manifest's came later and may be absent. Nothing
  says who pushed.

Documented at https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html
"""

from __future__ import annotations

import re
from typing import Any, Final

from listener.core import events, references
from listener.core.events import PushEvent
from listener.dialects import cloud_events, payload
from listener.dialects.payload import Findings, Unusable

TRANSFORMED: Final = "com.amazon.ecr."
_LONGEST_HOST: Final = 253
_PUSH: Final = "com.amazon.ecr.image.push"
_SOURCE: Final = "aws.ecr"
_TITLE: Final = "ECR Image Action"
_URN: Final = re.compile(r"(?:urn|arn):aws[a-z-]*:ecr:([^:]*):([^:]*):repository/(.*)")


def is_event(found: object) -> bool:
    """Whether this is an event of ECR, in either way."""
    if cloud_events.is_event(found):
        return isinstance(found, dict) and payload.text(found, "type").startswith(TRANSFORMED)
    return isinstance(found, dict) and payload.text(found, "source") == _SOURCE


def take(found: dict[str, Any], findings: Findings) -> None:
    """Add what one event says."""
    if cloud_events.is_event(found):
        _take_transformed(found, findings)
        return
    detail = payload.child(found, "detail")
    action, result = payload.text(detail, "action-type"), payload.text(detail, "result")
    tag, digest = payload.text(detail, "image-tag"), payload.text(detail, "image-digest")
    title = payload.text(found, "detail-type")
    what = payload.title(action or title, payload.text(detail, "repository-name"), tag, digest)
    media_type = payload.text(detail, "manifest-media-type").lower()
    if title != _TITLE:
        findings.ignore(what, f'only "{_TITLE}" tells of a push')
    elif action != "PUSH":
        findings.ignore(what, "only a PUSH moves a tag")
    elif result != "SUCCESS":
        findings.ignore(what, f"the push ended in {result or 'no result'}")
    elif media_type and (why := payload.no_manifest(media_type)):
        findings.ignore(what, why)
    elif not detail.get("image-tag"):
        findings.ignore(what, payload.BY_DIGEST)
    else:
        try:
            findings.push(_push(found, detail, media_type))
        except Unusable as unusable:
            findings.refuse(what, str(unusable))


def _push(found: dict[str, Any], detail: dict[str, Any], media_type: str) -> PushEvent:
    return payload.push(
        registry=_host(found.get("account"), found.get("region")),
        repository=payload.text(detail, "repository-name"),
        tag=detail.get("image-tag"),
        digest=detail.get("image-digest"),
        media_type=payload.shown(media_type),
        timestamp=events.timestamp(payload.text(found, "time")),
        event_id=payload.label(found, "id"),
    )


def _take_transformed(found: dict[str, Any], findings: Findings) -> None:
    data = payload.child(found, "data")
    region, account, repository = _named(payload.text(found, "source"))
    repository = payload.text(data, "repositoryName") or repository
    kind, tag, digest = payload.text(found, "type"), data.get("imageTag"), data.get("imageDigest")
    what = payload.title(kind, repository, payload.text(data, "imageTag"), payload.text(data, "imageDigest"))
    if kind != _PUSH:
        findings.ignore(what, f"only {_PUSH} moves a tag")
    elif not tag:
        findings.ignore(what, payload.BY_DIGEST)
    else:
        try:
            push = payload.push(
                registry=_host(payload.text(data, "registryId") or account or data.get("registryId"), region),
                repository=repository,
                tag=tag,
                digest=digest,
                timestamp=events.timestamp(payload.text(found, "time")),
                event_id=payload.label(found, "id"),
            )
            findings.push(push)
        except Unusable as unusable:
            findings.refuse(what, str(unusable))


def _named(source: str) -> tuple[str, str, str]:
    """Region, account and repository of `urn:aws:ecr:REGION:ACCOUNT:repository/NAME`."""
    found = _URN.fullmatch(source)
    return (found[1], found[2], found[3]) if found else ("", "", "")


def _host(account: object, region: object) -> str:
    for name, part in (("account", account), ("region", region)):
        if part and not isinstance(part, str):
            raise Unusable(f"the {name} must be a text, in quotes")
    if not (isinstance(account, str) and isinstance(region, str) and account and region):
        raise Unusable("the account or the region is missing, and with it the registry's host")
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    host = f"{account}.dkr.ecr.{region}.{domain}".lower()
    if len(host) > _LONGEST_HOST or not references.is_registry(host):
        raise Unusable("the account and the region make no host of a registry")
    return host
