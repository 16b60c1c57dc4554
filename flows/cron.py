"""Cron expressions of five fields: checked, and their next moment. Imports no scheduler.

Minute, hour, day of the month, month, day of the week; each is `*`, a number, a name (`jan`,
`mon`), a range `a-b`, a step `*/n` or `a-b/n`, or several of these with commas. Sunday is 0 or 7.
Where both days are restricted, a day that matches either one counts, as in every cron.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from flows.errors import InvalidInput

# fmt: off
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun",
                  "jul", "aug", "sep", "oct", "nov", "dec")
# fmt: on
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_MONTHS: Final = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SINGLE_RANGE: Final = re.compile(r"\b(\w+)-\1(?:/\d+)?\b")
_LOOKAHEAD_DAYS: Final = 9 * 366
"""29 February may be eight years away."""


@dataclass(frozen=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    """Names of the values from `least` on."""


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 7, _DAYS),
)


@dataclass(frozen=True)
class Cron:
    """A parsed expression.

    Example:
        `Cron.parse("30 3 * * mon-fri")` is half past three, Monday to Friday.
    """

    expression: str
    """Its five fields in the plain form that schedulers agree on: a field that takes every value
    is `*`, and `a-a` is `a`."""
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """Sunday is 0."""
    any_day: bool
    """The day of the month is `*`, or a list of all."""
    any_weekday: bool

    @classmethod
    def parse(cls, expression: str) -> "Cron":
        """Read an expression.

        Raises:
            InvalidInput: not five fields, a value out of range, or no such day in any year.
        """
        fields = expression.lower().split()
        if len(fields) != len(_FIELDS):
            raise InvalidInput(
                f"cron {expression!r}: expected five fields (minute, hour, day of the month, "
                f"month, day of the week), not {len(fields)}; e.g. '0 3 * * *'"
            )
        minutes, hours, days, months, weekdays = (
            _values(text, field, expression) for text, field in zip(fields, _FIELDS, strict=True)
        )
        weekdays = frozenset(day % 7 for day in weekdays)
        cron = cls(
            expression=" ".join(
                "*" if len(values) == count else _SINGLE_RANGE.sub(r"\1", text)
                for text, values, count in zip(
                    fields,
                    (minutes, hours, days, months, weekdays),
                    (60, 24, 31, 12, 7),
                    strict=True,
                )
            ),
            minutes=minutes,
            hours=hours,
            days=days,
            months=months,
            weekdays=weekdays,
            any_day=len(days) == 31,
            any_weekday=len(weekdays) == 7,
        )
        if cron.any_weekday and min(days) > max(_LONGEST_MONTHS[month] for month in months):
            raise InvalidInput(f"cron {expression!r}: no such day in any year")
        return cron

    def next_after(self, moment: datetime, zone: tzinfo = UTC) -> datetime:
        """The first match after a moment, on the clock of a time zone.

        Args:
            moment: With a time zone of its own.
            zone: Where the expression's clock hangs.

        Returns:
            A moment in `zone`. A time that the clock leaps over in spring is given as it would
            have been without the leap.
        """
        start = moment.astimezone(zone)
        day = start.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        for _ in range(_LOOKAHEAD_DAYS):
            if self._on(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        found = day.replace(hour=hour, minute=minute, tzinfo=zone)
                        if found > start:
                            return found
            day += timedelta(days=1)
        raise AssertionError(f"cron {self.expression!r} never comes")  # parse has refused it

    def _on(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        in_month = day.day in self.days
        in_week = day.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return in_month and in_week
        return in_month or in_week


def _values(text: str, field: _Field, expression: str) -> frozenset[int]:
    """All values that a field stands for."""
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, field, expression) if slash else 1
        if step < 1:
            raise _wrong(part, field, expression)
        if span == "*":
            first, last = field.least, field.most
        elif "-" in span:
            first, last = (_value(end, field, expression) for end in span.split("-", 1))
        else:
            first = last = _value(span, field, expression)
            if slash:
                raise _wrong(part, field, expression)
        if first > last:
            raise _wrong(part, field, expression)
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _value(text: str, field: _Field, expression: str) -> int:
    if text in field.names:
        return field.least + field.names.index(text)
    value = _number(text, field, expression)
    if not field.least <= value <= field.most:
        raise _wrong(text, field, expression)
    return value


def _number(text: str, field: _Field, expression: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise _wrong(text, field, expression)
    return int(text)


def _wrong(part: str, field: _Field, expression: str) -> InvalidInput:
    names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
    return InvalidInput(
        f"cron {expression!r}: {part!r} is no {field.name}; "
        f"expected {field.least} to {field.most}{names}, '*', ranges a-b, steps */n, lists a,b"
    )
