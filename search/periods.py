"""Times as people write them: a year, month, day or moment, each a stretch with two ends."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from search.errors import InvalidRequest

_YEAR_OR_MONTH: Final = re.compile(r"(\d{4})(?:-(\d{2}))?")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_EXPECTED: Final = "expected a year, month, day or time, e.g. 2026, 2026-05, 2026-05-01T10:00"


def period(key: str, value: Any) -> tuple[str, str]:
    """Where a stretch of time begins and where it has ended, as ISO 8601 in UTC.

    >>> period("modified", "2026-12")
    ('2026-12-01T00:00:00+00:00', '2027-01-01T00:00:00+00:00')

    Args:
        key: What it is asked of: for messages.
        value: As typed; UTC unless it says otherwise. A moment lasts a second.

    Raises:
        InvalidRequest: it is no time.
    """
    text = str(value).strip()
    try:
        begin, end = _ends(text)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"filter {key}: {text!r} is no time; {_EXPECTED}") from None
    return begin.isoformat(), end.isoformat()


def _ends(text: str) -> tuple[datetime, datetime]:
    if found := _YEAR_OR_MONTH.fullmatch(text):
        year, month = int(found[1]), int(found[2] or 1)
        begin = datetime(year, month, 1, tzinfo=UTC)
        if found[2] is None:
            return begin, datetime(year + 1, 1, 1, tzinfo=UTC)
        return begin, datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    begin = datetime.fromisoformat(text)
    begin = begin.replace(tzinfo=UTC) if begin.tzinfo is None else begin.astimezone(UTC)
    length = timedelta(days=1) if _DAY.fullmatch(text) else timedelta(seconds=1)
    return begin, begin + length
