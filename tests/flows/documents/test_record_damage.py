"""Bad rows and damaged files: named with their line, stopping nothing, and removing nothing."""

import gzip
import io
import json
import os
import random
import signal
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import zstandard

from flows.documents import compression
from flows.documents.listing import Listing
from flows.documents.records import (
    arrow_file,
    arrow_messages,
    parquet,
    record_listing,
    row,
    table_worker,
    tables,
)
from flows.documents.records import delimited as delimited_room
from flows.documents.records import json_array as json_array_room
from flows.documents.records import json_lines as json_lines_room
from flows.documents.records.columns import RecordColumns
from flows.documents.sources import discover
from flows.errors import DocumentRejected, InvalidInput

BY_ID = RecordColumns(text_column="text", id_column="id", metadata_columns=("n",))
GOOD = b'{"id": 1, "text": "good", "n": 1}\n'
LAST = b'{"id": 2, "text": "last", "n": 1}\n'


def listed(path: Path, content: bytes, columns: RecordColumns = BY_ID) -> Listing:
    path.write_bytes(content)
    return discover([str(path)], columns=columns)


def reasons(listing: Listing, path: Path) -> dict[str, str]:
    """What follows the file's path -> the reason."""
    return {entry.path.removeprefix(str(path)): entry.reason for entry in listing.rejected}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": 3, "text": "broken', "is not valid JSON (Invalid control character at char"),
        (b"plain text", "is not valid JSON (Expecting value at character 1)"),
        (b'{"id": 3, "text": "\xff"}', "is not valid UTF-8; save the file as UTF-8"),
        (b'{"id": 3, "text": "a\0b"}', "is not valid JSON (Invalid control character"),
        (b"[1, 2]", "is an array; expected an object"),
        (b'"words"', "is a string; expected an object"),
        (b"3", "is a number; expected"),
        (b"null", "is null; expected"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"id": 3, "n": ' + b"1" * 5000 + b"}", "is not valid JSON (a number of it is too long)"),
        (b'{"text": "x"}', "has no id in 'id'; give each row one"),
        (b'{"id": null, "text": "x"}', "has no id in 'id'"),
        (b'{"id": "", "text": "x"}', "has no id in 'id'"),
        (b'{"id": " ", "text": "x"}', "has a blank id in 'id'"),
        (b'{"id": true, "text": "x"}', "its id in 'id' is a truth value; expected text or"),
        (b'{"id": 1.5, "text": "x"}', "its id in 'id' is a number; expected text or a whole"),
        (b'{"id": [1], "text": "x"}', "its id in 'id' is a list; expected text or a whole"),
    ],
)
def test_a_row_whose_id_cannot_be_told_keeps_the_rows_of_its_file(
    line: bytes, reason: str, tmp_path: Path
) -> None:
    """It is named with its line; any row that is missing may be this one."""
    path = tmp_path / "x.jsonl"
    listing = listed(path, GOOD + b"\n" + line + b"\n" + LAST)
    assert [d.doc_id for d in listing.documents] == ["x.jsonl#1", "x.jsonl#2"]
    assert [d.read() for d in listing.documents] == [b"good", b"last"]
    (place,) = reasons(listing, path)
    assert place == ":3"
    assert reasons(listing, path)[":3"].startswith(reason)
    assert listing.keeps("x.jsonl#77")
    assert not listing.keeps("y.jsonl#77")
    assert listing.unreadable == ()
    assert listing.complete == {str(path): True}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": 3}', "has no 'text'"),
        (b'{"id": 3, "text": null}', "its 'text' is null; expected text"),
        (b'{"id": 3, "text": " \\n"}', "its 'text' is empty"),
        (b'{"id": 3, "text": 5}', "its 'text' is a number; expected text"),
        (b'{"id": 3, "text": ["x"]}', "its 'text' is a list; expected text"),
        (b'{"id": 3, "text": {}}', "its 'text' is an object; expected text"),
        (b'{"id": 3, "text": "a\\u0000b"}', "its 'text' holds a NUL character at 1; remove it"),
    ],
)
def test_a_row_whose_id_can_be_told_keeps_its_own_document(
    line: bytes, reason: str, tmp_path: Path
) -> None:
    """And no other: rows that are gone from the file are gone."""
    path = tmp_path / "x.jsonl"
    listing = listed(path, GOOD + line + b"\n" + LAST)
    assert [d.doc_id for d in listing.documents] == ["x.jsonl#1", "x.jsonl#2"]
    assert reasons(listing, path) == {":2": reason}
    assert listing.keeps("x.jsonl#3")
    assert not listing.keeps("x.jsonl#4")
    assert listing.complete == {str(path): True}


