"""Pairs that documents hold of themselves, with no model to write them.

Passages stream by; of each document its last passage and its current section are kept. Every draw
depends on the seed and on the passage alone, so that a passage more or less changes no other pair.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Final

from embedder.errors import InvalidConfig
from embedder.tuning.pairs import DROPOUT, Pair
from embedder.tuning.passages import Passage

KINDS: Final = ("title", "neighbour", "section", DROPOUT, "crop")
FEWEST_WORDS: Final = 4
"""A passage of fewer words is left out."""
FEWEST_WORDS_CROPPED: Final = 16
"""A crop of a shorter passage says too little."""
CROP_SHARES: Final = (0.3, 0.7)
"""Part of a passage's words that a crop takes: least and most."""
MAX_SECTION_CHARACTERS: Final = 2000
"""Passages of a section that go beyond are left out; its first is taken whole."""
COMMON_TITLE: Final = 5
"""A title seen over more documents than this (`Introduction`) no longer says what is below."""


class StructuralPairs:
    """Makes pairs of passages, and counts what it leaves out.

    Args:
        kinds: which of `KINDS` to make. `title`: a title and each passage below it; `neighbour`:
            passage and next passage of a document; `section`: the innermost heading and the
            section's passages joined; `dropout`: a passage and itself; `crop`: two stretches of a
            passage's words, drawn independently.
        seed: of the crops.

    Raises:
        InvalidConfig: a kind is unknown, or there is none.
    """

    def __init__(self, kinds: Sequence[str] = KINDS, *, seed: int = 0) -> None:
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise InvalidConfig(
                f"kind of pairs {unknown[0]!r} is unknown; expected some of {', '.join(KINDS)}"
            )
        if not kinds:
            raise InvalidConfig(f"no kind of pairs; expected some of {', '.join(KINDS)}")
        self._kinds = frozenset(kinds)
        self._seed = seed
        self._titles: dict[int, tuple[int, int]] = {}
        """Of each title: its last document, and over how many documents it stood."""
        self.rejected: Counter[str] = Counter()

    def of(self, passages: Iterable[Passage]) -> Iterator[Pair]:
        """The pairs of passages, which come document by document, each in its order.

        `group` is the document. Passages without a document have no neighbours and no sections.
        """
        before: Passage | None = None
        section: list[Passage] = []
        is_full = False
        for passage in passages:
            if section and _section_of(section[0]) != _section_of(passage):
                yield from self._of_section(section)
                section, is_full = [], False
            if len(passage.text.split()) < FEWEST_WORDS:
                self.rejected["too short"] += 1
                continue
            if before is not None and _follows(before, passage):
                yield from self._pair("neighbour", before.text, passage.text, passage)
            yield from self._of_passage(passage)
            if passage.document and passage.headings and "section" in self._kinds:
                is_full = is_full or not _has_room(section, passage)
                if not is_full:
                    section.append(passage)
            before = passage
        if section:
            yield from self._of_section(section)

    def _of_passage(self, passage: Passage) -> Iterator[Pair]:
        if "title" in self._kinds and passage.title:
            if self._is_common(passage):
                self.rejected["common title"] += 1
            else:
                yield from self._pair("title", passage.title, passage.text, passage)
        yield from self._pair(DROPOUT, passage.text, passage.text, passage)
        if "crop" in self._kinds:
            words = passage.text.split()
            if len(words) < FEWEST_WORDS_CROPPED:
                self.rejected["too short to crop"] += 1
            else:
                random = Random(stable_number(str(self._seed), passage.document, passage.text))
                one, other = _crop(words, random), _crop(words, random)
                yield from self._pair("crop", one, other, passage)

    def _of_section(self, section: Sequence[Passage]) -> Iterator[Pair]:
        text = "\n\n".join(passage.text for passage in section)
        yield from self._pair("section", section[0].headings[-1], text, section[0])

    def _pair(self, kind: str, a: str, b: str, passage: Passage) -> Iterator[Pair]:
        if kind not in self._kinds:
            return
        if a == b and kind != DROPOUT:
            self.rejected["equal sides"] += 1
            return
        yield Pair(a=a, b=b, group=passage.document, kind=kind)

    def _is_common(self, passage: Passage) -> bool:
        """Whether its title stood over too many documents by now."""
        title, document = stable_number(passage.title.casefold()), stable_number(passage.document)
        last, documents = self._titles.get(title, (None, 0))
        if last != document or not passage.document:
            self._titles[title] = document, documents + 1
            documents += 1
        return documents > COMMON_TITLE


def _follows(before: Passage, passage: Passage) -> bool:
    if not passage.document or passage.document != before.document or before.number is None:
        return False
    return passage.number == before.number + 1


def _section_of(passage: Passage) -> tuple[str, tuple[str, ...]]:
    return passage.document, passage.headings


def _has_room(section: Sequence[Passage], passage: Passage) -> bool:
    length = sum(len(one.text) + 2 for one in section) + len(passage.text)
    return not section or length <= MAX_SECTION_CHARACTERS


def _crop(words: Sequence[str], random: Random) -> str:
    """A stretch of the words; its length and its place are drawn evenly."""
    least, most = (max(1, round(share * len(words))) for share in CROP_SHARES)
    length = random.randint(least, most)
    begin = random.randint(0, len(words) - length)
    return " ".join(words[begin : begin + length])


def stable_number(*parts: str) -> int:
    """64 bits that depend on the parts alone, in every process, unlike `hash`."""
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest)
