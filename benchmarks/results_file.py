"""Where a benchmark was run, and how its result is filed: by name, with commit and hardware."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def surroundings() -> dict[str, Any]:
    """Commit (with a mark if the tree was changed), date, processor, cores, Python."""
    return {
        "commit": _git("rev-parse", "--short=12", "HEAD") + ("+" if _changed() else ""),
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": f"{_processor()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }


def finish(name: str, result: dict[str, Any], *, file: bool) -> None:
    """Print the result as JSON; with `file`, also write `benchmarks/results/NAME.json`."""
    filed = {"benchmark": name, **surroundings(), **result}
    text = json.dumps(filed, indent=2, ensure_ascii=False) + "\n"
    print(text)
    if file:
        (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")


def _changed() -> str:
    """What is changed in the tree, other results aside."""
    return _git("status", "-s", "--", "..", ":(exclude)../benchmarks/results")


def _git(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603
        ["git", *arguments],  # noqa: S607
        cwd=RESULTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
