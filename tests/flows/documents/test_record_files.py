"""Record files: each row is a document, whatever the file's kind and compression."""

import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import zstandard

from flows.documents.globs import Selection
from flows.documents.parsing import parse
from flows.documents.records import cursors, tables
from flows.documents.records.columns import RecordColumns
from flows.documents.records.content import key_of, scalar
from flows.documents.records.cursors import CURSORS, MAX_OPEN
from flows.documents.records.record_document import RecordDocument
from flows.documents.records.table_worker import plain
from flows.documents.sources import discover
from flows.errors import DocumentRejected, InvalidInput
from flows.settings import load_settings

ROWS: list[dict[str, Any]] = [
    {
        "id": "a",
        "title": "Über Uns",
        "text": 'First, "quoted"\nand broken',
        "year": 1999,
        "ok": True,
    },
    {"id": "b/ü", "title": "Sea", "text": "Zweite Zeile, mit ß und 🌊", "year": 2001, "ok": False},
    {"id": "c", "title": "", "text": "# Third\n\nWords.", "year": None, "ok": None},
]
COLUMNS = RecordColumns(
    text_column="text", title_column="title", id_column="id", metadata_columns=("year", "ok")
)
Rows = Sequence[dict[str, Any]]


def jsonl(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_csv(rows: Rows, delimiter: str = ",") -> bytes:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, rows[0], delimiter=delimiter)
    writer.writeheader()
    for row in rows:
        values = {k: str(v).lower() if isinstance(v, bool) else v for k, v in row.items()}
        writer.writerow(values)
    return buffer.getvalue().encode()


def tsv(rows: Rows) -> bytes:
    lines = [rows[0].keys(), *(row.values() for row in rows)]
    return "\n".join("\t".join(map(str, line)) for line in lines).encode()


def parquet(rows: Rows, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(list(rows)), buffer, **options)
    return buffer.getvalue()


def arrow_stream(rows: Rows) -> bytes:
    table = pa.Table.from_pylist(list(rows))
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return buffer.getvalue()


def arrow_file(rows: Rows) -> bytes:
    table = pa.Table.from_pylist(list(rows))
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return buffer.getvalue()


def feather(rows: Rows, compression: str = "zstd") -> bytes:
    buffer = io.BytesIO()
    pyarrow.feather.write_feather(
        pa.Table.from_pylist(list(rows)), buffer, compression=compression, chunksize=2
    )
    return buffer.getvalue()


KINDS: dict[str, Callable[[Rows], bytes]] = {
    "x.jsonl": jsonl,
    "x.NDJSON": lambda rows: b"\xef\xbb\xbf" + jsonl(rows).replace(b"\n", b"\r\n\r\n"),
    "x.jsonl.gz": lambda rows: gzip.compress(jsonl(rows[:1])) + gzip.compress(jsonl(rows[1:])),
    "x.jsonl.zst": lambda rows: zstandard.compress(jsonl(rows)),
    "x.json": lambda rows: json.dumps(list(rows), indent=1).encode(),
    "y.json": lambda rows: json.dumps(
        {"version": [1, [2]], "none": [], "data": list(rows), "count": 3.5}, ensure_ascii=False
    ).encode(),
    "x.json.gz": lambda rows: gzip.compress(json.dumps(list(rows)).encode()),
    "x.csv": as_csv,
    "semicolon.csv": lambda rows: b"\xef\xbb\xbf" + as_csv(rows, ";"),
    "x.csv.zst": lambda rows: zstandard.compress(as_csv(rows)),
    "x.parquet": parquet,
    "groups.parquet": lambda rows: parquet(rows, row_group_size=1, use_dictionary=False),
    "x.arrow": arrow_file,
    "stream.arrow": arrow_stream,
    "x.feather": feather,
    "lz4.feather": lambda rows: feather(rows, "lz4"),
    "plain.feather": lambda rows: feather(rows, "uncompressed"),
}


