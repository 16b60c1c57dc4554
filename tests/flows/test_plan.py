"""What an ingest would do, worked out by hand before it does it."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from flows.documents.listing import Listing, Unreadable
from flows.documents.records.columns import RecordColumns
from flows.documents.source_document import SourceDocument
from flows.documents.sources import discover
from flows.errors import InvalidInput, SourceUnavailable
from flows.heads import STORED, WRITING, Head
from flows.plan import PARTITION_BYTES, PARTITION_DOCUMENTS, Plan, make_plan
from flows.quarantine import Entry, updated

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


LIMITS = "1 MiB"


def entry_of(path: Path, root: Path, **changes: str) -> Entry:
    """The quarantine entry of a file that was turned away as it is."""
    fields = {
        "doc_id": f"{root.name}/{path.relative_to(root).as_posix()}",
        "source": str(path),
        "root": str(root),
        "format": "markdown",
        "stage": "parse",
        "reason": "looks binary",
        "content_hash": hashlib.sha256(path.read_bytes()).hexdigest(),
        "recipe": RECIPE,
        "limits": LIMITS,
    }
    return updated(None, **(fields | changes), size=1, seen="2026-01-01", run_id="0")  # type: ignore[arg-type]


def held_plan(folder: Path, *entries: Entry, heads: list[Head] | None = None) -> Plan:
    return make_plan(
        discover([str(folder)]),
        {head.doc_id: head for head in heads or []},
        recipe=RECIPE,
        max_bytes=MIB,
        quarantine={entry.doc_id: entry for entry in entries},
        limits=LIMITS,
    )


def test_what_was_turned_away_is_not_tried_again(folder: Path) -> None:
    """It is quarantined still, with its reason, and counts as seen; the others are stored."""
    plan = held_plan(folder, entry_of(folder / "a.md", folder))
    assert stored(plan) == ["b.md", "c.md", "d.md"]
    (rejected,) = plan.rejected
    assert (rejected.source, rejected.reason) == (str(folder / "a.md"), "looks binary")
    assert (rejected.stage, rejected.held, plan.seen) == ("parse", True, 4)
    assert plan.released == ()


@pytest.mark.parametrize(
    "change",
    [
        {"content_hash": "other"},
        {"content_hash": ""},
        {"recipe": "parser 0"},
        {"limits": "2 MiB"},
    ],
)
def test_it_is_tried_again_when_anything_about_it_has_changed(
    folder: Path, change: dict[str, str]
) -> None:
    """Bytes, parser or chunker, limits; or it could not even be read."""
    plan = held_plan(folder, entry_of(folder / "a.md", folder, **change))
    assert stored(plan) == ["a.md", "b.md", "c.md", "d.md"]
    assert plan.rejected == ()


def test_quarantine_lets_go_of_what_is_gone_or_well(folder: Path) -> None:
    """Put back as it was stored, or vanished; not what lies in a source that was not given."""
    healed, gone, held = (entry_of(folder / f"{name}.md", folder) for name in "abc")
    other = replace(held, doc_id="other/x.md", root="/other")
    (folder / "b.md").unlink()
    heads = [head_of(folder / "a.md", folder)]
    plan = held_plan(folder, healed, gone, held, other, heads=heads)
    assert plan.unchanged == 1
    assert sorted(plan.released) == ["notes/a.md", "notes/b.md"]
    assert [rejected.doc_id for rejected in plan.rejected] == ["notes/c.md"]


def test_of_a_source_that_was_not_listed_wholly_quarantine_keeps_all(folder: Path) -> None:
    """What is not seen there may only be out of sight."""
    entry = entry_of(folder / "a.md", folder)
    listing = discover([str(folder)])
    hidden = Listing(
        documents=listing.documents[1:],
        ignored={},
        unreadable=(Unreadable(path=str(folder / "sub"), reason="no permission"),),
        roots=listing.roots,
        complete=dict.fromkeys(listing.complete, False),
    )
    plan = make_plan(
        hidden, {}, recipe=RECIPE, max_bytes=MIB, quarantine={entry.doc_id: entry}, limits=LIMITS
    )
    assert plan.released == ()
    (rejected,) = plan.rejected
    assert (rejected.doc_id, rejected.root) == (str(folder / "sub"), str(folder))


def test_a_known_version_or_digest_spares_the_reading(folder: Path) -> None:
    """Documents whose place vouches for their version, or whose listing has hashed them."""
    head = head_of(folder / "a.md", folder)
    listing = discover([str(folder)])
    first = listing.documents[0]
    vouched = replace(first, version="etag-1", path="/nowhere")
    heads = {head.doc_id: replace(head, version="etag-1")}

    def planned(document: SourceDocument) -> Plan:
        alone = replace(listing, documents=(document,), complete={})
        return make_plan(alone, heads, recipe=RECIPE, max_bytes=MIB)

    assert planned(vouched).unchanged == 1
    assert len(planned(replace(vouched, version="etag-2")).rejected) == 1
    assert planned(replace(first, digest=head.content_hash, path="/nowhere")).unchanged == 1
    (changed,) = planned(replace(first, digest="other", path="/nowhere")).store
    assert changed.digest == "other"


def test_a_document_whose_stand_in_has_gone_is_stored_itself(folder: Path) -> None:
    """It has no chunks: removed, changed, or itself without chunks, the other cannot stand in."""
    heads = [head_of(folder / f"{name}.md", folder) for name in "abcd"]
    heads[0] = replace(heads[0], duplicate_of="notes/b.md")
    heads[2] = replace(heads[2], duplicate_of="notes/d.md")
    assert held_plan(folder, heads=heads).unchanged == 4
    (folder / "b.md").write_text("Another text.\n")
    (folder / "d.md").unlink()
    plan = held_plan(folder, heads=heads)
    assert sorted(stored(plan)) == ["a.md", "b.md", "c.md"]
    assert plan.fates["notes/a.md"] == plan.fates["notes/c.md"] == "renewed"
    assert plan.unchanged == 0


def rows_plan(path: Path, heads: list[Head], *, max_bytes: int = MIB) -> Plan:
    listing = discover([str(path)])
    stored = {head.doc_id: head for head in heads}
    return make_plan(listing, stored, recipe=RECIPE, max_bytes=max_bytes)


def heads_of_rows(path: Path) -> list[Head]:
    """The rows as an ingest would have stored them."""
    return [
        replace(
            head_of(path, path.parent),
            doc_id=document.doc_id,
            source=document.source,
            root=document.root,
            content_hash=document.digest,
        )
        for document in discover([str(path)]).documents
    ]


def test_rows_that_cannot_be_read_are_not_removed(tmp_path: Path) -> None:
    """Rows that are gone are; where a line is broken nobody knows which row it was."""
    path = tmp_path / "rows.jsonl"
    lines = [f'{{"text": "Row number {number}."}}' for number in range(4)]
    path.write_text("\n".join(lines))
    heads = heads_of_rows(path)
    assert rows_plan(path, heads).unchanged == 4
    path.write_text("\n".join(lines[:3]))
    plan = rows_plan(path, heads)
    assert (plan.unchanged, len(plan.remove), plan.warnings) == (3, 1, ())
    path.write_text("\n".join([*lines[:3], '{"text": broken']))
    plan = rows_plan(path, heads)
    assert (plan.unchanged, len(plan.remove), len(plan.rejected)) == (3, 0, 1)
    assert "1 stored documents stay" in plan.warnings[0]


def test_a_row_that_is_too_large_is_rejected_before_it_is_tried(tmp_path: Path) -> None:
    """By its size, which the listing knows."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "' + "long " * 100 + '"}\n{"text": "short"}\n')
    plan = rows_plan(path, [], max_bytes=100)
    assert (len(plan.store), len(plan.rejected)) == (1, 1)
    assert "the limit is" in plan.rejected[0].reason


def test_two_record_files_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """Given in turn, they would replace each other's rows run by run."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.jsonl").write_text('{"id": "a", "text": "Words."}\n')
    columns = RecordColumns(id_column="id")
    first = discover([str(tmp_path / "one" / "rows.jsonl")], columns=columns).documents[0]
    head = replace(
        head_of(tmp_path / "one" / "rows.jsonl", tmp_path),
        doc_id=first.doc_id,
        source=first.source,
        root=first.root,
    )
    second = discover([str(tmp_path / "two" / "rows.jsonl")], columns=columns)
    with pytest.raises(InvalidInput, match=r"would replace 'rows.jsonl#a', which was ingested"):
        make_plan(second, {head.doc_id: head}, recipe=RECIPE, max_bytes=MIB)
    (tmp_path / "one" / "rows.jsonl").unlink()
    assert len(make_plan(second, {head.doc_id: head}, recipe=RECIPE, max_bytes=MIB).store) == 1
