"""The store that the settings name, opened with their key and connection."""

from flows.settings import Settings
from search.stores.contract import Store
from search.stores.locate import open_store


def store_of(settings: Settings) -> Store:
    """Open the store of the settings; its engine is imported only now.

    Raises:
        InvalidRequest: no location of a store, or one that may hold a secret.
    """
    return open_store(settings.store, api_key=settings.api_key, server=settings.server_options)