def rows_of(
    path: Path, columns: RecordColumns = COLUMNS, *, content: bytes | None = None
) -> list[RecordDocument]:
    """The documents of one file."""
    if content is not None:
        path.write_bytes(content)
    documents = discover([str(path)], columns=columns).documents
    assert all(isinstance(document, RecordDocument) for document in documents)
    return list(documents)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_gives_the_same_documents(name: str, tmp_path: Path) -> None:
    """Listed, read in order and out of order, and parsed; in the order of the rows."""
    path = tmp_path / name
    documents = rows_of(path, content=KINDS[name](ROWS))
    assert [d.doc_id for d in documents] == [f"{name}#a", f"{name}#b/ü", f"{name}#c"]
    assert [d.source for d in documents] == [f"{path}#{row['id']}" for row in ROWS]
    assert {d.root for d in documents} == {str(path)}
    assert [d.title for d in documents] == ["Über Uns", "Sea", ""]
    for document, row in (*zip(documents, ROWS, strict=True), (documents[0], ROWS[0])):
        data = document.read()
        assert data.decode() == row["text"]
        assert document.size == len(data)
        assert parse(data, format=document.format, name=document.name).text == row["text"]
    numbers: list[Any] = [1999, 2001]
    if ".csv" in name:
        numbers = ["1999", "2001"]
    assert [dict(d.fields) for d in documents] == [
        {"year": numbers[0], "ok": "true"},
        {"year": numbers[1], "ok": "false"},
        {},
    ]
    assert len({d.digest for d in documents}) == 3
    assert documents[0].modified == datetime.fromtimestamp(
        int(path.stat().st_mtime), UTC
    ).isoformat(timespec="seconds")
    listing = discover([str(path)], columns=COLUMNS)
    assert (listing.complete, listing.rejected, listing.unreadable) == ({str(path): True}, (), ())
    assert listing.ignored == {}


def test_tsv_takes_quotation_marks_as_they_are(tmp_path: Path) -> None:
    """Cells hold no tabs or line breaks, and may begin with a quotation mark that never closes."""
    rows = [{"id": 1, "text": '"Go!'}, {"id": 2, "text": 'a 3" pipe, he said'}]
    columns = RecordColumns(id_column="id")
    documents = rows_of(tmp_path / "x.tsv", columns, content=tsv(rows))
    assert [d.read().decode() for d in documents] == [row["text"] for row in rows]
    documents = rows_of(tmp_path / "x.tsv.gz", columns, content=gzip.compress(tsv(rows)))
    assert [d.doc_id for d in documents] == ["x.tsv.gz#1", "x.tsv.gz#2"]


def test_the_text_column_of_a_single_file_is_found(tmp_path: Path) -> None:
    """The first of a few names that people use, and none of the others."""
    content = jsonl([{"body": "right", "contents": "wrong", "other": "wrong"}])
    (document,) = rows_of(tmp_path / "x.jsonl", RecordColumns(), content=content)
    assert document.read() == b"right"
    with pytest.raises(InvalidInput, match=r"no column 'text' or 'content' or .*; it has 'words'"):
        rows_of(tmp_path / "x.jsonl", RecordColumns(), content=b'{"words": "x"}\n')


@pytest.mark.parametrize("name", ["x.jsonl", "y.json", "x.csv", "x.parquet", "x.feather"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"text_column": "txt"},
        {"id_column": "txt"},
        {"title_column": "txt"},
        {"metadata_columns": ("year", "txt")},
    ],
)
def test_a_column_that_does_not_exist_is_refused(
    name: str, wrong: dict[str, Any], tmp_path: Path
) -> None:
    """With the file, the name, and the names that exist, before anything is stored."""
    (tmp_path / name).write_bytes(KINDS[name](ROWS))
    with pytest.raises(InvalidInput, match=r"no column 'txt'; it has 'id', 'title', 'text'") as e:
        discover([str(tmp_path / name)], columns=RecordColumns(**wrong))
    assert str(e.value).startswith(f"source {str(tmp_path / name)!r}: ")


def test_a_rare_column_of_json_lines_is_no_mistake(tmp_path: Path) -> None:
    """Objects need not have all members: a column counts once any row has it."""
    rows = [{"text": f"row {n}"} for n in range(300)] + [{"text": "last", "lang": "de"}]
    columns = RecordColumns(metadata_columns=("lang",))
    documents = rows_of(tmp_path / "x.jsonl", columns, content=jsonl(rows))
    assert len(documents) == 301
    assert [dict(d.fields) for d in documents if d.fields] == [{"lang": "de"}]


