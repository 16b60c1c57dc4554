"""glibc's arenas: pools of memory that threads take turns in, and that give little back.

An ingest, and a server, has a dozen threads that each handle texts for a while. By default glibc
opens up to eight arenas a processor for them, each of which keeps what its busiest moment took:
memory that grows with the length of a run, although nothing is held. A few arenas are as quick
here, since Python's small objects and torch's large tensors come from elsewhere.
"""

import ctypes
import os
from typing import Final

MOST_ARENAS: Final = 2
ENVIRONMENT: Final = "MALLOC_ARENA_MAX"
"""A user's own choice, which glibc has read by itself."""
_M_ARENA_MAX: Final = -8
"""As glibc's malloc.h has it."""


def limit_arenas(most: int = MOST_ARENAS) -> bool:
    """Let this process open no more arenas than so many; those that are open stay.

    Args:
        most: 1 or more.

    Returns:
        Whether it was done: another C library has none, and the environment goes first.
    """
    if ENVIRONMENT in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_ARENA_MAX, most))
