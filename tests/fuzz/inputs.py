"""One delivery as the fuzzer keeps it: headers and body in one file, small even if what it stands for is large."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from listener.core.events import LARGEST_BODY, Delivery
from tests.dialects.test_samples import samples


class Case(NamedTuple):
    """A delivery, and the dialect that is to read it.

    `repeats` is where a piece of the body begins and ends which is sent again and again, until the body is as large as
    any may be. So a body of a megabyte is mutated and kept as a few bytes.
    """

    dialect: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    repeats: tuple[int, int] = (0, 0)

    def delivery(self) -> Delivery:
        start, end = self.repeats
        piece = self.body[start:end]
        more = piece * ((LARGEST_BODY - len(self.body)) // len(piece)) if piece else b""
        return Delivery(self.headers, self.query, self.body[:start] + more + self.body[start:])

    def written(self) -> bytes:
        """The file: a line of JSON, then the body."""
        return json.dumps([self.dialect, self.headers, self.query, self.repeats]).encode() + b"\n" + self.body


def read(file: bytes) -> Case:
    """The case in a file. What was not written by us is a body without headers, and no dialect's."""
    head, _, body = file.partition(b"\n")
    try:
        dialect, headers, query, (start, end) = json.loads(head)
        return Case(str(dialect), dict(headers), dict(query), body, (int(start), int(end)))
    except (ValueError, TypeError, RecursionError):
        return Case("", {}, {}, file)


def seeds() -> Iterator[Case]:
    """All samples of all dialects."""
    for sample in samples():
        yield Case(sample.dialect, sample.delivery.headers, sample.delivery.query, sample.delivery.body)
