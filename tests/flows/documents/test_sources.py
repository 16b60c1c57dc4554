"""Sources become documents; nothing is silent, nothing is followed out of its folder."""

import errno
import os
import socket
import sysconfig
from pathlib import Path

import pytest

from flows.documents.formats import format_of
from flows.documents.source_document import SourceDocument
from flows.documents.sources import discover
from flows.errors import DocumentRejected, InvalidInput


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder with two documents, one of them in a subfolder."""
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.md").write_text("# A\n")
    (folder / "sub" / "b.txt").write_text("b\n")
    return folder


def only(documents: tuple[SourceDocument, ...]) -> SourceDocument:
    assert len(documents) == 1
    return documents[0]


def test_a_folder_is_listed_whole(docs: Path) -> None:
    """The worked example: ids, formats, sizes, what was ignored, completeness."""
    (docs / "photo.PNG").write_bytes(b"x")
    (docs / "Makefile").write_text("x")
    (docs / "LICENSE-MIT").write_text("MIT")
    (docs / ".git").mkdir()
    (docs / ".git" / "c.md").write_text("hidden")
    (docs / ".hidden.md").write_text("hidden")
    listing = discover([str(docs)])
    assert [d.doc_id for d in listing.documents] == [
        "docs/LICENSE-MIT",
        "docs/a.md",
        "docs/sub/b.txt",
    ]
    assert [d.format for d in listing.documents] == ["text", "markdown", "text"]
    assert listing.documents[1].source == str(docs / "a.md")
    assert listing.documents[1].root == str(docs)
    assert listing.documents[1].size == 4
    assert listing.documents[1].read() == b"# A\n"
    assert listing.ignored == {"(no suffix)": 1, ".png": 1, "hidden": 2}
    assert listing.roots == (str(docs),)
    assert listing.complete == {str(docs): True}
    assert listing.unreadable == ()


def test_ids_do_not_depend_on_where_the_command_ran(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docs`, `docs/`, `./docs`, `.` and the absolute path are one source, counted once."""
    listings = [discover([str(docs)])]
    monkeypatch.chdir(docs.parent)
    listings += [discover(["docs", "docs/", "./docs", "docs/../docs"])]
    monkeypatch.chdir(docs)
    listings += [discover(["."])]
    assert listings[0] == listings[1] == listings[2]


def test_a_single_file(docs: Path) -> None:
    """Its id is its name, its root the file itself."""
    listing = discover([str(docs / "a.md")])
    document = only(listing.documents)
    assert (document.doc_id, document.root) == ("a.md", str(docs / "a.md"))
    assert listing.complete == {str(docs / "a.md"): True}
    assert document.read() == b"# A\n"