def test_a_repeated_column_name_is_refused(tmp_path: Path) -> None:
    """Only where it matters."""
    (tmp_path / "x.csv").write_text("text,a,a\nx,1,2\n")
    assert len(rows_of(tmp_path / "x.csv", RecordColumns())) == 1
    with pytest.raises(InvalidInput, match="two columns are called 'a'; rename one"):
        rows_of(tmp_path / "x.csv", RecordColumns(metadata_columns=("a",)))


def test_markdown_rows_have_headings(tmp_path: Path) -> None:
    """The format of the text decides on the parser; another one makes the row another document."""
    columns = COLUMNS.model_copy(update={"text_format": "markdown"})
    (tmp_path / "x.jsonl").write_bytes(jsonl(ROWS))
    document = rows_of(tmp_path / "x.jsonl", columns)[2]
    parsed = parse(document.read(), format=document.format, name=document.name)
    assert [heading.title for heading in parsed.headings] == ["Third"]
    assert parsed.title == "Third"
    assert document.digest != rows_of(tmp_path / "x.jsonl")[2].digest


def test_html_rows_are_parsed(tmp_path: Path) -> None:
    """Tags are no text."""
    columns = RecordColumns(text_format="html", id_column="id")
    row = {"id": 7, "text": "<html><title>T</title><body><p>Only <b>words</b>.</p></body></html>"}
    (document,) = rows_of(tmp_path / "x.jsonl", columns, content=jsonl([row]))
    parsed = parse(document.read(), format=document.format, name=document.name)
    assert "<" not in parsed.text
    assert "words" in parsed.text
    assert parsed.title == "T"


def test_the_title_of_last_resort_names_the_row(tmp_path: Path) -> None:
    """Neither the row nor its text has one."""
    row = {"id": "v1.5/x", "text": "words"}
    (document,) = rows_of(
        tmp_path / "notes.jsonl.gz",
        RecordColumns(id_column="id"),
        content=gzip.compress(jsonl([row])),
    )
    parsed = parse(document.read(), format=document.format, name=document.name)
    assert parsed.title == "notes v1.5 x"


def test_rows_without_ids_go_by_their_content(tmp_path: Path) -> None:
    """Inserting one changes no other id; rows that are the same are one document."""
    path, columns = tmp_path / "x.jsonl", RecordColumns(title_column="title")
    before = {d.doc_id: d.digest for d in rows_of(path, columns, content=jsonl(ROWS))}
    new = {"title": "New", "text": "inserted"}
    path.write_bytes(jsonl([new, ROWS[0], ROWS[1], ROWS[0], ROWS[2], ROWS[0]]))
    listing = discover([str(path)], columns=columns)
    after = {d.doc_id: d.digest for d in listing.documents}
    assert before.items() < after.items()
    assert len(after) == 4
    assert listing.ignored == {"duplicate rows": 2}
    assert listing.complete == {str(path): True}
    assert all(len(doc_id) == len("x.jsonl#") + 16 for doc_id in after)


@pytest.mark.parametrize("change", [{"text": "x"}, {"title": "x"}, {"year": 5}])
def test_whatever_is_stored_of_a_row_counts_for_its_digest(
    change: dict[str, Any], tmp_path: Path
) -> None:
    """With an id, the id stays; what is in none of the named columns does not count."""
    path = tmp_path / "x.jsonl"
    before = rows_of(path, content=jsonl(ROWS))
    after = rows_of(path, content=jsonl([ROWS[0], ROWS[1] | change, ROWS[2] | {"more": 1}]))
    assert [d.doc_id for d in before] == [d.doc_id for d in after]
    same = [old.digest == new.digest for old, new in zip(before, after, strict=True)]
    assert same == [True, False, True]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (17, "17"),
        (-(2**40), str(-(2**40))),
        (3.0, "3"),
        ("  padded ", "padded"),
        ("日本語/ü#1", "日本語/ü#1"),
        ("x" * 200, "x" * 200),
    ],
)
def test_ids_are_kept_as_they_are(value: object, expected: str) -> None:
    """Where they are printable and of a length that can be."""
    assert key_of({"id": value}, "id") == expected


