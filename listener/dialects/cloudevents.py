"""CloudEvents that say in our own words what was pushed, and CDEvents that say it by a package URL.

For pipelines and brokers (Knative, Tekton, Argo Events) that speak CloudEvents anyway, in all its three forms. The
CloudEvents of a registry of its own kind are that registry's dialect.

Facts:
- The `type` must say that something was pushed, by its last word: `dev.example.image.pushed`, with a version behind
  it or not. A scan or a deletion names a repository, a tag and a digest too, so others are ignored.
- The data is that of `plain`; the event's `id` and `time` stand in where it has none of its own.
- CDEvents: `dev.cdevents.artifact.published` counts. `…packaged` does not: it says that an artifact has got its
  version, not that a registry has it. `subject.id` is `pkg:oci/web@sha256:…?repository_url=HOST/PATH/web&tag=TAG`,
  whose name is the last part of the repository. Without `tag` it is a push by digest.
- CloudEvents promises `source` and `id` to be unique together, and the same on a retry. When it is retried, and how
  long, is the sender's affair; brokers try again after 5xx, 429 and silence.

Documented at https://github.com/cloudevents/spec, https://cdevents.dev/docs/artifact/ and, for the package URL, at
https://github.com/package-url/purl-spec
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from listener.core import events
from listener.core.events import Delivery, Parsed, PushEvent
from listener.dialects import cloud_events, payload, plain
from listener.dialects.cloud_events import CloudEvent
from listener.dialects.payload import Findings, Unusable

_CDEVENTS: Final = "dev.cdevents."
_PUBLISHED: Final = re.compile(r"dev\.cdevents\.artifact\.published(?:\.[0-9].*)?")
_NO_WORD: Final = re.compile(r"[^a-z0-9]+")
_OF_A_VERSION: Final = re.compile(r"v?[0-9].*|draft|")
_PUSHED: Final = frozenset({"push", "pushed", "publish", "published", "created", "updated", "uploaded"})
_PACKAGE: Final = re.compile(
    r"pkg:/*oci/(?P<name>[^@?#/]+)(?:@(?P<version>[^?#]*))?(?:\?(?P<more>[^#]*))?(?:#.*)?", re.IGNORECASE
)
_MOST_QUALIFIERS: Final = 32


def recognises(delivery: Delivery) -> bool:
    """Tell by the attributes; to be asked after the registries that speak CloudEvents themselves."""
    return bool(cloud_events.types(delivery))


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if these are no CloudEvents."""
    findings = Findings()
    for event in cloud_events.read(delivery, "a CloudEvent", findings):
        if event.type.startswith(_CDEVENTS):
            _take_cdevent(event, findings)
        elif _says_pushed(event.type):
            plain.take(event.data, f"data of {event.type}", findings, timestamp=event.time, event_id=event.id)
        else:
            findings.ignore(f"event {event.type}", f"a push's type ends in one of: {', '.join(sorted(_PUSHED))}")
    return findings.parsed()


def _says_pushed(kind: str) -> bool:
    words = reversed(_NO_WORD.split(kind.lower()))
    return next((word for word in words if not _OF_A_VERSION.fullmatch(word)), "") in _PUSHED


def _take_cdevent(event: CloudEvent, findings: Findings) -> None:
    if not _PUBLISHED.fullmatch(event.type):
        findings.ignore(f"event {event.type}", "only dev.cdevents.artifact.published says that a registry has it")
        return
    data = event.data if isinstance(event.data, dict) else {}
    package = payload.text(payload.child(data, "subject"), "id")
    what = f"published {package or 'unnamed artifact'}"
    try:
        push = _published(event, data, package)
    except Unusable as unusable:
        findings.refuse(what, str(unusable))
        return
    if push is None:
        findings.ignore(what, payload.BY_DIGEST if package.lower().startswith("pkg:oci/") else "no OCI package")
    else:
        findings.push(push)


def _published(event: CloudEvent, data: dict[str, Any], package: str) -> PushEvent | None:
    """None: nothing of ours, or without a tag. Raises `Unusable`."""
    if not package:
        raise Unusable('"subject.id" is missing')
    found = _PACKAGE.fullmatch(package)
    if not found:
        return None
    try:
        qualifiers = parse_qs(found["more"] or "", max_num_fields=_MOST_QUALIFIERS)
    except ValueError:
        raise Unusable("the package URL has too many qualifiers") from None
    (tag, *_) = qualifiers.get("tag", [""])
    if not tag:
        return None
    (location, *_) = qualifiers.get("repository_url", [""])
    repository = location.rpartition("://")[2].partition("/")[2].rstrip("/")
    if repository.rpartition("/")[2].lower() != unquote(found["name"]).lower():
        raise Unusable('the package URL\'s "repository_url" must be HOST/PATH and end in the name of the package')
    context = payload.child(data, "context")
    return payload.push(
        registry=payload.host(location),
        repository=repository,
        tag=tag,
        digest=unquote(found["version"] or ""),
        timestamp=events.timestamp(payload.text(context, "timestamp")) or event.time,
        actor=payload.label(payload.child(data, "subject", "content"), "user"),
        event_id=payload.label(context, "id") or event.id,
    )
