"""Files of pairs: what is read, what is counted, what is refused."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from embedder.errors import InvalidConfig
from embedder.tuning.deduplication import Deduplication, sample
from embedder.tuning.pairs import Pair, read_pairs, write_pairs

GOOD = [{"a": "one", "b": "two"}, {"a": "three", "b": "four"}]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_written_pairs_are_read_again(tmp_path: Path) -> None:
    """Plain and compressed: the same pairs, the same digest, and the same bytes each time."""
    pairs = (
        Pair(a="Ein Äpfel", b="zwei", negatives=("drei", "vier"), group="g", kind="title"),
        Pair(a="same", b="same", kind="dropout"),
    )
    for name in ("x.jsonl", "x.jsonl.gz", "y.jsonl.gz"):
        assert write_pairs(tmp_path / name, pairs) == 2
    plain, packed = read_pairs([tmp_path / "x.jsonl"]), read_pairs([tmp_path / "x.jsonl.gz"])
    assert plain.pairs == packed.pairs == pairs
    assert plain.digest == packed.digest
    assert (tmp_path / "x.jsonl.gz").read_bytes() == (tmp_path / "y.jsonl.gz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.jsonl", "x.jsonl.gz", "y.jsonl.gz"]


def test_digest_follows_content(tmp_path: Path) -> None:
    """Columns that are not read do not count; a group does."""
    one = read_pairs([write(tmp_path / "1", [{**row, "license": "x"} for row in GOOD])])
    same = read_pairs([write(tmp_path / "2", GOOD)])
    other = read_pairs([write(tmp_path / "3", [{**GOOD[0], "group": "g"}, GOOD[1]])])
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"a": " ", "b": "x"}, "empty side"),
        ({"a": 1, "b": "x"}, "side is no text"),
        ({"a": "x"}, "no column"),
        ({"a": "x", "b": "x "}, "equal sides"),
        ({"a": "x", "b": "y", "negatives": "z"}, "wrong negatives"),
        ({"a": "x", "b": "y", "negatives": [""]}, "wrong negatives"),
        ({"a": "x", "b": "y", "group": [1]}, "wrong group"),
        ({"a": "x", "b": "y", "kind": 3}, "wrong kind"),
        ({"a": "\ud800", "b": "y"}, "invalid Unicode"),
        (GOOD[0], "duplicate"),
    ],
)
def test_a_bad_row_is_counted(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    found = read_pairs([write(tmp_path / "pairs.jsonl", [*GOOD, row])])
    assert len(found.pairs) == 2
    assert found.rejected == {reason: 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 usable pairs"),
        (b'{"a": "x", "b": "y"}\n', "1 usable pairs (left out: none); expected 2 or more"),
        (b'{"sentence1": "x"}\n', "line 1 has no column 'a'; expected a and b, its columns are se"),
        (b'\n{"a": "x", "b": "y"}\n{"a": \n', "line 3 is not JSON"),
        (b"[1]\n", "line 1 is no JSON object"),
        (b'{"a": "\xff", "b": "y"}\n', "line 1 is not UTF-8 at byte 7"),
        (b"[" * 100_000, "line 1 is not JSON"),
        (b"x" * (16 * 2**20 + 2), "line 1 is longer than 16 MiB"),
        (gzip.compress(b'{"a": "x", "b": "y"}\n' * 9)[:-12], "is damaged after line"),
    ],
)
def test_an_unusable_file_is_refused_in_one_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "pairs.jsonl").write_bytes(content)
    with pytest.raises(InvalidConfig) as refusal:
        read_pairs([tmp_path / "pairs.jsonl"])
    assert message in str(refusal.value)
    assert "pairs.jsonl" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_no_file_and_no_folder(tmp_path: Path) -> None:
    for files in ([], [tmp_path / "gone"], [tmp_path]):
        with pytest.raises(InvalidConfig):
            read_pairs(files)
    with pytest.raises(InvalidConfig, match="cannot be written"):
        write_pairs(tmp_path / "gone" / "x.jsonl", [])


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = write(tmp_path / "x.jsonl", GOOD)

    def failing() -> Any:
        yield Pair(a="x", b="y")
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        write_pairs(target, failing())
    assert len(read_pairs([target]).pairs) == 2
    assert list(tmp_path.iterdir()) == [target]


def test_duplicates_are_left_out() -> None:
    """Without case and blanks, in either order; nearly equal ones when asked."""
    words = " ".join(f"word{n}" for n in range(200))
    pairs = [
        Pair(a="One Two", b="three"),
        Pair(a="three", b="one  two"),
        Pair(a=words, b="the side of it all"),
        Pair(a=words.replace("word199", "other"), b="the side of it all"),
        Pair(a="wholly", b="different"),
    ]
    for near, expected in (
        (False, {"duplicate": 1}),
        (True, {"duplicate": 1, "near duplicate": 1}),
    ):
        rejected: dict[str, int] = {}
        kept = list(Deduplication(near=near, rejected=rejected).of(pairs))
        assert rejected == expected
        assert len(kept) == 5 - sum(expected.values())


def test_a_sample_does_not_depend_on_order() -> None:
    pairs = [Pair(a=f"a{n}", b=f"b{n}", kind="xyz"[n % 3]) for n in range(300)]
    drawn = list(sample(pairs, limit=50, by_kind={"x": 5}, seed=1))
    backwards = list(sample(reversed(pairs), limit=50, by_kind={"x": 5}, seed=1))
    assert len(drawn) == 50
    assert sum(pair.kind == "x" for pair in drawn) <= 5
    assert drawn == backwards[::-1]
    assert drawn == sorted(drawn, key=lambda pair: int(pair.a[1:]))
    assert drawn != list(sample(pairs, limit=50, by_kind={"x": 5}, seed=2))
    free = list(sample(pairs, limit=None, by_kind={"x": 5}, seed=1))
    assert len(free) == 205
