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
VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_NAME = re.compile(NAME_PART)
_VALUE = re.compile(rf"({NAME_PART})?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_TWO_PARTS = (
    QUALIFIED.replace("name part", "a valid label key", 1)
    + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
)
_TOKEN = re.compile(r"\s*(?:(==|!=|=|>|<|,|\(|\)|!)|([^\s=!<>,()]+))")
_SPECIAL = frozenset({",", "(", ")", "=", "==", "!=", "<", ">", "!"})
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


def key_problems(key: str) -> list[str]:
    """Say what is wrong with the key of a label or annotation, as `validation.IsQualifiedName` does."""
    prefix, slash, name = key.rpartition("/")
    found = []
    if "/" in prefix:
        return [_TWO_PARTS]
    if slash and not prefix:
        found.append("prefix part must be non-empty")
    elif slash and not SUBDOMAIN.fullmatch(prefix):
        found.append(f"prefix part {SUBDOMAIN_RULE}")
    if len(prefix) > 253:
        found.append("prefix part must be no more than 253 bytes")
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > 63:
        found.append("name part must be no more than 63 bytes")
    return found if _NAME.fullmatch(name) else [*found, QUALIFIED]


def value_problems(value: str) -> list[str]:
    """Say what is wrong with the value of a label."""
    found = ["must be no more than 63 bytes"] if len(value) > 63 else []
    return found if _VALUE.fullmatch(value) else [*found, VALUE_RULE]


def parse_labels(text: str) -> LabelSelector:
    """Read `a=b,c in (d,e),!f`. Raises `ApiError` 400 with the words of the label parser."""
    tokens = [operator or word for operator, word in _TOKEN.findall(text)]
    found: list[Requirement] = []
    position = 0
    if tokens and not _begins_a_requirement(tokens[0]):
        raise bad_request(f"found '{tokens[0]}', expected: !, identifier, or 'end of string'")
    while position < len(tokens):
        try:
            requirement, position = _requirement(tokens, position)
        except ValueError as error:
            raise bad_request(f"unable to parse requirement: {error}") from None
        found.append(requirement)
        if position < len(tokens):
            if tokens[position] != ",":
                raise bad_request(f"found '{tokens[position]}', expected: ',' or 'end of string'")
            position += 1
            following = _at(tokens, position)
            if not _begins_a_requirement(following):
                raise bad_request(f"found '{following}', expected: identifier after ','")
    return LabelSelector(tuple(found))


def _begins_a_requirement(word: str) -> bool:
    return word == "!" or (bool(word) and word not in _SPECIAL)


def _at(tokens: list[str], position: int) -> str:
    """Return a token, or nothing at the end of the text."""
    return tokens[position] if position < len(tokens) else ""


def _requirement(tokens: list[str], position: int) -> tuple[Requirement, int]:
    """Read one requirement; return it and where the next token is. Raises `ValueError`."""
    if tokens[position] == "!":
        return Requirement(_key(tokens, position + 1), "absent"), position + 2
    key = _key(tokens, position)
    operator, after = _at(tokens, position + 1) or ",", position + 2
    match operator:
        case ",":
            return Requirement(key, "exists"), position + 1
        case "=" | "==" | "!=":
            value = _at(tokens, after).replace(",", "")
            if value:
                _identifier(value)
            values = _checked(key, frozenset({value}))
            return Requirement(key, "notin" if operator == "!=" else "in", values), after + bool(value)
        case "in" | "notin":
            values, after = _values(tokens, after)
            return Requirement(key, operator, _checked(key, values)), after
        case ">" | "<":
            bound = _at(tokens, after)
            if not re.fullmatch(r"-?\d+", bound):
                why = "for 'Gt', 'Lt' operators, the value must be an integer"
                raise ValueError(f'values[0]: Invalid value: "{bound}": {why}')
            return Requirement(key, "gt" if operator == ">" else "lt", frozenset({bound})), after + 1
    raise ValueError(f"found '{operator}', expected: {_OPERATORS}")


def _identifier(word: str) -> str:
    if not word or word in _SPECIAL:
        raise ValueError(f"found '{word}', expected: identifier")
    return word


def _key(tokens: list[str], position: int) -> str:
    key = _identifier(_at(tokens, position))
    if problems := key_problems(key):
        raise ValueError(f'<nil>: Invalid value: "{key}": {"; ".join(problems)}')
    return key


def _checked(key: str, values: frozenset[str]) -> frozenset[str]:
    for place, value in enumerate(sorted(values)):
        if problems := value_problems(value):
            raise ValueError(f'values[{place}][{key}]: Invalid value: "{value}": {"; ".join(problems)}')
    return values


def _values(tokens: list[str], position: int) -> tuple[frozenset[str], int]:
    if _at(tokens, position) != "(":
        raise ValueError(f"found '{_at(tokens, position)}' expected: '('")
    try:
        end = tokens.index(")", position)
    except ValueError:
        raise ValueError("found '', expected: ',' or ')'") from None
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
