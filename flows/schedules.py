"""Schedules: the `[[schedules]]` tables of `sextant.toml`, checked, as requests that flows take.

Nothing here imports prefect: an entry that is wrong is refused before any server is asked.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from flows.cron import Cron
from flows.errors import InvalidInput
from flows.schedulable import FLOWS, ScheduledFlow
from flows.settings import SETTINGS_FILE, Settings, load_settings
from search.errors import InvalidRequest
from search.stores.manifests import check_name
from search.stores.server_address import check_url

WORK_POOL: Final = "sextant"
GPU_LIMIT: Final = "gpu"
ANCHOR: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""From where `every` counts: a schedule that is applied again keeps its beat."""
SHORTEST: Final = timedelta(seconds=5)
SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Schedule(BaseModel):
    """One entry: which flow runs, when, on what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    """Lower-case letters, digits, `-` and `_`."""
    flow: str
    """A key of `FLOWS`."""
    cron: str | None = None
    """Five fields; either this or `every`."""
    timezone: str = "UTC"
    """Where the cron expression's clock hangs, as `Europe/Berlin`."""
    every: str | None = None
    """`30s`, `15m`, `6h`, `1d`."""
    paused: bool = False
    concurrency: Annotated[int, Field(ge=1)] = 1
    """How many runs may work on the entry's collection at once."""
    gpu_slots: Annotated[int, Field(ge=0)] = 0
    """How many of the GPU slots a run occupies."""
    work_pool: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}$")] = WORK_POOL
    timeout: str | None = None
    """`30m`, `12h`: a run that takes longer ends as failed."""
    request: dict[str, Any] = {}
    """The flow's parameter as JSON; made by `read_schedules`, never written in the file."""

    @field_validator("flow")
    @classmethod
    def _check_flow(cls, flow: str) -> str:
        if flow not in FLOWS:
            raise ValueError(f"expected {', '.join(FLOWS)}")
        return flow

    @field_validator("cron")
    @classmethod
    def _check_cron(cls, cron: str | None) -> str | None:
        if cron is None:
            return None
        try:
            return Cron.parse(cron).expression
        except InvalidInput as error:
            raise ValueError(str(error)) from None

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        except (ValueError, OSError, KeyError):
            raise ValueError("expected a name such as 'Europe/Berlin' or 'UTC'") from None
        return timezone

    @field_validator("every", "timeout")
    @classmethod
    def _check_duration(cls, text: str | None) -> str | None:
        if text is not None and duration(text) < SHORTEST:
            raise ValueError(f"expected {SHORTEST.seconds}s or more")
        return text

    @model_validator(mode="after")
    def _check_moments(self) -> "Schedule":
        if (self.cron is None) == (self.every is None):
            raise ValueError("expected either 'cron' or 'every'")
        if self.every is not None and "timezone" in self.model_fields_set:
            raise ValueError("'timezone' goes with 'cron', not with 'every'")
        return self

    @property
    def key(self) -> str:
        """What the entry is called on a Prefect server: `ingest/nightly`."""
        return f"{self.flow}/{self.name}"

    @property
    def when(self) -> str:
        """The moments, as people read them."""
        if self.cron is None:
            return f"every {self.every}"
        return f"{self.cron} ({self.timezone})"

    @property
    def collection(self) -> str:
        """The collection that it works on."""
        return str(self.request["target"]["collection"])

    @property
    def store(self) -> str:
        """The store that holds it: an address, or an absolute path."""
        return str(self.request["target"]["store"])

    @property
    def collection_limit(self) -> str:
        """Name of the limit that entries of one collection share."""
        place = sha256(self.store.encode()).hexdigest()[:8]
        return f"sextant {self.collection} {place}"

    @property
    def timeout_seconds(self) -> float | None:
        """How long a run may take."""
        return None if self.timeout is None else duration(self.timeout).total_seconds()

    def next_after(self, moment: datetime) -> datetime:
        """When it fires first after a moment."""
        if self.every is None:
            return Cron.parse(str(self.cron)).next_after(moment, ZoneInfo(self.timezone))
        step = duration(self.every)
        return ANCHOR + step * ((moment - ANCHOR) // step + 1)


def read_schedules(settings: Settings, *, work_pool: str | None = None) -> tuple[Schedule, ...]:
    """The entries of the settings, each with its request; paths in it are absolute.

    Args:
        settings: With the entries as they are written.
        work_pool: Of entries that name none.

    Raises:
        InvalidInput: an entry is wrong; the message names it.
    """
    schedules: list[Schedule] = []
    for number, entry in enumerate(settings.schedules, start=1):
        name = entry.get("name")
        shown = f"schedule {name!r}" if isinstance(name, str) else f"schedule {number}"
        try:
            schedule = _read({"work_pool": work_pool, **entry} if work_pool else entry)
            if any(schedule.name == other.name for other in schedules):
                raise InvalidInput("the name is taken by another entry; names must differ")
            _check_limits(schedule, schedules, gpu_slots=settings.gpu_slots)
        except (InvalidInput, InvalidRequest) as error:
            raise InvalidInput(f"{shown} in {SETTINGS_FILE}: {error}") from None
        schedules.append(schedule)
    return tuple(schedules)


def occupied(schedule: Schedule, schedules: Sequence[Schedule]) -> dict[str, int]:
    """Slots that a run of an entry occupies while it works, by limit, in the order to take them.

    The collection's limit is only needed where several entries share a collection: each entry's
    runs have a limit of their own besides.
    """
    slots: dict[str, int] = {}
    if sum(schedule.collection_limit == other.collection_limit for other in schedules) > 1:
        slots[schedule.collection_limit] = 1
    if schedule.gpu_slots:
        slots[GPU_LIMIT] = schedule.gpu_slots
    return slots


def limits(schedules: Sequence[Schedule], *, gpu_slots: int) -> dict[str, int]:
    """The limits that all entries need, with their slots."""
    found: dict[str, int] = {}
    for schedule in schedules:
        for name in occupied(schedule, schedules):
            found[name] = gpu_slots if name == GPU_LIMIT else schedule.concurrency
    return found


def duration(text: str) -> timedelta:
    """A number with its unit, s, m, h or d.

    Raises:
        ValueError: it is none, or longer than a year.

    >>> duration("15m")
    datetime.timedelta(seconds=900)
    """
    match = re.fullmatch(r"(\d{1,8})([smhd])", text)
    if match is None or (seconds := int(match[1]) * SECONDS[match[2]]) > 366 * SECONDS["d"]:
        raise ValueError("expected a number with s, m, h or d, at most a year; e.g. '15m'")
    return timedelta(seconds=seconds)


def _read(entry: Mapping[str, Any]) -> Schedule:
    """One entry, without regard to the others."""
    common = {name: entry[name] for name in Schedule.model_fields if name in entry}
    if "request" in common:
        raise InvalidInput("unknown option 'request'")
    try:
        schedule = Schedule(**common)
        flow = FLOWS[schedule.flow]
        _refuse_unknown(entry, schedule.flow, flow)
        own = {name: entry[name] for name in flow.own if name in entry}
        settings = load_settings(**{n: entry[n] for n in flow.settings if n in entry})
        _refuse_secrets(settings.store, own.get("sources", ()))
        request = flow.request(settings, own)
    except ValidationError as error:
        raise InvalidInput(_first_of(error)) from None
    check_name(settings.collection)
    return schedule.model_copy(update={"request": request})


def _refuse_unknown(entry: Mapping[str, Any], name: str, flow: ScheduledFlow) -> None:
    known = (set(Schedule.model_fields) - {"request"}) | flow.settings | flow.own
    for option in entry:
        if option not in known:
            raise InvalidInput(
                f"unknown option {option!r} of flow {name!r}; options are "
                f"{', '.join(sorted(known))}"
            )


def _refuse_secrets(store: str, sources: object) -> None:
    """Deployments are kept on a server, and shown there: no password goes into one."""
    if "://" in store:
        check_url(store)
    if isinstance(sources, str) or not isinstance(sources, Sequence):
        raise InvalidInput(f"sources is {sources!r}: expected a list of files, folders...")
    for source in sources:
        if isinstance(source, str) and "://" in source and _has_user(source):
            raise InvalidInput(
                "a source's address holds a user or password, which the server would show; "
                "leave it out and give the worker its credentials"
            )


def _has_user(address: str) -> bool:
    try:
        return "@" in urlsplit(address).netloc
    except ValueError:
        return "@" in address


def _check_limits(schedule: Schedule, others: Sequence[Schedule], *, gpu_slots: int) -> None:
    if schedule.gpu_slots > gpu_slots:
        raise InvalidInput(
            f"gpu_slots is {schedule.gpu_slots}, of {gpu_slots} in all: it would never run; "
            "raise the setting 'gpu_slots' above the entries"
        )
    if schedule.concurrency > 1 and "://" not in schedule.store:
        raise InvalidInput(
            f"concurrency is {schedule.concurrency}: a store in a folder takes one run at a time; "
            "leave it out, or use a Qdrant server"
        )
    for other in others:
        shared = other.collection_limit == schedule.collection_limit
        if shared and other.concurrency != schedule.concurrency:
            raise InvalidInput(
                f"concurrency is {schedule.concurrency}, but {other.concurrency} in "
                f"{other.name!r} of the same collection; say the same in both"
            )


def _first_of(error: ValidationError) -> str:
    """The first complaint of pydantic's, in one line."""
    first = error.errors()[0]
    expected = first["msg"].removeprefix("Value error, ")
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{name!r} is missing"
    if not name:
        return expected
    return f"{name} is {first['input']!r}: {expected[:1].lower()}{expected[1:]}"