def test_an_empty_folder_is_not_complete(tmp_path: Path) -> None:
    """An empty source never means "delete all"."""
    (tmp_path / "only.png").write_bytes(b"x")
    listing = discover([str(tmp_path)])
    assert listing.documents == ()
    assert listing.complete == {str(tmp_path): False}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "source 'nowhere': no such file or folder"),
        ("a.md/x", "no such file or folder"),
        ("", "not a path"),
        ("a\0b", "not a path"),
        ("/", "whole file system"),
        ("python:nothing", "expected python:packages or python:stdlib"),
        ("photo.png", r"no parser for '.png' files; expected one of .txt"),
    ],
)
def test_bad_sources(
    source: str, message: str, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the source, what was expected and the remedy."""
    (docs / "photo.png").write_bytes(b"x")
    monkeypatch.chdir(docs)
    with pytest.raises(InvalidInput, match=message):
        discover([source])


def test_no_source() -> None:
    """An empty list is refused, not an empty listing."""
    with pytest.raises(InvalidInput, match="no source given"):
        discover([])


def test_one_id_for_two_documents_is_refused(docs: Path) -> None:
    """Two folders of one name: the message names both files."""
    twin = docs.parent / "other" / "docs"
    twin.mkdir(parents=True)
    (twin / "a.md").write_text("other")
    with pytest.raises(InvalidInput, match=r"would both be 'docs/a\.md'; rename") as raised:
        discover([str(docs), str(twin)])
    assert str(docs / "a.md") in str(raised.value)
    assert str(twin / "a.md") in str(raised.value)


def test_one_document_from_two_sources_is_refused(docs: Path) -> None:
    """A folder and a folder inside it would store the same file twice."""
    with pytest.raises(InvalidInput, match="lies in two sources"):
        discover([str(docs), str(docs / "sub")])


def test_symlinks(docs: Path) -> None:
    """File links inside the root are followed; folder links, loops, dangling, outside are not."""
    (docs.parent / "secret.txt").write_text("secret")
    (docs / "inside.md").symlink_to(docs / "a.md")
    (docs / "outside.txt").symlink_to(docs.parent / "secret.txt")
    (docs / "dangling.md").symlink_to(docs / "none.md")
    (docs / "loop.md").symlink_to(docs / "loop.md")
    (docs / "sub" / "up").symlink_to(docs, target_is_directory=True)
    listing = discover([str(docs)])
    assert [d.doc_id for d in listing.documents] == [
        "docs/a.md",
        "docs/inside.md",
        "docs/sub/b.txt",
    ]
    assert listing.ignored == {"symlink": 4}
    assert listing.complete == {str(docs): True}
    assert listing.documents[1].read() == b"# A\n"


def test_a_link_that_is_turned_outside_after_the_listing_is_refused(docs: Path) -> None:
    """What was checked when listing is checked again when reading."""
    (docs.parent / "secret.txt").write_text("secret")
    link = docs / "z.md"
    link.symlink_to(docs / "a.md")
    document = discover([str(docs)]).documents[-1]
    link.unlink()
    link.symlink_to(docs.parent / "secret.txt")
    with pytest.raises(DocumentRejected, match="leads outside its source folder"):
        document.read()


def test_special_files_are_never_opened(docs: Path) -> None:
    """A FIFO would block the run for ever; a socket cannot be read."""
    os.mkfifo(docs / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(docs)  # a socket's path has a short limit
        try:
            server.bind("socket.txt")
        finally:
            os.chdir(here)
        listing = discover([str(docs)])
    assert listing.ignored == {"special": 2}
    assert len(listing.documents) == 2
    with pytest.raises(InvalidInput, match="a FIFO; expected a folder or a regular file"):
        discover([str(docs / "pipe.txt")])


def test_a_file_that_becomes_a_fifo_is_refused_without_blocking(docs: Path) -> None:
    """The check is on the open file, not on what the listing saw."""
    document = discover([str(docs)]).documents[0]
    (docs / "a.md").unlink()
    os.mkfifo(docs / "a.md")
    with pytest.raises(DocumentRejected, match="is a FIFO, not a regular file"):
        document.read()


def test_too_large(docs: Path) -> None:
    """The limit is inclusive; above it the message tells the size, the limit and the option."""
    document = discover([str(docs)]).documents[0]
    assert document.read(max_bytes=4) == b"# A\n"
    (docs / "a.md").write_bytes(b"x" * (3 * 1024 * 1024 // 2))
    with pytest.raises(
        DocumentRejected,
        match=r"1.5 MiB; the limit is 1.0 MiB; split it or raise --max-document-mb",
    ):
        document.read(max_bytes=1024 * 1024)


def test_a_vanished_file_is_rejected(docs: Path) -> None:
    """Between the listing and the reading anything may happen."""
    document = discover([str(docs)]).documents[0]
    (docs / "a.md").unlink()
    with pytest.raises(DocumentRejected, match="vanished"):
        document.read()


def test_a_file_without_permission_is_rejected(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated, as the tests may run as root, who may read anything."""
    document = discover([str(docs)]).documents[0]

    def denied(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(DocumentRejected, match="no permission"):
        document.read()


def test_an_unreadable_folder_makes_its_root_incomplete(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be listed is named, and nothing may be removed on the strength of it."""
    scandir = os.scandir

    def denied(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    listing = discover([str(docs)])
    assert only(listing.documents).doc_id == "docs/a.md"
    assert listing.complete == {str(docs): False}
    assert [(u.path, u.reason) for u in listing.unreadable] == [
        (str(docs / "sub"), "no permission to read it; change its mode or owner")
    ]


def test_a_name_that_is_not_utf8_is_listed_and_refused(docs: Path) -> None:
    """It gets a printable id, and reading it says what to do."""
    (docs / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    listing = discover([str(docs)])
    document = next(d for d in listing.documents if "caf" in d.doc_id)
    assert document.doc_id == r"docs/caf\xe9.txt"
    document.source.encode("utf-8")
    with pytest.raises(DocumentRejected, match="not valid UTF-8; rename it"):
        document.read()


def test_installed_packages() -> None:
    """Pytest is installed, or this would not run; its METADATA is read where it lies."""
    listing = discover(["python:packages"])
    document = next(d for d in listing.documents if d.doc_id == "python:packages/pytest")
    assert document.source == "python:packages/pytest"
    assert document.format == "python-metadata"
    assert b"\nName: pytest\n" in document.read()
    assert listing.complete == {"python:packages": True}
    assert "python:packages/typing-extensions" in {d.doc_id for d in listing.documents}


def test_the_standard_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Public modules only, named as they are imported."""
    for path in (
        "json/__init__.py",
        "json/decoder.py",
        "_private.py",
        "__future__.py",
        "test/test_x.py",
        "site-packages/foo.py",
        "config-3.11/x.py",
        "data.txt",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text('"""Doc."""\n')
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    listing = discover(["python:stdlib"])
    assert [d.doc_id for d in listing.documents] == [
        "python:stdlib/__future__",
        "python:stdlib/json",
        "python:stdlib/json.decoder",
    ]
    assert listing.ignored == {"not documentation": 3, "private": 1}
    assert listing.documents[1].read() == b'"""Doc."""\n'


@pytest.mark.parametrize(
    ("source", "listed"),
    [
        ('"""Doc."""\n', True),
        ("#! /usr/bin/env python3\n\n# coding: utf-8\nr'''Doc.'''\n", True),
        ("'Doc in plain quotes.'\n", True),
        ("import os\n\ndef f():\n    'Does f.'\n", True),
        ("syntax error (\n", True),  # a document, so that it is rejected with its reason
        ("import os\n", False),
        ("x = '''no docstring'''\ndef _f():\n    '''Private.'''\n", False),
        ('"""   """\n', False),
        ("", False),
    ],
)
def test_modules_without_docstrings_are_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, listed: bool
) -> None:
    """They are counted, not quarantined: there is nothing wrong with them."""
    (tmp_path / "other.py").write_text('"""Doc."""\n')
    (tmp_path / "module.py").write_text(source)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    listing = discover(["python:stdlib"])
    ids = [d.doc_id for d in listing.documents]
    assert ("python:stdlib/module" in ids) == listed
    assert listing.ignored == ({} if listed else {"no docstrings": 1})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.TXT", "text"),
        ("a.markdown", "markdown"),
        ("a.xhtml", "html"),
        ("a.rest", "restructuredtext"),
        ("README", "text"),
        ("LICENSE-APACHE", "text"),
        ("Makefile", None),
        ("a.PDF", "pdf"),
        ("a.docm", "docx"),
        ("a.eml", "email"),
        ("a.cpp", "code"),
        ("a.json", None),
        ("a.doc", None),
        ("a.md.gz", None),
    ],
)
def test_formats_by_name(name: str, expected: str | None) -> None:
    """The suffix decides, in any case; some names do without one."""
    assert format_of(name) == expected
