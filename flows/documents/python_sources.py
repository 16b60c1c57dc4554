"""The documentation that every Python installation carries: packages' descriptions, the stdlib."""

import os
import re
import sys
import sysconfig
from pathlib import Path
from typing import Final

from flows.documents.formats import Format
from flows.documents.listing import RootListing, Unreadable
from flows.documents.python_docs import has_docstrings
from flows.documents.source_document import SourceDocument, modified_of, reason_of

PYTHON_PACKAGES: Final = "python:packages"
PYTHON_STDLIB: Final = "python:stdlib"

_NOT_DOCUMENTATION_LIST: Final = (
    "test tests idlelib lib2to3 turtledemo site-packages dist-packages _bundled __pycache__ "
    "__main__ __phello__ encodings pydoc_data"  # codec tables, and a dict of texts
)
_NOT_DOCUMENTATION: Final = frozenset(_NOT_DOCUMENTATION_LIST.split())


def list_packages() -> RootListing:
    """Every installed distribution, by its `*.dist-info/METADATA` on `sys.path`.

    The first distribution of a name wins, as it does for `importlib.metadata`. Names are
    normalised (PEP 503): `typing_extensions` becomes `python:packages/typing-extensions`.
    """
    listing = RootListing(root=PYTHON_PACKAGES)
    seen: set[str] = set()
    for folder in sys.path:
        for info in _dist_infos(folder or os.curdir, listing):
            name = re.sub(r"[-_.]+", "-", info.name.split("-")[0]).lower()
            metadata = info / "METADATA"
            if name in seen or not metadata.is_file():
                continue
            seen.add(name)
            _add(listing, name, metadata, file_format="python-metadata")
    return listing


def _dist_infos(folder: str, listing: RootListing) -> list[Path]:
    if not Path(folder).is_dir():  # sys.path names zip files and folders that do not exist
        return []
    try:
        with os.scandir(folder) as scan:
            return sorted(Path(e.path) for e in scan if e.name.endswith(".dist-info"))
    except OSError as error:
        listing.unreadable.append(Unreadable(path=folder, reason=reason_of(error)))
        return []


def list_stdlib() -> RootListing:
    """The standard library's public modules, as files: never imported, never executed.

    Tests, IDLE, lib2to3, codec tables and installed packages are left out and counted under
    `not documentation`; modules and packages whose name starts with one underscore are counted
    under `private`; modules without any docstring, which have to be read for that, under
    `no docstrings`.
    """
    listing = RootListing(root=PYTHON_STDLIB)
    root = Path(sysconfig.get_path("stdlib"))
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            listing.unreadable.append(Unreadable(path=str(folder), reason=reason_of(error)))
            continue
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if not is_folder and not entry.name.endswith(".py"):
                continue
            stem = entry.name.removesuffix(".py")
            if stem in _NOT_DOCUMENTATION or not stem.isidentifier():
                listing.ignored["not documentation"] += 1
            elif entry.name.startswith("_") and not entry.name.startswith("__"):
                listing.ignored["private"] += 1
            elif is_folder:
                pending.append(Path(entry.path))
            else:
                path = Path(entry.path)
                if _is_documented(path):
                    _add(listing, _module_name(path, root), path, file_format="python-module")
                else:
                    listing.ignored["no docstrings"] += 1
    return listing


def _is_documented(path: Path) -> bool:
    """Whether a module has a docstring; what cannot be read stays a document, with its reason."""
    try:
        return not path.is_file() or has_docstrings(path.read_bytes())
    except OSError:
        return True


def _module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and parts[:-1] else parts)


def _add(listing: RootListing, name: str, path: Path, *, file_format: Format) -> None:
    uri = f"{listing.root}/{name}"
    size, refusal, modified = 0, "", ""
    try:
        status = path.stat()
    except OSError as error:
        refusal = reason_of(error)
    else:
        size, modified = status.st_size, modified_of(status)
    listing.documents.append(
        SourceDocument(
            doc_id=uri,
            source=uri,
            root=listing.root,
            format=file_format,
            size=size,
            path=str(path),
            refusal=refusal,
            modified=modified,
        )
    )
