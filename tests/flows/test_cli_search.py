"""`search`, `similar`, `facets` and `reindex`, each in a process of its own and without network."""

import json
from pathlib import Path
from typing import Any

import pytest

CommandLine = Any
World = Any

HIT_FIELDS = [
    "rank", "score", "id", "doc_id", "source", "title", "text", "start", "end", "metadata",
    "ranks", "more", "duplicates", "percentile", "evidence", "marks",
]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("search", ["--mode hybrid|dense|lexical", "--like", "--unlike", "--diversity", "--fold"]),
        ("search", ["--fusion", "--dense-weight", "--cursor", "--budget-ms", "--explain", "year>"]),
        ("similar", ["--text", "--unlike", "--filter", "--chunks", "--json", "[ID]..."]),
        ("facets", ["-k, --limit", "--filter", "--store", "--json", "{KEY}..."]),
        ("reindex", ["--collection", "--store", "--json", "--quiet"]),
    ],
)
def test_help_names_every_option(sextant: CommandLine, command: str, options: list[str]) -> None:
    """On standard output, with code 0."""
    run = sextant(command, "--help")
    assert (run.code, run.err) == (0, "")
    assert [option for option in options if option not in " ".join(run.out.split())] == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["search", ""], "query '' is blank: expected a text to search for"),
        (["search", " \t"], "query ' \\t' is blank"),
        (["search", "x" * 100_000], "query of 100,000 characters: expected at most 20,000"),
        (["search", "x", "--mode", "fuzzy"], "--mode 'fuzzy': expected hybrid, dense or lexical"),
        (["search", "x", "--fusion", "sum"], "--fusion 'sum': expected 'rrf' or 'minmax'"),
        (["search", "x", "--diversity", "2"], "--diversity 2.0: expected less than or equal to 1"),
        (["search", "x", "--diversity", "nan"], "--diversity nan: expected "),
        (["search", "x", "--fold", "0"], "--fold 0.0: expected greater than 0"),
        (["search", "x", "--budget-ms", "-1"], "--budget-ms -1.0: expected greater than 0"),
        (["search", "x", "--dense-weight", "7"], "setting 'dense_weight' is 7.0 (option)"),
        (["search", "x", "-k", "0"], "-k 0: expected 1 to 1000"),
        (["search", "x", "--filter", "{"], "filter '{' is not JSON"),
        (["search", "x", "--filter", "format>=a"], "filter format>=a: 'format' holds words"),
        (["similar"], "nothing to be like: expected the ID of a chunk or document, or --text"),
        (["similar", "a", "-k", "1001"], "-k 1001: expected 1 to 1000"),
        (["facets", "format", "-k", "0"], "-k 0: expected 1 to 10000"),
        (["facets"], "missing argument 'KEY'; see `sextant facets --help`"),
    ],
)
def test_what_cannot_be_right_ends_with_2(
    sextant: CommandLine, arguments: list[str], line: str
) -> None:
    """Before a store is opened or made."""
    run = sextant(*arguments)
    assert (run.code, run.complaint[: len(line)]) == (2, line)
    assert not (sextant.folder / ".sextant").exists()


def test_the_answer_of_a_search(world: World, encoder_folder: Path) -> None:
    """Every field of the contract; by words and vectors, with evidence and pages."""
    answer = world.sextant("search", "A river carries sand", "-k", "2", "--json").json
    assert list(answer) == [
        "query", "collection", "encoder", "mode", "degraded", "nothing_good", "hits", "cursor",
        "timings_ms",
    ]  # fmt: skip
    assert (answer["mode"], answer["degraded"]) == ("hybrid", None)
    assert [list(hit) for hit in answer["hits"]] == [HIT_FIELDS] * 2
    best = answer["hits"][0]
    assert best["doc_id"] == "notes/sub/rivers.txt"
    assert best["ranks"]["lexical_rank"] == 1
    assert {best["text"][start:end] for start, end in best["marks"]} == {
        "river",
        "carries",
        "sand",
    }
    evidence = best["evidence"]
    assert best["text"][evidence["start"] : evidence["end"]].startswith("A river carries sand")
    following = world.sextant(
        "search", "A river carries sand", "-k", "2", "--json", "--cursor", answer["cursor"]
    ).json
    assert [hit["rank"] for hit in following["hits"]] == [3, 4]
    documents = [hit["doc_id"] for page in (answer, following) for hit in page["hits"]]
    assert len(set(documents)) == 4


