"""Parsers that are not installed with Sextant itself: the extra `documents`."""

from importlib import import_module
from typing import Any

from flows.errors import DocumentRejected


def require_extra(library: str, *, kind: str) -> Any:
    """The library that reads a format.

    Args:
        library: What to import.
        kind: The format, for the message: `PDF`.

    Raises:
        DocumentRejected: It is not installed.
    """
    try:
        return import_module(library)
    except ImportError as error:
        raise DocumentRejected(
            f"{kind} needs {library}, which is not installed ({error}); "
            "pip install 'sextant-pipeline[documents]'"
        ) from error
