"""How fast runs stored tokens: a small file beside the collection, from which plans tell time."""

import os
import platform
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.state import state_folder

RATE_FILE: Final = "rate.json"
FEWEST_TOKENS: Final = 1000
"""Below it a rate says more about the start of a run than about its length."""
_FADING: Final = 0.5
"""What an earlier run weighs against a later one of the same size."""


class Rate(BaseModel):
    """Tokens stored and the seconds that took; true of one encoder on one machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    machine: str
    tokens: float = Field(ge=0)
    seconds: float = Field(gt=0)

    @property
    def tokens_per_second(self) -> float:
        """Tokens read, parsed, chunked, embedded and stored each second."""
        return self.tokens / self.seconds


def rate_file(store: str, collection: str) -> Path:
    """Where a collection's rate is kept."""
    return state_folder(store) / collection / RATE_FILE


def known_rate(path: Path, *, fingerprint: str) -> Rate | None:
    """The rate of this encoder on this machine; None if no run of some size has measured it."""
    rate = _read(path)
    here = (fingerprint, platform.node())
    if rate is None or (rate.fingerprint, rate.machine) != here or rate.tokens < FEWEST_TOKENS:
        return None
    return rate


def record_rate(path: Path, *, fingerprint: str, tokens: int, seconds: float) -> None:
    """Add a run to the file; what earlier runs measured fades.

    Raises:
        OSError: the file cannot be written.
    """
    if tokens <= 0 or seconds <= 0:
        return
    machine = platform.node()
    before = _read(path)
    if before and (before.fingerprint, before.machine) == (fingerprint, machine):
        kept = (_FADING * before.tokens, _FADING * before.seconds)
    else:
        kept = (0.0, 0.0)
    rate = Rate(
        fingerprint=fingerprint,
        machine=machine,
        tokens=tokens + kept[0],
        seconds=seconds + kept[1],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(rate.model_dump_json() + "\n", encoding="utf-8")
    temporary.replace(path)


def _read(path: Path) -> Rate | None:
    """What the file says; one that is missing or damaged says nothing: it is measured anew."""
    try:
        return Rate.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
