"""Second texts that a model writes, appended batch by batch to a file that can be gone on with.

Beside the file of pairs lies a small record of how far it is. A batch's lines reach the disk before
the record says so; whatever the file has beyond the record is cut off when the run goes on. A batch
depends on the settings and its number alone, so that a run that was killed ends with the same file.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

from embedder.errors import InvalidConfig
from embedder.tuning.answers import Answer, cleaned, objection_to
from embedder.tuning.errors import TuningFailed
from embedder.tuning.pairs import Pair, line_of
from embedder.tuning.passages import LanguageOf, Passage
from embedder.tuning.structural_pairs import stable_number

RECORD_SUFFIX: Final = ".progress.json"
MAX_SOURCE_CHARACTERS: Final = 2000
"""A longer text is left out: what is written of it in a few words is not its equal."""
MIN_SOURCE_CHARACTERS: Final = 12


class Writer(Protocol):
    """Writes a text that means the same as another: an instruct model, or two translators."""

    @property
    def kinds(self) -> Sequence[str]:
        """The ways in which it can write."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides what it writes beside the seed, as JSON: files' digests, settings."""
        ...

    def write(self, texts: Sequence[str], kinds: Sequence[str], *, seed: int) -> list[Answer]:
        """An answer to each text, in one of its `kinds` each.

        Equal arguments give equal answers; another seed gives other ones.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisSettings:
    """What a run does; nothing of it may change when the run goes on.

    Attributes:
        per_text: pairs of each text, each of another kind, drawn by the seed.
        retries: how often a text whose answer is rejected is tried again, with other seeds.
        batch: texts at once; the seeds are a batch's.
        language: the one that answers must be in; empty: each source's own.
        limit: at most so many texts are read; None: all.
        seed: of the kinds and of the sampling.

    Raises:
        InvalidConfig: a number is out of range.
    """

    per_text: int = 1
    retries: int = 5
    batch: int = 8
    language: str = ""
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"per_text": 1, "retries": 0, "batch": 1, "limit": 1, "seed": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise InvalidConfig(f"{name} {value}: expected {bound} or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisReport:
    """What a run came to, its earlier parts included.

    Attributes:
        asked: answers that were asked for; each became a pair or was given up.
        pairs: how many became pairs.
        kinds: pairs by kind.
        given_up: why the last try of an answer was rejected -> how many.
        rejected: why a try was rejected -> how many, tries that were made good included.
        skipped: why texts were not asked for -> how many.
        resumed_at: batches that were there before.
    """

    asked: int
    pairs: int
    kinds: Mapping[str, int]
    given_up: Mapping[str, int]
    rejected: Mapping[str, int]
    skipped: Mapping[str, int]
    resumed_at: int


@dataclass(slots=True)
class _Progress:
    """The record beside the file."""

    run: dict[str, Any]
    batches: int = 0
    size: int = 0
    asked: int = 0
    pairs: int = 0
    done: bool = False
    kinds: Counter[str] = field(default_factory=Counter)
    given_up: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    number: int
    passage: Passage
    kind: str


class Synthesis:
    """One file of pairs in the making.

    Args:
        out: the file, or the one to go on with; not compressed.
        writer: what writes.
        source: what the texts come from, by content, such as a digest: it may not change.
        settings: how.
        language_of: tells a text's language; None: answers in any language are taken.

    Raises:
        InvalidConfig: the file was begun with other settings, texts or model, or has been changed;
            there is a file but no record of it; it cannot be written.
    """

    def __init__(
        self,
        out: str | Path,
        writer: Writer,
        *,
        source: str,
        settings: SynthesisSettings,
        language_of: LanguageOf | None,
    ) -> None:
        self._out = Path(out)
        self._record = self._out.with_name(self._out.name + RECORD_SUFFIX)
        self._writer = writer
        self._settings = settings
        self._language_of = language_of
        if settings.per_text > len(writer.kinds):
            raise InvalidConfig(
                f"per_text {settings.per_text}: expected at most {len(writer.kinds)}, one of each "
                f"kind ({', '.join(writer.kinds)})"
            )
        if self._out.suffix == ".gz":
            raise InvalidConfig(f"{str(out)!r}: lines are appended; give a name without .gz")
        run = {
            "writer": dict(writer.identity),
            "kinds": list(writer.kinds),
            "source": source,
            "languages_checked": language_of is not None,
            **asdict(settings),
        }
        self._progress = self._found(json.loads(json.dumps(run)))

    @property
    def batches_done(self) -> int:
        """Batches that are in the file."""
        return self._progress.batches

    def run(self, passages: Iterable[Passage]) -> Iterator[SynthesisReport]:
        """Write batch after batch; after each one, how far it is.

        Args:
            passages: the same texts in the same order whenever the run goes on.

        Raises:
            TuningFailed: the disk does not take a batch.
        """
        progress, skipped = self._progress, Counter[str]()
        resumed_at = progress.batches
        jobs = self._jobs(passages, skipped)
        batches = iter(lambda: list(islice(jobs, self._settings.batch)), [])
        for number, batch in enumerate(batches):
            if number < resumed_at:
                continue
            self._append(self._of_batch(number, batch), len(batch))
            yield self._report(skipped, resumed_at)
        if not progress.done:
            progress.done = True
            self._append([], 0)
        yield self._report(skipped, resumed_at)

    # -- inside ------------------------------------------------------------------------------

    def _jobs(self, passages: Iterable[Passage], skipped: Counter[str]) -> Iterator[_Job]:
        settings, number = self._settings, 0
        seen: set[int] = set()
        for passage in islice(passages, settings.limit):
            key = stable_number(passage.text)
            if len(passage.text) < MIN_SOURCE_CHARACTERS:
                skipped["too short"] += 1
            elif len(passage.text) > MAX_SOURCE_CHARACTERS:
                skipped["too long"] += 1
            elif key in seen:
                skipped["duplicate"] += 1
            else:
                seen.add(key)
                random = Random(stable_number(str(settings.seed), passage.text))
                for kind in random.sample(list(self._writer.kinds), settings.per_text):
                    yield _Job(number=number, passage=passage, kind=kind)
                    number += 1

    def _of_batch(self, number: int, batch: Sequence[_Job]) -> list[dict[str, Any]]:
        """The rows of a batch; what is rejected is written again, with another seed."""
        progress, written = self._progress, dict[int, dict[str, Any]]()
        left = list(batch)
        reasons: list[str] = []
        for attempt in range(self._settings.retries + 1):
            seed = stable_number(str(self._settings.seed), str(number), str(attempt)) >> 1
            texts = [job.passage.text for job in left]
            answers = self._writer.write(texts, [job.kind for job in left], seed=seed)
            again, reasons = [], []
            for job, raw in zip(left, answers, strict=True):
                answer = Answer(text=cleaned(raw.text), finished=raw.finished)
                reason = objection_to(
                    answer,
                    job.passage.text,
                    kind=job.kind,
                    language_of=self._language_of,
                    language=self._settings.language,
                )
                if reason:
                    progress.rejected[reason] += 1
                    again.append(job)
                    reasons.append(reason)
                else:
                    written[job.number] = _row(job, answer.text)
            left = again
            if not left:
                break
        progress.given_up.update(reasons)
        return [written[number] for number in sorted(written)]

    def _append(self, rows: Sequence[Mapping[str, Any]], asked: int) -> None:
        """Rows to the disk, then the record that they are there."""
        progress = self._progress
        content = b"".join(line_of(row) for row in rows)
        try:
            with self._out.open("ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            progress.batches += 1 if asked else 0
            progress.size += len(content)
            progress.asked += asked
            progress.pairs += len(rows)
            progress.kinds.update(str(row["kind"]) for row in rows)
            self._write_record(progress)
        except OSError as error:
            raise TuningFailed(
                f"{str(self._out)!r} cannot be written: {error.strerror or error}; what is "
                "recorded stays, the same command goes on from there"
            ) from error

    def _write_record(self, progress: _Progress) -> None:
        partial = self._record.with_name(f".{self._record.name}.partial")
        with partial.open("w", encoding="utf-8") as file:
            json.dump(
                {one.name: getattr(progress, one.name) for one in fields(progress)}, file, indent=1
            )
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._record)

    def _found(self, run: dict[str, Any]) -> _Progress:
        """The record of the run so far, held against what is asked for now; the file cut to it."""
        name = repr(str(self._out))
        try:
            if not self._record.exists():
                if self._out.exists() and self._out.stat().st_size:
                    raise InvalidConfig(
                        f"{name} is there and has no {self._record.name} beside it; give another "
                        "file, or remove it"
                    )
                self._out.touch()
                self._write_record(_Progress(run))
                return _Progress(run)
            progress = self._read_record()
            if changed := sorted(k for k in run if progress.run.get(k) != run[k]):
                raise InvalidConfig(
                    f"{name} was begun with another {_named(changed[0], progress.run, run)}; give "
                    "what it was begun with, or another file"
                )
            size = self._out.stat().st_size if self._out.exists() else 0
            if size < progress.size:
                raise InvalidConfig(
                    f"{name} has {size} bytes where {progress.size} were recorded; it was changed: "
                    f"remove it and {self._record.name}, and begin anew"
                )
            if size > progress.size:
                os.truncate(self._out, progress.size)
        except OSError as error:
            raise InvalidConfig(
                f"{name} cannot be written: {error.strerror or error}; give another place"
            ) from error
        return progress

    def _read_record(self) -> _Progress:
        try:
            read = json.loads(self._record.read_text(encoding="utf-8"))
            for key in ("kinds", "given_up", "rejected"):
                read[key] = Counter(read[key])
            return _Progress(**read)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InvalidConfig(
                f"{str(self._record)!r} is no record of a synthesis; remove it and "
                f"{self._out.name}, and begin anew"
            ) from None

    def _report(self, skipped: Counter[str], resumed_at: int) -> SynthesisReport:
        progress = self._progress
        return SynthesisReport(
            asked=progress.asked,
            pairs=progress.pairs,
            kinds=dict(sorted(progress.kinds.items())),
            given_up=dict(sorted(progress.given_up.items())),
            rejected=dict(sorted(progress.rejected.items())),
            skipped=dict(sorted(skipped.items())),
            resumed_at=resumed_at,
        )


def digest_of_files(paths: Iterable[str | Path]) -> str:
    """SHA-256 over files' bytes in hexadecimal.

    Raises:
        InvalidConfig: one cannot be read.
    """
    hasher = hashlib.sha256()
    for path in paths:
        try:
            with Path(path).open("rb") as file:
                hasher.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise InvalidConfig(
                f"{str(path)!r} cannot be read: {error.strerror or error}; check the path"
            ) from None
    return hasher.hexdigest()


def _row(job: _Job, text: str) -> dict[str, Any]:
    passage = job.passage
    pair = Pair(a=passage.text, b=text, group=passage.document, kind=job.kind)
    return pair.row() | {"index": job.number}


def _named(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if name == "writer":
        old, new = before.get("writer") or {}, now["writer"]
        differing = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
        return f"model or setting of it ({', '.join(differing)})"
    if name == "source":
        return "content of the texts' files"
    if name == "kinds":
        return f"list of kinds ({', '.join(before.get('kinds', []))})"
    return f"{name.replace('_', ' ')} ({before.get(name)!r}, now {now[name]!r})"
