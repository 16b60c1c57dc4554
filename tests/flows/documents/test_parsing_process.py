"""A parser that hangs, dies or bloats costs its document, and nothing else."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flows.documents import parsing_process
from flows.documents.parsing import parse
from flows.documents.parsing_process import ParseLimits, Parsers
from flows.errors import DocumentRejected, FlowError

SLOW_PAGE = ("<p>needle " + "<b>a</b>" * 1_500_000).encode()
"""Half a minute of work for the parser of HTML."""


@pytest.fixture
def parsers() -> Iterator[Parsers]:
    """One process, a second a document."""
    pool = Parsers(ParseLimits(seconds=1.0), processes=1)
    assert pool.parse(b"warm", format="text", name="x").text == "warm"
    yield pool
    pool.close()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def require_works(pool: Parsers) -> None:
    """The next document knows nothing of the last."""
    parsed = pool.parse(b"# A\n\nnext\n", format="markdown", name="x")
    assert [heading.title for heading in parsed.headings] == ["A"]


@pytest.mark.parametrize(
    ("data", "format_"),
    [
        ("# T\u00eatre\n\ntext \U0001f600\n".encode(), "markdown"),
        (b"<title>T</title><h1>A</h1><p>words</p>", "html"),
        (b"T\n=\n\ntext\n", "restructuredtext"),
    ],
)
def test_a_document_comes_back_as_it_was_parsed(
    data: bytes, format_: str, parsers: Parsers
) -> None:
    """Text, title, headings and all: the same as in this process."""
    expected = parse(data, format=format_, name="a/b.c")  # type: ignore[arg-type]
    assert parsers.parse(data, format=format_, name="a/b.c") == expected  # type: ignore[arg-type]


def test_a_rejection_comes_back_with_its_reason(parsers: Parsers) -> None:
    """The process goes on."""
    (pid,) = parsers.pids
    with pytest.raises(DocumentRejected, match=r"^looks binary: a PNG image"):
        parsers.parse(b"\x89PNG....", format="text", name="x")
    assert parsers.pids == (pid,)


def test_a_parse_that_takes_too_long_is_ended(parsers: Parsers) -> None:
    """Within its limit, with the limit in the reason; the process is replaced."""
    (pid,) = parsers.pids
    begun = time.monotonic()
    with pytest.raises(
        DocumentRejected, match=r"takes more than 1 s; split it, skip it, or raise SEXTANT_PARSE_S"
    ):
        parsers.parse(SLOW_PAGE, format="html", name="x")
    assert time.monotonic() - begun < 10
    assert not is_running(pid)
    require_works(parsers)


def test_a_process_that_does_not_even_read_is_ended(parsers: Parsers) -> None:
    """A large document does not fit into the socket; sending it gives up, too."""
    (pid,) = parsers.pids
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(DocumentRejected, match="takes more than 1 s"):
        parsers.parse(b"x" * 8_000_000, format="text", name="x")
    assert not is_running(pid)
    require_works(parsers)


def test_a_process_killed_in_mid_parse_costs_no_document(parsers: Parsers) -> None:
    """As the kernel does when memory runs out, whoever used it up: it is parsed by another."""
    (pid,) = parsers.pids
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
    assert parsers.parse(b"words", format="text", name="x").text == "words"
    assert not is_running(pid)
    require_works(parsers)


def test_a_document_whose_parser_is_killed_twice_is_rejected(
    parsers: Parsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be what uses the memory up; the other documents are parsed."""
    ask = parsing_process._Process._ask

    def killed(process: Any, *arguments: Any) -> Any:
        os.kill(process.pid, signal.SIGKILL)
        return ask(process, *arguments)

    monkeypatch.setattr(parsing_process._Process, "_ask", killed)
    with pytest.raises(DocumentRejected, match=r"its text parser was killed by SIGKILL \(its mem"):
        parsers.parse(b"words", format="text", name="x")
    monkeypatch.undo()
    require_works(parsers)


