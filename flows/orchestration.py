"""Prefect for one-off runs: its API as a quiet child process that cannot outlive its parent.

Prefect starts such a server by itself, too, but leaves it behind when the flow's process is killed,
and only starts it when the first flow does. Ours dies with its parent (it watches a pipe), and can
start early, while the encoder loads. Nothing here imports prefect: the settings must stand in the
environment before anybody does.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from filelock import FileLock, Timeout

from flows.errors import FlowError

START_TIMEOUT_SECONDS: Final = 120.0
API_URL: Final = "PREFECT_API_URL"
SERVER: Final = Path(__file__).with_name("prefect_server.py")
"""Run as a file with `-P`, so that nothing in the working folder can shadow a module of its."""

QUIET: Final[dict[str, str]] = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_UI_ENABLED": "false",
    "PREFECT_TASKS_DEFAULT_NO_CACHE": "true",
    "PREFECT_TASKS_RUNNER_THREAD_POOL_MAX_WORKERS": "4",
    "PREFECT_CLI_PROMPT": "false",
}
"""Settings without which Prefect phones home, talks too much, or blocks after bursts of tasks."""


class PrefectAPI:
    """The Prefect API of this process: started once, shared by its flows, gone when it ends.

    It is not stopped by hand: Prefect's clients drain their last events when the interpreter exits,
    and the child only ends after that, when its parent's end of the pipe is closed.

    Where `PREFECT_API_URL` is set, that server is used and none is started.
    """

    _running: ClassVar["PrefectAPI | None"] = None

    def __init__(self, home: Path) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        self._child: subprocess.Popen[bytes] | None = None
        self._url = os.environ.get(API_URL, "")
        if self._url:
            return
        _bypass_proxies()
        home, temporary = self._claim(home.absolute())
        os.environ["PREFECT_HOME"] = str(home)
        port = _free_port()
        self._url = f"http://127.0.0.1:{port}/api"
        self._log = home / "server.log"
        command = [sys.executable, "-P", str(SERVER), str(port)]
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and file
                [*command, str(home)] if temporary else command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=home,  # Prefect reads settings from the working folder: not the user's
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
        os.environ[API_URL] = self._url

    @classmethod
    def start(cls, home: Path) -> "PrefectAPI":
        """Start the child, unless this process has one; does not wait for it.

        Args:
            home: folder for Prefect's database; made if it is not there. If another process uses it
                at the moment, a temporary one takes its place.

        Raises:
            FlowError: the folder cannot be written.
        """
        if cls._running is None:
            cls._running = cls(home)
        return cls._running

    def wait(self) -> None:
        """Wait until the API answers.

        Raises:
            FlowError: the child died, or does not answer within two minutes.
        """
        if self._child is None:
            return
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline and self._child.poll() is None:
            try:
                with urllib.request.urlopen(f"{self._url}/health", timeout=5) as answer:  # noqa: S310 - our own loopback address
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.05)
        code = self._child.poll()
        what = f"did not start within {START_TIMEOUT_SECONDS:.0f} s"
        if code is not None:
            what = f"ended with exit code {code}"
        raise FlowError(
            f"Prefect's local API {what}; its log is {str(self._log)!r}; "
            "if its database is damaged, remove that folder: it holds no documents"
        )

    def _claim(self, home: Path) -> tuple[Path, bool]:
        """The folder to use, and whether it is a temporary one, which the child removes."""
        try:
            home.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(home / "lock")
            self._lock.acquire(timeout=0)
        except Timeout:
            return Path(tempfile.mkdtemp(prefix="sextant-prefect-")), True
        except OSError as error:
            raise FlowError(
                f"cannot use {str(home)!r} for Prefect's database: {error}; "
                "choose a store folder that can be written"
            ) from error
        return home, False


@contextmanager
def no_heartbeat() -> Iterator[None]:
    """Run flows without Prefect's heartbeat thread, which costs each of them a second at its end.

    The environment variable for it does not accept "none", hence this form.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def _bypass_proxies() -> None:
    """Keep the loopback off any HTTP proxy, for our own calls and for Prefect's clients."""
    without = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if without != "*":
        without = ",".join(filter(None, (without, "127.0.0.1", "localhost")))
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = without


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
