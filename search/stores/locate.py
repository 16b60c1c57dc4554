"""From what people write (a folder or an address) to the store that is there."""

import re
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from search.errors import InvalidRequest
from search.stores.contract import Store
from search.stores.server_options import ServerOptions

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HOST_AND_PORT: Final = re.compile(r"[\w.-]+:\d+")


def open_store(
    location: str | Path,
    *,
    api_key: SecretStr | None = None,
    server: ServerOptions | None = None,
) -> Store:
    """The store at a location; its engine is imported only now.

    Args:
        location: `http://` or `https://` address of a Qdrant server, or a folder, which need not
            exist yet.
        api_key: The server's key.
        server: How to talk to it; None: the defaults. A folder has no use for it.

    Raises:
        InvalidRequest: another scheme, an address that may hold a secret, a key for a folder, or
            one that must not go to that address, a certificate that is none.
    """
    text = str(location)
    scheme = _SCHEME.match(text) if isinstance(location, str) else None
    if scheme is not None and scheme[1].lower() in ("http", "https"):
        from search.stores.server import ServerStore

        return ServerStore(text, api_key, options=server)
    if scheme is not None or (isinstance(location, str) and _HOST_AND_PORT.fullmatch(text)):
        raise InvalidRequest(
            f"store location {scheme[0] + '...' if scheme else text!r}: expected a folder, "
            "or a server's address with http:// or https://, e.g. http://localhost:6333"
        )
    if not text.strip():
        raise InvalidRequest("store location is empty: expected a folder or a server's address")
    if api_key is not None:
        raise InvalidRequest(
            f"an API key was given for the folder {text!r}: expected a server's address; "
            "leave the key out"
        )
    from search.stores.edge import EdgeStore

    return EdgeStore(text)
