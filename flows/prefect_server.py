"""The child that serves Prefect's API on the loopback: `prefect_server.py PORT [FOLDER]`.

It ends when its standard input does, that is when its parent ends, however that dies; FOLDER is
then removed. It imports nothing of Sextant's.
"""

import os
import shutil
import sys
import threading


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    for folder in sys.argv[2:]:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def main() -> None:
    """Serve until the parent is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["PREFECT__SERVER_EPHEMERAL"] = "1"
    os.environ["PREFECT__SERVER_FINAL"] = "1"

    import uvicorn
    from prefect.server.api.server import create_app

    uvicorn.run(
        create_app(ephemeral=True, final=True),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="error",
        timeout_keep_alive=120,
    )


if __name__ == "__main__":
    main()
