"""How Office files hang together: parts in a zip file, and relationships that lead to them."""

import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from flows.documents.archive import Archive
from flows.documents.hardened_xml import xml_root
from flows.documents.titles import one_line
from flows.errors import DocumentRejected

if TYPE_CHECKING:
    from lxml.etree import _Element  # type: ignore[import-untyped]

_CORE: Final = "docProps/core.xml"


class OfficePackage:
    """A DOCX or PPTX file: its parts as XML, found as the Open Packaging Conventions say.

    Names of elements and types are compared without their namespaces: the strict and the
    transitional dialect differ in nothing else that matters here.
    """

    def __init__(self, data: bytes, *, kind: str) -> None:
        """Open the archive; see `Archive` for what is refused."""
        self._archive = Archive(data, kind=kind)
        self._kind = kind

    @property
    def main_part(self) -> str:
        """The name of the part that everything hangs on.

        Raises:
            DocumentRejected: there is none; no Office file.
        """
        for kind, name in self.related("").values():
            if kind == "officeDocument":
                return name
        raise DocumentRejected(f"not {self._kind}: no main part in it; save it again")

    @property
    def title(self) -> str:
        """The title in the file's properties, maybe empty."""
        if _CORE not in self._archive.names:
            return ""
        titles = (e.text or "" for e in self.part(_CORE).iter() if local_name(e) == "title")
        return one_line(next(titles, ""))

    def part(self, name: str) -> "_Element":
        """A part's root element.

        Raises:
            DocumentRejected: not there, damaged, or XML that may not be read.
        """
        return xml_root(self._archive.read(name), part=name)

    def related(self, name: str) -> dict[str, tuple[str, str]]:
        """Relationships of a part ("": of the package): id -> kind (`slide`...) and part's name.

        What lies outside the file is left out.
        """
        folder, base = posixpath.split(name)
        listing = posixpath.join(folder, "_rels", f"{base}.rels")
        if listing not in self._archive.names:
            return {}
        found = {}
        for relation in self.part(listing).iter():
            if local_name(relation) != "Relationship" or relation.get("TargetMode") == "External":
                continue
            target = posixpath.join("/", folder, relation.get("Target", ""))
            kind = relation.get("Type", "").rsplit("/", 1)[-1]
            found[relation.get("Id", "")] = (kind, posixpath.normpath(target).lstrip("/"))
        return found


def local_name(element: "_Element") -> str:
    """An element's name without its namespace; empty for what is no element (an entity)."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: "_Element", name: str) -> str:
    """The attribute of that name in whatever namespace, or an empty string."""
    for key, value in element.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return ""


def child(element: "_Element", *path: str) -> "_Element | None":
    """The first child of that name, or its child, and so on; None where there is none."""
    found: _Element | None = element
    for name in path:
        if found is None:
            return None
        found = next((inner for inner in found if local_name(inner) == name), None)
    return found


def descend(
    element: "_Element", *, wanted: frozenset[str], skipped: frozenset[str]
) -> Iterator["_Element"]:
    """The outermost descendants with wanted names, in order; below skipped names none is sought."""
    for inner in element:
        name = local_name(inner)
        if name in wanted:
            yield inner
        elif name not in skipped:
            yield from descend(inner, wanted=wanted, skipped=skipped)
