"""Pairs of texts that belong together: what contrastive tuning learns from, and their files.

A file is JSONL, plain or compressed by gzip. A row has `a` and `b`, and where there are any
`negatives` (a list of texts), `group` and `kind`; other columns are left alone.
"""

import gzip
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final

from embedder.errors import InvalidConfig
from embedder.tuning.json_rows import json_rows

FEWEST_PAIRS: Final = 2
"""One pair alone has no other pair to be told from."""
DROPOUT: Final = "dropout"
"""The kind of a pair whose sides are one text: what differs is the model's dropout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two texts that should have near vectors.

    Attributes:
        a: the first text, the query where the two play different parts.
        b: the second text, the positive.
        negatives: texts that are like `a` and yet should be far from it.
        group: pairs of one group are no negatives of each other; empty: of no group.
        kind: what made the pair; counted, and `DROPOUT` may have equal sides.
    """

    a: str
    b: str
    negatives: tuple[str, ...] = ()
    group: str = ""
    kind: str = ""

    def row(self) -> dict[str, Any]:
        """The pair as a row of a file: what is empty is left out."""
        row: dict[str, Any] = {"a": self.a, "b": self.b}
        if self.negatives:
            row["negatives"] = list(self.negatives)
        return row | {k: v for k, v in (("group", self.group), ("kind", self.kind)) if v}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSet:
    """The pairs of some files.

    Attributes:
        pairs: in the order of the files and of their rows.
        digest: SHA-256 over the pairs in hexadecimal; how a file is compressed, and columns that
            are not read, do not matter.
        rejected: why rows were left out -> how many; in the order of the reasons' names.
    """

    pairs: Sequence[Pair]
    digest: str
    rejected: Mapping[str, int]


def read_pairs(paths: Iterable[str | Path]) -> PairSet:
    """Read the pairs of files; a row that is no pair is left out and counted.

    Reasons are `empty side`, `side is no text`, `invalid Unicode`, `no column` (in a file whose
    first row has both), `equal sides`, `wrong negatives`, `wrong group`, `wrong kind` and
    `duplicate` (of an earlier pair, a and b to the letter).

    Raises:
        InvalidConfig: no file, a file that cannot be read, is not UTF-8, has a line that is no
            JSON object, or a first row without `a` and `b`; fewer than two pairs in all. The
            message names file and line.
    """
    files = [str(path) for path in paths]
    if not files:
        raise InvalidConfig("no file of pairs was given; expected one or more")
    rejected: Counter[str] = Counter()
    pairs: list[Pair] = []
    seen: set[bytes] = set()
    hasher = hashlib.sha256()
    for pair_or_reason in (found for file in files for found in _read(file)):
        if isinstance(pair_or_reason, str):
            rejected[pair_or_reason] += 1
            continue
        pair = pair_or_reason
        sides = json.dumps([pair.a, pair.b])
        key = hashlib.blake2b(sides.encode(), digest_size=16).digest()
        if key in seen:
            rejected["duplicate"] += 1
            continue
        seen.add(key)
        pairs.append(pair)
        rest = json.dumps([pair.negatives, pair.group, pair.kind])
        hasher.update(f"{sides}{rest}\n".encode())
    if len(pairs) < FEWEST_PAIRS:
        left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items()))
        raise InvalidConfig(
            f"{', '.join(map(repr, files[:3]))}: {len(pairs)} usable pairs (left out: "
            f"{left_out or 'none'}); expected {FEWEST_PAIRS} or more, since the others of a batch "
            "are a pair's negatives"
        )
    return PairSet(
        pairs=tuple(pairs),
        digest=hasher.hexdigest(),
        rejected=MappingProxyType(dict(sorted(rejected.items()))),
    )


def write_pairs(path: str | Path, pairs: Iterable[Pair]) -> int:
    """Write pairs into a file that replaces an older one only when it is whole.

    Equal pairs give equal bytes. A name that ends in `.gz` is compressed.

    Returns:
        How many were written.

    Raises:
        InvalidConfig: the file cannot be written.
    """
    target, count = Path(path), 0
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        try:
            with partial.open("wb") as raw, _packed(raw, target) as file:
                for pair in pairs:
                    file.write(line_of(pair.row()))
                    count += 1
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidConfig(
            f"{str(target)!r} cannot be written: {error.strerror or error}; give another place"
        ) from error
    return count


def line_of(row: Mapping[str, Any]) -> bytes:
    """A row as a line of JSONL in UTF-8."""
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _packed(raw: IO[bytes], target: Path) -> AbstractContextManager[gzip.GzipFile | IO[bytes]]:
    if target.suffix == ".gz":  # without name and time, which would make equal pairs differ
        return gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)
    return nullcontext(raw)


def _read(file: str) -> Iterator[Pair | str]:
    """Pairs, and reasons for rows that are none."""
    first = True
    for number, row in json_rows(file):
        if missing := [name for name in ("a", "b") if name not in row]:
            if first:
                there = ", ".join(map(str, row))[:80] or "none"
                raise InvalidConfig(
                    f"{file!r} line {number} has no column {missing[0]!r}; expected a and b, its "
                    f"columns are {there}"
                )
            yield "no column"
            continue
        first = False
        yield _pair(row)


def _pair(row: Mapping[str, Any]) -> Pair | str:
    a, b, negatives = row["a"], row["b"], row.get("negatives") or []
    group, kind = row.get("group"), row.get("kind")
    if not isinstance(a, str) or not isinstance(b, str):
        return "side is no text"
    if not a.strip() or not b.strip():
        return "empty side"
    if not isinstance(negatives, list) or not all(_is_text(text) for text in negatives):
        return "wrong negatives"
    if not isinstance(group, str | int | None):
        return "wrong group"
    if not isinstance(kind, str | None):
        return "wrong kind"
    if a.strip() == b.strip() and kind != DROPOUT:
        return "equal sides"
    group = "" if group is None else str(group)
    pair = Pair(a=a, b=b, negatives=tuple(negatives), group=group, kind=kind or "")
    if not all(map(_is_unicode, (a, b, *negatives, pair.group, pair.kind))):
        return "invalid Unicode"
    return pair


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_unicode(text: str) -> bool:
    """Whether it has no lone surrogate, which JSON can write and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
