"""Whatever the bytes, `parse` gives text that can be stored, or rejects the document."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.documents.formats import Format
from flows.documents.parsing import PARSER_VERSION, parse
from flows.errors import DocumentRejected

FORMATS: list[Format] = [
    "text",
    "markdown",
    "html",
    "restructuredtext",
    "code",
    "pdf",
    "docx",
    "pptx",
    "xlsx",
    "epub",
    "email",
    "python-metadata",
    "python-module",
]


@settings(max_examples=150, deadline=None)
@given(
    data=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda t: t.encode("utf-8"))),
    format_=st.sampled_from(FORMATS),
)
def test_any_bytes_give_storable_text_or_a_reason(data: bytes, format_: Format) -> None:
    """No other exception; UTF-8 encodable; titles of one line; headings inside the text."""
    try:
        parsed = parse(data, format=format_, name="folder/name.x")
    except DocumentRejected as rejected:
        assert str(rejected)
        assert "\n" not in str(rejected)
        return
    parsed.text.encode("utf-8")
    assert parsed.text.strip()
    assert "\0" not in parsed.text
    assert parsed.title
    assert len(parsed.title) <= 200
    assert parsed.title.isprintable() or "\n" not in parsed.title
    assert all(0 <= heading.start < len(parsed.text) for heading in parsed.headings)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("data", [b"", b" \n\t\r\n ", b"\xef\xbb\xbf"])
def test_no_text(data: bytes, format_: Format) -> None:
    """Empty and blank files are rejected in every format."""
    with pytest.raises(DocumentRejected):
        parse(data, format=format_, name="x")


def test_an_unknown_format_is_an_error() -> None:
    """No default for an unknown choice."""
    with pytest.raises(DocumentRejected, match="format 'djvu': no parser"):
        parse(b"x", format="djvu", name="x")  # type: ignore[arg-type]


def test_the_version_is_a_short_word() -> None:
    """It is stored with each document."""
    assert PARSER_VERSION.isalnum()
