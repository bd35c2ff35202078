"""What the tests of single dialects make their deliveries of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from listener.core.events import Delivery, Parsed, PushEvent

DIGEST: Final = "sha256:" + "a" * 64
SIGNATURE_TAG: Final = "sha256-" + "a" * 64 + ".sig"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
GONE: Final = object()


def delivery(body: object, headers: Mapping[str, str] | None = None) -> Delivery:
    """The body is JSON unless it is bytes."""
    return Delivery(headers or {}, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def changed(document: dict[str, Any], changes: Mapping[str, object]) -> dict[str, Any]:
    """Return a copy in which the members at `a.b.0` have other values; GONE takes one away."""
    copy = deepcopy(document)
    for path, value in changes.items():
        *way, last = path.split(".")
        holder: Any = copy
        for key in way:
            holder = holder[int(key) if isinstance(holder, list) else key]
        place: Any = int(last) if isinstance(holder, list) else last
        if value is GONE:
            del holder[place]
        else:
            holder[place] = value
    return copy


def pushed(event: PushEvent, **becomes: Any) -> Parsed:
    """What is parsed if there is nothing but this push, with other values."""
    return Parsed((event._replace(**becomes),))


def only_ignored(parsed: Parsed, why: str) -> bool:
    (remark,) = parsed.ignored
    return (parsed.pushes, parsed.refused) == ((), ()) and why in remark.why


def only_refused(parsed: Parsed, why: str) -> bool:
    (remark,) = parsed.refused
    return (parsed.pushes, parsed.ignored) == ((), ()) and why in remark.why
