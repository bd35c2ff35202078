"""The Common Expression Language, so far as match conditions of webhooks are written in it.

An expression is read once and becomes a function. Known are the operators, the macros `has`, `all`, `exists`,
`exists_one`, `map` and `filter`, optional fields (`object.?metadata`), conversions, and Kubernetes' functions for
strings and lists. Not known are types as values, sets, quantities, addresses, times, the namespace's object and the
authorizer: an expression that needs them is refused when it is read, so that it never means something else here.

Pure. Values are those of JSON; a missing field is an error that `||` and `&&` may absorb, as the language has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NoReturn

from listener.errors import ListenerError

Scope = Mapping[str, Any]
Function = Callable[[Scope], Any]

VARIABLES: Final = ("object", "oldObject", "request")
_GROUP_VERSION: Final = {"group": "string", "version": "string"}
_TYPED: Final[dict[tuple[str, ...], dict[str, str]]] = {
    ("request",): {
        **dict.fromkeys(("kind", "resource", "requestKind", "requestResource", "userInfo"), ""),
        **dict.fromkeys(("subResource", "requestSubResource", "name", "namespace", "operation"), "string"),
        "dryRun": "bool",
        "options": "",
    },
    ("request", "userInfo"): {"username": "string", "uid": "string", "groups": "list", "extra": "map"},
    **{("request", name): {**_GROUP_VERSION, "kind": "string"} for name in ("kind", "requestKind")},
    **{("request", name): {**_GROUP_VERSION, "resource": "string"} for name in ("resource", "requestResource")},
}
"""The fields of what has a type. Objects have none here, as there."""


class CompilationError(ListenerError):
    """An expression that is none, or that is beyond this server. The message names the place."""


class EvaluationError(ListenerError):
    """An expression without a value for what it was given: a field that is missing, values that do not go together."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression. `type` is `dyn` where only the evaluation can tell it."""

    text: str
    type: str
    function: Function

    def evaluate(self, scope: Scope) -> Any:
        return self.function(scope)


@lru_cache(maxsize=512)
def compile_expression(text: str) -> Expression:
    """Read an expression over `VARIABLES`. Raises `CompilationError`."""
    reader = _Reader(text)
    found = reader.expression(frozenset(VARIABLES))
    reader.expect("", "end of expression")
    return Expression(text, found.type or "dyn", found.function)


@dataclass(frozen=True, slots=True)
class _Term:
    """A part of an expression: what computes it, its type if that is known, and how it was written if it is a path."""

    function: Function
    type: str = ""
    path: tuple[str, ...] = ()
    selection: tuple[Function, str] | None = None
    """The operand and the field of a selection: what `has` asks about."""


@dataclass(frozen=True, slots=True)
class Optional:
    """A value that may be missing, which is not an error."""

    value: Any = None
    present: bool = False


_NONE: Final = Optional()

# Reading

