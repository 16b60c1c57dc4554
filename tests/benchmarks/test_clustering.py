"""The clustering tables: labelled texts, the cases that are timed, a page without a browser."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    clustering,
    clustering_page,
    clustering_quality,
    clustering_tables,
    encoder_tables,
    peers,
    results_file,
)
from tests.benchmarks.test_retrieval import Words

TEXTS = {"food": "bread yeast flour loaf", "space": "orbit planet moon star"}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where results are filed and read."""
    made = tmp_path / "results"
    made.mkdir()
    for module in (results_file, encoder_tables):
        monkeypatch.setattr(module, "RESULTS", made)
    return made


def test_quality_of_every_row(
    folder: Path, tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words that are the labels: TF-IDF is right; every prompt and pooling has a row."""
    rows = [
        {"text": f"{' '.join(words.split()[place:] + words.split()[:place])}", "label": label}
        for label, words in TEXTS.items()
        for place in range(4)
    ]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/topics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(peers, "MiniLm", Words)
    monkeypatch.setattr(peers, "LSA_DIMENSION", 2)
    arguments = ["--data", str(tmp_path / "data"), "--encoder", str(folder), "--threads", "1"]
    arguments += ["--experiments", "2", "--limit", "8", "--cache", str(tmp_path / "c"), "--file"]
    monkeypatch.setattr(sys, "argv", ["quality", *arguments])
    clustering_quality.main()
    filed = json.loads((results / "clustering_quality.json").read_text())
    found = {row["row"]: row for row in filed["rows"]}
    prompts = [filed["own"]["prompt"], "cluster", "none"]
    assert list(found) == [
        *(f"{prompt}, {pooling}" for prompt in prompts for pooling in ("last", "mean")),
        clustering_quality.TFIDF,
        clustering_quality.LSA,
        clustering_quality.MINILM,
    ]
    assert found[clustering_quality.TFIDF]["sets"]["topics"]["v_measure"] == 1.0
    assert found[clustering_quality.TFIDF]["mean"] == 1.0
    assert all(0 <= row["mean"] <= 1 for row in filed["rows"])
    shown = clustering_tables.clustering_quality()
    assert "topics (8, 2 labels)" in shown
    assert "| TF-IDF | **1.000** ± .000 | 1.000 |" in shown
    assert "at most 8 texts" in shown


def test_a_folder_without_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a line, before a model is loaded."""
    monkeypatch.setattr(sys, "argv", ["quality", "--data", str(tmp_path)])
    with pytest.raises(SystemExit):
        clustering_quality.main()
    assert "expected JSONL files" in capsys.readouterr().err


def test_a_text_without_known_words_gets_the_mean() -> None:
    """A vector of length 0 cannot be clustered."""
    vectors = np.array([[1, 0], [0, 0], [0, 2]], np.float32)
    found = clustering_quality.with_directions(vectors)
    assert found[1].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert vectors[1].tolist() == [0, 0]  # the input stays


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kmeans:1000:12", clustering.Case("kmeans", 1000, 12)),
        ("hdbscan:50", clustering.Case("hdbscan", 50, None)),
    ],
)
def test_a_case_is_read(text: str, expected: clustering.Case) -> None:
    """Algorithm, chunks, and k where it is given."""
    assert clustering.as_case(text) == expected


@pytest.mark.parametrize("text", ["kmean:1000", "kmeans", "kmeans:x", "kmeans:10:2:3", ""])
def test_a_wrong_case_is_refused(text: str) -> None:
    """The parser makes a line of it, which shows the value."""
    with pytest.raises(ValueError):
        clustering.as_case(text)


def test_every_default_case_is_one() -> None:
    """Ten times as many chunks with the same k are among them, so that growth can be told."""
    cases = [clustering.as_case(text) for text in clustering.CASES]
    assert clustering.Case("kmeans", 100_000, clustering.TOPICS) in cases
    assert clustering.Case("kmeans", 1_000_000, clustering.TOPICS) in cases


def test_a_small_case_is_measured(tmp_path: Path) -> None:
    """The whole clustering runs; stages add up to less than the whole."""
    row = clustering.measure(400, "kmeans", 8, tmp_path)
    assert (row["chunks"], row["k"], row["algorithm"]) == (400, 8, "kmeans")
    assert sum(row["stages"].values()) <= row["seconds"] + 0.5
    assert row["page_mb"] > 0


def test_without_a_browser_the_result_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is opened, nothing fails."""
    monkeypatch.setattr(clustering_page.shutil, "which", lambda name: None)
    assert clustering_page.browser_version() is None
    assert clustering_page.open_page(tmp_path / "clusters.html") == {
        "not_measured": "no chromium with chromedriver on this machine"
    }


def test_the_table_tells_growth_and_what_was_not_measured(results: Path) -> None:
    """Two sizes with k given; one page opened, one not."""
    page = {"loaded_seconds": 0.3, "drawn_seconds": 0.4, "zoom_step_ms": 33.2, "heap_mb": 10.0}
    rows = [
        {
            "algorithm": "kmeans", "chunks": chunks, "k": 40, "k_given": True, "seconds": seconds,
            "stages": {"fit": 1.0}, "peak_mb": 300, "vectors_mb": 154, "page_mb": 1.29,
            "page": shown,
        }
        for chunks, seconds, shown in ((1000, 10.0, page), (10_000, 95.0, {"not_measured": "no"}))
    ]  # fmt: skip
    filed = {
        "hardware": "a machine", "commit": "c", "date": "d", "dimension": 384, "topics": 40,
        "browser": None, "rows": rows,
    }  # fmt: skip
    (results / "clustering.json").write_text(json.dumps(filed))
    shown = clustering_tables.clustering()
    assert "| kmeans | 1,000 | 40 | 10 | 1 | 300 | 154 | 1.3 | 0.30 s | 0.40 s | 33 ms |" in shown
    assert "| 10,000 | 40 | 95 | 1 | 300 | 154 | 1.3 | - | - | - |" in shown
    assert "kmeans from 1,000 takes 9.5 times as long and 1.00 times the memory" in shown