def test_without_ids_a_row_without_text_is_not_the_row_that_was(tmp_path: Path) -> None:
    """Its id would be its content's, which is no longer there; a row in ruins may be any."""
    path, columns = tmp_path / "x.jsonl", RecordColumns(text_column="text")
    listing = listed(path, GOOD + b'{"text": ""}\n', columns)
    assert reasons(listing, path) == {":2": "its 'text' is empty"}
    assert not listing.keeps("x.jsonl#0123456789abcdef")
    assert listed(path, GOOD + b'{"text": "\n', columns).keeps("x.jsonl#0123456789abcdef")


def test_a_repeated_id_is_the_first_rows(tmp_path: Path) -> None:
    """The later row is named with its line, whether the first was good or not."""
    path = tmp_path / "x.jsonl"
    listing = listed(path, GOOD + b'{"id": "1", "text": "again"}\n' + LAST)
    assert [d.read() for d in listing.documents] == [b"good", b"last"]
    assert reasons(listing, path) == {":2": "repeats the id '1' of another row; make ids unique"}
    listing = listed(path, b'{"id": 1, "text": ""}\n' + GOOD + LAST)
    assert [d.read() for d in listing.documents] == [b"last"]
    assert set(reasons(listing, path)) == {":1", ":2"}
    assert listing.keeps("x.jsonl#1")


def test_halves_of_characters_are_replaced(tmp_path: Path) -> None:
    """Texts that were cut within an emoji are common; they cannot be stored as they are."""
    line = b'{"id": 1, "text": "cut \\ud83d", "n": "\\udc00"}\n'
    (document,) = listed(tmp_path / "x.jsonl", line).documents
    assert document.read() == "cut \ufffd".encode()
    assert dict(document.fields) == {"n": "\ufffd"}


