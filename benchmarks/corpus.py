"""The main job on a folder of documents: `python -m benchmarks.corpus FOLDER...`.

First run, second run (everything unchanged), a run after one file was edited, three queries. The
folders are copied first: the edit happens in the copy. Times are of whole processes, start-up
included.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.results_file import finish

QUERIES = (
    "how should code be laid out and named",
    "pattern matching statement",
    "why the global interpreter lock can be removed",
)


def sextant(*arguments: str, folder: Path) -> tuple[dict[str, Any], float]:
    """Run a command; its JSON and its wall-clock seconds.

    Raises:
        RuntimeError: it failed.
    """
    began = time.perf_counter()
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "flows", *arguments, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode not in (0, 3):
        raise RuntimeError(f"sextant {' '.join(arguments)}: {done.stderr.strip()}")
    return json.loads(done.stdout), seconds


def measure(folders: list[Path], edit_suffix: str) -> dict[str, Any]:
    """All runs, in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for folder in folders:
            shutil.copytree(folder, place / folder.name)
        names = [folder.name for folder in folders]
        first, first_seconds = sextant("ingest", *names, folder=place)
        second, second_seconds = sextant("ingest", *names, folder=place)
        edited = sorted((place / names[0]).rglob(f"*{edit_suffix}"))[0]
        with edited.open("a", encoding="utf-8") as file:
            file.write("\nOne more sentence, to see that one document is stored again.\n")
        third, third_seconds = sextant("ingest", *names, folder=place)
        found = []
        for query in QUERIES:
            answer, _ = sextant("search", query, "-k", "1", folder=place)
            top = answer["hits"][0]
            found.append(
                {
                    "query": query,
                    "title": top["title"],
                    "doc_id": top["doc_id"],
                    "score": round(top["score"], 3),
                    "timings_ms": answer["timings_ms"],
                }
            )
    return {
        "folders": names,
        "first": {
            "documents": first["documents"],
            "chunks": first["chunks"]["stored"],
            "tokens": first["tokens"],
            "seconds": round(first_seconds, 1),
            "tokens_per_second": round(first["tokens"] / first_seconds),
            "quarantine": first["quarantine"][:5],
        },
        "unchanged": {
            "documents": second["documents"],
            "seconds": round(second_seconds, 2),
            "times_faster": round(first_seconds / second_seconds, 1),
        },
        "edited": {"documents": third["documents"], "seconds": round(third_seconds, 1)},
        "queries": found,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--edit-suffix", default=".md", help="which kind of file to edit")
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args()
    finish("corpus", measure(options.folders, options.edit_suffix), file=options.file)


if __name__ == "__main__":
    main()
