"""A push in our own words, for people and for small adapters: alone (`generic`), or as the data of a CloudEvent.

`{"repository": "team/web", "tag": "v1"}`, and if you like `registry`, `digest`, `mediaType` (or `media_type`),
`timestamp`, `actor`, `id`. Instead of registry, tag and digest, `repository` may be a whole reference:
`registry.example.com/team/web:v1`.

These are written by hand, so what is there must be right: a mistake is told rather than guessed around. Members that
we do not know are left alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from listener.core import events, references
from listener.core.events import PushEvent
from listener.core.references import Reference
from listener.dialects import payload
from listener.dialects.payload import Findings, Unusable
from listener.errors import InvalidReference

EXAMPLE: Final = '{"repository": "team/web", "tag": "v1"}'
_MAX_NAMED: Final = 8


def take(
    found: object, where: str, findings: Findings, *, timestamp: datetime | None = None, event_id: str | None = None
) -> None:
    """Add what one object says. `timestamp` and `event_id` are those of what it came in, for want of its own."""
    if not isinstance(found, dict):
        findings.refuse(where, f"a push must be a JSON object such as {EXAMPLE}")
        return
    repository = payload.text(found, "repository")
    what = payload.title("push", repository, payload.text(found, "tag")) if repository else where
    try:
        media_type = (_text(found, "mediaType") or _text(found, "media_type")).lower()
        push = _push(found, media_type, timestamp, event_id)
        if media_type and (why := payload.no_manifest(media_type)):
            findings.ignore(what, why)
        else:
            findings.push(push)
    except Unusable as unusable:
        findings.refuse(what, str(unusable))


def _push(found: dict[str, Any], media_type: str, timestamp: datetime | None, event_id: str | None) -> PushEvent:
    name = _name(found)
    return payload.push(
        registry=payload.shown(name.registry, lower=True),
        repository=name.repository,
        tag=_one(name.tag, _text(found, "tag"), "tag"),
        digest=_one(name.digest, _text(found, "digest"), "digest"),
        media_type=payload.shown(media_type),
        timestamp=_moment(_text(found, "timestamp")) or timestamp,
        actor=payload.shown(_text(found, "actor")),
        event_id=payload.shown(_text(found, "id")) or event_id,
    )


def _name(found: dict[str, Any]) -> Reference:
    """Read the registry and the repository, and what else the repository may be written with."""
    repository, registry = _text(found, "repository"), _text(found, "registry").lower()
    if not repository:
        others = ", ".join(f'"{key}"' for key in sorted(found)[:_MAX_NAMED])
        raise Unusable(f'"repository" is missing (there is {others or "nothing"}); expected such as {EXAMPLE}')
    if registry and not references.is_registry(registry):
        raise Unusable(f'"registry" is no host such as registry.example.com:5000: {registry}')
    if registry and repository.lower().startswith(f"{registry}/"):
        raise Unusable('"repository" begins with the registry: leave that out there, or leave "registry" out')
    if registry:
        return Reference(registry, repository)
    try:
        return references.parse(_with_lower_name(repository))
    except InvalidReference as invalid:
        raise Unusable(f'"repository": {invalid}') from None


def _with_lower_name(reference: str) -> str:
    """Host and path in lower case, as every pull spec has them; the case of a tag is kept."""
    path, slash, rest = reference.rpartition("/")
    name, mark, version = rest.partition("@" if "@" in rest else ":")
    if mark == "@" and ":" in name:
        name, colon, tag = name.partition(":")
        mark, version = colon, f"{tag}@{version}"
    return f"{path}{slash}{name}".lower() + mark + version


def _one(written: str | None, member: str, name: str) -> str | None:
    if written and member and written != member:
        raise Unusable(f'"repository" names the {name} {written}, "{name}" says {member}')
    return written or member or None


def _moment(text: str) -> datetime | None:
    moment = events.timestamp(text)
    if text and moment is None:
        raise Unusable('"timestamp" is no time with a zone such as 2026-11-23T00:38:06Z (date -u +%FT%TZ)')
    return moment


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unusable(f'"{key}" must be a text, in quotes')
    return value
