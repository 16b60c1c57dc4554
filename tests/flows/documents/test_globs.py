"""Globs choose documents before any is read, the way a `.gitignore` would."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.documents.globs import Selection, compile_glob
from flows.documents.sources import discover
from flows.errors import InvalidInput


@pytest.mark.parametrize(
    ("glob", "matches", "others"),
    [
        ("*.md", ["a.md", "sub/deep/a.md", "a.md/inside.txt"], ["a.mdx", "md", "a.md~"]),
        ("/*.md", ["a.md"], ["sub/a.md"]),
        ("./*.md", ["a.md"], ["sub/a.md"]),
        ("sub/*.md", ["sub/a.md"], ["a.md", "other/sub/a.md", "sub/x/a.md"]),
        ("drafts/**", ["drafts/a.md", "drafts/x/a.md"], ["drafts", "x/drafts/a.md"]),
        ("drafts/", ["drafts/a.md", "x/drafts/y/a.md"], ["drafts", "x/drafts"]),
        ("/drafts/", ["drafts/a.md"], ["x/drafts/a.md"]),
        ("drafts", ["drafts", "drafts/a.md", "x/drafts/y/a.md"], ["drafts2/a.md", "my-drafts"]),
        ("**/old", ["old", "a/old", "a/b/old/c.md"], ["older"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b/c.md"], ["ab", "a/xb", "x/a/b"]),
        ("**", ["a", "a/b"], []),
        ("a**.md", ["ab.md", "x/a.md"], ["a/b.md"]),
        ("v?.txt", ["v1.txt", "x/v2.txt"], ["v.txt", "v10.txt", "v/.txt"]),
        ("v[0-9].txt", ["v1.txt"], ["vx.txt"]),
        ("v[!0-9].txt", ["vx.txt"], ["v1.txt", "v/.txt"]),
        ("v[]x].txt", ["v].txt", "vx.txt"], ["v.txt"]),
        ("[[]a].md", ["[a].md"], ["a.md"]),
        ("a.(b)+", ["a.(b)+"], ["aX(b)+", "a.(b)"]),
        ("Ä.md", ["Ä.md"], ["ä.md"]),
    ],
)
def test_what_a_glob_stands_for(glob: str, matches: list[str], others: list[str]) -> None:
    """Worked examples: depth, anchors, folders, sets of characters; case counts."""
    pattern = compile_glob(glob)
    assert [path for path in matches if not pattern.fullmatch(path)] == []
    assert [path for path in others if pattern.fullmatch(path)] == []


@pytest.mark.parametrize(
    ("glob", "message"),
    [
        ("", "names nothing; expected e.g. *.md"),
        ("./", "names nothing"),
        ("!*.md", "'!' has no meaning here; name what counts with --include instead"),
        ("a\\b", "has no meaning here; write folders with forward slashes"),
        ("../x", "leads out of its source"),
        ("a[bc", "a '[' is not closed; write it as [[]"),
        ("a[z-a]", "[z-a] is no set of characters: bad character range"),
    ],
)
def test_a_glob_that_is_wrong_is_refused(glob: str, message: str) -> None:
    """When the selection is made, before anything is listed; with the glob and the remedy."""
    with pytest.raises(InvalidInput, match=re.escape(message)):
        Selection(exclude=(glob,))


@given(st.text(alphabet="ab*?[]!^-/.&|~+({", max_size=12))
def test_any_glob_compiles_or_is_refused(glob: str) -> None:
    """Whatever people type: a pattern that answers, or our own error."""
    try:
        pattern = compile_glob(glob)
    except InvalidInput:
        return
    pattern.fullmatch("a/b")


def test_exclusion_wins() -> None:
    """Without include globs all that is not excluded counts; with some, only what they name."""
    selection = Selection(include=("*.md", "/a/"), exclude=("drafts/**",))
    assert selection.takes("x.md")
    assert selection.takes("a/x.txt")
    assert not selection.takes("drafts/x.md")
    assert not selection.takes("x.txt")
    assert Selection(exclude=("*.md",)).takes("x.txt")
    assert selection.skips_folder("drafts")
    assert not selection.skips_folder("x")
    assert not Selection(exclude=("a/b",)).skips_folder("a")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    for name in ("a.md", "b.txt", "drafts/c.md", "sub/drafts/d.md", "sub/photo.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def names(folder: Path, *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> str:
    listing = discover([str(folder)], Selection(include, exclude))
    return " ".join(document.doc_id.removeprefix("notes/") for document in listing.documents)


def test_globs_choose_what_is_listed(notes: Path) -> None:
    """By the path below the source, not by where the source lies."""
    assert names(notes, include=("*.md",)) == "a.md drafts/c.md sub/drafts/d.md"
    assert names(notes, exclude=("drafts/",)) == "a.md b.txt"
    assert names(notes, exclude=("/drafts/**",)) == "a.md b.txt sub/drafts/d.md"
    assert names(notes, include=("*.md",), exclude=("sub",)) == "a.md drafts/c.md"
    assert names(notes, exclude=("notes",)) == "a.md b.txt drafts/c.md sub/drafts/d.md"


def test_what_is_left_out_is_counted(notes: Path) -> None:
    """A folder that is left out counts as one, and is not looked into."""
    listing = discover([str(notes)], Selection(("*.md",), ("/sub/",)))
    assert listing.ignored == {"excluded": 2}
    assert listing.complete == {str(notes): True}
    (notes / "b.txt").unlink()
    assert discover([str(notes)], Selection(("*.md",))).ignored == {".png": 1}


def test_globs_that_leave_nothing_make_an_empty_source(notes: Path) -> None:
    """Of which nothing is concluded: a mistyped glob removes nothing."""
    listing = discover([str(notes)], Selection(("*.markdown",)))
    assert (listing.documents, listing.complete) == ((), {str(notes): False})
    assert listing.ignored == {"excluded": 4, ".png": 1}


def test_single_files_and_python_s_documents_are_chosen_too(notes: Path) -> None:
    """A file by its name, a package or module by its own."""
    files = [str(notes / "a.md"), str(notes / "b.txt")]
    listing = discover(files, Selection(exclude=("b*",)))
    assert [document.doc_id for document in listing.documents] == ["a.md"]
    listing = discover(["python:packages"], Selection(include=("pytest",)))
    assert [document.doc_id for document in listing.documents] == ["python:packages/pytest"]
