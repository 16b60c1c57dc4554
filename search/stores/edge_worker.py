"""The process that owns a shard: `python -m search.stores.edge_worker DESCRIPTOR PARENT`.

Qdrant's engine runs in here because it never releases the GIL and can be killed by a full disk
(SIGBUS). It reads requests from the socket, answers each in turn, and ends when the socket closes
or its parent is gone. It imports the engine and the messages, nothing else of Sextant's weight.
"""

import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from search.stores import edge_lock, edge_room, edge_shard
from search.stores.edge_engine import Engine
from search.stores.edge_wire import Create, Done, Failed, Open, RefusedError, Request

PARENT_CHECK_SECONDS: Final = 2.0


def start(request: Request[Any]) -> Engine:
    """Take the collection's lock, then make or load its shard.

    Raises:
        RefusedError: the collection is in use, there already, or not there.
    """
    if not isinstance(request, Create | Open):
        raise RefusedError("unavailable", f"{type(request).__name__} before the shard was opened")
    folder = Path(request.folder)
    owner = request.owner
    try:  # held until this process ends: the descriptor is left open on purpose
        edge_lock.acquire(
            Path(request.lock), pid=owner.pid, command=owner.command, since=owner.since
        )
    except edge_lock.LockHeldError as held:
        raise RefusedError("in_use", str(held)) from None
    exists = (folder / edge_shard.MANIFEST).exists()
    if isinstance(request, Open):
        if not exists:
            raise RefusedError("not_found", f"no {edge_shard.MANIFEST} in {folder}")
        return Engine(edge_shard.load(folder), folder, request.layout)
    if exists:
        raise RefusedError("exists", f"{folder} holds a {edge_shard.MANIFEST}")
    return Engine(edge_shard.create(folder, request), folder, request.layout)


def serve(connection: Connection, parent: int) -> None:
    """Answer requests until the connection closes or the parent process is gone."""
    engine: Engine | None = None
    while os.getppid() == parent:
        try:
            # the parent's end may live on in a process that it forked: look at the parent too
            if not connection.poll(PARENT_CHECK_SECONDS):
                continue
            request = connection.recv()
        except (EOFError, OSError):
            break
        reply: Done | Failed
        try:
            if engine is None:
                engine = start(request)
                reply = Done(value=None)
            else:
                reply = Done(value=engine.answer(request))
        except RefusedError as refusal:
            reply = Failed(failure=refusal.failure, message=str(refusal), fatal=engine is None)
        except BaseException as error:  # noqa: BLE001 - the engine raises bare ones: PanicException
            panicked = not isinstance(error, Exception)
            reply = Failed(
                failure="full" if edge_room.is_out_of_space(error) else "unavailable",
                message=f"{type(error).__name__}: {error}",
                fatal=panicked or engine is None or not engine.is_open,
            )
        try:
            connection.send(reply)
        except OSError:
            break
        if isinstance(reply, Failed) and reply.fatal:
            return  # a panicked engine may hold broken locks: leave it to the log to recover
    if engine is not None:
        engine.close()


def main() -> None:
    """Serve the parent process over the socket whose descriptor stands on the command line."""
    # Ctrl-C and a service manager's SIGTERM reach the whole group; this process ends with its
    # parent, whose last writes still need it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Connection(int(sys.argv[1])) as connection:
        serve(connection, int(sys.argv[2]))


if __name__ == "__main__":
    main()
