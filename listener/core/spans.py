"""What takes how long, from a delivery to the last patch it causes, for who collects traces: a span for each step.

A trace is named by a W3C `traceparent`, which the next step takes as its parent, wherever and whenever that begins; ""
is no trace. This room must not know who collects, and by default nobody does.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final, Protocol, Self


class Span(Protocol):
    """One step under way."""

    @property
    def trace(self) -> str:
        """The `traceparent` of what this step causes."""

    def note(self, *, failed: bool = False, **attributes: object) -> None:
        """Add what is known of the step by now."""


class Tracer(Protocol):
    def span(self, step: str, parent: str, /, **attributes: object) -> AbstractContextManager[Span]:
        """Begin a step, which ends with the block. A parent that is none of W3C's begins a new trace."""


class _NoSpan:
    trace: Final = ""

    def note(self, *, failed: bool = False, **attributes: object) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class _NoTracer:
    def __init__(self) -> None:
        self._span = _NoSpan()

    def span(self, _step: str, _parent: str, /, **_attributes: object) -> AbstractContextManager[Span]:
        return self._span


NO_TRACER: Final[Tracer] = _NoTracer()


def trace_id(trace: str) -> str:
    """The trace's name, as people look for it."""
    return trace[3:35]
