"""From bytes to text: byte order marks, declared charsets, a guess; binary files are refused."""

import codecs
import re
from dataclasses import dataclass
from typing import Final

from flows.errors import DocumentRejected

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MAGIC: Final = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a zip archive or an Office document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x7fELF", "a program"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"SQLite format 3\0", "an SQLite database"),
)
_CONTROLS: Final = re.compile("[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f]")
"""Control characters that prose and logs do not hold: not tab, line and page breaks, backspace
(overstriking in manual pages), escape (colours in logs), or U+0085 (next line)."""
_MAX_CONTROLS: Final = 0.02
_GRACE: Final = 100  # characters: one stray NUL does not make a short note binary
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_GUESS_BYTES: Final = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A text and the name of the encoding it came in."""

    text: str
    encoding: str


def decode(data: bytes, *, declared: str | None = None) -> Decoded:
    """The text of a file, exactly, but for a leading byte order mark and NULs (see `storable`).

    In this order: a byte order mark; UTF-8; the `declared` charset; a guess by
    charset-normalizer. UTF-8 with a few damaged bytes among ten times as many sound non-ASCII
    characters stays UTF-8, the damage replaced by U+FFFD: a guess would garble all of the file.

    Raises:
        DocumentRejected: It looks binary, or no charset fits.
    """
    for magic, name in _MAGIC:
        if data.startswith(magic):
            raise DocumentRejected(f"looks binary: {name}; convert it to text, Markdown or HTML")
    decoded = _decode(data, declared)
    controls = sum(1 for _ in _CONTROLS.finditer(decoded.text))
    if controls > _MAX_CONTROLS * (len(decoded.text) + _GRACE):
        raise DocumentRejected(
            f"looks binary: {controls} control characters in {len(decoded.text)} "
            f"(read as {decoded.encoding}); convert it to text"
        )
    return Decoded(text=storable(decoded.text), encoding=decoded.encoding)


def storable(text: str) -> str:
    """The text with NULs and lone surrogates replaced by U+FFFD, one for one: offsets hold.

    Neither can be stored as UTF-8 JSON and read back everywhere.
    """
    return _UNSTORABLE.sub("\ufffd", text)


def _decode(data: bytes, declared: str | None) -> Decoded:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            try:
                return Decoded(text=data[len(bom) :].decode(encoding), encoding=encoding)
            except UnicodeDecodeError as error:
                raise DocumentRejected(
                    f"its byte order mark says {encoding}, but byte {len(bom) + error.start} "
                    "is not; save it as UTF-8"
                ) from error
    try:
        return Decoded(text=data.decode("utf-8"), encoding="utf-8")
    except UnicodeDecodeError:
        pass
    # A declaration of UTF-8 is already refuted; "utf-16" without a mark would take any bytes.
    if declared and (name := _text_charset(declared)) and not name.startswith("utf"):
        try:
            return Decoded(text=data.decode(name), encoding=name)
        except UnicodeDecodeError:
            pass
    return _damaged_utf8(data) or _guess(data)


def _text_charset(declared: str) -> str | None:
    try:
        name = codecs.lookup(declared).name
        " ".encode(name)  # refuses codecs that are not text encodings, such as hex
    except (LookupError, ValueError, TypeError):
        return None
    # WHATWG's Encoding Standard: pages that say Latin-1 or ASCII are read as Windows-1252.
    return "cp1252" if name in ("iso8859-1", "ascii") else name


def _damaged_utf8(data: bytes) -> Decoded | None:
    text = data.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    sound = len(text) - damaged - len(text.encode("ascii", "ignore"))
    if sound < 10 * damaged:
        return None
    return Decoded(text=text, encoding="utf-8 with replacements")


def _guess(data: bytes) -> Decoded:
    from charset_normalizer import from_bytes

    if data.count(0) > _MAX_CONTROLS * len(data):
        raise DocumentRejected(
            f"looks binary: {data.count(0)} zero bytes in {len(data)}; convert it to text"
        )
    matches = from_bytes(data[:_GUESS_BYTES])
    best = matches.best()
    if best is None:
        raise DocumentRejected("looks binary: no charset fits; save it as UTF-8")
    # Of charsets that fit equally well, Windows' Western one is by far the most used;
    # charset-normalizer goes by the alphabet and takes Windows' Central European one.
    equals = [match for match in matches if match.chaos == best.chaos]
    western = any(
        "cp1252" in match.could_be_from_charset and match.coherence >= best.coherence
        for match in equals
    )
    encoding = "cp1252" if western else best.encoding
    try:
        return Decoded(text=data.decode(encoding), encoding=encoding)
    except UnicodeDecodeError as error:
        raise DocumentRejected(
            f"looks binary: begins like {encoding}, but byte {error.start} is not; save it as UTF-8"
        ) from error