def test_words_need_no_encoder(world: World) -> None:
    """`--mode lexical` loads no torch; a collection whose encoder is gone answers by words."""
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
    )
    run = world.sextant("search", "owls", "--mode", "lexical", "--json", program=program)
    assert run.err == "False\n"
    assert [hit["doc_id"] for hit in run.json["hits"]] == ["notes/sub/owls.html"]
    gone = (
        "import flows.searching\n"
        "from flows.errors import FlowError\n"
        "def gone(manifest, wanted): raise FlowError('encoder tiny is not there any more')\n"
        "flows.searching.encoder_of = gone\n"
    )
    run = world.sextant("search", "owls", "--json", program=gone)
    assert (run.json["mode"], run.json["hits"][0]["doc_id"]) == ("lexical", "notes/sub/owls.html")
    assert "encoder tiny is not there" in run.json["degraded"]
    run = world.sextant("search", "owls", program=gone)
    assert run.code == 0
    assert "warning: by words only: encoder tiny is not there any more" in run.err
    run = world.sextant("search", "owls", "--mode", "dense", program=gone)
    assert (run.code, "encoder tiny is not there any more" in run.complaint) == (1, True)


def test_filters_and_facets(world: World) -> None:
    """Words of a title, times, unknown keys with the near miss."""
    found = world.sextant("search", "sea", "--filter", "title~lighthouses", "--json").json
    assert {hit["doc_id"] for hit in found["hits"]} == {"notes/lighthouses.md"}
    found = world.sextant("search", "sea", "--filter", "modified<1980", "--json").json
    assert found["hits"] == []
    run = world.sextant("search", "sea", "--filter", "formt=text")
    assert run.code == 2
    assert run.complaint.startswith("unknown filter key 'formt'; did you mean format?")
    run = world.sextant("facets", "format", "title", "-k", "2", "--json")
    facets = run.json["facets"]
    assert facets["format"]["values"][0]["value"] == "markdown"
    assert (facets["title"]["whole"], len(facets["title"]["values"])) == (False, 2)
    run = world.sextant("facets", "format")
    assert run.out.splitlines()[0].split() == ["format", "chunks"]
    run = world.sextant("facets", "fromat")
    assert (run.code, "did you mean format?" in run.complaint) == (2, True)


def test_what_is_like_a_document(world: World) -> None:
    """By id, without loading the encoder; by pasted text; the near miss of a wrong id."""
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
    )
    run = world.sextant("similar", "notes/bread.md", "--json", program=program)
    assert run.err == "False\n"
    documents = [hit["doc_id"] for hit in run.json["hits"]]
    assert len(documents) == len(set(documents)) == 4
    assert "notes/bread.md" not in documents
    run = world.sextant("similar", "--text", "-", "--json", stdin="Flour and water.\n")
    assert (run.code, len(run.json["hits"])) == (0, 5)
    run = world.sextant("similar", "notes/bred.md")
    assert (run.code, "did you mean 'notes/bread.md'" in run.complaint) == (2, True)


def test_what_people_read(world: World) -> None:
    """Place, the best sentence, why; nothing found; nothing to reindex."""
    run = world.sextant("search", "Fresnel lens", "-k", "1", "--explain")
    assert run.code == 0
    assert "lighthouses.md:" in run.out
    assert "by words 1 (BM25 " in run.out
    assert "\x1b" not in run.out
    run = world.sextant("search", "x", "--mode", "lexical", "--filter", "title=none")
    assert run.out == "nothing found for 'x'\n"
    run = world.sextant("reindex", "--json", "-q")
    assert json.loads(run.out) == {"collection": "notes", "chunks": 0}
    run = world.sextant("search", "x", "--cursor", "nonsense")
    assert (run.code, run.complaint[:25]) == (2, "cursor 'nonsense' is not ")