def test_endless_lines_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not more of one than the limit is ever held; the rows after it are read."""
    for room in (row, json_lines_room, delimited_room):
        monkeypatch.setattr(room, "MAX_ROW_BYTES", 1000)
    path = tmp_path / "x.jsonl"
    long = b'{"id": 3, "text": "' + b"x" * 200_000 + b'"}\n'
    listing = listed(path, GOOD + long + LAST)
    assert [d.read() for d in listing.documents] == [b"good", b"last"]
    assert set(reasons(listing, path)) == {":2"}
    assert "is longer than" in reasons(listing, path)[":2"]
    assert listing.keeps("x.jsonl#3")

    path = tmp_path / "x.csv"
    listing = listed(path, b"id,text,n\n1,good,1\n3," + b"x" * 200_000 + b",1\n2,last,1\n")
    assert [d.read() for d in listing.documents] == [b"good", b"last"]
    assert "is longer than" in reasons(listing, path)[":3"]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (b"3,x", "has 2 cells; the header has 3"),
        (b"3,x,1,2", "has 4 cells; the header has 3"),
        (b"3,\xff,1", "is not valid UTF-8"),
        (b'3,"x"y,1', "is not valid CSV (',' expected after '\"')"),
    ],
)
def test_bad_rows_of_csv(cells: bytes, reason: str, tmp_path: Path) -> None:
    """Lines are counted as an editor does, whatever line breaks the cells hold."""
    path = tmp_path / "x.csv"
    content = b'id,text,n\n1,"good\nor so",1\n\n' + cells + b"\n2,last,1\n"
    listing = listed(path, content)
    assert [d.read() for d in listing.documents] == [b"good\nor so", b"last"]
    assert set(reasons(listing, path)) == {":5"}
    assert reasons(listing, path)[":5"].startswith(reason)
    assert listing.keeps("x.csv#3")


def test_a_quotation_mark_that_never_closes(tmp_path: Path) -> None:
    """What it swallowed is one bad row, and nothing of it is taken for gone."""
    path = tmp_path / "x.csv"
    listing = listed(path, b'id,text,n\n1,good,1\n3,"open,1\n2,last,1\n')
    assert [d.doc_id for d in listing.documents] == ["x.csv#1"]
    assert reasons(listing, path) == {":3": "is not valid CSV (unexpected end of data)"}
    assert listing.keeps("x.csv#2")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("id,text,n\n1,ä,1\n".encode("utf-16"), "its header is not valid UTF-8"),
        (b'"id,text,n\n', "its header cannot be read (unexpected end of data)"),
    ],
)
def test_headers_that_cannot_be_read(content: bytes, reason: str, tmp_path: Path) -> None:
    """Nothing of the file can be told then."""
    path = tmp_path / "x.csv"
    listing = listed(path, content)
    assert listing.documents == ()
    assert reasons(listing, path)[""].startswith(reason)
    assert listing.complete == {str(path): False}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not JSON: expected it to begin with [ or {"),
        (b"words", "is not JSON: expected it to begin with [ or {"),
        (GOOD + LAST, "more follows the end of its JSON; name it .jsonl if each line is an obj"),
        (b'{"data": ' + b"[" * 200_000, "is not valid JSON: row 1 is nested too deeply"),
    ],
)
def test_files_that_are_no_json(content: bytes, reason: str, tmp_path: Path) -> None:
    """The reason says what was expected."""
    path = tmp_path / "x.json"
    listing = listed(path, content)
    assert listing.documents == ()
    assert reasons(listing, path)[""].startswith(reason)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1, "b": {"c": [{"text": "x"}]}}', "no array of objects"),
        (b'{"a": [{"text": "x"}], "b": [{"text": "y"}]}', "two arrays of objects, 'a' and 'b'"),
    ],
)
def test_json_of_another_shape_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    """As a source of its own; in a folder, the file is passed over with that reason."""
    folder = tmp_path / "docs"
    folder.mkdir()
    columns = RecordColumns(text_column="text")
    with pytest.raises(InvalidInput, match=f"docs/x.json': {message}"):
        listed(folder / "x.json", content, columns)
    (folder / "y.jsonl").write_bytes(GOOD)
    listing = discover([str(folder)], columns=columns)
    assert len(listing.documents) == 1
    assert message in reasons(listing, folder)["/x.json"]
    assert "leave it out with --exclude" in reasons(listing, folder)["/x.json"]
    assert listing.keeps("docs/x.json#1")
    assert listing.complete == {str(folder): True}


def test_bad_rows_of_json(tmp_path: Path) -> None:
    """Elements that are no objects are passed over; what is no JSON ends the file."""
    path = tmp_path / "x.json"
    good = GOOD.strip()
    listing = listed(path, b"[" + good + b', 5, "x", {"id": 3, "text": "\xff"}, ' + LAST + b"]")
    assert [d.read() for d in listing.documents] == [b"good", b"last"]
    assert set(reasons(listing, path)) == {":2", ":3", ":4"}

    listing = listed(path, b"[" + good + b', {"id": 3, "text": oops}, ' + LAST + b"]")
    assert [d.read() for d in listing.documents] == [b"good"]
    assert reasons(listing, path)[""].startswith("is not valid JSON: row 2 is not valid JSON (Expe")
    assert "1 rows before it count" in reasons(listing, path)[""]
    assert listing.keeps("x.json#2")


def test_a_value_of_json_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up at the limit, not held whole."""
    monkeypatch.setattr(json_array_room, "MAX_ROW_BYTES", 1_000_000)
    path = tmp_path / "x.json"
    content = b"[" + GOOD + b', {"id": 3, "text": "' + b"x" * 8_000_000
    listing = listed(path, content)
    assert [d.read() for d in listing.documents] == [b"good"]
    assert "make it JSON Lines" in reasons(listing, path)[""]


