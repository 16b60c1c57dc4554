"""A row of a record file as a document."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from flows.documents.compression import inner_name
from flows.documents.records.content import content_of
from flows.documents.records.cursors import CHANGED, CURSORS
from flows.documents.records.record_file import RecordFile
from flows.documents.records.row import BadRow
from flows.documents.source_document import MAX_DOCUMENT_BYTES, SourceDocument, too_large
from flows.errors import DocumentRejected, InvalidInput


@dataclass(frozen=True, kw_only=True)
class RecordDocument(SourceDocument):
    """A row, listed and not kept: `read` finds it again.

    `doc_id` and `source` are those of the file, `#`, and the row's id; `size` counts the bytes of
    its text. `digest` covers the text, the title, the fields and the text's format.

    Attributes:
        file: The file it is a row of.
        place: Where it stands there, see `Row.place`.
    """

    file: RecordFile = field(repr=False)
    place: int = field(repr=False)

    @property
    def key(self) -> str:
        """The row's id in its file."""
        return self.doc_id[len(self.file.doc_id) + 1 :]

    @property
    def name(self) -> str:
        """The file's name with the row's id in it, for a title of last resort."""
        path = PurePosixPath(inner_name(self.file.doc_id))
        return f"{path.stem} {self.key.replace('/', ' ')}{path.suffix}"

    def read(self, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
        """The row's text, as UTF-8.

        Fastest in the order of the file's rows; of the file, no more is held than a few rows.

        Raises:
            DocumentRejected: Too large; or the file has changed, vanished, or cannot be read.
        """
        if self.size > max_bytes:
            raise too_large(self.size, max_bytes)
        self._refuse_escape()
        try:
            content = content_of(CURSORS.values(self.file, self.place), self.file.columns)
        except (BadRow, InvalidInput) as error:
            raise DocumentRejected(CHANGED) from error
        if content.digest != self.digest:
            raise DocumentRejected(CHANGED)
        return content.text.encode()
