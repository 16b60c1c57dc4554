"""Damaged documents: `python -m benchmarks.fuzz --mutations 1000`.

Sound files of every format are damaged at random, laid into one folder with the sound ones, and
ingested together, with vectors from a hash; rows of record files are documents, too. What is sound
must be stored, every other document stored or in quarantine with a reason; the counts must add up;
none may hang, and none may end the run.
A second run must find nothing to do, and try none again.
"""

import argparse
import random
import re
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Final

from benchmarks.encoder import OneLineParser, whole_number
from benchmarks.fuzz_mutations import misnamed, mutate
from benchmarks.fuzz_seeds import seeds
from benchmarks.ingest_child import IngestChild, Outcome, hash_ingest
from benchmarks.ingest_contents import COLLECTION, broken_promises, contents
from benchmarks.processes import ChildFailed
from benchmarks.results_file import finish
from flows.documents.compression import full_suffix
from flows.documents.records.record_file import record_kind_of
from search.records import KIND_HEAD, KIND_QUARANTINE

SHARE_MISNAMED: Final = 0.03
"""Of the damaged files: sound ones under a wrong name."""
SOUND: Final = "nothing"
HELD_STAGES: Final = ("parse", "chunk", "embed")
"""What was turned away there is not tried again; files that cannot be read or listed always are."""
REASONS_SHOWN: Final = 60
_PARTICULAR: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\b0x[0-9a-f]+|-?\d[\d.,]*")
_KILLED: Final = re.compile(r"was killed by|ended with exit code|closed its connection")
_SLOW: Final = re.compile(r"takes more than")


def write_files(folder: Path, mutations: int, seed: int) -> dict[str, str]:
    """Fill a folder with each sound file once, and the damaged ones.

    Returns:
        What was done to each file, by its name.
    """
    rng, sound = random.Random(seed), seeds()
    folder.mkdir(parents=True, exist_ok=True)
    files = [(name, data, SOUND) for name, data in sound.items()]
    for _ in range(mutations):
        if rng.random() < SHARE_MISNAMED:
            files.append(misnamed(sound, rng))
        else:
            name = rng.choice(sorted(sound))
            files.append(mutate(name, sound[name], rng))
    done = {}
    for number, (name, data, what) in enumerate(files):
        numbered = f"{number:06}-{name}"
        (folder / numbered).write_bytes(data)
        done[numbered] = what
    return done


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Damage, ingest twice, and account for every file."""
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        place = Path(name)
        folder, store = options.keep or place / "damaged", place / "store"
        done = write_files(folder, options.mutations, options.seed)
        first, second = (ingest(folder, store, options) for _ in range(2))
        points = contents(store)
    report = first.report
    fates: dict[str, Counter[str]] = defaultdict(Counter)
    for point in points.values():
        if point.kind in (KIND_HEAD, KIND_QUARANTINE):
            fates[file_of(point.metadata["source"])][point.kind] += 1
    counts, again = report["documents"], second.report["documents"]
    lost = sorted(done.keys() - fates.keys())
    return {
        "mutations": options.mutations,
        "seed": options.seed,
        "parse_seconds": options.parse_seconds,
        "seconds": round(first.seconds, 1),
        "storing_seconds": report["storing_seconds"],
        "documents": counts,
        "adds_up": counts["seen"] == counts["stored"] + counts["unchanged"] + counts["quarantined"]
        and counts["quarantined"] == len(report["quarantine"]),
        "without_reason": sum(not entry["reason"].strip() for entry in report["quarantine"]),
        "reasons_of_several_lines": sum("\n" in e["reason"] for e in report["quarantine"]),
        "unaccounted": [name for name in lost if record_kind_of(name) is None],
        "record_files_without_rows": [name for name in lost if record_kind_of(name) is not None],
        "sound_but_quarantined": sorted(
            name
            for name, what in done.items()
            if what == SOUND and (fates[name][KIND_QUARANTINE] or not fates[name][KIND_HEAD])
        ),
        "broken_promises": broken_promises(points),
        "parsers_killed": sum(bool(_KILLED.search(e["reason"])) for e in report["quarantine"]),
        "too_slow": sum(bool(_SLOW.search(e["reason"])) for e in report["quarantine"]),
        "again": {
            "seconds": round(second.seconds, 1),
            "documents": again,
            "tried_again": sum(
                not entry["held"] and entry["stage"] in HELD_STAGES
                for entry in second.report["quarantine"]
            ),
        },
        "formats": by_format(done, fates),
        "mutated_by": Counter(
            word for what in done.values() for word in what.removesuffix(" inside").split("+")
        ),
        "reasons": reasons(report["quarantine"]),
    }


def ingest(folder: Path, store: Path, options: argparse.Namespace) -> Outcome:
    """One run over the folder.

    Raises:
        ChildFailed: it did not come to its end.
    """
    variables = {
        "SEXTANT_TEXT_COLUMN": "text",
        "SEXTANT_COLLECTION": COLLECTION,
        "SEXTANT_PARSE_SECONDS": str(options.parse_seconds),
        "SEXTANT_PARSE_MEMORY_MB": "512",
    }
    most_seconds = 300 + options.mutations * options.parse_seconds
    with IngestChild(
        hash_ingest(folder, store),
        folder=store.parent,
        threads=options.threads,
        variables=variables,
    ) as child:
        return child.end(seconds=most_seconds).require_finished()


def file_of(source: str) -> str:
    """The file that a document or a row of one lies in, by its name."""
    return re.split(r"[#:]", Path(source.split("#")[0]).name)[0]


def by_format(done: dict[str, str], fates: dict[str, Counter[str]]) -> list[dict[str, Any]]:
    """Files by suffix, and how many documents of them are stored and in quarantine."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for name in done:
        row = rows[full_suffix(name)]
        row["files"] += 1
        row["stored"] += fates[name][KIND_HEAD]
        row["quarantined"] += fates[name][KIND_QUARANTINE]
    return [
        {"format": suffix, **{k: rows[suffix][k] for k in ("files", "stored", "quarantined")}}
        for suffix in sorted(rows)
    ]


