"""Where the API keys of a store's server are."""

from pathlib import Path
from typing import Final

from flows.settings import Settings
from flows.state import state_folder
from search.api.keys import KeyFile

KEYS: Final = ".api-keys.json"
"""In the state folder, unless another file is named."""


def key_file(settings: Settings, given: Path | None) -> KeyFile:
    """The file of API keys that is meant.

    Args:
        settings: Of which store, if no file is named.
        given: A file; None: the store's own.
    """
    return KeyFile(given or state_folder(settings.store) / KEYS)
