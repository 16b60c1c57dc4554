"""JSON of exact types: what payloads and manifests hold, and every engine gives back."""

import math
from collections.abc import Mapping
from typing import Any, Final

from search.errors import InvalidPoint

MAX_DEPTH: Final = 32
INT64: Final = range(-(2**63), 2**63)


def plain_json(value: Any, path: str, depth: int = 0) -> Any:
    """A copy of exact JSON types: a subclass (an enum, numpy's float) must not reach the engine.

    Args:
        value: Anything that may be JSON.
        path: Where it stands, for the message.
        depth: How deep that is.

    Raises:
        InvalidPoint: what JSON cannot hold, or an engine would not give back: NaN, a lone
            surrogate, an integer beyond 64 bits, a key that is no string.
    """
    if depth > MAX_DEPTH:
        raise InvalidPoint(f"{path} is nested deeper than {MAX_DEPTH}; flatten it")
    if value is None or isinstance(value, bool):
        return value
    if type(value) is dict:
        return _plain_mapping(value, path, depth)
    if isinstance(value, str):
        if not is_unicode(value):
            raise InvalidPoint(f"{path} is {short(value)}: lone surrogate; decode it as UTF-8")
        return str.__str__(value)
    if isinstance(value, int):
        if value not in INT64:
            raise InvalidPoint(f"{path} is {short(value)}: expected a 64-bit integer")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidPoint(f"{path} is {value}: expected a finite number, or leave it out")
        return float(value)
    if isinstance(value, Mapping):
        return _plain_mapping(value, path, depth)
    if isinstance(value, list | tuple):
        return [plain_json(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise InvalidPoint(f"{path} is {short(value)}: expected JSON; convert {type(value).__name__}")


def _plain_mapping(value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
    plain = {}
    for key, item in value.items():
        if type(key) is str and key and key.isascii() and _is_simple(item):
            plain[key] = item  # nearly all that ever comes, without naming its place
            continue
        if not isinstance(key, str) or not key or not is_unicode(key):
            raise InvalidPoint(f"{path} has key {short(key)}: expected a non-empty string")
        plain[str.__str__(key)] = plain_json(item, f"{path}.{key}", depth + 1)
    return plain


def _is_simple(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        return bool(value.isascii())
    if kind is int:
        return value in INT64
    return value is None or kind is bool


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold the text: a lone surrogate it cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def short(value: Any) -> str:
    """A value as a message shows it, 80 characters at most."""
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
