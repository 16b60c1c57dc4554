"""What an ingest would do, worked out by hand before it does it."""

import hashlib
import shutil
from pathlib import Path

import pytest

from flows.documents.listing import Listing, Unreadable
from flows.documents.source_document import SourceDocument
from flows.documents.sources import discover
from flows.errors import InvalidInput, SourceUnavailable
from flows.heads import STORED, WRITING, Head
from flows.plan import PARTITION_BYTES, PARTITION_DOCUMENTS, Plan, make_plan

RECIPE = "parser 1"
MIB = 1024 * 1024


def head_of(path: Path, root: Path, *, text: str | None = None, state: str = STORED) -> Head:
    """The head of a file that was ingested with this text; its present one if none is given."""
    data = path.read_bytes() if text is None else text.encode()
    return Head(
        doc_id=f"{root.name}/{path.relative_to(root).as_posix()}",
        source=str(path),
        root=str(root),
        title=path.stem,
        format="markdown",
        content_hash=hashlib.sha256(data).hexdigest(),
        recipe=RECIPE,
        state=state,  # type: ignore[arg-type]
        chunks=1,
        tokens=1,
        size=len(data),
        ingested_at="2026-01-01T00:00:00+00:00",
        run_id="0",
    )


def plan_of(*sources: Path, heads: list[Head], max_bytes: int = MIB) -> Plan:
    listing = discover([str(source) for source in sources])
    stored = {head.doc_id: head for head in heads}
    return make_plan(listing, stored, recipe=RECIPE, max_bytes=max_bytes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("a", "b", "c", "d"):
        (folder / f"{name}.md").write_text(f"Text of {name}.\n")
    return folder


def stored(plan: Plan) -> list[str]:
    return [Path(document.source).name for document in plan.store]


def test_each_document_has_one_fate(folder: Path) -> None:
    """Worked example: new a, changed b, unchanged c, too large d, vanished e."""
    (folder / "d.md").write_text("x" * 100)
    gone = folder / "e.md"
    plan = plan_of(
        folder,
        heads=[
            head_of(folder / "b.md", folder, text="another text"),
            head_of(folder / "c.md", folder),
            head_of(gone, folder, text="was here"),
        ],
        max_bytes=99,
    )
    assert stored(plan) == ["a.md", "b.md"]
    assert plan.unchanged == 1
    assert [(r.source, r.reason.split(";")[0]) for r in plan.rejected] == [
        (str(folder / "d.md"), "0.0 MiB")
    ]
    assert [head.doc_id for head in plan.remove] == ["notes/e.md"]
    assert plan.seen == 4
    assert not plan.is_done


def test_nothing_to_do(folder: Path) -> None:
    """All documents stored whole from the same bytes by the same recipe: done."""
    heads = [head_of(path, folder) for path in folder.iterdir()]
    plan = plan_of(folder, heads=heads)
    assert plan.is_done
    assert (plan.unchanged, plan.seen, plan.warnings) == (4, 4, ())
    assert list(plan.partitions()) == []


def test_a_document_that_a_dead_run_left_half_written_is_done_again(folder: Path) -> None:
    """Its head says `writing`, whatever its hash says."""
    heads = [head_of(path, folder, state=WRITING) for path in folder.iterdir()]
    assert stored(plan_of(folder, heads=heads)) == ["a.md", "b.md", "c.md", "d.md"]


def test_another_recipe_makes_other_chunks(folder: Path) -> None:
    """A new chunk size or parser does every document again."""
    heads = {head.doc_id: head for head in (head_of(p, folder) for p in folder.iterdir())}
    plan = make_plan(discover([str(folder)]), heads, recipe="parser 2", max_bytes=MIB)
    assert len(plan.store) == 4


def test_an_empty_source_removes_nothing(folder: Path, tmp_path: Path) -> None:
    """A mount that did not come up looks like an empty folder."""
    heads = [head_of(path, folder) for path in folder.iterdir()]
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(SourceUnavailable, match="no document found; expected at least one"):
        plan_of(folder, heads=heads)

    other = tmp_path / "other"
    other.mkdir()
    (other / "z.md").write_text("z\n")
    plan = plan_of(folder, other, heads=heads)
    assert plan.remove == ()
    assert plan.warnings == (
        f"{str(folder)!r} is empty or could not be listed wholly: "
        "4 stored documents that were not seen there stay",
    )


def test_an_unreadable_subfolder_removes_nothing(folder: Path) -> None:
    """What could not be listed may still be there."""
    (listed,) = (d for d in discover([str(folder)]).documents if d.doc_id == "notes/a.md")
    listing = Listing(
        documents=(listed,),
        ignored={},
        unreadable=(Unreadable(path=str(folder / "sub"), reason="no permission to read it"),),
        roots=(str(folder),),
        complete={str(folder): False},
    )
    heads = {head.doc_id: head for head in (head_of(p, folder) for p in folder.iterdir())}
    plan = make_plan(listing, heads, recipe=RECIPE, max_bytes=MIB)
    assert plan.remove == ()
    assert "3 stored documents that were not seen there stay" in plan.warnings[0]
    assert [r.source for r in plan.rejected] == [str(folder / "sub")]
    assert plan.seen == 2


def test_documents_of_other_sources_stay(folder: Path, tmp_path: Path) -> None:
    """An ingest of one folder says nothing of another that went into the same collection."""
    elsewhere = tmp_path / "elsewhere"
    plan = plan_of(folder, heads=[head_of(elsewhere / "x.md", elsewhere, text="x")])
    assert plan.remove == ()


def test_two_folders_of_one_name_do_not_overwrite_each_other(folder: Path, tmp_path: Path) -> None:
    """Their documents have the same ids; the second one is refused while the first is there."""
    twin = tmp_path / "elsewhere" / "notes"
    twin.mkdir(parents=True)
    (twin / "a.md").write_text("another a\n")
    heads = [head_of(folder / "a.md", folder)]
    with pytest.raises(InvalidInput, match=r"would replace .notes/a\.md., which was ingested from"):
        plan_of(twin, heads=heads)


def test_a_folder_that_moved_takes_its_documents_along(folder: Path, tmp_path: Path) -> None:
    """Same name, new place, the old one gone: the documents are stored from their new place."""
    heads = [head_of(path, folder) for path in folder.iterdir()]
    moved = tmp_path / "elsewhere" / "notes"
    moved.parent.mkdir()
    folder.rename(moved)
    plan = plan_of(moved, heads=heads)
    assert len(plan.store) == 4
    assert plan.remove == ()


def test_a_folder_reached_by_another_path_is_no_conflict(folder: Path, tmp_path: Path) -> None:
    """A link of the same name to the same folder brings the same files."""
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "notes"
    link.symlink_to(folder)
    plan = plan_of(link, heads=[head_of(path, folder) for path in folder.iterdir()])
    assert len(plan.store) == 4


def test_a_bad_document_keeps_what_the_store_holds_of_it(folder: Path) -> None:
    """It was listed, so that it is not removed; it is too large now, so rejected."""
    heads = [head_of(path, folder) for path in folder.iterdir()]
    (folder / "a.md").write_text("x" * 1000)
    plan = plan_of(folder, heads=heads, max_bytes=999)
    assert [r.source for r in plan.rejected] == [str(folder / "a.md")]
    assert (plan.store, plan.remove, plan.unchanged) == ((), (), 3)


def test_a_source_of_unreadable_files_alone_is_no_empty_source(folder: Path) -> None:
    """Everything is rejected, nothing removed, and the run ends with its report."""
    plan = plan_of(folder, heads=[], max_bytes=3)
    assert len(plan.rejected) == plan.seen == 4
    assert plan.is_done


def test_partitions_are_bounded_and_in_order() -> None:
    """At most so many documents, and about so many bytes; a large document has one of its own."""

    def document(number: int, size: int) -> SourceDocument:
        name = f"{number:04}"
        return SourceDocument(
            doc_id=name, source=name, root="r", format="text", size=size, path=name
        )

    def sizes(*documents: SourceDocument) -> list[int]:
        plan = Plan(store=documents, unchanged=0, rejected=(), remove=())
        parts = list(plan.partitions())
        assert [d for part in parts for d in part] == list(documents)
        return [len(part) for part in parts]

    third = PARTITION_BYTES // 3
    assert sizes(*(document(i, 1) for i in range(2 * PARTITION_DOCUMENTS + 1))) == [256, 256, 1]
    assert sizes(*(document(i, third) for i in range(7))) == [3, 3, 1]
    assert sizes(document(0, third), document(1, 5 * third), document(2, third)) == [1, 1, 1]