def reasons(quarantine: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Reasons without names and numbers, the most frequent first."""
    counted = Counter(
        (entry["stage"], _PARTICULAR.sub("…", re.split(r"[;(]", entry["reason"])[0]).strip()[:100])
        for entry in quarantine
    )
    return [
        {"count": count, "stage": stage, "reason": reason}
        for (stage, reason), count in counted.most_common(REASONS_SHOWN)
    ]


def is_well(result: dict[str, Any]) -> bool:
    """Whether every document was stored or turned away with a reason, once."""
    again = result["again"]
    return (
        result["adds_up"]
        and not any(
            result[name]
            for name in (
                "without_reason",
                "reasons_of_several_lines",
                "unaccounted",
                "sound_but_quarantined",
                "broken_promises",
            )
        )
        and again["documents"]["stored"] == 0
        and again["tried_again"] == 0
    )


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    """What was asked for, checked."""
    parser = OneLineParser(prog="benchmarks.fuzz", description=__doc__)
    parser.add_argument("--mutations", type=whole_number(1, 10**6), default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parse-seconds", type=float, default=5.0, metavar="N")
    parser.add_argument("--threads", type=whole_number(1, 1024), default=2, metavar="N")
    parser.add_argument("--keep", type=Path, help="write the damaged files there, and leave them")
    parser.add_argument("--scratch", type=Path, help="where the store is made")
    parser.add_argument("--file", action="store_true", help="file the result")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print; exit code 1 if a document was lost, or the run ended over one."""
    options = options_of(arguments)
    try:
        result = measure(options)
    except ChildFailed as error:
        sys.exit(f"benchmarks.fuzz: {error}")
    finish("fuzz", result, file=options.file)
    sys.exit(0 if is_well(result) else 1)


if __name__ == "__main__":
    main()