_TOKEN: Final = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*)
    |(?P<number>0x[0-9a-fA-F]+u?|\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+u?)
    |(?P<string>[rR]?(?:\"\"\".*?\"\"\"|'''.*?'''))
    |(?P<line>[rR](?:"[^"\n]*"|'[^'\n]*')|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<operator>&&|\|\||<=|>=|==|!=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}
_RESERVED: Final = frozenset(
    """as break const continue else for function if import let loop package namespace return var void while""".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _error(text, at, f"Syntax error: token recognition error at: '{text[at]}'")
        kind = match.lastgroup or ""
        if kind != "space":
            yield _Token("string" if kind == "line" else kind, match[0], at)
        at = match.end()
    yield _Token("end", "", at)


def _error(text: str, at: int, why: str) -> CompilationError:
    line = text.count("\n", 0, at) + 1
    start = text.rfind("\n", 0, at) + 1
    shown, column = text[start:].partition("\n")[0], at - start
    return CompilationError(f"ERROR: <input>:{line}:{column + 1}: {why}\n | {shown}\n | {'.' * column}^")


Names = frozenset[str]


class _Reader:
    """Reads by precedence, lowest first. `names` are the variables that are bound where it reads."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = list(_tokens(text))
        self._place = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> _Token:
        token = self._next
        self._place += 1
        return token

    def _try(self, *words: str) -> _Token | None:
        token = self._next
        return self._take() if token.kind == "operator" and token.text in words else None

    def expect(self, word: str, what: str = "") -> _Token:
        token = self._next
        if token.text != word or token.kind == "string":
            self._fail(token, f"Syntax error: mismatched input '{token.text or '<EOF>'}' expecting '{what or word}'")
        return self._take() if word else token

    def _fail(self, token: _Token, why: str) -> NoReturn:
        raise _error(self.text, token.at, why)

    def expression(self, names: Names) -> _Term:
        condition = self._or(names)
        if not self._try("?"):
            return condition
        yes = self._or(names)
        self.expect(":")
        no = self.expression(names)
        return _Term(
            _conditional(condition.function, yes.function, no.function), yes.type if yes.type == no.type else ""
        )

    def _or(self, names: Names) -> _Term:
        left = self._and(names)
        while self._try("||"):
            left = _Term(_either(left.function, self._and(names).function), "bool")
        return left

    def _and(self, names: Names) -> _Term:
        left = self._relation(names)
        while self._try("&&"):
            left = _Term(_both(left.function, self._relation(names).function), "bool")
        return left

    def _relation(self, names: Names) -> _Term:
        left = self._sum(names)
        while True:
            token = self._try("==", "!=", "<", "<=", ">", ">=")
            if token is None and self._next == _Token("name", "in", self._next.at):
                token = self._take()
            if token is None:
                return left
            right = self._sum(names)
            self._check_types(token, left, right)
            left = _Term(_operation(_RELATIONS[token.text], left.function, right.function), "bool")

    def _sum(self, names: Names) -> _Term:
        left = self._product(names)
        while token := self._try("+", "-"):
            left = self._arithmetic(token, left, self._product(names))
        return left

    def _product(self, names: Names) -> _Term:
        left = self._unary(names)
        while token := self._try("*", "/", "%"):
            left = self._arithmetic(token, left, self._unary(names))
        return left

    def _arithmetic(self, token: _Token, left: _Term, right: _Term) -> _Term:
        self._check_types(token, left, right)
        known = left.type or right.type
        return _Term(_operation(_ARITHMETIC[token.text], left.function, right.function), known)

    def _check_types(self, token: _Token, left: _Term, right: _Term) -> None:
        """Refuse two types that are known not to go together. Numbers of any type are in order, null equals nothing."""
        known = {left.type, right.type}
        mixed = len(known) == 2 and not known & {"", "null_type"} and token.text != "in"
        if mixed and not (token.text in {"<", "<=", ">", ">="} and known <= {"int", "uint", "double"}):
            why = f"found no matching overload for '_{token.text}_' applied to '({left.type}, {right.type})'"
            self._fail(token, why)

    def _unary(self, names: Names) -> _Term:
        if self._try("!"):
            return _Term(_applied(_not, self._unary(names).function), "bool")
        if self._try("-"):
            term = self._unary(names)
            return _Term(_applied(_negated, term.function), term.type)
        return self._member(names)

    def _member(self, names: Names) -> _Term:
        term = self._primary(names)
        while True:
            if dot := self._try("."):
                maybe = self._try("?")
                name = self._name()
                if not maybe and self._try("("):
                    term = self._method(term, name, names)
                elif maybe:
                    term = _Term(_optional_field(term.function, name.text))
                else:
                    kind = self._field_type(term, name, dot)
                    path = (*term.path, name.text) if term.path else ()
                    selection = term.function, name.text
                    term = _Term(_field(term.function, name.text), kind, path, selection)
            elif self._try("["):
                maybe = self._try("?")
                index = self.expression(names).function
                self.expect("]")
                term = _Term(_operation(_optional_item if maybe else _item, term.function, index))
            else:
                return term

    def _name(self) -> _Token:
        if self._next.kind != "name":
            self._fail(self._next, f"Syntax error: no viable alternative at input '{self._next.text or '<EOF>'}'")
        return self._take()

    def _field_type(self, term: _Term, name: _Token, dot: _Token) -> str:
        fields = _TYPED.get(term.path)
        if fields is None:
            return ""
        if name.text not in fields:
            self._fail(dot, f"undefined field '{name.text}'")
        return fields[name.text]

    def _arguments(self, names: Names, closing: str = ")") -> list[_Term]:
        found: list[_Term] = []
        while not self._try(closing):
            if found:
                self.expect(",")
                if self._try(closing):
                    break
            found.append(self.expression(names))
        return found

    def _method(self, term: _Term, name: _Token, names: Names) -> _Term:
        if name.text in _MACROS:
            return self._macro(term, name, names)
        if term.path == ("optional",):
            return self._call(f"optional.{name.text}", name, self._arguments(names))
        return self._call(f".{name.text}", name, [term, *self._arguments(names)])

    def _macro(self, term: _Term, name: _Token, names: Names) -> _Term:
        variable = self._name()
        inner = names | {variable.text}
        self.expect(",")
        bodies = [self.expression(inner).function]
        while self._try(","):
            bodies.append(self.expression(inner).function)
        self.expect(")")
        allowed = (1, 2) if name.text == "map" else (1,)
        if len(bodies) not in allowed:
            self._fail(name, f"the macro {name.text} with two variables is not known to this server")
        kind = "bool" if name.text in {"all", "exists", "exists_one", "existsOne"} else ""
        return _Term(_MACROS[name.text](term.function, variable.text, bodies), kind)

    def _call(self, key: str, name: _Token, arguments: Sequence[_Term]) -> _Term:
        found = _FUNCTIONS.get(key)
        if found is None:
            self._fail(name, f"undeclared reference to '{name.text}' (in container '', or unknown to this server)")
        kind, function = found
        return _Term(_called(function, [each.function for each in arguments]), kind)

    def _primary(self, names: Names) -> _Term:
        token = self._take()
        match token.kind:
            case "number":
                return _number(token.text)
            case "string":
                return _constant(_unquoted(token.text), "string")
            case "name":
                return self._named(token, names)
        match token.text:
            case "(":
                inner = self.expression(names)
                self.expect(")")
                return inner
            case "[":
                return self._list(names)
            case "{":
                return self._map(names)
        why = f"Syntax error: no viable alternative at input '{token.text or '<EOF>'}'"
        raise _error(self.text, token.at, why)

    def _named(self, token: _Token, names: Names) -> _Term:
        word = token.text
        if word in _CONSTANTS:
            return _constant(_CONSTANTS[word], "null_type" if word == "null" else "bool")
        if self._try("("):
            if word == "has":
                return self._has(names)
            return self._call(word, token, self._arguments(names))
        if word in names:
            return _Term(lambda scope: scope[word], path=(word,))
        if word == "optional" and self._next.text == ".":
            return _Term(lambda _: None, path=(word,))
        if word in _RESERVED:
            self._fail(token, f"Syntax error: reserved identifier: {word}")
        raise _error(self.text, token.at, f"undeclared reference to '{word}' (in container '')")

    def _has(self, names: Names) -> _Term:
        at = self._next
        term = self.expression(names)
        self.expect(")")
        if term.selection is None:
            self._fail(at, "invalid argument to has() macro")
        operand, field = term.selection
        return _Term(_operation(_has_field, operand, lambda _: field), "bool")

    def _list(self, names: Names) -> _Term:
        items: list[tuple[bool, Function]] = []
        while not self._try("]"):
            if items:
                self.expect(",")
                if self._try("]"):
                    break
            items.append((bool(self._try("?")), self.expression(names).function))
        return _Term(_listed(items), "list")

    def _map(self, names: Names) -> _Term:
        items: list[tuple[bool, Function, Function]] = []
        while not self._try("}"):
            if items:
                self.expect(",")
                if self._try("}"):
                    break
            maybe, key = bool(self._try("?")), self.expression(names).function
            self.expect(":")
            items.append((maybe, key, self.expression(names).function))
        return _Term(_mapped(items), "map")


_CONSTANTS: Final = {"true": True, "false": False, "null": None}


def _number(text: str) -> _Term:
    digits = text.removesuffix("u")
    if digits.startswith("0x"):
        return _constant(int(digits, 16), "uint" if text != digits else "int")
    if not digits.isdigit():
        return _constant(float(digits), "double")
    return _constant(int(digits), "uint" if text != digits else "int")


def _unquoted(text: str) -> str:
    raw = text[0] in "rR"
    text = text[1:] if raw else text
    size = 3 if text.startswith(('"""', "'''")) else 1
    inside = text[size:-size]
    if raw:
        return inside
    return re.sub(
        r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", _unescaped, inside, flags=re.DOTALL
    )


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "xuU" and len(code) > 1:
        return chr(int(code[1:], 16))
    if len(code) == 3:
        return chr(int(code, 8))
    return _ESCAPES.get(code, code)


def _constant(value: Any, kind: str) -> _Term:
    return _Term(lambda _: value, kind)


# Evaluating


def _no_overload() -> EvaluationError:
    return EvaluationError("no such overload")


def _applied(function: Callable[[Any], Any], operand: Function) -> Function:
    return lambda scope: function(operand(scope))


def _operation(function: Callable[[Any, Any], Any], left: Function, right: Function) -> Function:
    return lambda scope: function(left(scope), right(scope))


def _called(function: Callable[..., Any], arguments: Sequence[Function]) -> Function:
    def evaluate(scope: Scope) -> Any:
        values = [argument(scope) for argument in arguments]
        try:
            return function(*values)
        except (TypeError, AttributeError):
            raise _no_overload() from None

    return evaluate


def _truth(function: Function, scope: Scope) -> bool | EvaluationError:
    try:
        value = function(scope)
    except EvaluationError as error:
        return error
    return value if isinstance(value, bool) else _no_overload()


def _either(left: Function, right: Function) -> Function:
    return lambda scope: _decided(True, (_truth(side, scope) for side in (left, right)))


def _both(left: Function, right: Function) -> Function:
    return lambda scope: _decided(False, (_truth(side, scope) for side in (left, right)))


def _decided(decisive: bool, found: Iterator[bool | EvaluationError]) -> bool:
    """Return the decisive value if any has it, whatever the others are, errors included."""
    trouble: EvaluationError | None = None
    for each in found:
        if each is decisive:
            return decisive
        if isinstance(each, EvaluationError):
            trouble = trouble or each
    if trouble is not None:
        raise trouble
    return not decisive


def _conditional(condition: Function, yes: Function, no: Function) -> Function:
    def evaluate(scope: Scope) -> Any:
        chosen = condition(scope)
        if not isinstance(chosen, bool):
            raise _no_overload()
        return yes(scope) if chosen else no(scope)

    return evaluate


def _field(operand: Function, name: str) -> Function:
    return lambda scope: _select(operand(scope), name)


def _optional_field(operand: Function, name: str) -> Function:
    return lambda scope: _optional_item(operand(scope), name)


def _select(value: Any, name: str) -> Any:
    if isinstance(value, Optional):
        return _optional_item(value, name)
    if not isinstance(value, dict):
        raise EvaluationError(f"no such key: {name}" if value is None else "no such overload")
    if name not in value:
        raise EvaluationError(f"no such key: {name}")
    return value[name]


def _has_field(value: Any, name: str) -> bool:
    if isinstance(value, Optional):
        return _optional_item(value, name).present
    if not isinstance(value, dict):
        raise EvaluationError(f"no such key: {name}" if value is None else "no such overload")
    return name in value


def _item(value: Any, key: Any) -> Any:
    if isinstance(value, Optional):
        return _optional_item(value, key)
    if isinstance(value, list):
        if not isinstance(key, int) or isinstance(key, bool):
            raise _no_overload()
        if not 0 <= key < len(value):
            raise EvaluationError(f"index out of bounds: {key}")
        return value[key]
    return _select(value, key)


def _optional_item(value: Any, key: Any) -> Optional:
    if isinstance(value, Optional):
        if not value.present:
            return _NONE
        value = value.value
    if isinstance(value, list):
        within = isinstance(key, int) and not isinstance(key, bool) and 0 <= key < len(value)
        return Optional(value[key], True) if within else _NONE
    if value is None:
        return _NONE
    if not isinstance(value, dict):
        raise _no_overload()
    return Optional(value[key], True) if key in value else _NONE


def _listed(items: Sequence[tuple[bool, Function]]) -> Function:
    def evaluate(scope: Scope) -> list[Any]:
        found = []
        for maybe, item in items:
            value = item(scope)
            if not maybe:
                found.append(value)
            elif value.present:
                found.append(value.value)
        return found

    return evaluate


def _mapped(items: Sequence[tuple[bool, Function, Function]]) -> Function:
    def evaluate(scope: Scope) -> dict[Any, Any]:
        found = {}
        for maybe, key, item in items:
            value = item(scope)
            if not maybe:
                found[key(scope)] = value
            elif value.present:
                found[key(scope)] = value.value
        return found

    return evaluate


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(one: Any, other: Any) -> bool:
    """Compare across types: those of another kind are unequal, but numbers are numbers."""
    if _is_number(one) and _is_number(other):
        return bool(one == other)
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, Optional):
        return one.present == other.present and _equal(one.value, other.value)
    return bool(one == other)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def evaluate(one: Any, other: Any) -> bool:
        if not (_is_number(one) and _is_number(other)) and not (
            type(one) is type(other) and isinstance(one, str | bool)
        ):
            raise _no_overload()
        return compare(one, other)

    return evaluate


def _contains(item: Any, holder: Any) -> bool:
    if isinstance(holder, list):
        return any(_equal(item, each) for each in holder)
    if isinstance(holder, dict):
        return item in holder
    raise _no_overload()


_RELATIONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": _equal,
    "!=": lambda one, other: not _equal(one, other),
    "<": _ordered(lambda one, other: one < other),
    "<=": _ordered(lambda one, other: one <= other),
    ">": _ordered(lambda one, other: one > other),
    ">=": _ordered(lambda one, other: one >= other),
    "in": _contains,
}


def _added(one: Any, other: Any) -> Any:
    if type(one) is not type(other) or isinstance(one, bool | dict) or one is None:
        raise _no_overload()
    return one + other


def _calculated(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def evaluate(one: Any, other: Any) -> Any:
        if not _is_number(one) or type(one) is not type(other):
            raise _no_overload()
        try:
            return function(one, other)
        except ZeroDivisionError:
            raise EvaluationError("division by zero") from None

    return evaluate


def _divided(one: Any, other: Any) -> Any:
    """Integers are cut towards zero."""
    if isinstance(one, float):
        return one / other
    quotient = abs(one) // abs(other)
    return quotient if (one < 0) == (other < 0) else -quotient


_ARITHMETIC: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": _added,
    "-": _calculated(lambda one, other: one - other),
    "*": _calculated(lambda one, other: one * other),
    "/": _calculated(_divided),
    "%": _calculated(lambda one, other: one - other * _divided(one, other)),
}


def _not(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _no_overload()
    return not value


def _negated(value: Any) -> Any:
    if not _is_number(value):
        raise _no_overload()
    return -value


# Macros


def _items(value: Any) -> list[Any]:
    """Return what there is to go through: the items of a list, the keys of a map."""
    if isinstance(value, list | dict):
        return list(value)
    name = {str: "String", bool: "Bool", int: "Int", float: "Double"}.get(type(value), "Null")
    raise EvaluationError(f"got 'types.{name}', expected iterable type")


def _quantified(decisive: bool) -> Callable[[Function, str, Sequence[Function]], Function]:
    def build(operand: Function, variable: str, bodies: Sequence[Function]) -> Function:
        def evaluate(scope: Scope) -> bool:
            items = _items(operand(scope))
            return _decided(decisive, (_truth(bodies[0], {**scope, variable: item}) for item in items))

        return evaluate

    return build


def _chosen(body: Function, scope: Scope) -> bool:
    found = _truth(body, scope)
    if isinstance(found, EvaluationError):
        raise found
    return found


def _exists_one(operand: Function, variable: str, bodies: Sequence[Function]) -> Function:
    return lambda scope: sum(_chosen(bodies[0], {**scope, variable: item}) for item in _items(operand(scope))) == 1


def _filter(operand: Function, variable: str, bodies: Sequence[Function]) -> Function:
    return lambda scope: [item for item in _items(operand(scope)) if _chosen(bodies[0], {**scope, variable: item})]


def _map(operand: Function, variable: str, bodies: Sequence[Function]) -> Function:
    *tests, body = bodies

    def evaluate(scope: Scope) -> list[Any]:
        inner = [{**scope, variable: item} for item in _items(operand(scope))]
        return [body(each) for each in inner if all(_chosen(test, each) for test in tests)]

    return evaluate


def _opt_map(operand: Function, variable: str, bodies: Sequence[Function]) -> Function:
    def evaluate(scope: Scope) -> Optional:
        found = operand(scope)
        if not isinstance(found, Optional):
            raise _no_overload()
        return Optional(bodies[0]({**scope, variable: found.value}), True) if found.present else _NONE

    return evaluate


_MACROS: Final[dict[str, Callable[[Function, str, Sequence[Function]], Function]]] = {
    "all": _quantified(False),
    "exists": _quantified(True),
    "exists_one": _exists_one,
    "existsOne": _exists_one,
    "filter": _filter,
    "map": _map,
    "optMap": _opt_map,
}


# Functions. One that is called on a value is written with a dot, and has that value as its first argument. What it does
# not take makes it raise `TypeError` or `AttributeError`, which is the language's "no such overload".


def _texts(*values: Any) -> None:
    if not all(isinstance(value, str) for value in values):
        raise TypeError


def _on_text(function: Callable[..., Any]) -> Callable[..., Any]:
    def evaluate(text: Any, *more: Any) -> Any:
        _texts(text)
        return function(text, *more)

    return evaluate


def _size(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise TypeError
    return len(value)


def _matches(text: Any, pattern: Any) -> bool:
    _texts(text, pattern)
    try:
        return re.search(pattern, text) is not None
    except re.error as error:
        raise EvaluationError(f"error parsing regexp: {error}") from None


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    return list(text)[:limit] if not separator and limit < 0 else text.split(separator, limit - 1 if limit > 0 else -1)


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    return text[start:stop]


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text.replace(old, new, count)


def _index_of(value: Any, item: Any, start: int = 0) -> int:
    if isinstance(value, list):
        return next((place for place, each in enumerate(value) if _equal(each, item)), -1)
    return int(value.find(item, start))


def _last_index_of(value: Any, item: Any) -> int:
    if isinstance(value, list):
        return next((place for place in reversed(range(len(value))) if _equal(value[place], item)), -1)
    return int(value.rfind(item))


def _joined(items: list[str], separator: str = "") -> str:
    _texts(*items)
    return separator.join(items)


def _to_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    try:
        return int(value)
    except ValueError:
        raise EvaluationError("type conversion error from 'string' to 'int'") from None


def _to_double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    try:
        return float(value)
    except ValueError:
        raise EvaluationError("type conversion error from 'string' to 'double'") from None


def _to_string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, int | float | str):
        raise TypeError
    return str(value)


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value not in {"true", "false"}:
        raise EvaluationError("type conversion error from 'string' to 'bool'")
    return bool(value == "true")


def _value(maybe: Optional) -> Any:
    if not maybe.present:
        raise EvaluationError("optional.none() dereference")
    return maybe.value


def _find(text: Any, pattern: Any) -> str:
    _texts(text, pattern)
    found = re.search(pattern, text)
    return found[0] if found else ""


def _find_all(text: Any, pattern: Any, limit: int = -1) -> list[str]:
    _texts(text, pattern)
    found = [match[0] for match in re.finditer(pattern, text)]
    return found if limit < 0 else found[:limit]


_FUNCTIONS: Final[dict[str, tuple[str, Callable[..., Any]]]] = {
    "bool": ("bool", _to_bool),
    "double": ("double", _to_double),
    "dyn": ("", lambda value: value),
    "int": ("int", _to_int),
    "matches": ("bool", _matches),
    "size": ("int", _size),
    "string": ("string", _to_string),
    ".charAt": ("string", _on_text(lambda text, place: _substring(text + "\0", place, place + 1).replace("\0", ""))),
    ".contains": ("bool", _on_text(lambda text, part: part in text)),
    ".endsWith": ("bool", _on_text(str.endswith)),
    ".find": ("string", _find),
    ".findAll": ("list", _find_all),
    ".hasValue": ("bool", lambda maybe: maybe.present),
    ".indexOf": ("int", _index_of),
    ".join": ("string", _joined),
    ".lastIndexOf": ("int", _last_index_of),
    ".lowerAscii": ("string", _on_text(str.lower)),
    ".matches": ("bool", _matches),
    ".max": ("", max),
    ".min": ("", min),
    ".or": ("", lambda maybe, other: maybe if maybe.present else other),
    ".orValue": ("", lambda maybe, other: maybe.value if maybe.present else other),
    ".replace": ("string", _on_text(_replace)),
    ".size": ("int", _size),
    ".split": ("list", _on_text(_split)),
    ".startsWith": ("bool", _on_text(str.startswith)),
    ".substring": ("string", _on_text(_substring)),
    ".sum": ("", sum),
    ".trim": ("string", _on_text(str.strip)),
    ".upperAscii": ("string", _on_text(str.upper)),
    ".value": ("", _value),
    "optional.none": ("", lambda: _NONE),
    "optional.of": ("", lambda value: Optional(value, True)),
    "optional.ofNonZeroValue": ("", lambda value: Optional(value, True) if value else _NONE),
}
