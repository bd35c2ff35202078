"""What all dialects read with: JSON that a stranger wrote, and the pieces of a push.

A member that is absent, null, empty or of another type is the same: not there. What needs it then says so by name.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from listener.core import events, references
from listener.core.events import UNREAD, Delivery, Parsed, PushEvent, Remark
from listener.errors import MalformedDelivery

MAX_EVENTS: Final = 10_000
_DEEPEST: Final = 64  # the deepest payload known is 12
# Lists and objects in a body, of which each takes 400 ns to make and follow. The densest known, distribution's, has one
# in 100 bytes.
_MOST_BRACKETS: Final = 20_000
_MOST_BRACKETS_PROVEN: Final = 200_000  # in a body that only who proved itself may send
_MOST_FIELDS: Final = 16  # of a form; one is known

MANIFESTS: Final = frozenset(
    {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
"""The media types of what a tag can point at. Whatever else says "push" is a blob."""

BY_DIGEST: Final = "pushed by digest, without a tag"

# What cosign and its like hang on the image of that digest; without an ending, the list of what hangs there.
_ATTACHED: Final = re.compile(r"sha(?:256|384|512)-[0-9a-f]{64,}(?:\.(?:sig|att|sbom))?")


class Unusable(Exception):
    """What was meant as a push cannot be used. The message says why."""


class Findings:
    """What a dialect collects on its way through one delivery."""

    def __init__(self) -> None:
        self._pushes: list[PushEvent] = []
        self._ignored: list[Remark] = []
        self._refused: list[Remark] = []

    def push(self, event: PushEvent) -> None:
        """Add a push, unless its tag is none that a workload could follow."""
        if _ATTACHED.fullmatch(event.tag):
            what = title("push", event.repository, event.tag)
            self.ignore(what, "a signature, attestation or SBOM of an image, by its tag")
        else:
            self._pushes.append(event)

    def ignore(self, what: str, why: str) -> None:
        self._ignored.append(Remark(what, why))

    def refuse(self, what: str, why: str) -> None:
        self._refused.append(Remark(what, why))

    def parsed(self) -> Parsed:
        return Parsed(tuple(self._pushes), tuple(self._ignored), tuple(self._refused))


def decoded(delivery: Delivery, expected: str) -> Any:
    """Return the body's JSON. Raises `MalformedDelivery`, which begins with what was `expected`."""
    try:
        return document(delivery)
    except Unusable as unusable:
        raise MalformedDelivery(f"expected {expected}, {unusable}") from None


def document(delivery: Delivery) -> Any:
    """Return the body's JSON, which nobody may change: it is read when it is first asked for. Raises `Unusable`."""
    found = delivery.document
    if found is UNREAD:
        try:
            found = unpacked(delivery.body, "the body")
        except Unusable as unusable:
            found = unusable
        delivery.document = found
    if isinstance(found, Unusable):
        raise Unusable(str(found))
    return found


def unpacked(raw: bytes | str, name: str) -> Any:
    """Return the JSON in a text, which may stand in JSON itself. Raises `Unusable`, which begins with the `name`."""
    if not raw:
        raise Unusable(f"{name} is empty")
    brackets = _brackets(raw)
    most = _MOST_BRACKETS if len(raw) <= events.LARGEST_BODY else _MOST_BRACKETS_PROVEN
    if brackets > most and (holders := _brackets(_without_texts(raw))) > most:
        raise Unusable(f"{name} holds {holders} lists and objects, at most {most} are read")
    try:
        found = _loaded(raw)
    except RecursionError:
        raise Unusable(f"{name} is nested too deeply") from None
    except ValueError as error:
        raise Unusable(f"{name} is no JSON: {events.printable(str(error))}") from None
    if brackets >= _DEEPEST and _is_deep(found):
        raise Unusable(f"{name} is nested too deeply")
    return found


def from_base64(text: str, name: str) -> bytes:
    """Decode the standard or the URL-safe alphabet, padded or not. Raises `Unusable`, which begins with the `name`."""
    try:
        plain = text.rstrip("=").replace("-", "+").replace("_", "/")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        raise Unusable(f"{name} is no base64") from None


def json_object(delivery: Delivery, expected: str) -> dict[str, Any]:
    """The body, which must be a JSON object. Raises `MalformedDelivery`."""
    found = decoded(delivery, expected)
    if not isinstance(found, dict):
        raise MalformedDelivery(f"expected {expected}, the body is JSON but no object")
    return found


def peek(delivery: Delivery) -> Any:
    """The body's JSON, None if it is none: for `recognises`, which never raises."""
    try:
        return document(delivery)
    except Unusable:
        return None


def peek_object(delivery: Delivery) -> dict[str, Any]:
    """The body, empty if it is no JSON object."""
    found = peek(delivery)
    return found if isinstance(found, dict) else {}


def members(holder: dict[str, Any], key: str) -> list[Any]:
    """The list, empty if it is absent or of another type. Raises `MalformedDelivery` if it is too long."""
    found = holder.get(key)
    if not isinstance(found, list):
        return []
    return bounded(found, key)


