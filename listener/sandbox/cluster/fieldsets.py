"""Sets of fields in the form of `metadata.managedFields[].fieldsV1`, and how objects give rise to them.

A set is a tree of dicts. `f:NAME` steps into a field, `k:{…}` to the item of a list-map with these keys, `v:…` to the
member of a list-set. A place belongs to the set if its dict is empty or holds `.`:

    {"f:spec": {"f:replicas": {}, "f:containers": {'k:{"name":"web"}': {".": {}, "f:image": {}}}}}

The rules are those of sigs.k8s.io/structured-merge-diff: an atomic list or map is one place, and so is all that no
schema knows to be more. Sets are frozen, as objects are: operations share what they do not change.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from listener.sandbox.cluster.nodes import ABSENT, Node

Set = dict[str, Any]

HERE: Final = "."
_ANYTHING: Final = Node()


def has_place(tree: Set) -> bool:
    """Tell whether the place at the root of `tree` belongs to the set itself."""
    return not tree or HERE in tree


def _tree(place: bool, below: Set) -> Set | None:
    """Build a tree, or `None` if nothing is left in it."""
    below.pop(HERE, None)
    if not below:
        return {} if place else None
    return {HERE: {}, **below} if place else below


def union(one: Set, other: Set) -> Set:
    """Unite two sets, each given by its root, which is no place: an empty root is the empty set."""
    result = dict(one)
    for step, tree in other.items():
        result[step] = _united(one[step], tree) if step in one else tree
    return result


def _united(one: Set, other: Set) -> Set:
    if one is other:
        return one
    return _tree(has_place(one) or has_place(other), union(one, other)) or {}


def difference(one: Set, other: Set) -> Set:
    """Take from `one` exactly the places of `other`; what is below them stays."""
    result = one
    for step, tree in other.items():
        if step in one:
            if result is one:
                result = dict(one)
            kept = _different(one[step], tree)
            if kept is None:
                del result[step]
            else:
                result[step] = kept
    return result


def _different(one: Set, other: Set) -> Set | None:
    return _tree(has_place(one) and not has_place(other), dict(difference(one, other)))


def intersection(one: Set, other: Set) -> Set:
    result = {}
    for step in one.keys() & other.keys() - {HERE}:
        a, b = one[step], other[step]
        kept = _tree(has_place(a) and has_place(b), intersection(a, b))
        if kept is not None:
            result[step] = kept
    return result


def paths(tree: Set, at: str = "") -> Iterator[str]:
    """List the places as Kubernetes prints them, `.spec.containers[name="web"].image`, level by level."""
    steps = sorted(step for step in tree if step != HERE)
    for step in steps:
        if has_place(tree[step]):
            yield at + _printed(step)
    for step in steps:
        yield from paths(tree[step], at + _printed(step))


def _printed(step: str) -> str:
    kind, _, rest = step.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "v":
        return f"[={rest}]"
    return f"[{','.join(f'{name}={_compact(value)}' for name, value in json.loads(rest).items())}]"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def is_keyed(node: Node) -> bool:
    """Tell whether the items of a list have an owner each."""
    return node.list_type != "atomic"


def below(node: Node, name: str) -> Node:
    return node.child(name) or _ANYTHING


def item_node(node: Node) -> Node:
    return node.items or _ANYTHING


def step_of(node: Node, item: Any) -> str:
    """Name an item of a list-map or a list-set."""
    if node.list_type == "set":
        return f"v:{_compact(item)}"
    keys = {}
    for name in sorted(node.list_keys):
        value = item.get(name, ABSENT) if isinstance(item, dict) else ABSENT
        if value is ABSENT:
            value = below(item_node(node), name).default
        if value is not ABSENT:
            keys[name] = value
    return f"k:{_compact(keys)}"


# The set of an object


def of_object(node: Node, value: dict[str, Any]) -> Set:
    """Collect the places that a configuration sets, as an apply does."""
    return _collected(node, value) or {}


def _collected(node: Node, value: Any) -> Set | None:
    """Give the tree of a value, or `None` where a list or an object has no place of its own."""
    if isinstance(value, dict) and not node.atomic_map:
        result: Set = {}
        for name, item in value.items():
            declared = name in node.fields
            place = item is None or item == {} or not declared
            tree = _collected(below(node, name), item)
            if tree is None:
                tree = {} if place else None
            elif tree and place:
                tree = {HERE: {}, **tree}
            if tree is not None:
                result[f"f:{name}"] = tree
        return result or None
    if isinstance(value, list) and is_keyed(node):
        items = {step_of(node, item): _collected(item_node(node), item) for item in value}
        return {step: {HERE: {}, **tree} if tree else {} for step, tree in items.items()} or None
    return {}


def repeated(node: Node, value: Any, at: str = "") -> Iterator[str]:
    """Say which items of keyed lists a configuration names twice."""
    if isinstance(value, dict) and not node.atomic_map:
        for name, item in value.items():
            yield from repeated(below(node, name), item, f"{at}.{name}")
    elif isinstance(value, list) and is_keyed(node):
        seen: set[str] = set()
        for item in value:
            step = step_of(node, item)
            if step in seen:
                yield f"{at}: duplicate entries for key {_printed(step)}"
            seen.add(step)
            yield from repeated(item_node(node), item, at + _printed(step))


# The difference of two objects


@dataclass(frozen=True, slots=True)
class Changes:
    """The places that a write changed, that it added and that it removed; none is in two of them."""

    modified: Set = field(default_factory=dict)
    added: Set = field(default_factory=dict)
    removed: Set = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.modified or self.added or self.removed)

    def written(self) -> Set:
        return union(self.modified, self.added)


def compare(node: Node, before: dict[str, Any], after: dict[str, Any]) -> Changes:
    """Compare two objects of one schema. What is the same Python object in both is not looked at."""
    changes = Changes()
    _compare_objects(node, before, after, (changes.modified, changes.added, changes.removed))
    return changes


_Found = tuple[Set, Set, Set]


def _compare_objects(node: Node, before: dict[str, Any] | None, after: dict[str, Any] | None, found: _Found) -> None:
    """Compare field by field. In an object that is there, Go's zero stands for what is not set; `None` is no object."""
    for name, now in (after or {}).items():
        child = below(node, name)
        was = ABSENT if before is None else before.get(name, child.zero)
        if now is not was:
            _compare_at(child, was, now, f"f:{name}", found)
    for name, was in (before or {}).items():
        if after is None or name not in after:
            child = below(node, name)
            _compare_at(child, was, ABSENT if after is None else child.zero, f"f:{name}", found)


