"""The JSONPath of printer columns: `.spec.tags[*].name`, `.metadata.annotations['a.b/c']`, `.status['a', 'b']`,
`.status.conditions[?(@.type=="Ready")].status`.

Pure. A path that cannot be read finds nothing, as in the real server's tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

_STEP = re.compile(
    r"""\.?(?:
        (?P<name>[^.\[\]]+)
      | \[(?P<index>-?\d+)\]
      | \[(?P<all>\*)\]
      | \[(?P<names>'[^']*'(?:\s*,\s*'[^']*')*|"[^"]*"(?:\s*,\s*"[^"]*")*)\]
      | \[\?\(@\.(?P<field>[^=!\s]+)\s*(?P<operator>==|!=)\s*(?P<mark>['"]?)(?P<value>.*?)(?P=mark)\)\]
    )""",
    re.VERBOSE,
)
_NAMES = re.compile(r"""'([^']*)'|"([^"]*)\"""")
_Step = Callable[[Any], Iterable[Any]]


def first(obj: Any, path: str) -> Any:
    """Return the first value at `path`, or None."""
    found: list[Any] = [obj]
    for step in _steps(path):
        found = [value for each in found for value in step(each)]
    return found[0] if found else None


@lru_cache(maxsize=512)
def _steps(path: str) -> tuple[_Step, ...]:
    steps: list[_Step] = []
    position = 0
    text = path.strip().removeprefix("$").replace("\\.", "\0")
    while position < len(text):
        found = _STEP.match(text, position)
        if found is None:
            return (lambda _: (),)
        steps.append(_step(found))
        position = found.end()
    return tuple(steps)


def _step(found: re.Match[str]) -> _Step:
    if found["index"] is not None:
        return _item(int(found["index"]))
    if found["all"] is not None:
        return _every
    if found["field"] is not None:
        return _filter(found["field"], found["value"], equal=found["operator"] == "==")
    if found["names"] is not None:
        return _union([name or other for name, other in _NAMES.findall(found["names"])])
    return _child(found["name"].replace("\0", "."))


def _child(name: str) -> _Step:
    return lambda value: (value[name],) if isinstance(value, dict) and name in value else ()


def _union(names: Sequence[str]) -> _Step:
    return lambda value: [value[name] for name in names if name in value] if isinstance(value, dict) else ()


def _item(index: int) -> _Step:
    return lambda value: value[index : index + 1 or None] if isinstance(value, list) else ()


def _every(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()


def _filter(field: str, wanted: str, *, equal: bool) -> _Step:
    def step(value: Any) -> Iterable[Any]:
        return [each for each in _every(value) if (_text(first(each, "." + field)) == wanted) is equal]

    return step


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
