"""Pairs that documents hold of themselves."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from embedder.errors import InvalidConfig
from embedder.tuning.pairs import Pair
from embedder.tuning.passages import Passage, in_language, read_passages, read_texts
from embedder.tuning.structural_pairs import COMMON_TITLE, KINDS, StructuralPairs


def passage(number: int, **changes: object) -> Passage:
    text = " ".join(f"w{number}x{n}" for n in range(20))
    values = {"text": text, "title": "The Title", "document": "d", "number": number}
    return Passage(**{**values, **changes})  # type: ignore[arg-type]


def made(passages: list[Passage], *kinds: str, seed: int = 0) -> list[Pair]:
    return list(StructuralPairs(kinds or KINDS, seed=seed).of(passages))


def test_each_kind_alone() -> None:
    one, two, three = (passage(n, headings=("H", "Sub")) for n in range(3))
    texts = one.text, two.text, three.text
    assert [(p.a, p.b) for p in made([one, two, three], "title")] == [
        ("The Title", text) for text in texts
    ]
    assert [(p.a, p.b) for p in made([one, two, three], "neighbour")] == [texts[:2], texts[1:]]
    (section,) = made([one, two, three], "section")
    assert (section.a, section.b) == ("Sub", "\n\n".join(texts))
    assert [(p.a, p.b) for p in made([one], "dropout")] == [(one.text, one.text)]
    (crop,) = made([one], "crop")
    for side in (crop.a, crop.b):
        assert f" {side} " in f" {one.text} "
        assert 6 <= len(side.split()) <= 14
    kinds = Counter(pair.kind for pair in made([one, two, three]))
    assert kinds == {"title": 3, "neighbour": 2, "section": 1, "dropout": 3, "crop": 3}
    assert {pair.group for pair in made([one, two, three])} == {"d"}


def test_neighbours_stand_next_to_each_other() -> None:
    gap = [passage(0), passage(2)]
    other = [passage(0), passage(1, document="e")]
    unknown = [passage(0, document=""), passage(1, document="")]
    unnumbered = [replace(passage(0), number=None), passage(1)]
    for passages in (gap, other, unknown, unnumbered):
        assert made(passages, "neighbour") == []


def test_sections_end_where_heading_or_room_ends() -> None:
    long = "word " * 200
    passages = [
        passage(0, headings=("A",)),
        passage(1, headings=("A",), text=long),
        passage(2, headings=("A",), text=long + "more"),
        passage(3, headings=("A",)),
        passage(4, headings=("B",)),
    ]
    first, second = made(passages, "section")
    assert (first.a, second.a) == ("A", "B")
    assert first.b == f"{passages[0].text}\n\n{long}"


def test_crops_depend_on_seed_and_passage_alone() -> None:
    all_, some = made([passage(0), passage(1)], "crop"), made([passage(1)], "crop")
    assert all_[1:] == some
    assert some != made([passage(1)], "crop", seed=1)


def test_what_says_nothing_is_left_out_and_counted() -> None:
    maker = StructuralPairs(KINDS)
    passages = [passage(0, text="a b"), passage(1, text="one two three four", title="")]
    passages += [
        passage(0, document=f"d{n}", title="Introduction") for n in range(COMMON_TITLE + 2)
    ]
    found = list(maker.of(passages))
    assert sum(pair.kind == "title" for pair in found) == COMMON_TITLE
    assert maker.rejected == {"too short": 1, "too short to crop": 1, "common title": 2}


@pytest.mark.parametrize("kinds", [(), ("titles",)])
def test_unknown_kinds(kinds: tuple[str, ...]) -> None:
    with pytest.raises(InvalidConfig, match="expected some of title, neighbour"):
        StructuralPairs(kinds)


def test_passages_of_a_file(tmp_path: Path) -> None:
    rows = [
        {"text": "good", "title": "T", "doc": "d", "i": 1, "headings": ["H"], "license": "x"},
        {"title": "no text"},
        {"text": 4},
        {"text": "  "},
        {"text": "x", "title": 1},
        {"text": "x", "doc": []},
        {"text": "x", "i": "1"},
        {"text": "x", "headings": "H"},
        {"text": "\ud800"},
    ]
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rejected: Counter[str] = Counter()
    assert list(read_passages(file, rejected)) == [
        Passage(text="good", title="T", document="d", number=1, headings=("H",))
    ]
    assert rejected.total() == 8
    file.write_text('{"body": "x"}\n')
    with pytest.raises(InvalidConfig, match="line 1 has no column 'text'; its columns are body"):
        list(read_texts(file, rejected))
    (tmp_path / "x.txt").write_text("one\n\n two \n")
    assert [p.text for p in read_texts(tmp_path / "x.txt", rejected)] == ["one", "two"]


def test_language() -> None:
    rejected: dict[str, int] = {}
    passages = [passage(0, text="en"), passage(1, text="de"), passage(2, text="")]
    kept = list(in_language(passages, "en", lambda text: text, rejected))
    assert [one.text for one in kept] == ["en", ""]
    assert rejected == {"other language": 1}