def bounded(found: list[Any], name: str) -> list[Any]:
    """The list. Raises `MalformedDelivery` if it is too long."""
    if len(found) > MAX_EVENTS:
        raise MalformedDelivery(f"{name} holds {len(found)} entries, at most {MAX_EVENTS} are taken")
    return found


def child(holder: dict[str, Any], *path: str) -> dict[str, Any]:
    """The object at a path, empty if it is absent or of another type."""
    for key in path:
        found = holder.get(key)
        if not isinstance(found, dict):
            return {}
        holder = found
    return holder


def text(holder: dict[str, Any], key: str) -> str:
    """The member, empty if it is absent or of another type."""
    found = holder.get(key)
    return found if isinstance(found, str) else ""


def joined(holder: dict[str, Any], namespace: str, name: str) -> str:
    """The two members with a slash between them, empty unless both are there: half a name is another repository."""
    first, second = text(holder, namespace), text(holder, name)
    return f"{first}/{second}" if first and second else ""


def no_manifest(media_type: str) -> str | None:
    """Why no tag can point at a thing of this media type, None if one can. In lower case."""
    return None if media_type in MANIFESTS else f"{media_type or 'a blob'} is no image manifest or index"


def host(location: str) -> str | None:
    """The host, with its port, that a URL or a pull spec begins with, to be compared with those of the settings.

    A user in front of it stays, and makes it a host that nobody has set.
    """
    return shown(location.rpartition("://")[2].partition("/")[0], lower=True)


def form(delivery: Delivery) -> Delivery:
    """Return a delivery whose JSON came as `payload=…` of a form as if it had come by itself; others as they are.

    Raises `MalformedDelivery`.
    """
    kind = delivery.headers.get("content-type", "").strip().lower()
    if not kind.startswith("application/x-www-form-urlencoded"):
        return delivery
    try:
        found = parse_qs(delivery.body.decode(), max_num_fields=_MOST_FIELDS).get("payload", [])
    except ValueError:
        found = []
    if len(found) != 1:
        raise MalformedDelivery('expected a form with one "payload", which holds JSON')
    return delivery._replace(body=found[0].encode())


def shown(value: str, *, lower: bool = False) -> str | None:
    """A text that is only shown or compared, bounded and printable; None if it is empty."""
    return events.printable(value.lower() if lower else value) or None


def label(holder: dict[str, Any], key: str, *, lower: bool = False) -> str | None:
    """A member that is only shown or compared."""
    return shown(text(holder, key), lower=lower)


def title(action: str, repository: str, tag: str = "", digest: str = "") -> str:
    """What a remark is about."""
    return f"{action or 'event'} {repository or 'unnamed repository'}" + (
        f":{tag}" if tag else f"@{digest}" if digest else ""
    )


def push(
    *,
    repository: str,
    tag: object,
    digest: object = None,
    registry: str | None = None,
    media_type: str | None = None,
    timestamp: datetime | None = None,
    actor: str | None = None,
    event_id: str | None = None,
) -> PushEvent:
    """Make a push of what was sent, checked. Raises `Unusable`.

    `registry` comes in lower case. OpenShift and Docker compare repositories in lower case, and so does every pull
    spec: here it becomes so.
    """
    repository = repository.lower()
    if not repository:
        raise Unusable("the repository is missing")
    if not references.is_repository(repository):
        raise Unusable(f"no repository name: {repository}")
    if tag is None or tag == "":
        raise Unusable("the tag is missing")
    if not isinstance(tag, str):
        raise Unusable("a tag must be a text, in quotes")
    if not references.is_tag(tag):
        raise Unusable(f"no tag: {tag}")
    if digest and not is_digest(digest):
        raise Unusable("the digest is none (such as sha256: and 64 lower-case hexadecimal digits)")
    found = digest if isinstance(digest, str) and digest else None
    return PushEvent(registry, repository, tag, found, media_type, timestamp, actor, event_id)


def is_digest(found: object) -> bool:
    """Whether this is a digest, and no tag: some senders put one where the tag belongs."""
    return isinstance(found, str) and references.is_digest(found)


def unix_time(found: object) -> datetime | None:
    """Read seconds since 1970, whole or not, also as text; None if it is no such time."""
    try:
        seconds = float(found) if isinstance(found, int | float | str) and not isinstance(found, bool) else 0.0
        return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def _loaded(raw: bytes | str) -> Any:
    """The quicker parser refuses more, such as NaN, other encodings and lone surrogates; what it reads is the same."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, ValueError):
        return json.loads(raw)


def _brackets(raw: bytes | str) -> int:
    """How many lists and objects there may be: to count them is much quicker than to make or to follow them."""
    return raw.count("[") + raw.count("{") if isinstance(raw, str) else raw.count(b"[") + raw.count(b"{")


def _without_texts(raw: bytes | str) -> bytes:
    """JSON without its texts, in which a bracket is none: a pusher's User-Agent may consist of them."""
    raw = raw.encode(errors="replace") if isinstance(raw, str) else raw
    return b"".join(raw.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])


def _is_deep(found: object) -> bool:
    level: list[object] = [found]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(found: object) -> Iterable[object]:
    if isinstance(found, dict):
        return found.values()
    return found if isinstance(found, list) else ()