def test_odd_ids_are_made_safe_and_stay_unlike() -> None:
    """Control characters, halves of characters, novels: printable, short, and each its own."""
    odd = ["a\nb", "a\tb", "\ud800", "x" * 201, "x" * 202, "\u202egnp"]
    keys = [key_of({"id": value}, "id") for value in odd]
    assert len(set(keys)) == len(odd)
    for key in keys:
        assert key.isprintable()
        assert len(key) <= 200
        key.encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"),
        (2**62, 2**62),
        (2**64, hex(2**64)),
        (float("nan"), None),
        (0.5, 0.5),
        ("", None),
        (["ä", {"b": [1, None]}], '["ä",{"b":[1,null]}]'),
        ("y" * 1000, "y" * 1000),
        ("y" * 1001, "y" * 999 + "…"),
        ("a\0\ud800", "a\ufffd\ufffd"),
    ],
)
def test_fields_are_scalars(value: object, expected: object) -> None:
    """What a payload can hold, and what is left out."""
    assert scalar(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (date(2024, 3, 1), "2024-03-01"),
        (datetime(2024, 3, 1, 12, tzinfo=UTC), "2024-03-01T12:00:00+00:00"),
        (time(8, 30), "08:30:00"),
        (timedelta(minutes=1), 60.0),
        (Decimal("1.10"), "1.10"),
        ("ü".encode(), "ü"),
        (b"\xff", None),
        (
            {"at": date(2024, 3, 1), "in": [b"x", (1, None)]},
            {"at": "2024-03-01", "in": ["x", [1, None]]},
        ),
    ],
)
def test_types_of_tables_as_json_has_them(value: object, expected: object) -> None:
    """So they come from the process that reads tables, and so they are hashed."""
    assert plain(value) == expected


def test_types_that_only_tables_have(tmp_path: Path) -> None:
    """Times down to nanoseconds, categories, decimals, lists, structures, missing values."""
    table = pa.table(
        {
            "text": pa.array(["one", "two"]).dictionary_encode(),
            "at": pa.array([1_709_294_400_123_456_789, None], pa.timestamp("ns", tz="UTC")),
            "day": pa.array([date(2024, 3, 1), None]),
            "price": pa.array([Decimal("1.10"), None], pa.decimal128(5, 2)),
            "tags": pa.array([["a", "b"], []]),
            "who": pa.array([{"name": "A", "age": 3}, None]),
            "big": pa.array(["x", "y"], pa.large_string()),
        }
    )
    expected = {
        "at": "2024-03-01T12:00:00.123456+00:00",
        "day": "2024-03-01",
        "price": "1.10",
        "tags": '["a","b"]',
        "who": '{"name":"A","age":3}',
        "big": "x",
    }
    columns = RecordColumns(metadata_columns=tuple(expected))
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    first, second = rows_of(tmp_path / "x.parquet", columns)
    assert dict(first.fields) == expected
    assert dict(second.fields) == {"tags": "[]", "big": "y"}
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert dict(rows_of(tmp_path / "x.arrow", columns)[0].fields) == expected


