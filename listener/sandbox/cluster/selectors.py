"""Label and field selectors: text to a predicate, with the grammar and the refusals of apimachinery.

Pure: text and mappings in, verdicts out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from listener.sandbox.cluster.status import ApiError, bad_request

NAME_PART = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
QUALIFIED = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_KEY = re.compile(rf"([a-z0-9][-a-z0-9.]*/)?{NAME_PART}")
_TOKEN = re.compile(r"\s*(?:(==|!=|=|>|<|,|\(|\)|!)|([^\s=!<>,()]+))")
_OPERATORS = "in, notin, =, ==, !=, gt, lt"
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label: `operator` is in, notin, exists, absent, gt or lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Labels) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values
            case "exists":
                return value is not None
            case "absent":
                return value is None
        return _compares(value, self.operator, next(iter(self.values)))


def _compares(value: str | None, operator: str, bound: str) -> bool:
    try:
        number = int(value or "")
    except ValueError:
        return False
    return number > int(bound) if operator == "gt" else number < int(bound)


@dataclass(frozen=True, slots=True)
class LabelSelector:
    requirements: tuple[Requirement, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.requirements)

    def matches(self, labels: Labels | None) -> bool:
        found = labels or {}
        return all(requirement.holds(found) for requirement in self.requirements)


EVERY_LABEL = LabelSelector()


def parse_labels(text: str) -> LabelSelector:
    """Read `a=b,c in (d,e),!f`. Raises `ApiError` 400 with the words of the label parser."""
    tokens = [operator or word for operator, word in _TOKEN.findall(text)]
    found: list[Requirement] = []
    position = 0
    while position < len(tokens):
        requirement, position = _requirement(tokens, position)
        found.append(requirement)
        if position < len(tokens):
            if tokens[position] != ",":
                raise bad_request(f"found '{tokens[position]}', expected: ',' or 'end of string'")
            position += 1
    return LabelSelector(tuple(found))


def _requirement(tokens: list[str], position: int) -> tuple[Requirement, int]:
    if tokens[position] == "!":
        return Requirement(_key(tokens, position + 1), "absent"), position + 2
    key = _key(tokens, position)
    operator = tokens[position + 1] if position + 1 < len(tokens) else ","
    after = position + 2
    match operator:
        case ",":
            return Requirement(key, "exists"), position + 1
        case "=" | "==" | "!=":
            value = tokens[after] if after < len(tokens) and tokens[after] != "," else ""
            negated = "notin" if operator == "!=" else "in"
            return Requirement(key, negated, frozenset({value})), after + bool(value)
        case "in" | "notin":
            values, after = _values(tokens, after)
            return Requirement(key, operator, values), after
        case ">" | "<":
            bound = tokens[after] if after < len(tokens) else ""
            if not re.fullmatch(r"-?\d+", bound):
                raise bad_request(
                    f"unable to parse requirement: values[0]: Invalid value: \"{bound}\": for 'Gt', 'Lt' operators, "
                    "the value must be an integer"
                )
            return Requirement(key, "gt" if operator == ">" else "lt", frozenset({bound})), after + 1
    raise bad_request(f"unable to parse requirement: found '{operator}', expected: {_OPERATORS}")


def _key(tokens: list[str], position: int) -> str:
    key = tokens[position] if position < len(tokens) else ""
    if not key or key in {",", "(", ")", "=", "==", "!=", "<", ">", "!"}:
        raise bad_request(f"unable to parse requirement: found '{key}', expected: !, identifier, or 'end of string'")
    if not _KEY.fullmatch(key):
        raise bad_request(f'unable to parse requirement: <nil>: Invalid value: "{key}": {QUALIFIED}')
    return key


def _values(tokens: list[str], position: int) -> tuple[frozenset[str], int]:
    if position >= len(tokens) or tokens[position] != "(":
        found = tokens[position] if position < len(tokens) else ""
        raise bad_request(f"unable to parse requirement: found '{found}' expected: '('")
    try:
        end = tokens.index(")", position)
    except ValueError:
        raise bad_request("unable to parse requirement: found '', expected: ',', or ')'") from None
    inside = tokens[position + 1 : end]
    values = frozenset(word for word in inside if word != ",")
    return values or frozenset({""}), end + 1


@dataclass(frozen=True, slots=True)
class FieldTerm:
    path: str
    value: str
    equal: bool


@dataclass(frozen=True, slots=True)
class FieldSelector:
    terms: tuple[FieldTerm, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)

    @property
    def paths(self) -> frozenset[str]:
        return frozenset(term.path for term in self.terms)

    @property
    def name(self) -> str | None:
        """Return the one name that can match, where the selector says so: then no list need be walked."""
        names = [term.value for term in self.terms if term.path == "metadata.name" and term.equal]
        return names[0] if len(names) == 1 else None

    def matches(self, fields: Mapping[str, str]) -> bool:
        return all((fields.get(term.path, "") == term.value) is term.equal for term in self.terms)


EVERY_FIELD = FieldSelector()


def parse_fields(text: str, known: Collection[str], refuse: Callable[[str], ApiError]) -> FieldSelector:
    """Read `metadata.name=x,status.phase!=Running`. `refuse` words the error for a path that is not in `known`."""
    terms: list[FieldTerm] = []
    for part in re.split(r"(?<!\\),", text):
        if not part:
            continue
        found = re.fullmatch(r"(.*?)(==|!=|=)(.*)", part, re.DOTALL)
        if found is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        path, operator, value = found.groups()
        if path not in known:
            raise refuse(path)
        terms.append(FieldTerm(path, re.sub(r"\\([\\,=])", r"\1", value), operator != "!="))
    return FieldSelector(tuple(terms))


def value_at(obj: Mapping[str, Any], path: str) -> str:
    """Return the value at a dotted path as a field selector compares it: text, empty where there is none."""
    at: Any = obj
    for step in path.split("."):
        if not isinstance(at, Mapping):
            return ""
        at = at.get(step)
    if at is None:
        return ""
    if isinstance(at, bool):
        return "true" if at else "false"
    return str(at)
