"""What a process and all that descend from it take: memory at its peak, and processor time."""

import os
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

EVERY_SECONDS: Final = 0.2

OWN: Final = "own"
ENGINE: Final = "engine"
PARSERS: Final = "parsers"
PREFECT: Final = "prefect"
OTHERS: Final = "others"

ROLES: Final = {
    b"search.stores.edge_worker": ENGINE,
    b"flows.documents.parsing_worker": PARSERS,
    b"flows.documents.records.table_worker": PARSERS,
    b"prefect_server.py": PREFECT,
}
"""What stands in the command line of each kind of process that an ingest starts."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")


class MemoryWatch:
    """Adds up anonymous memory over a process tree, now and then, and keeps the largest sums.

    Anonymous memory is what a process has written; files that it has mapped, which the system may
    drop at any time, are left out: the engine maps its whole store. Watch from outside of the tree
    where its processor time is measured, too.
    """

    def __init__(self, root: int, *, every_seconds: float = EVERY_SECONDS) -> None:
        self.peak_mib: dict[str, float] = {}
        """By role; `all` is the largest sum at one moment, `without engine` likewise."""
        self._root = root
        self._every_seconds = every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def look(self) -> None:
        """Look once; `with` does so again and again."""
        found: Counter[str] = Counter()
        for pid, role in roles(self._root).items():
            found[role] += _anonymous_kib(pid)
        sums = {
            **found,
            "all": found.total(),
            "without engine": found.total() - found[ENGINE],
        }
        for name, kib in sums.items():
            self.peak_mib[name] = max(self.peak_mib.get(name, 0.0), round(kib / 1024, 1))

    def _watch(self) -> None:
        while not self._over.wait(self._every_seconds):
            self.look()


def process_tree(root: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    tree = [root]
    for pid in tree:
        tree += [child for child, parent in parents.items() if parent == pid]
    return tree


def roles(root: int) -> dict[int, str]:
    """Each process of a tree, and what it is for.

    A process that was just forked, and still is its parent, is left out: it shares its memory.
    """
    own = command_line(root)
    found = {root: OWN}
    for pid in process_tree(root)[1:]:
        line = command_line(pid)
        if line and line != own:
            found[pid] = next((role for mark, role in ROLES.items() if mark in line), OTHERS)
    return found


def marked(mark: str) -> list[int]:
    """Processes that carry `mark` in their environment, whoever their parent is by now."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:  # gone, or somebody else's
            continue
    return found


def command_line(pid: int) -> bytes:
    """As the system has it; empty once the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time of living processes, and of their children that have been waited for."""
    ticks = 0
    for pid in pids:
        ticks += sum(map(int, _stat(pid)[11:15]))
    return ticks / _TICKS


def _stat(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` that follow the name; none once the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _anonymous_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