def test_numbers_and_rows_that_lie_across_two_reads(tmp_path: Path) -> None:
    """The text is held in pieces; no piece ends a value."""
    rows = [{"id": n, "text": "ü" * (n % 977), "n": 10**15 + n} for n in range(1, 2000)]
    rows = [row for row in rows if row["text"]]
    content = json.dumps({"a": [12345678] * 100_000, "rows": rows}, ensure_ascii=False)
    listing = listed(tmp_path / "x.json", content.encode())
    assert [d.fields["n"] for d in listing.documents] == [row["n"] for row in rows]
    assert [d.read().decode() for d in listing.documents] == [row["text"] for row in rows]


@pytest.mark.parametrize("suffix", ["gz", "zst"])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "json"])
def test_a_compressed_file_that_breaks_off(kind: str, suffix: str, tmp_path: Path) -> None:
    """The rows before the break count; what is stored of the others stays."""
    noise = random.Random(0)
    rows = [{"id": n, "text": noise.randbytes(200).hex(), "n": 1} for n in range(5000)]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    if kind == "csv":
        content = "id,text,n\n" + "".join(f"{r['id']},{r['text']},1\n" for r in rows)
    elif kind == "json":
        content = json.dumps(rows)
    compress = gzip.compress if suffix == "gz" else zstandard.compress
    data = compress(content.encode())
    path = tmp_path / f"x.{kind}.{suffix}"
    listing = listed(path, data[: len(data) * 3 // 4])
    assert 3000 < len(listing.documents) < 4000
    assert [d.doc_id for d in listing.documents[:2]] == [f"{path.name}#0", f"{path.name}#1"]
    assert listing.documents[2900].read().decode() == rows[2900]["text"]
    rare = BY_ID.model_copy(update={"title_column": "rare"})
    if kind != "csv":  # which has a header
        assert len(discover([str(path)], columns=rare).documents) == len(listing.documents)
    (reason,) = reasons(listing, path).values()
    assert "cannot be decompressed as" in reason
    assert f"{len(listing.documents)} rows before it count" in reason
    assert listing.keeps(f"{path.name}#4999")


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_bomb_is_given_up(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that becomes a large one, in lines or in one."""
    monkeypatch.setattr(compression, "FREE_BYTES", 1_000_000)
    compress = gzip.compress if suffix == "gz" else zstandard.compress
    path = tmp_path / f"x.jsonl.{suffix}"
    for filling in (b"\n" * 20_000_000, b"x" * 20_000_000):
        listing = listed(path, compress(GOOD + filling + LAST))
        assert len(listing.documents) <= 1
        assert "once decompressed, 200 times its size" in reasons(listing, path)[""]
        assert listing.keeps(f"{path.name}#2")


def test_a_file_that_is_not_compressed_as_its_name_says(tmp_path: Path) -> None:
    """No row, one reason."""
    path = tmp_path / "x.jsonl.gz"
    listing = listed(path, GOOD)
    assert listing.documents == ()
    assert "cannot be decompressed as gzip" in reasons(listing, path)[""]


def test_many_bad_rows_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first are named one by one."""
    monkeypatch.setattr(record_listing, "MAX_BAD_ROWS", 3)
    path = tmp_path / "x.jsonl"
    listing = listed(path, b"?\n" * 10 + GOOD)
    assert len(listing.documents) == 1
    assert list(reasons(listing, path)) == [":1", ":2", ":3", ""]
    assert reasons(listing, path)[""] == "7 more of its rows are bad"
    listing = listed(path, b"?\n" * 10)
    assert reasons(listing, path)[""] == "7 more of its rows are bad"
    assert listing.complete == {str(path): False}


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv"])
def test_an_empty_file_removes_nothing(name: str, tmp_path: Path) -> None:
    """It may be that somebody is writing it just now."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# A\n")
    (folder / name).write_bytes(b"")
    listing = discover([str(folder)], columns=BY_ID)
    assert len(listing.documents) == 1
    assert listing.keeps(f"docs/{name}#1")
    assert discover([str(folder / name)], columns=BY_ID).complete == {str(folder / name): False}


def test_a_record_file_that_is_a_fifo_is_never_opened(tmp_path: Path) -> None:
    """Not while listing, nor when it takes a file's place."""
    folder = tmp_path / "docs"
    folder.mkdir()
    os.mkfifo(folder / "x.jsonl")
    (folder / "y.jsonl").write_bytes(GOOD)
    listing = discover([str(folder)], columns=BY_ID)
    assert listing.ignored == {"special": 1}
    (document,) = listing.documents
    (folder / "y.jsonl").unlink()
    os.mkfifo(folder / "y.jsonl")
    with pytest.raises(DocumentRejected, match="is a FIFO, not a regular file"):
        document.read()


def table(rows: int = 50) -> pa.Table:
    return pa.table(
        {"id": list(range(rows)), "text": [f"row {n}" for n in range(rows)], "n": [1] * rows}
    )


def parquet_bytes() -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table(), buffer, row_group_size=10)
    return buffer.getvalue()


def feather_bytes(compression: str = "zstd") -> bytes:
    buffer = io.BytesIO()
    pyarrow.feather.write_feather(table(), buffer, chunksize=10, compression=compression)
    return buffer.getvalue()


def stream_bytes() -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table().schema) as writer:
        writer.write_table(table(), max_chunksize=10)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not Parquet, or breaks off: its footer is missing"),
        (parquet_bytes()[:-1], "is not Parquet, or breaks off: its footer is missing"),
        (parquet_bytes()[:-8] + struct.pack("<I", 2**31) + b"PAR1", "its footer claims 2147483648"),
        (b"PAR1" + b"\xff" * 100 + struct.pack("<I", 90) + b"PAR1", "cannot be read as Parquet"),
    ],
)
def test_parquet_without_a_sound_footer(content: bytes, reason: str, tmp_path: Path) -> None:
    """Nothing of it can be read."""
    path = tmp_path / "x.parquet"
    listing = listed(path, content)
    assert listing.documents == ()
    assert reason in reasons(listing, path)[""]
    assert listing.keeps("x.parquet#1")


