"""Filters as people write them, and as JSON.

One expression states one condition:

| expression | the value at KEY |
|---|---|
| `KEY=VALUE` | is this |
| `KEY!=VALUE` | is not this, or there is none |
| `KEY in A, B` / `KEY not in A, B` | is one of these / none of these |
| `KEY>=VALUE`, also `>`, `<=`, `<` | lies in a range of numbers or times |
| `KEY~WORDS` / `KEY!~WORDS` | has / lacks all these words, in any order and case |
| `KEY exists` / `KEY missing` | is there / is not |

All expressions hold, but `=` given several times for one key asks for any of the values. KEY is one
of `filters.FILTERABLE`, `text` (for `~`), or a field that a source gave: `fields.year`, or `year`
alone where no other key has that name. Times are ISO 8601, UTC unless they say otherwise, and may
be a whole day, month or year: `modified=2026-05`, `modified>=2025`.

As JSON: `{"key": "year", "op": ">=", "value": 2020}`, a list of such, of which all hold, and
`{"all": [...]}`, `{"any": [...]}`, `{"not": ...}` around them. `op` is a sign of the table, `in` (a
list), `exists` or `missing`.
"""

import contextlib
import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from search.errors import InvalidRequest
from search.filters import (
    FIELDS,
    FILTERABLE,
    AnyOf,
    Condition,
    Exists,
    Filter,
    IndexKind,
    Match,
    NumberRange,
    Text,
    TimeRange,
    path_of,
)
from search.periods import period

TEXT: Final = "text"
"""Key of a chunk's own text."""
NO_VALUE: Final = "\x1f"
"""Stands for the values of a key when none has the words asked for; no payload holds it."""
MAX_DEPTH: Final = 8
"""So deep may JSON filters be nested."""
MAX_CHARACTERS: Final = 100_000

_EXPRESSION: Final = re.compile(
    r"""\s*(?P<key>[^\s=!<>~]+(?:\ [^\s=!<>~]+)*?)\s*
    (?: (?P<sign>!=|!~|>=|<=|=|>|<|~)\s*(?P<value>.*)
      | \s(?P<word>not\ in|in)\s+(?P<values>.*)
      | \s(?P<state>exists|missing)\s* )""",
    re.VERBOSE | re.DOTALL,
)
_BOUNDS: Final = {">=": "gte", ">": "gt", "<=": "lte", "<": "lt"}
_OPPOSITE: Final = {"!=": "=", "!~": "~", "not in": "in", "missing": "exists"}
_EXAMPLES: Final = "e.g. format=markdown, year>=2020, title~lighthouse, language in en, de"


class UnknownKey(InvalidRequest):
    """No such key; a collection that is not open yet might have it."""


class Schema(Protocol):
    """What a collection's filters may ask besides the keys that every collection has."""

    def fields(self) -> Mapping[str, IndexKind]:
        """Names that sources gave to what they say of their documents, and what they hold."""
        ...

    def require(self, path: str, kind: IndexKind) -> None:
        """See to it that a path can be filtered."""
        ...

    def values_with(self, path: str, words: str) -> Sequence[str]:
        """Values of a keyword path that have all these words."""
        ...


