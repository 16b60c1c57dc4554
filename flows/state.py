"""Where runs keep what is not in the store: Prefect's database, reports, the measured rate."""

import os
from pathlib import Path


def state_folder(store: str) -> Path:
    """The store's own folder, or for a server the user's state folder."""
    if "://" not in store:
        return Path(store)
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "sextant"
