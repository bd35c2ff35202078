"""A dialect that is wrong. A fuzzer that does not find it would find nothing in the others."""

from __future__ import annotations

import json
from typing import Final

from listener.core.events import Delivery, Parsed
from listener.dialects import Dialect
from listener.errors import MalformedDelivery
from tests.fuzz.inputs import Case


def _never(_: Delivery) -> bool:
    return False


def _parse(delivery: Delivery) -> Parsed:
    """Raise KeyError behind four branches. A change in a hundred takes one of them: who remembers where it was gets
    there in some thousand, and who begins with the sample each time in some ten thousand.
    """
    try:
        body = json.loads(delivery.body)
    except (ValueError, RecursionError):
        raise MalformedDelivery("no JSON") from None
    if not isinstance(body, dict):
        raise MalformedDelivery("no object")
    # Not one condition: to be half-way there must be something new.
    if isinstance(body.get("events"), list):  # noqa: SIM102
        if isinstance(body.get("size"), int | float):  # noqa: SIM102
            if isinstance(body.get("target"), dict):  # noqa: SIM102
                if "action" not in body:
                    return Parsed(body["no such member"])
    return Parsed()


PLANTED: Final = Dialect("planted", "One with a hole", _never, _parse)
SAMPLE: Final = Case(PLANTED.name, {}, {}, b'{"events": "", "size": "", "target": "", "action": "push"}')
