"""Package descriptions and docstrings; nothing is imported or executed."""

from pathlib import Path

import pytest

from flows.documents.parsed_document import ParsedDocument
from flows.documents.parsing import parse
from flows.errors import DocumentRejected

MODULE = '''\
"""What the module does.

In two paragraphs.
"""
import this_is_not_there

class Box(Base):
    """A box."""

    def open(self, *, wide: bool = True) -> None:
        """Open it."""

    def _hidden(self):
        """Not shown."""

    def undocumented(self):
        pass

async def fetch(url, /):
    """Fetch \\ud800 it \\d."""
'''


def module(source: str | bytes, name: str = "python:stdlib/pkg.mod") -> ParsedDocument:
    data = source if isinstance(source, bytes) else source.encode()
    return parse(data, format="python-module", name=name)


def metadata(text: str) -> ParsedDocument:
    return parse(text.encode(), format="python-metadata", name="python:packages/foo")


def test_docstrings_of_public_names() -> None:
    """Qualified names are headings, signatures stand in the text, private names are left out."""
    parsed = module(MODULE)
    assert parsed.title == "pkg.mod"
    assert [(h.level, h.title) for h in parsed.headings] == [
        (1, "pkg.mod"),
        (2, "pkg.mod.Box"),
        (3, "pkg.mod.Box.open"),
        (2, "pkg.mod.fetch"),
    ]
    lines = [parsed.text[h.start :].split("\n")[0] for h in parsed.headings]
    assert lines == [
        "pkg.mod",
        "pkg.mod.Box(Base)",
        "pkg.mod.Box.open(self, *, wide: bool=True)",
        "pkg.mod.fetch(url, /)",
    ]
    assert "In two paragraphs." in parsed.text
    assert "hidden" not in parsed.text
    parsed.text.encode("utf-8")  # the lone surrogate of an escape does not leave


def test_nothing_is_executed(tmp_path: Path) -> None:
    """The module's code does not run."""
    trace = tmp_path / "trace"
    module(f'"""Doc."""\nopen({str(trace)!r}, "w")\n')
    assert not trace.exists()


def test_a_coding_line_is_heeded() -> None:
    """PEP 263."""
    assert module('# coding: latin-1\n"""café"""'.encode("latin-1")).text == "pkg.mod\n\ncafé\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def (", "not valid Python at line 1"),
        ("(" * 100_000, "not valid Python|too deeply"),
        ("-" * 200_000 + "1", "too deeply"),
        ('"""d"""\nx = ' + "+".join("1" * 50_000), "too deeply"),
        ('"""d"""\nx = a' + ".b" * 50_000, "too deeply"),
        ("x = 1\n", "no docstrings"),
        ("", "no docstrings"),
    ],
)
def test_modules_that_are_rejected(source: str, message: str) -> None:
    """Broken and hostile sources end in one line, not in a crash."""
    with pytest.raises(DocumentRejected, match=message) as raised:
        module(source)
    assert "\n" not in str(raised.value)


def test_a_package_with_a_markdown_description() -> None:
    """Title from name and version; headings by the description's content type."""
    parsed = metadata(
        "Metadata-Version: 2.4\nName: foo\nVersion: 1.2\nSummary: Does foo\n"
        "Description-Content-Type: text/markdown; charset=UTF-8\n\n# Foo\n\nMore für all.\n"
    )
    assert parsed.title == "foo 1.2"
    assert parsed.text == "Does foo\n\n# Foo\n\nMore für all."
    assert [(h.title, h.start) for h in parsed.headings] == [("Foo", 10)]
    assert parsed.markup == "markdown"


def test_a_package_with_a_restructuredtext_description_in_a_header() -> None:
    """Metadata before 2.1 folds it into a header."""
    parsed = metadata(
        "Metadata-Version: 1.2\nName: foo\nVersion: 1\nDescription-Content-Type: text/x-rst\n"
        "Description: Title\n        =====\n        \n        Words.\n"
    )
    assert parsed.text == "Title\n=====\n\nWords."
    assert [h.title for h in parsed.headings] == ["Title"]
    assert parsed.markup == "plain"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Metadata-Version: 2.1\nName: foo\nVersion: 1\n", "no text"),
        ("Metadata-Version: 2.1\nName: foo\nVersion: 1\nSummary: UNKNOWN\n\nUNKNOWN\n", "no text"),
        ("\n\njust a body", "no Name header"),
    ],
)
def test_packages_that_are_rejected(text: str, message: str) -> None:
    """Nothing to index, and said so."""
    with pytest.raises(DocumentRejected, match=message):
        metadata(text)
