"""Paths, and which of them need no key."""

from collections.abc import Mapping
from typing import Any, Final

API: Final = "/v1/"
"""Beginning of all that rates count."""
OPEN: Final = frozenset({"/", "/livez", "/readyz", "/openapi.json"})
"""Paths that need no key, beside those of the page's files."""
PAGE_FILES: Final = "/page/"


def is_open(path: str) -> bool:
    """Whether a path needs no key. What is not known to be open is closed."""
    return path in OPEN or path.startswith(PAGE_FILES)


def route_of(scope: Mapping[str, Any]) -> str:
    """The template of the route that a request met, never what it asked for.

    >>> route_of({"path": "/page/app.js"}), route_of({"path": "/secret"})
    ('/page/{file}', 'unmatched')
    """
    path = scope["path"]
    if path.startswith(PAGE_FILES):
        return f"{PAGE_FILES}{{file}}"
    met = str(getattr(scope.get("route"), "path", ""))
    return met.replace(":path}", "}") or (path if path in OPEN else "unmatched")