def test_folders_read_record_files_only_where_the_text_is_named(tmp_path: Path) -> None:
    """Data lies in many folders; what was stored of it stays as long as it is merely left out."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# A\n")
    (folder / "b.jsonl").write_bytes(jsonl(ROWS))
    (folder / "c.csv.gz").write_bytes(gzip.compress(as_csv(ROWS)))
    (folder / "d.parquet.gz").write_bytes(b"x")
    listing = discover([str(folder)])
    assert [d.doc_id for d in listing.documents] == ["docs/a.md"]
    assert listing.ignored == {
        ".csv.gz (no text column named)": 1,
        ".jsonl (no text column named)": 1,
        ".parquet.gz": 1,
    }
    assert listing.complete == {str(folder): True}
    assert listing.keeps("docs/b.jsonl#a")
    assert not listing.keeps("docs/gone.jsonl#a")

    listing = discover([str(folder)], columns=COLUMNS)
    assert [d.doc_id for d in listing.documents] == [
        "docs/a.md",
        *(f"docs/b.jsonl#{row['id']}" for row in ROWS),
        *(f"docs/c.csv.gz#{row['id']}" for row in ROWS),
    ]
    assert {d.root for d in listing.documents} == {str(folder)}
    assert listing.documents[5].read().decode() == ROWS[1]["text"]
    assert listing.ignored == {".parquet.gz": 1}
    assert not listing.keeps("docs/b.jsonl#a")


def test_globs_are_about_files(tmp_path: Path) -> None:
    """Not about rows, whose ids may look like paths."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "b.jsonl").write_bytes(jsonl(ROWS))
    (folder / "c.csv").write_bytes(as_csv(ROWS))
    listing = discover([str(folder)], Selection(include=("*.jsonl",)), COLUMNS)
    assert {d.doc_id.partition("#")[0] for d in listing.documents} == {"docs/b.jsonl"}
    assert listing.ignored == {"excluded": 1}
    single = str(folder / "b.jsonl")
    assert len(discover([single], Selection(include=("*.jsonl",)), COLUMNS).documents) == 3
    listing = discover([single], Selection(exclude=("b.*",)), COLUMNS)
    assert (listing.documents, listing.ignored) == ((), {"excluded": 1})


def test_a_file_given_twice_is_refused(tmp_path: Path) -> None:
    """By itself and with its folder: each row would be stored twice."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "b.jsonl").write_bytes(jsonl(ROWS))
    with pytest.raises(InvalidInput, match="lies in two sources"):
        discover([str(folder), str(folder / "b.jsonl")], columns=COLUMNS)


def test_columns_that_no_file_of_a_folder_has_are_refused(tmp_path: Path) -> None:
    """One that some of them have is no mistake."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "b.jsonl").write_bytes(jsonl(ROWS))
    (folder / "c.csv").write_text("id,text,lang\n1,x,de\n")
    columns = RecordColumns(text_column="text", metadata_columns=("year", "lang"))
    assert len(discover([str(folder)], columns=columns).documents) == 4
    columns = RecordColumns(text_column="text", metadata_columns=("year", "tongue"))
    with pytest.raises(InvalidInput, match=r"docs': no column 'tongue'; it has 'id', .*'lang'"):
        discover([str(folder)], columns=columns)


def test_a_link_that_is_turned_outside_is_refused(tmp_path: Path) -> None:
    """As for any document."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "real.jsonl").write_bytes(jsonl(ROWS))
    (folder / "z.jsonl").symlink_to(folder / "real.jsonl")
    (tmp_path / "secret.jsonl").write_bytes(jsonl(ROWS))
    document = discover([str(folder)], columns=COLUMNS).documents[-1]
    assert document.doc_id == "docs/z.jsonl#c"
    (folder / "z.jsonl").unlink()
    (folder / "z.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(DocumentRejected, match="leads outside its source folder"):
        document.read()


@pytest.mark.parametrize("name", KINDS)
def test_a_row_that_changed_after_the_listing_is_rejected(name: str, tmp_path: Path) -> None:
    """Another text in its place, another row, none at all, no file: never the wrong text."""
    path = tmp_path / name
    documents = rows_of(path, content=KINDS[name](ROWS))
    CURSORS.close()
    path.write_bytes(KINDS[name]([ROWS[1], {**ROWS[1], "id": "z", "text": "other"}]))
    for document in documents:
        with pytest.raises(DocumentRejected, match="changed after it was listed; run again"):
            document.read()
    CURSORS.close()
    path.unlink()
    with pytest.raises(DocumentRejected, match="vanished after it was listed"):
        documents[0].read()


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv.zst", "x.parquet"])
def test_a_file_that_is_listed_again_is_read_anew(name: str, tmp_path: Path) -> None:
    """Readers that are still open from before serve the documents from before only."""
    path = tmp_path / name
    for document in rows_of(path, content=KINDS[name](ROWS))[:2]:
        document.read()
    path.unlink()
    after = rows_of(path, content=KINDS[name]([row | {"text": f"new {row['id']}"} for row in ROWS]))
    assert [d.read() for d in after] == [b"new a", "new b/ü".encode(), b"new c"]


def test_a_long_text_meets_the_limit_before_it_is_read(tmp_path: Path) -> None:
    """The limit on documents counts the bytes of the text, not of the file."""
    path = tmp_path / "x.jsonl"
    document, other = rows_of(
        path, RecordColumns(), content=jsonl([{"text": "ü" * 600}, {"text": "x"}])
    )
    assert document.size == 1200
    with pytest.raises(DocumentRejected, match="raise --max-document-mb"):
        document.read(max_bytes=1199)
    assert document.read(max_bytes=1200) == "ü".encode() * 600
    assert other.read(max_bytes=1) == b"x"


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.json", "x.csv.zst", "x.parquet"])
def test_reading_in_order_opens_a_file_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two readers side by side, as of two partitions, do not send each other back."""
    rows = [{"id": n, "text": f"row {n} " + "x" * 500} for n in range(1000)]
    columns = RecordColumns(id_column="id")
    documents = rows_of(tmp_path / name, columns, content=KINDS[name](rows))
    assert [d.key for d in documents[:3]] == ["0", "1", "2"]
    CURSORS.close()
    opened = []
    cursor = cursors.Cursor
    monkeypatch.setattr(
        cursors, "Cursor", lambda file, start: opened.append(start) or cursor(file, start)
    )
    for first, second in zip(documents[:500], documents[500:], strict=True):
        assert first.read().startswith(f"row {first.key} ".encode())
        assert second.read().startswith(f"row {second.key} ".encode())
    assert len(opened) <= 2
    assert CURSORS.close() == 0


