"""How the API behaves: limits, times, who may ask."""

from dataclasses import dataclass
from typing import Final

from search.api.keys import KeyRing
from search.hybrid import DENSE_WEIGHT, Mode
from search.service import DEFAULT_MODE

TIMEOUT_SECONDS: Final = 30.0
MAX_BODY_KB: Final = 1024
CONCURRENCY: Final = 16
WAITING: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiOptions:
    """What `make_app` is told."""

    keys: KeyRing | None = None
    """Who may ask; None: everybody."""
    rate_per_minute: int | None = None
    """Of every key that has no rate of its own, and of all callers together where there are no
    keys; None: unlimited."""
    timeout_seconds: float = TIMEOUT_SECONDS
    """For a request; also for its body to arrive."""
    max_body_kb: int = MAX_BODY_KB
    """In KiB; a larger body is refused."""
    concurrency: int = CONCURRENCY
    """Requests that are worked on at once."""
    waiting: int = WAITING
    """Requests that may wait for their turn; further ones are told to come back."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may read answers; `*`: all. None by default."""
    hosts: tuple[str, ...] | None = None
    """Names that a request may call the server by; None: any. Without keys this keeps a page that
    was loaded from elsewhere from asking under a name that it lets lead here."""
    log_queries: bool = False
    """Whether the log has the text of queries."""
    mode: Mode = DEFAULT_MODE
    """Of searches that name none."""
    dense_weight: float = DENSE_WEIGHT
    """Of hybrid searches that name none."""
    version: str = "0"
    """The program's."""
    page: bool = True
    """Whether the search page is served at `/`."""
