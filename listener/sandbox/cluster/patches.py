"""The three patches that say what changes: JSON Patch, JSON Merge Patch and Kubernetes' strategic merge patch.

They follow kube-apiserver where it differs from the RFCs, since a client that works here must work there. Each returns
the patched object and leaves what it was given alone. The result is new at its root and in its metadata, and shares the
other unchanged parts with the original. Whether the result is a good object is not asked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from listener.errors import ListenerError
from listener.sandbox.cluster.nodes import Node, json_type
from listener.sandbox.cluster.schema import builtin

Object = dict[str, Any]

MAX_OPERATIONS: Final = 10_000
_INDEX: Final = re.compile(r"-?[0-9]{1,9}")
REJECTED: Final = "the server rejected our request due to an error in our request"


class PatchFailed(ListenerError):
    """A patch that cannot be read (400), does not apply (422) or has a directive that makes no sense (500, as there).

    `status` is the HTTP status and `reason` that of the `Status` object.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = _REASONS.get(status, "")


_REASONS: Final = {
    400: "BadRequest",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
}


def _own(obj: Object) -> Object:
    metadata = obj.get("metadata")
    return {**obj, "metadata": dict(metadata)} if isinstance(metadata, dict) else dict(obj)


# JSON Patch


def json_patch(obj: Object, ops: object) -> Object:
    """Apply the operations of RFC 6902 in turn.

    As evanphx/json-patch does for a real server: replacing a field that is not there adds it, such a field tests equal
    to null, and an index may count from the end. Raises `PatchFailed`: 400 for what is no list of operations, else
    422, which does not tell the reason.
    """
    if not isinstance(ops, list):
        raise _undecoded(ops, "[]handlers.jsonPatchOp")
    if len(ops) > MAX_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(ops)}"
        raise PatchFailed(413, message)
    patched: Any = obj
    for op in ops:
        if not isinstance(op, dict):
            raise _undecoded(op, "handlers.jsonPatchOp")
        for name in ("op", "path", "from"):
            if not isinstance(op.get(name, ""), str):
                raise _undecoded(op[name], "string", field=f"jsonPatchOp.{name}")
        operation = _OPERATIONS.get(op.get("op", ""))
        if operation is None:
            raise PatchFailed(422, REJECTED)
        try:
            patched = operation(patched, op)
        except (LookupError, ValueError) as error:
            raise PatchFailed(422, REJECTED) from error
    if not isinstance(patched, dict):
        raise PatchFailed(422, REJECTED)
    return _own(patched)


def _undecoded(value: object, go_type: str, *, field: str = "") -> PatchFailed:
    where = f"Go struct field {field}" if field else "Go value"
    return PatchFailed(
        400, f"error decoding patch: json: cannot unmarshal {json_type(value)} into {where} of type {go_type}"
    )