def test_a_process_that_died_between_documents_is_not_noticed(parsers: Parsers) -> None:
    """Nothing is rejected for it."""
    (pid,) = parsers.pids
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.3)
    require_works(parsers)
    assert parsers.pids != (pid,)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_memory_is_bounded() -> None:
    """A page of many elements needs some hundred bytes for each."""
    pool = Parsers(ParseLimits(seconds=60, memory_mb=64), processes=1)
    try:
        with pytest.raises(DocumentRejected, match=r"^needs more than 64 MiB .*_PARSE_MEMORY_MB"):
            pool.parse(b"<p>" + b"<b>a</b>" * 1_000_000, format="html", name="x")
        require_works(pool)
    finally:
        pool.close()


def test_threads_share_the_processes() -> None:
    """Eight threads and two processes: all documents are parsed, each by one of the two."""
    pool = Parsers(processes=2)
    texts: list[str] = []

    def work(number: int) -> None:
        data = f"text {number}".encode()
        texts.extend(pool.parse(data, format="text", name="x").text for _ in range(10))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(texts) == sorted([f"text {number}" for number in range(8)] * 10)
    assert len(pool.pids) <= 2
    pool.close()


def test_a_process_is_replaced_after_its_share(
    parsers: Parsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What parsers leak does not add up."""
    monkeypatch.setattr(parsing_process, "DOCUMENTS_PER_PROCESS", 2)
    (pid,) = parsers.pids
    require_works(parsers)
    assert not is_running(pid)
    require_works(parsers)


def test_closing_ends_the_processes_even_in_mid_parse() -> None:
    """Whoever waits learns that the pool is closed; the document is not to blame."""
    pool = Parsers(processes=1)
    pool.parse(b"warm", format="text", name="x")
    (pid,) = pool.pids
    threading.Timer(0.3, pool.close).start()
    with pytest.raises(FlowError, match="closed") as raised:
        pool.parse(SLOW_PAGE, format="html", name="x")
    assert not isinstance(raised.value, DocumentRejected)
    assert not is_running(pid)
    with pytest.raises(FlowError, match="closed"):
        pool.parse(b"x", format="text", name="x")
    pool.close()


@pytest.mark.parametrize("ending", ["os.kill(os.getpid(), 9)", "sys.exit()"])
def test_processes_end_with_their_parent(ending: str) -> None:
    """Killed or ended in order, and whether its children wait or work."""
    program = (
        "import os, sys, threading, time\n"
        "from flows.documents.parsing_process import Parsers\n"
        "pool = Parsers()\n"
        "pool.parse(b'x', format='text', name='x')\n"
        "page = b'<p>' + b'<b>a</b>' * 1_500_000\n"
        "work = lambda: pool.parse(page, format='html', name='x')\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "time.sleep(0.2)\n"
        "pool.pids and print(*pool.pids, flush=True)\n"
        f"{ending}\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    pids = [int(word) for word in run.stdout.split()]
    assert pids, run.stderr
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_process_that_does_not_come_up_is_no_document_s_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A broken installation stops the run instead of quarantining every document."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    pool = Parsers(processes=1)
    with pytest.raises(FlowError, match="process for parsing ended with exit code 1") as raised:
        pool.parse(b"x", format="text", name="x")
    assert not isinstance(raised.value, DocumentRejected)
    pool.close()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FlowError, match="no process for parsing could be started: No such file"):
        Parsers()


def test_the_worker_is_light_and_knows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither torch nor Prefect nor numpy; and the environment it gets holds no key of ours."""
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "import flows.documents.parsing_worker, sys\n"
            "print(*({'torch', 'prefect', 'numpy', 'pydantic', 'lxml'} & set(sys.modules)))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == ""
    monkeypatch.setenv("SEXTANT_API_KEY", "hunter2")
    assert "hunter2" not in str(parsing_process.worker_environment())
