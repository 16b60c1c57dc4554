"""The child that serves Prefect's API on the loopback.

    prefect_server.py PORT [--schedules] [--remove FOLDER]

It ends when its standard input does, that is when its parent ends, however that dies; FOLDER is
then removed. With `--schedules` it also does what makes schedules fire, finds late runs, and acts
on events. It imports nothing of Sextant's.
"""

import argparse
import os
import shutil
import sys
import threading


def _end_with_parent(remove: str | None) -> None:
    sys.stdin.buffer.read()
    if remove is not None:
        shutil.rmtree(remove, ignore_errors=True)
    os._exit(0)


def main() -> None:
    """Serve until the parent is gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--schedules", action="store_true")
    parser.add_argument("--remove")
    asked = parser.parse_args()
    threading.Thread(target=_end_with_parent, args=(asked.remove,), daemon=True).start()
    if not asked.schedules:
        os.environ["PREFECT__SERVER_EPHEMERAL"] = "1"
    os.environ["PREFECT__SERVER_FINAL"] = "1"

    import uvicorn
    from prefect.server.api.server import create_app

    uvicorn.run(
        create_app(ephemeral=not asked.schedules, final=True),
        host="127.0.0.1",
        port=asked.port,
        log_level="error",
        timeout_keep_alive=120,
    )


if __name__ == "__main__":
    main()
