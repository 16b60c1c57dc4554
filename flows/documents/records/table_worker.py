"""The process that reads tables: `python -m flows.documents.records.table_worker FD PARENT`.

Damaged Parquet and Arrow files end a process now and then, since the library takes some of what
they say on trust. Here that costs a file and not the run. Rows go to the parent as JSON, when it
asks for more.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Generator
from datetime import date, datetime, time, timedelta
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, Final

from flows.documents.parsing_worker import end_with, limit_process
from flows.documents.records import arrow_file, parquet
from flows.documents.records.arrow_rows import MAX_GROUP_BYTES
from flows.documents.records.row import NOT_UTF8, BadRow, Row
from flows.documents.titles import one_line
from flows.errors import DocumentRejected

MEMORY_MB: Final = 4 * MAX_GROUP_BYTES // 2**20
"""Beyond what the process has when it starts: a row group, decoded, and what decoding it takes."""
REPLY_BYTES: Final = 1024 * 1024
"""Of rows in one reply, about."""
REPLY_ROWS: Final = 1000

_READERS: Final = {"parquet": parquet, "arrow": arrow_file}


class Session:
    """What one parent has asked for."""

    def __init__(self) -> None:
        self._rows: Generator[Row, None, None] | None = None
        self._required: frozenset[str] = frozenset()

    def answer(self, request: dict[str, Any]) -> bytes:
        """The columns of a file; or the next of its rows, none at the end; or why there are none.

        A request with `kind` opens a file: without `columns`, its columns are the answer, with
        them, the first rows from `start` on. One without gives the next rows. The answer's first
        line is an object, with `names` or `rejected` where there are such; each other line is a
        row, its number and its values, or its number and why it is a bad one.
        """
        head: dict[str, Any] = {}
        rows: list[str] = []
        try:
            if "kind" in request:
                head = self._open(request)
            self._read(rows)
        except DocumentRejected as error:
            head["rejected"] = str(error)
        return "\n".join((json.dumps(head), *rows)).encode()

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._rows is not None:
            self._rows.close()
            self._rows = None
        reader = _READERS[request["kind"]]
        if "columns" not in request:
            return {"names": reader.names(request["path"])}
        self._required = frozenset(request["required"])
        self._rows = reader.rows(request["path"], set(request["columns"]), request["start"])
        return {}

    def _read(self, rows: list[str]) -> None:
        """Add rows that come to about `REPLY_BYTES`; those before a failure are there, too."""
        size = 0
        for row in islice(self._rows or (), REPLY_ROWS):
            rows.append(self._encoded(row))
            size += len(rows[-1])
            if size > REPLY_BYTES:
                return

    def _encoded(self, row: Row) -> str:
        try:
            values = row.values()
            encodable = {name: plain(value) for name, value in values.items()}
            for name in self._required & values.keys():
                if isinstance(values[name], bytes) and encodable[name] is None:
                    raise BadRow(NOT_UTF8)
            return json.dumps([row.place, encodable], ensure_ascii=False)
        except (BadRow, ValueError, RecursionError) as error:
            return json.dumps([row.place, one_line(str(error))])


def plain(value: Any) -> Any:
    """A value of a table as JSON has it.

    Dates and times become ISO 8601, durations seconds, bytes their text in UTF-8 (or null, where
    they are none), and decimal fractions and what else there is become text.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        with contextlib.suppress(UnicodeDecodeError):
            return value.decode("utf-8")
        return None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, dict):
        return {str(name): plain(inner) for name, inner in value.items()}
    return str(value)


def main() -> None:
    """Serve the parent process over the socket whose descriptor stands on the command line."""
    descriptor, parent = (int(argument) for argument in sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what ends
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # others reserve more than they use
    with contextlib.suppress(ImportError):  # whoever asks for a table is told
        import pyarrow.parquet  # noqa: F401 - before the limit on what comes on top
    limit_process(MEMORY_MB)
    session = Session()
    with Connection(descriptor) as connection, contextlib.suppress(EOFError, OSError):
        while True:
            connection.send_bytes(session.answer(json.loads(connection.recv_bytes())))


if __name__ == "__main__":
    main()
