"""JSON files: an array of objects, or an object that holds one; read without holding the whole."""

import codecs
import io
import json
from collections.abc import Generator, Iterator
from functools import partial
from typing import Final

from flows.documents.compression import Compression
from flows.documents.records.json_lines import not_json, object_of
from flows.documents.records.row import MAX_ROW_BYTES, NOT_UTF8, Row, failing, is_utf8
from flows.documents.records.streams import open_stream
from flows.errors import DocumentRejected, InvalidInput

_STEP_BYTES: Final = 256 * 1024
_BLANKS: Final = " \t\r\n"


def rows(path: str, compression: Compression | None, start: int = 0) -> Generator[Row, None, None]:
    """Each element of the file's one array of objects, from the one with number `start` on.

    Raises:
        DocumentRejected: See `open_stream`; it is not JSON, or breaks off.
        InvalidInput: It holds no array of objects, or more than one.
    """
    with open_stream(path, compression) as stream:
        text = _Text(stream)
        opening = text.peek()
        if opening == "[":
            text.take()
            yield from _elements(text, start)
        elif opening == "{":
            yield from _member(text, start)
        else:
            raise DocumentRejected("is not JSON: expected it to begin with [ or {")
        if text.peek():
            raise DocumentRejected(
                "more follows the end of its JSON; name it .jsonl if each line is an object"
            )


def _elements(text: "_Text", start: int = 0) -> Iterator[Row]:
    """The elements of the array whose bracket has been taken, and its end."""
    if text.peek() == "]":
        text.take()
        return
    place = 0
    while True:
        value, sound = text.value(f"row {place + 1}")
        if place >= start:
            values = partial(object_of, value) if sound else failing(NOT_UTF8)
            yield Row(place, place + 1, place + 1, values)
        place += 1
        if text.take_one_of(",]", f"after row {place}") == "]":
            return


def _member(text: "_Text", start: int) -> Iterator[Row]:
    """The elements of the one array of objects among the members of an object."""
    text.take()
    found, arrays, end = "", 0, text.peek()
    while end != "}":
        key, _ = text.value("the name of a member")
        text.take_one_of(":", "after the name of a member")
        if text.peek() != "[":
            text.value(f"the member {str(key)[:60]!r}")
        else:
            text.take()
            arrays += 1
            if text.peek() != "{":
                for _ in _elements(text):
                    pass
            elif found:
                raise InvalidInput(
                    f"two arrays of objects, {found[:60]!r} and {str(key)[:60]!r}; "
                    "keep one, or make it JSON Lines"
                )
            else:
                found = str(key)
                yield from _elements(text, start)
        end = text.take_one_of(",}", f"after the member {str(key)[:60]!r}")
    if not arrays and not text.peek():
        raise InvalidInput(
            "no array of objects; expected [{...}, ...], or an object with one such array"
        )


class _Text:
    """The characters of a file, of which no more are held than the value at hand needs."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._bytes = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._json = json.JSONDecoder()
        self._text = ""
        self._at = 0
        self._ended = False
        self._failure: DocumentRejected | None = None

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _BLANKS:
                    return self._text[self._at]
                self._at += 1
            if not self._grow():
                return ""

    def take(self) -> str:
        """The next character that is not blank, and go past it."""
        character = self.peek()
        self._at += 1
        return character

    def take_one_of(self, characters: str, where: str) -> str:
        """The same, which must be one of these."""
        character = self.take()
        if not character or character not in characters:
            expected = " or ".join(characters)
            found = f"found {character!r}" if character else "the file ends"
            raise DocumentRejected(f"is not valid JSON {where}: expected {expected}, {found}")
        return character

    def value(self, what: str) -> tuple[object, bool]:
        """The next value, and whether it was valid UTF-8."""
        self.peek()
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                # Whether the value is wrong or goes on beyond what was read, nobody can tell.
                if isinstance(error, json.JSONDecodeError) and self._grow():
                    continue
                raise DocumentRejected(
                    f"is not valid JSON: {what} {not_json(error)}; what follows was not read"
                ) from error
            if end == len(self._text) and isinstance(value, int | float) and self._grow():
                continue  # a number may go on
            sound = is_utf8(self._text[self._at : end])
            self._at = end
            return value, sound

    def _grow(self) -> bool:
        """Read as much again as is still needed; False at the end."""
        rest = len(self._text) - self._at
        if self._ended:
            return False
        if self._failure is not None:
            raise self._failure
        if rest > MAX_ROW_BYTES:
            raise DocumentRejected(
                f"has a value longer than {MAX_ROW_BYTES // 2**20} MiB, or one that is not valid "
                "JSON; make it JSON Lines, where one bad row does no harm"
            )
        data = bytearray()
        wanted = max(_STEP_BYTES, rest)
        while len(data) < wanted and not self._ended:
            try:
                part = self._stream.read1(wanted - len(data))
            except DocumentRejected as error:
                if not data:
                    raise
                self._failure = error  # first what came before it
                break
            data += part
            self._ended = not part
        more = self._bytes.decode(bytes(data), final=self._ended)
        self._text = self._text[self._at :] + more
        self._at = 0
        return True
