"""Pairs as they are asked for on the command line: files found, passages read, pairs written."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flows.documents.globs import Selection
from flows.documents.listing import Unreadable
from flows.errors import DocumentRejected, FlowError, InvalidInput
from flows.progress import Progress
from flows.settings import Settings

if TYPE_CHECKING:
    from embedder.tuning.passages import LanguageOf, Passage
    from embedder.tuning.synthesis import SynthesisReport, SynthesisSettings, Writer
    from flows.documents.source_document import SourceDocument

ROWS: Final = (".jsonl", ".jsonl.gz")
"""Files of passages; everything else is read as documents."""


def kinds_and_limits(given: str) -> tuple[list[str], dict[str, int]]:
    """`title,crop=500` as kinds, and the most pairs of those that say so.

    Raises:
        InvalidInput: a kind is unknown or there twice, or a number is none.
    """
    from embedder.tuning.structural_pairs import KINDS

    kinds: list[str] = []
    limits: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in given.split(","))):
        kind, has_limit, number = part.partition("=")
        if kind not in KINDS or kind in kinds:
            raise InvalidInput(
                f"--kinds {given!r}: {kind!r} is unknown or twice there; expected some of "
                f"{','.join(KINDS)}"
            )
        kinds.append(kind)
        if has_limit:
            if not number.isascii() or not number.isdigit() or int(number) < 1:
                raise InvalidInput(f"--kinds {part!r}: expected a number from 1, as {kind}=1000")
            limits[kind] = int(number)
    if not kinds:
        raise InvalidInput(f"--kinds {given!r}: expected some of {','.join(KINDS)}")
    return kinds, limits


def make_structural(
    sources: Sequence[str],
    out: str,
    settings: Settings,
    progress: Progress,
    *,
    kinds: str,
    limit: int | None,
    near: bool,
    language: str | None,
    seed: int,
) -> dict[str, Any]:
    """Write the pairs that files and folders hold of themselves; what became of all, as JSON.

    Raises:
        InvalidInput: an option or a source is wrong.
        FlowError: there is not one pair.
    """
    from embedder.tuning.deduplication import Deduplication, counted, sample
    from embedder.tuning.pairs import write_pairs
    from embedder.tuning.passages import in_language
    from embedder.tuning.structural_pairs import StructuralPairs
    from flows.documents.language import language_of

    names, limits = kinds_and_limits(kinds)
    check_out(out, sources)
    reading = Passages(sources, settings)
    rejected: Counter[str] = Counter()
    structural = StructuralPairs(names, seed=seed)
    passages: Iterable[Passage] = reading.of(progress)
    if language is not None:
        passages = in_language(passages, language, language_of, rejected)
    pairs = Deduplication(near=near, rejected=rejected).of(structural.of(passages))
    made: Counter[str] = Counter()
    drawn: Counter[str] = Counter()
    chosen = sample(counted(pairs, made), limit=limit, by_kind=limits, seed=seed)
    first = next(chosen, None)
    if first is None:
        reasons = rejected + structural.rejected + reading.rejected
        left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        raise FlowError(
            f"{', '.join(map(repr, sources[:3]))}: no pairs of kind {', '.join(names)} (left out: "
            f"{left_out or 'nothing'}); give other kinds or sources"
        )
    written = write_pairs(out, counted(chain([first], chosen), drawn))
    return {
        "out": out,
        "pairs": written,
        "kinds": dict(sorted(drawn.items())),
        "found": dict(sorted(made.items())),
        "passages": reading.count,
        "rejected": dict(sorted((rejected + structural.rejected + reading.rejected).items())),
        "rejected_documents": [
            {"path": one.path, "reason": one.reason} for one in reading.unreadable
        ],
    }


def check_out(out: str, sources: Sequence[str]) -> None:
    """Check a place for pairs before work begins.

    Raises:
        InvalidInput: it is no file in a folder that is there, or one of the sources.
    """
    path = Path(out)
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidInput(f"--out {out!r}: expected a file in a folder that is there")
    if not path.name.removesuffix(".gz").endswith(".jsonl"):
        raise InvalidInput(f"--out {out!r}: expected a name that ends in .jsonl or .jsonl.gz")
    if any(Path(source).resolve() == path.resolve() for source in sources):
        raise InvalidInput(f"--out {out!r} is read from, too; give another file")


class Passages:
    """The passages of files of passages, and of documents.

    Args:
        sources: `.jsonl` files have a passage a row; the others are what `ingest` reads.
        settings: what limits documents, and which of them count.

    Raises:
        InvalidInput: a source is not there, or no parser reads it.
    """

    def __init__(self, sources: Sequence[str], settings: Settings) -> None:
        from flows.documents.sources import discover

        self._rows = [source for source in sources if source.endswith(ROWS)]
        for file in self._rows:
            if not Path(file).is_file():
                raise InvalidInput(f"{file!r}: no such file; check the path")
        others = [source for source in sources if source not in self._rows]
        self._settings = settings
        self._documents: tuple[SourceDocument, ...] = ()
        self.rejected: Counter[str] = Counter()
        self.unreadable: list[Unreadable] = []
        self.count = 0
        if others:
            listing = discover(
                others,
                Selection(include=settings.include, exclude=settings.exclude),
                settings.record_columns,
                remote=settings.remote_limits,
            )
            self._documents = listing.documents
            self.unreadable += [*listing.unreadable, *listing.rejected]

    def of(self, progress: Progress) -> Iterator["Passage"]:
        """One passage after the other; documents that cannot be read are listed."""
        from embedder.tuning.passages import read_passages

        progress.stage("passages")
        rows = chain.from_iterable(read_passages(file, self.rejected) for file in self._rows)
        for passage in chain(rows, self._of_documents()):
            self.count += 1
            progress.advance()
            yield passage

    def _of_documents(self) -> Iterator["Passage"]:
        if not self._documents:
            return
        from embedder.presets import STARTER_FOLDER
        from flows.documents.chunking import Chunker
        from flows.documents.parsing_process import ParseLimits, Parsers

        settings = self._settings
        # Whose tokens does not matter: they only say how long a passage may be.
        tokenizer = (STARTER_FOLDER / "tokenizer.json").read_text(encoding="utf-8")
        chunker = Chunker(tokenizer, max_tokens=settings.chunk_tokens)
        limits = ParseLimits(seconds=settings.parse_seconds, memory_mb=settings.parse_memory_mb)
        parsers = Parsers(limits, processes=1)
        try:
            for document in self._documents:
                try:
                    data = document.read(max_bytes=settings.max_document_mb * 2**20)
                    parsed = parsers.parse(data, format=document.format, name=document.name)
                    chunks = chunker.chunk(parsed).chunks
                except DocumentRejected as error:
                    self.unreadable.append(Unreadable(path=document.source, reason=str(error)))
                    continue
                for chunk in chunks:
                    yield _passage(document, parsed.title, chunk)
        finally:
            parsers.close()


def _passage(document: "SourceDocument", title: str, chunk: Any) -> "Passage":
    """A chunk as a passage, without the line of its own heading above it."""
    from embedder.tuning.passages import Passage

    text = chunk.text.strip()
    headings = tuple(" ".join(heading.split()) for heading in chunk.headings)
    first, _, rest = text.partition("\n")
    if headings and rest.strip() and first.strip("#=*-~ \t\r") == headings[-1]:
        text = rest.lstrip("=-~^\"'`+*# \t\r\n")
    return Passage(
        text=text,
        title=document.title or title,
        document=document.doc_id,
        number=chunk.ordinal,
        headings=headings,
    )


def synthesise(
    texts: str,
    out: str,
    progress: Progress,
    writer: "Writer",
    settings: "SynthesisSettings",
    language_of: "LanguageOf | None",
) -> "SynthesisReport":
    """Write second texts to those of a file, or go on with it.

    Raises:
        InvalidConfig: see `embedder.tuning.synthesis`.
        InvalidInput: the file has no text that can be asked for.
    """
    from embedder.tuning.passages import read_texts
    from embedder.tuning.synthesis import Synthesis, digest_of_files

    rejected: Counter[str] = Counter()
    passages = _some(read_texts(texts, rejected), texts)
    synthesis = Synthesis(
        out,
        writer,
        source=digest_of_files([texts]),
        settings=settings,
        language_of=language_of,
    )
    progress.stage("batches")
    progress.advance(synthesis.batches_done)
    reports = synthesis.run(passages)
    report = next(reports)
    for later in reports:
        report = later
        progress.advance()
    skipped = Counter(report.skipped) + rejected
    if not report.asked:
        left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
        raise InvalidInput(f"{texts!r} has no text to write from (left out: {left_out or 'none'})")
    return replace(report, skipped=dict(sorted(skipped.items())))


def _some(passages: Iterator["Passage"], texts: str) -> Iterator["Passage"]:
    """The passages, once it is known that there is one."""
    first = next(passages, None)
    if first is None:
        raise InvalidInput(f"{texts!r} has no texts; expected one a line, or rows with 'text'")
    return chain([first], passages)


def examine(files: Sequence[str]) -> dict[str, Any]:
    """What files of pairs hold, as JSON.

    Raises:
        InvalidConfig: see `embedder.tuning.pairs.read_pairs`.
    """
    from embedder.tuning.deduplication import Deduplication
    from embedder.tuning.false_negatives import comparable
    from embedder.tuning.pairs import read_pairs

    found = read_pairs(files)
    twins: Counter[str] = Counter()
    for _ in Deduplication(near=True, rejected=twins).of(found.pairs):
        pass
    repeated = Counter(hash(comparable(side)) for p in found.pairs for side in {p.a, p.b})
    return {
        "files": list(files),
        "pairs": len(found.pairs),
        "digest": found.digest,
        "rejected": dict(found.rejected),
        "kinds": dict(Counter(p.kind or "(none)" for p in found.pairs).most_common()),
        "groups": len({p.group for p in found.pairs if p.group}),
        "with_negatives": sum(1 for p in found.pairs if p.negatives),
        "duplicates": {"equal": twins["duplicate"], "near": twins["near duplicate"]},
        "texts_in_several_pairs": sum(1 for count in repeated.values() if count > 1),
        "characters": {
            "a": _spread([len(p.a) for p in found.pairs]),
            "b": _spread([len(p.b) for p in found.pairs]),
        },
    }


def _spread(lengths: list[int]) -> Mapping[str, int]:
    ordered = sorted(lengths)
    at = {"least": 0.0, "median": 0.5, "p90": 0.9, "most": 1.0}
    return {name: ordered[round(share * (len(ordered) - 1))] for name, share in at.items()}
