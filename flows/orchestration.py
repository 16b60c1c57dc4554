"""Prefect on one machine: its API as a quiet child process that cannot outlive its parent.

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
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from filelock import FileLock, Timeout

from flows.errors import FlowError, InvalidInput

START_TIMEOUT_SECONDS: Final = 120.0
ANSWER_SECONDS: Final = 15.0
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

    def __init__(self, home: Path, *, schedules: bool = False) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        self._child: subprocess.Popen[bytes] | None = None
        self._watch: threading.Thread | None = None
        self._url = os.environ.get(API_URL, "")
        if self._url:
            return
        _bypass_proxies()
        home, temporary = self._claim(home.absolute(), may_be_temporary=not schedules)
        os.environ["PREFECT_HOME"] = str(home)
        port = _free_port()
        self._url = f"http://127.0.0.1:{port}/api"
        self._log = home / "server.log"
        command = [sys.executable, "-P", str(SERVER), str(port)]
        if schedules:
            command.append("--schedules")
        if temporary:
            command += ["--remove", str(home)]
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and file
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=home,  # Prefect reads settings from the working folder: not the user's
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
        os.environ[API_URL] = self._url

    @classmethod
    def start(cls, home: Path, *, schedules: bool = False) -> "PrefectAPI":
        """Start the child, unless this process has one; does not wait for it.

        Args:
            home: folder for Prefect's database; made if it is not there. If another process uses it
                at the moment, a temporary one takes its place.
            schedules: whether schedules fire, too; such a server keeps what it knows in `home`,
                and no temporary folder will do.

        Raises:
            FlowError: the folder cannot be written, or is in use and must be this one.
        """
        if cls._running is None:
            cls._running = cls(home, schedules=schedules)
        return cls._running

    @property
    def url(self) -> str:
        """Where it answers."""
        return self._url

    @property
    def is_own(self) -> bool:
        """Whether it is a child of this process."""
        return self._child is not None

    def require_alive(self) -> None:
        """Refuse to go on when the child has ended.

        Raises:
            FlowError: it has.
        """
        if self._child is not None and self._child.poll() is not None:
            raise self._failure(f"ended with exit code {self._child.returncode}")

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
        raise self._failure(what)

    def end_with_it(self) -> None:
        """From now on, end this process with one line and code 1 should the child die.

        A flow whose API is gone tries again for minutes to tell it what it did, and fails then.
        """
        if self._child is not None and self._watch is None:
            self._watch = threading.Thread(target=self._end, name="sextant-api", daemon=True)
            self._watch.start()

    def _end(self) -> None:
        if self._child is None:
            return
        code = self._child.wait()
        restored = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # a live bar hides the cursor
        line = (
            f"{restored}sextant: Prefect's local API ended with exit code {code}; its log is "
            f"{str(self._log)!r}; what was committed stays, the same command goes on from there\n"
        )
        os.write(2, line.encode())
        os._exit(1)

    def _failure(self, what: str) -> FlowError:
        return FlowError(
            f"Prefect's local API {what}; its log is {str(self._log)!r}; "
            "if its database is damaged, remove that folder: it holds no documents"
        )

    def _claim(self, home: Path, *, may_be_temporary: bool) -> tuple[Path, bool]:
        """The folder to use, and whether it is a temporary one, which the child removes."""
        try:
            home.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(home / "lock")
            self._lock.acquire(timeout=0)
        except Timeout:
            if not may_be_temporary:
                raise FlowError(
                    f"another process serves schedules from {str(home)!r}; "
                    "end it, or choose another store"
                ) from None
            return Path(tempfile.mkdtemp(prefix="sextant-prefect-")), True
        except OSError as error:
            raise FlowError(
                f"cannot use {str(home)!r} for Prefect's database: {error}; "
                "choose a store folder that can be written"
            ) from error
        return home, False


def require_answer(url: str) -> None:
    """Refuse a server that does not answer.

    Raises:
        InvalidInput: the address may hold a secret.
        FlowError: nothing answers at the address, or no Prefect server.
    """
    _bypass_proxies()
    if "@" in url:
        raise InvalidInput(
            f"{API_URL} holds a user or password, which logs would show; "
            "leave it out and set PREFECT_API_AUTH_STRING"
        )
    what = "no Prefect API"
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - an address that the user gave
            if answer.status == 200:
                return
    except (OSError, ValueError) as error:
        what = str(getattr(error, "reason", error))
    raise FlowError(
        f"the Prefect server at {url!r} does not answer: {what}; "
        f"start it, or correct {API_URL} (it ends in /api)"
    )


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
