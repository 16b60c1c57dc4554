"""Bytes become text exactly, or are refused as binary."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.documents.decoding import decode, storable
from flows.errors import DocumentRejected

WESTERN = "“Smart” café, naïve text — in an old Windows style, with enough words to guess. "


@given(st.text().filter(lambda text: not set(text) & set(map(chr, range(32)))))
def test_utf8_comes_back_as_it_was(text: str) -> None:
    """Any text without control characters survives, line breaks of any kind included."""
    text = "a" + text.replace("\x7f", "") + "\r\n\r"
    controls = [c for c in text if "\x80" <= c <= "\x9f" and c != "\x85"]
    if not controls:
        assert decode(text.encode()).text == text


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("héllo".encode("utf-8-sig"), "utf-8"),
        ("\ufeffhéllo".encode("utf-16-le"), "utf-16-le"),
        ("\ufeffhéllo".encode("utf-16-be"), "utf-16-be"),
        ("\ufeffhéllo".encode("utf-32-le"), "utf-32-le"),
    ],
)
def test_byte_order_marks(data: bytes, encoding: str) -> None:
    """The mark tells the encoding and is no part of the text."""
    decoded = decode(data)
    assert (decoded.text, decoded.encoding) == ("héllo", encoding)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (WESTERN, "cp1252"),
        ("Příliš žluťoučký kůň úpěl ďábelské ódy a šel domů. ", "cp1250"),
        ("これは日本語の文章です。文字コードを推測する必要があります。", "cp932"),
        ("Привет, это русский текст в старой кодировке. ", "cp1251"),
    ],
)
def test_old_charsets_are_guessed(text: str, encoding: str) -> None:
    """Files from before UTF-8 are read as their writers meant them."""
    decoded = decode((text * 10).encode(encoding))
    assert (decoded.text, decoded.encoding) == (text * 10, encoding)


def test_a_declared_charset_beats_the_guess_but_not_utf8() -> None:
    """Latin-1, where declared and not UTF-8 in truth, is read as Windows-1252, as browsers do."""
    assert decode("“é”".encode(), declared="iso-8859-1").text == "“é”"
    assert decode("“é”".encode("cp1252"), declared="iso-8859-1").text == "“é”"
    assert decode("déjà vu".encode("latin-1"), declared="no-such-charset").text == "déjà vu"
    assert decode("déjà vu".encode("latin-1"), declared="hex").text == "déjà vu"


def test_a_damaged_utf8_file_stays_utf8() -> None:
    """One bad byte in a long log must not garble all of it; the encoding says what happened."""
    decoded = decode(("héllo wörld " * 20).encode() + b"\xff end")
    assert decoded.text == "héllo wörld " * 20 + "\ufffd end"
    assert decoded.encoding == "utf-8 with replacements"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"%PDF-1.7 ...", "a PDF"),
        (b"PK\x03\x04docx", "an Office document"),
        (bytes(1000), "1000 control characters"),
        (random.Random(1).randbytes(50_000), "looks binary"),
        (b"\x00\x01\x02\xff\xfe" * 100, "looks binary"),
        (b"\xff\xfea", "byte order mark says utf-16-le"),
    ],
)
def test_binary_is_refused(data: bytes, message: str) -> None:
    """Renamed or broken files are told apart from text."""
    with pytest.raises(DocumentRejected, match=message) as raised:
        decode(data)
    assert "\n" not in str(raised.value)


def test_a_stray_nul_is_replaced_one_for_one() -> None:
    """Offsets hold, and what leaves can be stored."""
    assert decode(b"one \0 nul").text == "one \ufffd nul"
    assert storable("a\ud800b\0c") == "a\ufffdb\ufffdc"