def test_parquet_with_a_damaged_row_group(tmp_path: Path) -> None:
    """The groups before it count."""
    content = bytearray(parquet_bytes())
    metadata = pyarrow.parquet.ParquetFile(io.BytesIO(bytes(content))).metadata
    start = metadata.row_group(3).column(1).dictionary_page_offset
    content[start : start + 30] = b"\xff" * 30
    path = tmp_path / "x.parquet"
    listing = listed(path, bytes(content))
    assert len(listing.documents) == 30
    assert "cannot be read as Parquet" in reasons(listing, path)[""]
    assert "30 rows before it count" in reasons(listing, path)[""]


def test_row_groups_and_batches_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told by the file's own figures, before any of it is read; the others do no harm."""
    monkeypatch.setattr(parquet, "MAX_GROUP_BYTES", 1000)
    monkeypatch.setattr(arrow_messages, "MAX_GROUP_BYTES", 1000)
    rows = pa.table(
        {"id": [1, 2], "text": ["ok", "x" * 5000], "n": [1, 1], "more": ["y" * 9999] * 2}
    )
    pyarrow.parquet.write_table(rows, tmp_path / "x.parquet", row_group_size=1)
    for compression_ in ("zstd", "lz4", "uncompressed"):
        pyarrow.feather.write_feather(
            rows, tmp_path / f"{compression_}.feather", compression=compression_
        )
    wanted = {"id", "text"}
    found = parquet.rows(str(tmp_path / "x.parquet"), wanted)
    assert next(found).values() == {"id": 1, "text": "ok"}
    with pytest.raises(DocumentRejected, match=r"row group 2 has .* in the columns that are read"):
        next(found)
    for compression_ in ("zstd", "lz4", "uncompressed"):
        with pytest.raises(DocumentRejected, match="record batch 1 has"):
            next(arrow_file.rows(str(tmp_path / f"{compression_}.feather"), wanted))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read as Arrow"),
        (b"FEA1" + b"x" * 100, "is Feather of version 1; write it again as version 2"),
        (b"plain text, not Arrow", "is not Arrow: it does not begin as"),
        (feather_bytes()[:3000], "breaks off"),
        (stream_bytes()[:2500], "breaks off"),
    ],
)
def test_arrow_files_that_are_none(content: bytes, reason: str, tmp_path: Path) -> None:
    """Cut off, of an old version, or something else."""
    path = tmp_path / "x.arrow"
    listing = listed(path, content)
    assert reason in reasons(listing, path)[""]
    assert listing.keeps("x.arrow#1")


