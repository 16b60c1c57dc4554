"""`sextant pairs`: what is made of files and folders, what is said, what is refused."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from embedder.tuning.answers import Answer
from embedder.tuning.pairs import read_pairs
from embedder.tuning.synthesis import SynthesisSettings
from flows.errors import FlowError, InvalidInput
from flows.pair_making import (
    check_out,
    examine,
    kinds_and_limits,
    make_structural,
    synthesise,
)
from flows.progress import Silent
from flows.settings import Settings

CommandLine = Any


def from_(sources: Sequence[str], out: Path, **options: Any) -> dict[str, Any]:
    given = {"kinds": "title", "limit": None, "near": False, "language": None, "seed": 0}
    return make_structural(sources, str(out), Settings(), Silent(), **{**given, **options})


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.md").write_text(
            f"# About {name}\n\n" + f"The first paragraph speaks of {name}. " * 12
            + f"\n\n## Details of {name}\n\n" + f"Further words describe how {name} is made. " * 40
        )  # fmt: skip
    (folder / "junk.md").write_bytes(bytes(range(256)) * 40)
    return folder


def test_a_folder_becomes_pairs(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    report = from_([str(corpus)], out, kinds="title,neighbour,section,crop")
    pairs = read_pairs([out]).pairs
    assert report["pairs"] == len(pairs) == sum(report["kinds"].values())
    assert set(report["kinds"]) == {"title", "neighbour", "section", "crop"}
    assert {pair.group for pair in pairs} == {"notes/one.md", "notes/two.md"}
    sections = [pair for pair in pairs if pair.kind == "section"]
    assert "Details of one" in {pair.a for pair in sections}
    assert not any(pair.b.startswith("#") for pair in sections)
    (rejected,) = report["rejected_documents"]
    assert rejected["path"].endswith("junk.md")
    again = tmp_path / "again.jsonl"
    from_([str(corpus)], again, kinds="title,neighbour,section,crop")
    assert again.read_bytes() == out.read_bytes()


def test_rows_limits_and_languages(tmp_path: Path) -> None:
    rows = [
        {"text": f"The keeper of the lighthouse trims lamp number {n} when dusk comes.",
         "title": f"Lamp {n}", "doc": f"d{n}", "i": 0}
        for n in range(30)
    ]  # fmt: skip
    rows.append(rows[0] | {"text": "Der Hund läuft am Abend durch den Wald und bellt den Mond an."})
    file = tmp_path / "passages.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"text": ""}\n')
    out = tmp_path / "pairs.jsonl.gz"
    report = from_([str(file)], out, limit=7, language="en")
    assert (report["pairs"], report["found"]) == (7, {"title": 30})
    assert report["rejected"] == {"empty text": 1, "other language": 1}
    assert len(read_pairs([out]).pairs) == 7
    assert from_([str(file)], out, kinds="dropout=3,title")["kinds"] == {"dropout": 3, "title": 31}
    with pytest.raises(FlowError, match="no pairs of kind section"):
        from_([str(file)], tmp_path / "none.jsonl", kinds="section")
    assert not (tmp_path / "none.jsonl").exists()


@pytest.mark.parametrize("kinds", ["", "titles", "title,title", "title=", "title=0", "crop=x"])
def test_wrong_kinds(kinds: str) -> None:
    with pytest.raises(InvalidInput, match="--kinds"):
        kinds_and_limits(kinds)


def test_wrong_places(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "gone" / "x.jsonl", tmp_path / "x.csv"):
        with pytest.raises(InvalidInput, match="--out"):
            check_out(str(out), [])
    with pytest.raises(InvalidInput, match="is read from, too"):
        check_out(str(tmp_path / "x.jsonl"), [str(tmp_path / "x.jsonl")])
    with pytest.raises(InvalidInput, match="no such file"):
        from_([str(tmp_path / "gone.jsonl")], tmp_path / "x.jsonl")


class Upper:
    """Writes a text in other words, so to speak."""

    kinds: Sequence[str] = ("simple",)
    identity: Mapping[str, Any] = {"digest": "x"}

    def write(self, texts: Sequence[str], kinds: Sequence[str], *, seed: int) -> list[Answer]:
        """All but the one on rivers."""
        return [Answer(text="" if "river" in text else f"That is: {text}") for text in texts]


def test_written_texts_and_their_counts(tmp_path: Path) -> None:
    texts, out = tmp_path / "texts.txt", tmp_path / "out.jsonl"
    texts.write_text("A river carries sand.\nAn owl hunts at night.\ntiny\n")
    settings = SynthesisSettings()
    report = synthesise(str(texts), str(out), Silent(), Upper(), settings, None)
    assert (report.asked, report.pairs) == (2, 1)
    assert (report.given_up, report.rejected) == ({"empty": 1}, {"empty": 6})
    assert report.skipped == {"too short": 1}
    texts.write_text("tiny\n")
    with pytest.raises(InvalidInput, match="no text to write from"):
        synthesise(str(texts), str(tmp_path / "2.jsonl"), Silent(), Upper(), settings, None)
    texts.write_text("\n")
    with pytest.raises(InvalidInput, match="has no texts"):
        synthesise(str(texts), str(tmp_path / "3.jsonl"), Silent(), Upper(), settings, None)
    assert not (tmp_path / "3.jsonl").exists()


def test_files_are_looked_over(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    rows = [{"a": "one", "b": "two", "kind": "k", "group": "g"}, {"a": "One", "b": "two"}]
    rows += [{"a": "one", "b": "three", "negatives": ["four"]}, {"a": "", "b": "x"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = examine([str(file)])
    assert (report["pairs"], report["rejected"]) == (3, {"empty side": 1})
    assert report["kinds"] == {"(none)": 2, "k": 1}
    assert report["duplicates"] == {"equal": 1, "near": 0}
    assert (report["groups"], report["with_negatives"]) == (1, 1)
    assert report["texts_in_several_pairs"] == 2
    assert report["characters"]["b"] == {"least": 3, "median": 3, "p90": 5, "most": 5}


def test_the_commands(sextant: CommandLine, corpus: Path) -> None:
    """As a process: one JSON object, tables, and one line and exit code 2 for wrong input."""
    done = sextant("pairs", "from", str(corpus), "--out", "x.jsonl", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["pairs"] > 4
    shown = sextant("pairs", "check", "x.jsonl")
    assert shown.code == 0
    assert "kinds: " in shown.out
    for arguments, message in (
        (["check", "gone.jsonl"], "'gone.jsonl': no such file"),
        (["from", str(corpus), "--out", "y.jsonl", "--limit", "0"], "--limit 0: expected 1"),
        (
            ["from", str(corpus), "--out", "y.jsonl", "--language", "English"],
            "--language 'English'",
        ),
        (["synthesise", "gone.txt", "--model", "m", "--out", "y.jsonl"], "'gone.txt': no such"),
        (
            ["synthesise", "x.jsonl", "--model", "m", "--out", "y.jsonl", "--rewrites", "a"],
            "'a' is",
        ),
    ):
        wrong = sextant("pairs", *arguments)
        assert wrong.code == 2, arguments
        assert message in wrong.err
        assert len(wrong.err.strip().splitlines()) == 1