def parse(expressions: Sequence[str], schema: Schema | None = None) -> Filter:
    """Read filters; each is an expression, or JSON if it begins with a brace or bracket.

    Args:
        expressions: As typed.
        schema: The collection's; without it `~` and sources' fields are refused.

    Raises:
        InvalidRequest: no such expression, an unknown key (with the nearest ones), or a value that
            does not fit its key.
    """
    combined = Filter()
    any_of: dict[str, list[Any]] = {}
    for expression in expressions:
        if len(expression) > MAX_CHARACTERS:
            raise InvalidRequest(
                f"filter of {len(expression):,} characters: expected at most {MAX_CHARACTERS:,}"
            )
        if expression.lstrip()[:1] in ("{", "["):
            combined &= _from_json(_load(expression), schema)
            continue
        found = _EXPRESSION.fullmatch(expression)
        if found is None:
            raise InvalidRequest(f"filter {expression!r} is not KEY=VALUE; {_EXAMPLES}")
        key = found["key"]
        operator = found["sign"] or found["word"] or found["state"]
        value: Any = (found["value"] or found["values"] or "").strip()
        if operator not in ("exists", "missing") and not value:
            raise InvalidRequest(f"filter {expression!r} has no value; {_EXAMPLES}")
        if operator == "=":
            any_of.setdefault(key, []).append(value)
            continue
        if operator in ("in", "not in"):
            value = [part.strip() for part in value.split(",") if part.strip()]
        combined &= condition(key, operator, value, schema)
    equal = Filter()
    for key, values in any_of.items():
        equal &= condition(key, "in", values, schema)
    return equal & combined


def check(expressions: Sequence[str]) -> None:
    """Refuse what is wrong in any collection; a key that one might have passes.

    Raises:
        InvalidRequest: see `parse`.
    """
    for expression in expressions:
        with contextlib.suppress(UnknownKey):
            parse([expression], _AnyCollection())


class _AnyCollection:
    """A schema for looking at the form alone."""

    def fields(self) -> Mapping[str, IndexKind]:
        return {}

    def require(self, path: str, kind: IndexKind) -> None:
        pass

    def values_with(self, path: str, words: str) -> Sequence[str]:
        return ()


def condition(key: str, operator: str, value: Any, schema: Schema | None = None) -> Filter:
    """One condition.

    Args:
        key: As people write it.
        operator: A sign of the table, `in`, `not in`, `exists` or `missing`.
        value: Text or a number; a list for `in`; nothing for `exists` and `missing`.
        schema: See `parse`.

    Raises:
        InvalidRequest: see `parse`.
    """
    if operator in _OPPOSITE:
        stated = condition(key, _OPPOSITE[operator], value, schema)
        return Filter(must_not=stated.must)
    key, kind = resolve(key, schema)
    path = path_of(key)
    if schema is not None:
        schema.require(path, kind)
    made: Condition
    if operator == "exists":
        if kind == "text":
            raise InvalidRequest("filter 'text exists': every chunk has a text; leave it out")
        made = Exists(key=path)
    elif operator == "~":
        made = _words(key, path, kind, value, schema)
    elif operator in _BOUNDS:
        made = _range(key, path, kind, operator, value)
    elif operator in ("=", "in"):
        values = value if isinstance(value, list) else [value]
        if not values:
            raise InvalidRequest(f"filter on {key!r} has no value; give at least one")
        made = _equals(key, path, kind, values)
    else:
        raise InvalidRequest(
            f"filter operator {operator!r}: expected one of =, !=, in, not in, >=, >, <=, <, ~, "
            "!~, exists, missing"
        )
    return Filter(must=(made,))


def _equals(key: str, path: str, kind: IndexKind, values: list[Any]) -> Condition:
    if kind == "text":
        raise InvalidRequest(f"filter on {key!r}: it can be asked for words only, e.g. text~sea")
    if kind == "keyword":
        return Match(key=path, values=tuple(_text(key, value) for value in values))
    if kind == "integer":
        return Match(key=path, values=tuple(_whole(key, value) for value in values))
    ranges: list[Condition] = []
    for value in values:
        if kind == "float":
            ranges.append(NumberRange(key=path, gte=_number(key, value), lte=_number(key, value)))
        else:
            begin, end = period(key, value)
            ranges.append(TimeRange(key=path, gte=begin, lt=end))
    if len(ranges) == 1:
        return ranges[0]
    return AnyOf(filters=tuple(Filter(must=(one,)) for one in ranges))


