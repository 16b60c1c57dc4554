"""Questions asked by one client or by several at once: how long each waits, how many a second."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from benchmarks.process_watch import cpu_seconds
from benchmarks.search_corpus import Question

WARM_UP: Final = 20
"""Questions asked beforehand, which do not count."""
PERCENTILES: Final = (50, 95, 99)

Ask = Callable[[Question], object]


def measure(
    name: str,
    ask: Ask,
    questions: Sequence[Question],
    *,
    clients: int,
    seconds: float,
    engine_pid: int | None = None,
) -> dict[str, Any]:
    """Ask the questions in turn, each once, until they or the seconds are over.

    Args:
        name: What is measured.
        ask: Answers one.
        questions: At least `WARM_UP` and one more; those first ones warm up.
        clients: Threads that ask, each its next question when it has an answer.
        seconds: After which no further question is asked.
        engine_pid: The engine's process; None: it is this one.

    Returns:
        Milliseconds that a question takes, from asking to the answer, and questions a second;
        milliseconds of processor time, of this process and of the engine's.

    Raises:
        Exception: what an answer raised; the others are then worth nothing.
    """
    for question in questions[:WARM_UP]:
        ask(question)
    waiting = iter(questions[WARM_UP:])
    drawing = threading.Lock()
    began = time.perf_counter()
    own, engine = time.process_time(), _cpu_seconds(engine_pid)

    def client() -> list[float]:
        took = []
        while time.perf_counter() - began < seconds:
            with drawing:
                question = next(waiting, None)
            if question is None:
                break
            asked = time.perf_counter()
            ask(question)
            took.append((time.perf_counter() - asked) * 1e3)
        return took

    if clients == 1:
        took = client()
    else:
        with ThreadPoolExecutor(clients) as pool:
            running = [pool.submit(client) for _ in range(clients)]
            took = list(itertools.chain.from_iterable(one.result() for one in running))
    wall = time.perf_counter() - began
    spread = np.percentile(took, PERCENTILES).round(3).tolist()
    return {
        "name": name,
        "clients": clients,
        "questions": len(took),
        **{f"p{part}_ms": value for part, value in zip(PERCENTILES, spread, strict=True)},
        "per_second": round(len(took) / wall, 1),
        "own_cpu_ms": round((time.process_time() - own) * 1e3 / len(took), 3),
        "engine_cpu_ms": None
        if engine_pid is None
        else round((_cpu_seconds(engine_pid) - engine) * 1e3 / len(took), 3),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _cpu_seconds(pid: int | None) -> float:
    """Processor time of a process so far; 0 for none."""
    return 0.0 if pid is None else cpu_seconds([pid])
