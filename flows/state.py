"""Where runs keep what is not in the store: Prefect's database, reports, rates, run histories.

All of it may be deleted at any time.
"""

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from search.errors import CollectionExists

REPORT: Final = "report"
"""Of a clustering: the folder with its pages and tables."""
KINDS: Final = {
    REPORT,
    "rate.json",
    "runs",
    "migration",
    "receipts",
    "relevance.json",
}
"""What may lie in a collection's own state folder."""


def state_folder(store: str) -> Path:
    """The store's own folder, or for a server a folder of its own in the user's state folder."""
    if "://" not in store:
        return Path(store)
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    place = urlsplit(store)
    server = f"{place.netloc.rpartition('@')[2]}{place.path}"
    return Path(base) / "sextant" / re.sub(r"[^A-Za-z0-9.]+", "-", server).strip("-.")


def prefect_home(store: str) -> Path:
    """Where Prefect keeps the database of one-off runs."""
    return state_folder(store) / ".prefect"


def claim_state_folder(store: str, collection: str) -> None:
    """Refuse a store in which the collection's state would lie among somebody's own files.

    `--store .` makes that easy to meet: a folder of documents may have the collection's name.

    Raises:
        CollectionExists: the folder is there and holds something else.
    """
    folder = state_folder(store) / collection
    try:
        foreign = sorted({e.name for e in folder.iterdir() if e.name[0] != "."} - KINDS)
    except (FileNotFoundError, NotADirectoryError):
        return
    if foreign:
        raise CollectionExists(
            f"{str(folder)!r} is no collection, but holds {foreign[0]!r}; "
            "use another collection or store"
        )