def _range(key: str, path: str, kind: IndexKind, operator: str, value: Any) -> Condition:
    if kind in ("integer", "float"):
        return NumberRange(key=path, **{_BOUNDS[operator]: _number(key, value)})
    if kind == "datetime":
        begin, end = period(key, value)
        bounds = {">=": {"gte": begin}, ">": {"gte": end}, "<=": {"lt": end}, "<": {"lt": begin}}
        return TimeRange(key=path, **bounds[operator])
    raise InvalidRequest(
        f"filter {key}{operator}{value}: {key!r} holds words, which have no range; use = or ~"
    )


def _words(key: str, path: str, kind: IndexKind, value: Any, schema: Schema | None) -> Condition:
    words = _text(key, value)
    if not re.search(r"\w", words):
        raise InvalidRequest(f"filter {key}~{words}: expected words")
    if kind == "text":
        return Text(key=path, words=words)
    if kind != "keyword":
        raise InvalidRequest(f"filter {key}~{words}: {key!r} holds no words but a {kind}; use =")
    if schema is None:
        raise InvalidRequest(f"filter {key}~{words}: words cannot be asked for here; use =")
    return Match(key=path, values=tuple(schema.values_with(path, words)) or (NO_VALUE,))


def resolve(key: str, schema: Schema | None) -> tuple[str, IndexKind]:
    """The key in full, and what its values are.

    Raises:
        InvalidRequest: no such key; the message names the nearest ones.
    """
    if key in FILTERABLE:
        return key, FILTERABLE[key]
    if key == TEXT and schema is not None:
        return key, "text"
    fields = {} if schema is None else schema.fields()
    name = key.removeprefix(f"{FIELDS}.")
    if name in fields:
        return f"{FIELDS}.{name}", fields[name]
    known = list(dict.fromkeys([*FILTERABLE, *([TEXT] if schema is not None else []), *fields]))
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.7)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise UnknownKey(f"unknown filter key {key!r}{hint}; filters know {', '.join(known)}")


def _text(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise InvalidRequest(f"filter {key}={value!r}: expected a text")
    return str(value)


def _whole(key: str, value: Any) -> int:
    try:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequest(f"filter {key}={value!r}: expected a whole number") from None


def _number(key: str, value: Any) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
        if number - number != 0:  # neither NaN nor infinite
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequest(f"filter {key}: {value!r} is no number") from None
    return number


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        at = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidRequest(
            f"filter {text[:60]!r} is not JSON{at}; expected e.g. "
            '{"key": "format", "op": "=", "value": "markdown"}'
        ) from None


def _from_json(value: Any, schema: Schema | None, depth: int = 0) -> Filter:
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"filter nested more than {MAX_DEPTH} deep; write it flatter")
    if isinstance(value, list):
        value = {"all": value}
    combine: dict[str, Callable[[list[Filter]], Filter]] = {"all": _all, "any": _any}
    match value:
        case {"key": str(key), "op": str(operator), **rest} if rest.keys() <= {"value"}:
            stateless = operator in ("exists", "missing")
            if stateless == ("value" in rest):
                wanted = "no value" if stateless else "a value"
                raise InvalidRequest(f"filter on {key!r} with {operator!r}: expected {wanted}")
            return condition(key, operator, rest.get("value"), schema)
        case {"not": inner, **rest} if not rest:
            return Filter(must_not=(AnyOf(filters=(_from_json(inner, schema, depth + 1),)),))
        case {**only} if len(only) == 1 and only.keys() <= combine.keys():
            ((name, parts),) = only.items()
            if isinstance(parts, list) and parts:
                return combine[str(name)]([_from_json(part, schema, depth + 1) for part in parts])
    raise InvalidRequest(
        f"filter {json.dumps(value)[:60]} is none: expected key, op and value, or all, any or not"
    )


def _all(filters: list[Filter]) -> Filter:
    combined = Filter()
    for one in filters:
        combined &= one
    return combined


def _any(filters: list[Filter]) -> Filter:
    return Filter(must=(AnyOf(filters=tuple(filters)),))