def test_a_reader_that_dies_costs_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library ends its process on some damaged files; the next file has another one."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.parquet").write_bytes(parquet_bytes())
    processes = tables._Processes()
    monkeypatch.setattr(tables, "_PROCESSES", processes)
    ask = tables._Process.ask

    def dying(process: tables._Process, request: dict[str, Any]) -> Any:
        if str(request.get("path", "")).endswith("b.parquet") and "columns" in request:
            os.kill(process._process.pid, signal.SIGABRT)
        return ask(process, request)

    monkeypatch.setattr(tables._Process, "ask", dying)
    listing = discover([str(folder)], columns=BY_ID)
    assert len(listing.documents) == 100
    assert reasons(listing, folder)["/b.parquet"].startswith(
        "cannot be read: it ended the process that reads it, by SIGABRT; write the file again"
    )
    assert listing.keeps("docs/b.parquet#1")
    assert not listing.keeps("docs/a.parquet#77")
    (idle,) = processes._idle
    processes.stop()
    assert not idle.is_alive()


def test_a_reader_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped by the kernel here: it neither answers nor ends."""
    processes = tables._Processes()
    monkeypatch.setattr(tables, "_PROCESSES", processes)
    monkeypatch.setattr(tables, "REPLY_SECONDS", 1.0)
    with processes.lent() as process:
        process.ask({})
        os.kill(process._process.pid, signal.SIGSTOP)
    listing = listed(tmp_path / "x.parquet", parquet_bytes())
    assert listing.documents == ()
    assert listing.rejected[0].reason.startswith("reading on takes more than 1 s; write")
    assert processes._idle == []


def test_rows_before_a_failure_are_answered(tmp_path: Path) -> None:
    """In the very answer that tells of it; bytes are text where they are UTF-8."""
    path = tmp_path / "x.parquet"
    rows = pa.table({"id": [1, 2, 3], "text": [b"good", b"\xff", b"last"], "n": [b"\xff"] * 3})
    pyarrow.parquet.write_table(rows, path)
    request = {
        "path": str(path),
        "kind": "parquet",
        "columns": ["id", "n", "text"],
        "required": ["text"],
        "start": 0,
    }
    session = table_worker.Session()
    head, *lines = session.answer(request).split(b"\n")
    assert json.loads(head) == {}
    assert [json.loads(line) for line in lines] == [
        [0, {"id": 1, "text": "good", "n": None}],
        [1, "is not valid UTF-8; save the file as UTF-8"],
        [2, {"id": 3, "text": "last", "n": None}],
    ]
    assert session.answer({}) == b"{}"


def test_text_of_a_table_that_is_not_utf8(tmp_path: Path) -> None:
    """Arrow does not look at what it holds; one such row does no harm to the others."""
    buffers = pa.array([b"good", b"\xff\xfe", b"last"]).buffers()
    text = pa.StringArray.from_buffers(3, buffers[1], buffers[2])
    rows = pa.table({"id": [1, 2, 3], "text": text, "n": [1, 1, 1]})
    path = tmp_path / "x.arrow"
    with pa.ipc.new_file(str(path), rows.schema) as writer:
        writer.write_table(rows)
    listing = discover([str(path)], columns=BY_ID)
    assert [d.doc_id for d in listing.documents] == ["x.arrow#1", "x.arrow#3"]
    assert reasons(listing, path) == {":2": "is not valid UTF-8 in 'text'; write the file again"}


@pytest.mark.parametrize("make", [feather_bytes, stream_bytes])
def test_damaged_messages_of_arrow_end_in_a_reason(make: object, tmp_path: Path) -> None:
    """Whatever a message's description says: rows, or a reason, and never another error."""
    assert callable(make)
    content = make()
    noise = random.Random(1)
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(noise.randint(1, 4)):
            damaged[noise.randrange(8, 1200)] = noise.randrange(256)
        path = tmp_path / "x.arrow"
        path.write_bytes(bytes(damaged))
        with path.open("rb") as file:
            try:
                arrow_messages.check_messages(file)
            except DocumentRejected as error:
                assert "Arrow" in str(error) or "record batch" in str(error)
