"""What drivers say of an object, each in its own words: size, version, date."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

_VERSIONS: Final = ("etag", "md5hash", "md5", "generation", "versionid", "checksum", "contentmd5")
"""What changes whenever the bytes do. A date and a size are no such thing."""
_DATES: Final = ("lastmodified", "updated", "modified", "mtime", "modify", "created")


def object_size(info: Mapping[str, Any]) -> int | None:
    """Bytes; None where that is not told."""
    size = info.get("size")
    return size if isinstance(size, int) and size >= 0 else None


def object_version(info: Mapping[str, Any]) -> str:
    """What stays the same while the bytes do, with its kind; empty where there is none.

    >>> object_version({"ETag": '"abc"', "size": 3})
    'etag="abc"'
    """
    facts = _plain(info)
    for name in _VERSIONS:
        value = facts.get(name)
        if isinstance(value, bytes | bytearray):
            value = value.hex()
        if isinstance(value, str | int) and value and not str(value).startswith("W/"):
            return f"{name}={value}"
    return ""


def object_modified(info: Mapping[str, Any]) -> str:
    """When it was last changed: ISO 8601, UTC; empty where that is not told."""
    facts = _plain(info)
    for name in _DATES:
        if date := _date(facts.get(name)):
            return date.astimezone(UTC).isoformat(timespec="seconds")
    return ""


def _plain(info: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name).lower().replace("_", "").replace("-", ""): v for name, v in info.items()}


def _date(value: Any) -> datetime | None:
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            value = datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
