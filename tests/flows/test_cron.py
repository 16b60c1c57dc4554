"""Cron expressions: what is one, and when it comes next, held against Prefect's own reading."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.cron import Cron
from flows.errors import InvalidInput

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def fields(least: int, most: int) -> st.SearchStrategy[str]:
    """Every form that a field may have."""
    number = st.integers(least, most)
    spans = st.tuples(number, number).map(sorted).map(lambda ends: f"{ends[0]}-{ends[1]}")
    steps = st.integers(1, most)
    return st.one_of(
        st.just("*"),
        number.map(str),
        spans,
        st.tuples(spans, steps).map(lambda parts: f"{parts[0]}/{parts[1]}"),
        steps.map(lambda step: f"*/{step}"),
        st.lists(number, min_size=2, max_size=4).map(lambda many: ",".join(map(str, many))),
    )


@pytest.mark.parametrize(
    ("expression", "next_moment"),
    [
        ("*/5 * * * *", "2026-11-20 12:05"),
        ("0 3 * * *", "2026-11-21 03:00"),
        ("30 2 * * mon-fri", "2026-11-23 02:30"),
        ("0 0 1 jan *", "2027-01-01 00:00"),
        ("0 12 * * *", "2026-11-21 12:00"),
        ("0 0 * * 7", "2026-11-22 00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("0 0 1 * sun", "2026-11-22 00:00"),
        ("0,30 9-17/4 * * *", "2026-11-20 13:00"),
    ],
)
def test_the_next_moment(expression: str, next_moment: str) -> None:
    """Worked out by hand; a moment that matches itself is not the next."""
    assert f"{Cron.parse(expression).next_after(NOON):%Y-%m-%d %H:%M}" == next_moment


def test_the_clock_hangs_in_a_time_zone() -> None:
    """Three o'clock in Berlin is two o'clock UTC in winter, and one o'clock in summer."""
    berlin, cron = ZoneInfo("Europe/Berlin"), Cron.parse("0 3 * * *")
    assert cron.next_after(NOON, berlin).astimezone(UTC).hour == 2
    assert cron.next_after(NOON.replace(month=7), berlin).astimezone(UTC).hour == 1


@pytest.mark.usefixtures("prefect_api")  # which must stand before prefect is imported
@settings(deadline=None)
@given(
    minute=fields(0, 59),
    hour=fields(0, 23),
    day=fields(1, 28),
    month=fields(1, 12),
    weekday=fields(0, 6),
    moment=st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)),
)
def test_prefect_reads_the_plain_form_alike(
    minute: str, hour: str, day: str, month: str, weekday: str, moment: datetime
) -> None:
    """What we show as the next moment is when the server fires."""
    from prefect.server.schemas.schedules import CronSchedule

    cron = Cron.parse(f"{minute} {hour} {day} {month} {weekday}")
    theirs = CronSchedule(cron=cron.expression, timezone="UTC")
    found = next(iter(theirs._get_dates_generator(n=1, start=moment.replace(tzinfo=UTC))))
    ours = cron.next_after(moment.replace(tzinfo=UTC))
    # the server counts a moment that matches itself
    assert found in (ours, moment.replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "expected five fields .*, not 0"),
        ("0 3 * *", "expected five fields .*, not 4; e.g. '0 3 \\* \\* \\*'"),
        ("@daily", "expected five fields"),
        ("0 0 3 * * *", "not 6"),
        ("60 * * * *", "'60' is no minute; expected 0 to 59, "),
        ("* 24 * * *", "'24' is no hour; expected 0 to 23"),
        ("* * 0 * *", "'0' is no day of the month; expected 1 to 31"),
        ("* * * 13 *", "'13' is no month; expected 1 to 12 or jan to dec"),
        ("* * * * 8", "'8' is no day of the week; expected 0 to 7 or sun to sat"),
        ("* * * * monday", "'monday' is no day of the week"),
        ("5-1 * * * *", "'5-1' is no minute"),
        ("*/0 * * * *", "'\\*/0' is no minute"),
        ("5/2 * * * *", "'5/2' is no minute"),
        ("1,,2 * * * *", "'' is no minute"),
        ("-1 * * * *", "'' is no minute"),
        ("² * * * *", "'²' is no minute"),
        ("x * * * *", "'x' is no minute"),
        ("0 0 31 2,4 *", "no such day in any year"),
    ],
)
def test_what_is_no_cron_expression(expression: str, message: str) -> None:
    """Refused in one line that names the part."""
    with pytest.raises(InvalidInput, match=message) as raised:
        Cron.parse(expression)
    assert "\n" not in str(raised.value)
