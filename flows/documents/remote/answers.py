"""What a place answers when it is asked for a document, and why it may not."""

from dataclasses import dataclass, field

from flows.documents import source_document
from flows.errors import FlowError


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A document's bytes as its place sent them, and what it said of them.

    Attributes:
        data: The bytes, freed of the coding that they travelled in.
        media_type: Such as `text/html`, in lower case; empty where nothing was said.
        charset: Such as `iso-8859-1`; empty where nothing was said.
        version: A strong ETag or its like: while it stays the same, so do the bytes. Or empty.
        modified: When it was last changed, ISO 8601, UTC; or empty.
        was_coded: Whether the bytes travelled compressed.
        shown: Where they were found in the end, without secrets.
    """

    data: bytes = field(repr=False)
    media_type: str = ""
    charset: str = ""
    version: str = ""
    modified: str = ""
    was_coded: bool = False
    shown: str = ""


class FetchFailed(FlowError):
    """A place gave no document. The message says why in one line, and does not name the place.

    Attributes:
        too_large: There is one, and it is larger than was asked for.
        may_pass: Asking again may help.
        status: What the place answered, where it was an answer of HTTP.
        patience: Seconds that the place asks to wait before; None where it asks nothing.
    """

    def __init__(
        self,
        reason: str,
        *,
        too_large: bool = False,
        may_pass: bool = False,
        status: int | None = None,
        patience: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.too_large = too_large
        self.may_pass = may_pass
        self.status = status
        self.patience = patience


def too_large(size: int | None, limit: int) -> FetchFailed:
    """More bytes than a document may have; `size` is None where no more was read."""
    message = str(source_document.too_large(limit if size is None else size, limit))
    return FetchFailed(f"more than {message}" if size is None else message, too_large=True)