def test_few_readers_stay_open(tmp_path: Path) -> None:
    """However many files there are; and none, once nobody has asked for a while."""
    CURSORS.close()
    documents = [
        rows_of(tmp_path / f"{n}.jsonl", RecordColumns(), content=jsonl([{"text": str(n)}]))[0]
        for n in range(2 * MAX_OPEN)
    ]
    for document in (*documents, *documents):
        document.read()
    assert CURSORS.close(idle_for=60) == MAX_OPEN
    assert CURSORS.close() == 0
    assert documents[0].read() == b"0"
    CURSORS.close()


def test_listing_many_rows_takes_little_memory(tmp_path: Path) -> None:
    """200,000 rows: what is kept is their names and digests, below 700 bytes each."""
    count = 200_000
    path = tmp_path / "big.jsonl"
    with path.open("w") as file:
        for number in range(count):
            text = f"Row {number} " + "x" * 500
            file.write(f'{{"id": "article-{number}", "text": "{text}"}}\n')
    tracemalloc.start()
    try:
        documents = discover([str(path)], columns=RecordColumns(id_column="id")).documents
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(documents) == count
    assert held < 700 * count
    assert peak < 900 * count
    assert documents[-1].read().startswith(b"Row 199999 ")
    CURSORS.close()


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_without_pyarrow_the_reason_says_what_to_install(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line; the other files of the folder are read."""
    (tmp_path / "pyarrow").mkdir()
    (tmp_path / "pyarrow" / "__init__.py").write_text("raise ImportError('gone')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(tables, "_PROCESSES", tables._Processes())
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / name).write_bytes(KINDS[name](ROWS))
    (folder / "x.jsonl").write_bytes(jsonl(ROWS))
    listing = discover([str(folder)], columns=COLUMNS)
    assert len(listing.documents) == 3
    (entry,) = listing.rejected
    assert entry.path == str(folder / name)
    assert "needs pyarrow, which is not installed" in entry.reason
    assert "pip install 'sextant-pipeline[tables]'" in entry.reason
    assert listing.keeps(f"docs/{name}#a")
    tables._PROCESSES.stop()


def test_the_settings_say_the_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From options and variables; lists with commas."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEXTANT_METADATA_COLUMNS", "year, ok,,year")
    settings = load_settings(
        text_column="text", title_column="title", id_column="id", text_format="html"
    )
    assert settings.record_columns == COLUMNS.model_copy(update={"text_format": "html"})
    with pytest.raises(InvalidInput, match=r"'text_format' is 'pdf' \(option\): input should be"):
        load_settings(text_format="pdf")
    with pytest.raises(InvalidInput, match=r"'text_column' is '' \(option\): a column's name"):
        load_settings(text_column="")
