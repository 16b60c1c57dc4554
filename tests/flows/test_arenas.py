"""Pools of glibc: limited where there are any, unless the user has chosen."""

import ctypes
import platform
import subprocess
import sys

import pytest

from flows.arenas import limit_arenas

PROGRAM = """
import ctypes, re, threading
from flows.arenas import limit_arenas
limited = limit_arenas(1) if {limit} else None
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.open_memstream.restype = ctypes.c_void_p
start = threading.Barrier(6)
def work():
    start.wait()
    assert libc.malloc(10_000)
    start.wait()
threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
text, size = ctypes.c_char_p(), ctypes.c_size_t()
stream = ctypes.c_void_p(libc.open_memstream(ctypes.byref(text), ctypes.byref(size)))
libc.malloc_info(0, stream)
libc.fclose(stream)
print(limited, len(re.findall(rb"<heap nr=", text.value)))
"""


def arenas(*, limit: bool, **environment: str) -> tuple[str, int]:
    """What `limit_arenas(1)` said in a process, and how many arenas six of its threads opened."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{limit}", str(limit))],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    said, count = run.stdout.split()
    return said, int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no arenas")
def test_threads_share_the_arenas() -> None:
    assert arenas(limit=False)[1] > 1
    assert arenas(limit=True) == ("True", 1)


def test_the_users_own_choice_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    assert not limit_arenas()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not limit_arenas()
