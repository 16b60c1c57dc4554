"""Readers that are not installed with Sextant itself: the extras `documents` and `tables`."""

from importlib import import_module
from typing import Any, Literal

from flows.errors import DocumentRejected


def require_extra(
    library: str, *, kind: str, extra: Literal["documents", "tables"] = "documents"
) -> Any:
    """The library that reads a format.

    Args:
        library: What to import.
        kind: The format, for the message: `PDF`.
        extra: What to install for it.

    Raises:
        DocumentRejected: It is not installed.
    """
    try:
        return import_module(library)
    except ImportError as error:
        raise DocumentRejected(
            f"{kind} needs {library}, which is not installed ({error}); "
            f"pip install 'sextant-pipeline[{extra}]'"
        ) from error
