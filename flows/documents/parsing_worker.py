"""The process that parses: `python -m flows.documents.parsing_worker DESCRIPTOR PARENT MEMORY_MB`.

Parsers meet hostile bytes here, where a hang or a crash costs one document and not the run. The
process reads a document from its socket, answers with text or with a reason, and ends when the
socket closes or its parent is gone. It imports the parsers, neither torch nor Prefect.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from flows.documents.parsing import parse
from flows.errors import DocumentRejected

PARENT_CHECK_SECONDS: Final = 1.0
GRACE_SECONDS: Final = 5.0
"""The parent ends a parse that takes too long; should it be gone, the kernel does, this later."""
MAX_MESSAGES_BYTES: Final = 1024 * 1024
"""Of warnings and crashes on standard error; no file that the process writes can grow larger."""


def limit_process(memory_mb: int) -> None:
    """Bound what this process may still take, in MiB: addresses beyond fail to be allocated.

    On Linux and elsewhere where the kernel knows the limit; time is limited everywhere.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_MESSAGES_BYTES, MAX_MESSAGES_BYTES))
    with contextlib.suppress(OSError, ValueError):  # macOS: no /proc, and no such limit
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + memory_mb * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def answer(connection: Connection, memory_mb: int) -> bool:
    """Parse one document; whether the process is fit for another, having kept its memory limit.

    The answer is a parsed document as JSON takes it, or `{"rejected": reason, "spent": bool}`.
    """
    request = json.loads(connection.recv_bytes())
    spent = False
    try:
        data = connection.recv_bytes()
        signal.setitimer(signal.ITIMER_REAL, request["seconds"] + GRACE_SECONDS)
        reply = _encoded(asdict(parse(data, format=request["format"], name=request["name"])))
    except DocumentRejected as rejected:
        reply = _encoded({"rejected": str(rejected)})
    except MemoryError:
        spent = True
        reason = (
            f"needs more than {memory_mb} MiB of memory to parse; "
            "split it, or raise SEXTANT_PARSE_MEMORY_MB"
        )
        reply = _encoded({"rejected": reason, "spent": True})
    signal.setitimer(signal.ITIMER_REAL, 0)
    connection.send_bytes(reply)
    return not spent


def _encoded(reply: dict[str, Any]) -> bytes:
    return json.dumps(reply, ensure_ascii=False).encode("utf-8", "replace")


def serve(connection: Connection, memory_mb: int) -> None:
    """Answer requests until the connection closes or the memory limit was met."""
    connection.send_bytes(b"ready")
    while answer(connection, memory_mb):
        pass


def end_with(parent: int) -> None:
    """End this process soon after its parent, even in the middle of a parse."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(1)


def main() -> None:
    """Serve the parent process over the socket whose descriptor stands on the command line."""
    descriptor, parent, memory_mb = (int(argument) for argument in sys.argv[1:])
    # Ctrl-C and a service manager's SIGTERM reach the whole group: the parent decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # The kernel's own action, death: a handler in Python would wait for a parser in C.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    limit_process(memory_mb)
    with Connection(descriptor) as connection, contextlib.suppress(EOFError, OSError):
        serve(connection, memory_mb)


if __name__ == "__main__":
    main()
