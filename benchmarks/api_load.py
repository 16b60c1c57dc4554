"""The HTTP API under load: `python -m benchmarks.api_load --seconds 60 [--file]`.

A real `sextant serve` on the loopback, over an embedded store of made-up chunks and with the
starter; so many clients, each with a connection of its own, ask one search after the other, no two
alike, so that every query is encoded. Any status but 200 is an error. Clients and server share the
machine's cores.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.process_watch import cpu_seconds, process_tree
from benchmarks.results_file import finish
from benchmarks.search_corpus import SearchCorpus
from embedder.specification import specify
from search.collections import create_aliased
from search.stores.contract import Manifest
from search.stores.edge import EdgeStore

COLLECTION: Final = "load"
BATCH: Final = 1024
QUESTIONS: Final = 500
SETTLED_SECONDS: Final = 10.0
"""After which memory is read a second time: what is loaded once is loaded by then."""
READY_SECONDS: Final = 300.0
RUNS: Final = (("hybrid", True), ("hybrid", False), ("lexical", True))
"""Mode, and whether each hit gets its best sentence, for which all sentences are encoded."""
PERCENTILES: Final = (50, 95, 99)


def fill(folder: Path, chunks: int) -> list[str]:
    """Make a collection of so many chunks; queries about it."""
    specification = specify("starter")
    corpus = SearchCorpus(chunks, specification.files.folder / "tokenizer.json")
    manifest = Manifest(
        name=COLLECTION,
        dimension=specification.dimension,
        fingerprint=specification.fingerprint,
        encoder=specification.describe(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with contextlib.closing(EdgeStore(folder)) as store:
        collection = create_aliased(store, COLLECTION, manifest)
        points = corpus.points()
        with collection.bulk_load():
            while batch := list(itertools.islice(points, BATCH)):
                collection.upsert(batch)
        collection.optimize()
    return [question.text for question in corpus.questions(QUESTIONS)]


class Server:
    """`sextant serve` on a free port, and what it takes."""

    def __init__(self, store: Path, log: Path, *options: str) -> None:
        """Started, and ready."""
        program = "from flows.cli import main; main()"
        command = [sys.executable, "-c", program, "serve", "--port", "0", "--store", str(store)]
        with log.open("w") as errors:
            self.process = subprocess.Popen(  # noqa: S603
                [*command, "--collection", COLLECTION, *options],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        line = self.process.stdout.readline() if self.process.stdout else ""
        if "127.0.0.1:" not in line:
            raise SystemExit(f"the server did not start; see {log.read_text()}")
        self.port = int(line.partition("127.0.0.1:")[2].split()[0])
        until = time.monotonic() + READY_SECONDS
        while ask(self.connect(), "GET", "/readyz")[0] != 200:
            if time.monotonic() > until:
                raise SystemExit(f"the server is not ready; see {log.read_text()}")
            time.sleep(0.2)

    def connect(self) -> http.client.HTTPConnection:
        """A connection of a client's own."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def memory_mb(self) -> dict[str, float]:
        """Resident memory of the server, and of it with its engine's process."""
        found = [_resident_mb(pid) for pid in process_tree(self.process.pid)]
        return {"server": round(found[0], 1), "with_engine": round(sum(found), 1)}

    def cpu_seconds(self) -> float:
        """Processor time, the engine's included."""
        return cpu_seconds(process_tree(self.process.pid))

    def stop(self) -> dict[str, Any]:
        """Seconds until it has ended as asked, and with which code."""
        began = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        return {"seconds": round(time.perf_counter() - began, 2), "exit_code": code}


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: str | None = None
) -> tuple[int, bytes]:
    """Status and body of one answer."""
    kind = {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, path, body, kind)
    answer = connection.getresponse()
    return answer.status, answer.read()


def load(
    server: Server,
    queries: Sequence[str],
    *,
    clients: int,
    seconds: float,
    mode: str,
    evidence: bool,
) -> dict[str, Any]:
    """Let clients ask; what came of it."""
    numbers = itertools.count()
    outcomes: Counter[str] = Counter()
    took: list[list[float]] = [[] for _ in range(clients)]
    memory = {"start": server.memory_mb()}
    began, cpu = time.perf_counter(), server.cpu_seconds()

    def bodies() -> Iterator[str]:
        for number in numbers:
            query = f"{queries[number % len(queries)]} {number}"
            yield json.dumps({"query": query, "mode": mode, "evidence": evidence})

    def client(times: list[float]) -> None:
        connection = server.connect()
        for body in bodies():
            asked = time.perf_counter()
            if asked - began >= seconds:
                return
            try:
                status, answer = ask(connection, "POST", "/v1/search", body)
                outcome = str(status)
                if status == 200 and json.loads(answer)["degraded"]:
                    outcome = "degraded"
            except (OSError, http.client.HTTPException, ValueError) as error:
                outcome = type(error).__name__
                connection = server.connect()
            times.append((time.perf_counter() - asked) * 1e3)
            outcomes[outcome] += 1

    threads = [threading.Thread(target=client, args=(times,)) for times in took]
    for thread in threads:
        thread.start()
    time.sleep(min(SETTLED_SECONDS, seconds))
    memory["after_10_s"] = server.memory_mb()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - began
    memory["end"] = server.memory_mb()
    every = np.concatenate([np.asarray(times) for times in took])
    return {
        "mode": mode,
        "evidence": evidence,
        "clients": clients,
        "seconds": round(elapsed, 1),
        "requests": len(every),
        "requests_per_second": round(len(every) / elapsed, 1),
        "errors": sum(count for outcome, count in outcomes.items() if outcome != "200"),
        "outcomes": dict(sorted(outcomes.items())),
        "ms": {f"p{p}": round(float(np.percentile(every, p)), 1) for p in PERCENTILES},
        "server_cpu_ms_per_request": round((server.cpu_seconds() - cpu) * 1e3 / len(every), 2),
        "memory_mb": memory,
        "growth_after_10_s_mb": round(memory["end"]["server"] - memory["after_10_s"]["server"], 1),
    }


def _resident_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def main() -> None:
    """Fill a store, serve it, ask it, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--folder", help="where files go [default: the system's]")
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store, log = Path(folder) / "store", Path(folder) / "log"
        queries = fill(store, options.chunks)
        rows = []
        for mode, evidence in RUNS:
            server = Server(store, log)
            try:
                row = load(
                    server,
                    queries,
                    clients=options.clients,
                    seconds=options.seconds,
                    mode=mode,
                    evidence=evidence,
                )
                row["stop"] = server.stop()
            finally:
                server.process.kill()
            with log.open() as lines:
                written = [json.loads(line) for line in lines]
            complaints = [line for line in written if line["level"] != "info"]
            rows.append(row | {"log_lines": len(written), "complaints": complaints[:10]})
    finish("api_load", {"chunks": options.chunks, "runs": rows}, file=options.file)


if __name__ == "__main__":
    main()
