"""XML from strangers: no entities, no network, no DTD, bounded depth and text."""

from typing import TYPE_CHECKING

from flows.documents.titles import one_line
from flows.errors import DocumentRejected

if TYPE_CHECKING:
    from lxml.etree import _Element  # type: ignore[import-untyped]


def xml_root(data: bytes, *, part: str) -> "_Element":
    """The root element of an XML document.

    Args:
        data: The XML.
        part: Its name, for messages.

    Raises:
        DocumentRejected: Not well-formed, deeper than 256 elements, a text beyond 10 MB, or
            entities of its own, which Office files and e-books have no use for.
        MemoryError: The parser got no more memory.
    """
    from lxml import etree  # type: ignore[import-untyped]

    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser=parser)
    except (etree.LxmlError, ValueError) as error:
        if any(entry.type_name == "ERR_NO_MEMORY" for entry in parser.error_log):
            raise MemoryError from error
        raise DocumentRejected(
            f"{part!r} is not XML that may be read: {one_line(str(error))}; save it again"
        ) from error
    subset = root.getroottree().docinfo.internalDTD
    if subset is not None and next(subset.iterentities(), None) is not None:
        raise DocumentRejected(f"{part!r} declares XML entities; remove them, or skip it")
    return root