def _steps(op: Mapping[str, Any], name: str) -> list[str]:
    """Split a JSON pointer. As there, what stands before the first slash counts for nothing."""
    pointer: str = op[name]
    if pointer and "/" not in pointer:
        raise LookupError(f"{pointer!r} is no JSON pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _place(items: Sequence[Any], step: str, *, past: int = 0) -> int:
    """Read an index, which may be negative; `past` is how far behind the last item it may point."""
    if not _INDEX.fullmatch(step):
        raise IndexError(step)
    place, limit = int(step), len(items) + past
    if not -limit <= place < limit:
        raise IndexError(step)
    return place + limit if place < 0 else place


def _get(value: Any, steps: Sequence[str]) -> Any:
    """Return what stands there; a missing last field is null, a missing one on the way is an error."""
    for depth, step in enumerate(steps):
        if isinstance(value, dict):
            value = value.get(step) if depth == len(steps) - 1 else value[step]
        elif isinstance(value, list):
            value = value[_place(value, step)]
        else:
            raise LookupError(step)  # noqa: TRY004 - a path that leads nowhere, as any other
    return value


def _edit(value: Any, steps: Sequence[str], change: Callable[[Any, str], None]) -> Any:
    """Copy the way down to the last step's holder and change that."""
    if not steps or not isinstance(value, dict | list):
        raise LookupError("no such place")
    holder: Any = value.copy()
    step, *rest = steps
    if not rest:
        change(holder, step)
    elif isinstance(holder, dict):
        holder[step] = _edit(holder[step], rest, change)
    else:
        place = _place(holder, step)
        holder[place] = _edit(holder[place], rest, change)
    return holder


def _put(new: Any) -> Callable[[Any, str], None]:
    def change(holder: Any, step: str) -> None:
        if isinstance(holder, dict):
            holder[step] = new
        elif step == "-":
            holder.append(new)
        else:
            holder.insert(_place(holder, step, past=1), new)

    return change


def _drop(holder: Any, step: str) -> None:
    del holder[step if isinstance(holder, dict) else _place(holder, step)]


def _add(obj: Any, op: Mapping[str, Any]) -> Any:
    return _edit(obj, _steps(op, "path"), _put(op.get("value")))


def _remove(obj: Any, op: Mapping[str, Any]) -> Any:
    return _edit(obj, _steps(op, "path"), _drop)


def _replace(obj: Any, op: Mapping[str, Any]) -> Any:
    steps = _steps(op, "path")
    if not steps:
        return op.get("value")

    def change(holder: Any, step: str) -> None:
        holder[step if isinstance(holder, dict) else _place(holder, step)] = op.get("value")

    return _edit(obj, steps, change)


def _move(obj: Any, op: Mapping[str, Any]) -> Any:
    origin = _steps(op, "from")
    moved = _get(obj, origin)
    return _edit(_edit(obj, origin, _drop), _steps(op, "path"), _put(moved))


def _copy(obj: Any, op: Mapping[str, Any]) -> Any:
    return _edit(obj, _steps(op, "path"), _put(_get(obj, _steps(op, "from"))))


def _test(obj: Any, op: Mapping[str, Any]) -> Any:
    if not _same(_get(obj, _steps(op, "path")), op.get("value")):
        raise ValueError("the test failed")
    return obj


def _same(one: Any, other: Any) -> bool:
    """Compare as the server does: neither true nor 1.0 is 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


_OPERATIONS: Final[dict[str, Callable[[Any, Mapping[str, Any]], Any]]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


# JSON Merge Patch


def merge_patch(obj: Object, patch: object) -> Object:
    """Merge by RFC 7386: null removes, objects merge, the rest replaces. What is no object raises `PatchFailed` 400."""
    if not isinstance(patch, dict):
        raise _undecoded(patch, "map[string]interface {}")
    return _own(_merged(obj, patch))


def _merged(value: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for name, change in patch.items():
        if change is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), change)
    return result


# Strategic merge patch

_DIRECTIVE: Final = "$patch"
_RETAIN_KEYS: Final = "$retainKeys"
_ORDER: Final = "$setElementOrder/"
_DELETE_SCALARS: Final = "$deleteFromPrimitiveList/"


def strategic_merge(obj: Object, patch: object) -> Object:
    """Merge as `kubectl patch` and client-side apply ask for: lists that have a merge key are merged item by item.

    `obj` is of a built-in kind. Raises `PatchFailed`: 415 for a custom one, which knows no merge keys; 400 and 500 for
    directives that make no sense. No directive is left in the result.
    """
    schema = builtin(obj.get("apiVersion", ""), obj.get("kind", ""))
    if schema is None:
        accepted = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
        message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        raise PatchFailed(415, message)
    if not isinstance(patch, dict):
        raise PatchFailed(
            400, f"json: cannot unmarshal {json_type(patch)} into Go value of type map[string]interface {{}}"
        )
    return _own(_merge_object(schema.root, obj, patch))


def _merge_object(node: Node, value: Object, patch: Object) -> Object:
    if _DIRECTIVE in patch:
        return _directed(patch)
    result = _retained(value, patch)
    done = {_RETAIN_KEYS}
    for directive, order in patch.items():
        if directive.startswith(_ORDER):
            # kubectl names the order of a list even where it changes no item of it.
            name = directive.removeprefix(_ORDER)
            done |= {directive, *([name] if _merge_in_order(node.child(name), result, patch, name, order) else [])}
    for name, change in patch.items():
        if name in done:
            continue
        if name.startswith(_DELETE_SCALARS):
            listed = name.removeprefix(_DELETE_SCALARS)
            if isinstance(result.get(listed), list) and isinstance(change, list):
                result[listed] = [item for item in result[listed] if item not in change]
        elif change is None:
            result.pop(name, None)
        else:
            _merge_field(node.child(name), result, name, change)
    return result


def _merge_in_order(child: Node | None, result: Object, patch: Object, name: str, order: Any) -> bool:
    """Merge and order one list, and tell whether it is one that can be."""
    present, change = result.get(name, []), patch.get(name, [])
    if child is None or child.merge_key is None or not (isinstance(present, list) and isinstance(change, list)):
        return False
    if not isinstance(order, list):
        raise PatchFailed(400, "invalid patch format of setElementOrder list")
    if name in result or name in patch:
        result[name] = _merge_list(child, present, change, order)
    return True


def _merge_field(child: Node | None, result: Object, name: str, change: Any) -> None:
    present = result.get(name)
    if isinstance(present, dict) and isinstance(change, dict):
        replaced = child is not None and child.replace
        result[name] = _plain(change) if replaced else _merge_object(child or Node(), present, change)
    elif isinstance(present, list) and isinstance(change, list) and child is not None and child.merge_key is not None:
        result[name] = _merge_list(child, present, change, None)
    elif isinstance(change, dict) and _DIRECTIVE in change:
        # A directive for what is not there is nothing at all.
        result.pop(name, None)
    else:
        result[name] = _plain(change)


def _directed(patch: Object) -> Object:
    if patch[_DIRECTIVE] == "replace":
        return _plain({name: value for name, value in patch.items() if name != _DIRECTIVE})  # type: ignore[no-any-return]
    if patch[_DIRECTIVE] == "delete":
        return {}
    raise _unknown_directive(patch)


def _unknown_directive(patch: Object) -> PatchFailed:
    return PatchFailed(500, f"unknown patch type: {patch[_DIRECTIVE]} in map: {go_print(patch)}")


def _retained(value: Object, patch: Object) -> Object:
    """Drop what `$retainKeys` does not name: how the members of a union give way to each other."""
    if _RETAIN_KEYS not in patch:
        return dict(value)
    kept = patch[_RETAIN_KEYS]
    asked = [name for name, change in patch.items() if change is not None and not name.startswith("$")]
    if not isinstance(kept, list) or not all(name in kept for name in asked):
        raise PatchFailed(400, "invalid patch format of retainKeys")
    return {name: item for name, item in value.items() if name in kept}


def _merge_list(node: Node, items: list[Any], patch: list[Any], order: list[Any] | None) -> list[Any]:
    """Merge by key. `order` is `$setElementOrder`; without it the patch orders the items it names."""
    key = node.merge_key
    if not key:
        merged = items + [item for item in patch if item not in items]
        return _ordered(merged, patch if order is None else order, items, str)
    identify = _key_of(key)
    changes = []
    replaced = False
    for change in patch:
        directive = change.get(_DIRECTIVE) if isinstance(change, dict) else None
        if directive is None:
            changes.append(change)
        elif directive == "delete":
            gone = identify(change)
            items = [item for item in items if identify(item) != gone]
        elif directive == "replace":
            replaced = True
        elif directive == "merge":
            raise PatchFailed(500, "merging lists cannot yet be specified in the patch")
        else:
            raise _unknown_directive(change)
    if order is not None:
        _check_order(changes, order, identify)
    if replaced:
        return [_plain(change) for change in changes]
    merged = list(items)
    below = node.items or Node()
    for change in changes:
        same = identify(change)
        at = next((place for place, item in enumerate(merged) if identify(item) == same), None)
        if at is None:
            merged.append(_plain(change))
        else:
            merged[at] = _merge_object(below, merged[at], change)
    return _ordered(merged, changes if order is None else order, items, identify)


def _key_of(name: str) -> Callable[[Any], str]:
    def identify(item: Any) -> str:
        if not isinstance(item, dict) or name not in item:
            raise PatchFailed(500, f"map: {go_print(item)} does not contain declared merge key: {name}")
        return str(item[name])

    return identify


def _check_order(changes: list[Any], order: list[Any], identify: Callable[[Any], str]) -> None:
    """Refuse a patch whose items are not among those of its `$setElementOrder`, or stand in another order."""
    ahead = iter([identify(item) for item in order])
    if not all(identify(change) in ahead for change in changes):
        listed = (
            f"The order in patch list:\n{go_print(changes)}\n doesn't match $setElementOrder list:\n{go_print(order)}\n"
        )
        raise PatchFailed(500, listed)


def _ordered(merged: list[Any], order: list[Any], before: list[Any], identify: Callable[[Any], str]) -> list[Any]:
    """Put the items that `order` names in that order, and weave the others in where they stood before."""
    places = {identify(item): place for place, item in reversed(list(enumerate(order)))}
    stood = {identify(item): place for place, item in reversed(list(enumerate(before)))}
    named = sorted((item for item in merged if identify(item) in places), key=lambda item: places[identify(item)])
    others = [item for item in merged if identify(item) not in places]
    woven = []
    while others and named:
        other, next_named = stood.get(identify(others[0])), stood.get(identify(named[0]))
        first = other is not None and next_named is not None and other < next_named
        woven.append(others.pop(0) if first else named.pop(0))
    return woven + named + others


def _plain(value: Any) -> Any:
    """Give a new value without nulls and without directives."""
    if isinstance(value, dict):
        return {
            name: _plain(item)
            for name, item in value.items()
            if item is not None
            and not name.startswith((_ORDER, _DELETE_SCALARS))
            and name not in (_DIRECTIVE, _RETAIN_KEYS)
            and not (isinstance(item, dict) and _DIRECTIVE in item)
        }
    if isinstance(value, list):
        return [_plain(item) for item in value if not (isinstance(item, dict) and _DIRECTIVE in item)]
    return value


def go_print(value: Any) -> str:
    """Print as Go's `%v` does."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{name}:{go_print(value[name])}' for name in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(go_print, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "<nil>" if value is None else str(value)
