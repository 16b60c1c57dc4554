"""How often a caller may ask: a bucket of tokens for each, filled evenly."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MINUTE: Final = 60.0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float
    per_minute: int


class RateLimits:
    """Buckets by caller. Threads may share it.

    A bucket holds a minute's worth: who was quiet for a minute may ask all of it at once, and from
    then on as fast as the bucket fills.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """No caller is known yet.

        Args:
            clock: Seconds, never going back.
        """
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def take(self, caller: str, per_minute: int | None) -> float:
        """Take a token.

        Args:
            caller: Whose bucket.
            per_minute: Requests a minute; None: unlimited.

        Returns:
            0 if there was one; otherwise the seconds until there is.
        """
        if per_minute is None:
            return 0.0
        with self._lock:
            now = self._clock()
            bucket = self._buckets.get(caller)
            if bucket is None or bucket.per_minute != per_minute:
                bucket = self._buckets[caller] = _Bucket(float(per_minute), now, per_minute)
            filled = bucket.tokens + (now - bucket.at) * per_minute / MINUTE
            bucket.tokens, bucket.at = min(float(per_minute), filled), now
            if bucket.tokens >= 1:
                bucket.tokens -= 1
                return 0.0
            return (1 - bucket.tokens) * MINUTE / per_minute