def _compare_at(node: Node, before: Any, after: Any, step: str, found: _Found) -> None:
    """Compare what stands at one place, one side of which may be absent."""
    if before is after:
        return
    was, now = (None if side is ABSENT else side for side in (before, after))
    parts: _Found = ({}, {}, {})
    if _descends(node, was, now):
        if isinstance(was or now, dict):
            _compare_objects(node, was, now, parts)
        else:
            _compare_lists(node, was or [], now or [], parts)
        differs = False
    else:
        differs = type(was) is not type(now) or was != now
    places = (differs and before is not ABSENT and after is not ABSENT, before is ABSENT, after is ABSENT)
    for tree, part, place in zip(found, parts, places, strict=True):
        kept = _tree(place, part)
        if kept is not None:
            tree[step] = kept


def _descends(node: Node, was: Any, now: Any) -> bool:
    """Tell whether to look at the parts: of objects and of keyed lists, if there are any."""
    if isinstance(was or now, dict):
        return not node.atomic_map and isinstance(was, dict | None) and isinstance(now, dict | None)
    if isinstance(was or now, list):
        return is_keyed(node) and isinstance(was, list | None) and isinstance(now, list | None)
    return False


def _compare_lists(node: Node, before: list[Any], after: list[Any], found: _Found) -> None:
    was = {step_of(node, item): item for item in before}
    now = {step_of(node, item): item for item in after}
    child = item_node(node)
    for step, item in now.items():
        _compare_at(child, was.get(step, ABSENT), item, step, found)
    for step, item in was.items():
        if step not in now:
            _compare_at(child, item, ABSENT, step, found)


# What Kubernetes does with both


def with_named_fields(node: Node, tree: Set) -> Set:
    """Add the declared fields that lead to a place of the set: who owns a part owns the field that holds it."""
    result: Set = {HERE: tree[HERE]} if HERE in tree else {}
    for step, sub in tree.items():
        if step == HERE:
            continue
        kind, _, name = step.partition(":")
        child = item_node(node) if kind != "f" else below(node, name)
        inner = with_named_fields(child, sub)
        declared = kind == "f" and name in node.fields
        result[step] = {HERE: {}, **inner} if inner and declared else inner
    return result


def remove(node: Node, value: Any, places: Set) -> Any:
    """Return the value without these places. An atomic list or object goes or stays as a whole."""
    if isinstance(value, dict) and not node.atomic_map:
        result = {}
        for name, item in value.items():
            tree = places.get(f"f:{name}")
            if tree is None:
                result[name] = item
            elif not has_place(tree):
                result[name] = remove(below(node, name), item, tree)
        return result
    if isinstance(value, list) and is_keyed(node):
        items = []
        for item in value:
            tree = places.get(step_of(node, item))
            if tree is None:
                items.append(item)
            elif not has_place(tree):
                items.append(remove(item_node(node), item, tree))
        return items
    return value


def merge(node: Node, live: Any, applied: Any) -> Any:
    """Lay a configuration over an object: objects and keyed lists are joined, all else is the configuration's."""
    if isinstance(live, dict) and isinstance(applied, dict) and not node.atomic_map:
        result = dict(live)
        for name, item in applied.items():
            child = below(node, name)
            result[name] = merge(child, live[name], item) if name in live else item
        return result
    if isinstance(live, list) and isinstance(applied, list) and is_keyed(node):
        return _merged_lists(node, live, applied)
    holds_parts = (isinstance(live, dict) and not node.atomic_map) or (isinstance(live, list) and is_keyed(node))
    return live if applied is None and holds_parts else applied


def _merged_lists(node: Node, live: list[Any], applied: list[Any]) -> list[Any]:
    """Join by key. The configuration orders what it names; what only lives stays before what it stood before."""
    now = {step_of(node, item): item for item in applied}
    was = {step_of(node, item): item for item in live}
    child = item_node(node)
    shared = [step for step in now if step in was]
    waiting, steps = list(was), list(now)
    result = []
    while waiting or steps:
        if waiting and steps and waiting[0] == steps[0]:
            step = waiting.pop(0)
            steps.pop(0)
            shared.remove(step)
            result.append(merge(child, was[step], now[step]))
        elif waiting and waiting[0] not in now:
            result.append(was[waiting.pop(0)])
        elif waiting and (waiting[0] not in shared or (steps and waiting[0] != shared[0])):
            # Shared, and either merged already or to come at a later place of the configuration.
            waiting.pop(0)
        else:
            step = steps.pop(0)
            if step in shared:
                shared.remove(step)
            result.append(merge(child, was[step], now[step]) if step in was else now[step])
    return result
