"""What is looked at before anything is sent: address, key, certificate, options."""

import contextlib
import socket
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from search.errors import InvalidRequest, StoreUnavailable
from search.stores import server_address, server_failures
from search.stores.edge import EdgeStore
from search.stores.locate import open_store
from search.stores.server import ServerStore
from search.stores.server_options import ServerOptions


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("http://localhost:6333", "http://localhost:6333"),
        ("https://db.example.org/qdrant/", "https://db.example.org/qdrant"),
        ("HTTP://Host", "http://host"),
        ("http://[::1]:6333", "http://[::1]:6333"),
    ],
)
def test_an_address_is_cleaned(url: str, clean: str) -> None:
    """Scheme, host, port and path remain."""
    assert server_address.check_url(url) == clean


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hush@host:6333",
        "http://hush@host",
        "https://host/?api_key=hush",
        "https://host/#hush",
        "ftp://host",
        "host:6333",
        "http://",
        "http://host:port",
        "",
    ],
)
def test_an_address_that_may_hold_a_secret_is_refused(url: str) -> None:
    """And the message does not repeat it."""
    with pytest.raises(InvalidRequest, match=r"expected|leave it out") as error:
        ServerStore(url)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "is_own"),
    [
        ("http://localhost:6333", True),
        ("http://qdrant.localhost", True),
        ("http://127.8.9.10", True),
        ("http://[::1]:6333", True),
        ("http://10.0.0.1", False),
        ("http://qdrant:6333", False),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1.example.org", False),
    ],
)
def test_a_key_goes_unencrypted_to_this_machine_only(url: str, is_own: bool) -> None:
    """To another one by https, or where it was allowed; the message names the ways out."""
    assert server_address.is_loopback(url) is is_own
    key = SecretStr("hush-hush")
    allowed = ServerOptions(allow_insecure_key=True)
    assert server_address.check_key(key, location=url, options=allowed) == "hush-hush"
    encrypted = url.replace("http://", "https://")
    assert server_address.check_key(key, location=encrypted, options=ServerOptions())
    assert server_address.check_key(None, location=url, options=ServerOptions()) is None
    if is_own:
        ServerStore(url, key).close()
    else:
        with pytest.raises(InvalidRequest, match=r"https://, or allow it with `allow_in") as error:
            ServerStore(url, key)
        assert "hush" not in str(error.value)


@pytest.mark.parametrize("key", ["", "hush hush", "hush\n", "hüsh", "hush\x00"])
def test_a_key_that_no_header_holds_is_refused(key: str) -> None:
    """The HTTP library would quote it in its own error."""
    with pytest.raises(InvalidRequest, match="expected the key as the server has it") as error:
        ServerStore("http://localhost:6333", SecretStr(key))
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"grpc_port": 0},
        {"grpc_port": 65_536},
        {"timeout_seconds": 0.5},
        {"timeout_seconds": float("inf")},
        {"streams": 0},
        {"streams": 65},
        {"max_request_mb": 0},
        {"max_request_mb": 31},
        {"port": 1},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    """By the model itself, which also knows no other names."""
    with pytest.raises(ValidationError):
        ServerOptions.model_validate(wrong)


def test_a_location_is_a_folder_or_an_address(tmp_path: Path) -> None:
    """Anything else is refused rather than made into a folder of that name."""
    for folder in (tmp_path / "a", str(tmp_path / "a"), "relative/b"):
        assert isinstance(open_store(folder, server=ServerOptions()), EdgeStore)
    for wrong in ("ftp://host", "qdrant://user:hush@host", "localhost:6333", "", "  "):
        with pytest.raises(InvalidRequest, match="expected a folder") as error:
            open_store(wrong)
        assert "hush" not in str(error.value)
    with pytest.raises(InvalidRequest, match="key was given for the folder"):
        open_store(tmp_path, api_key=SecretStr("k"))


def test_an_address_opens_a_server_store() -> None:
    """With the options given; nothing is asked of it yet."""
    address = f"http://127.0.0.1:{_unused_port()}"
    options = ServerOptions(streams=2)
    with contextlib.closing(open_store(address, server=options)) as store:
        assert isinstance(store, ServerStore)
        assert store.location == address
        assert store._link.options is options


@pytest.mark.parametrize("grpc", [True, False])
def test_a_server_that_is_not_there_is_reported(
    grpc: bool, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clear error after some attempts, without the key, by either protocol."""
    monkeypatch.setattr(server_failures, "FIRST_WAIT", 0.0)
    options = ServerOptions(grpc=grpc, grpc_port=_unused_port(), timeout_seconds=2)
    store = ServerStore(f"http://127.0.0.1:{_unused_port()}", SecretStr("hush"), options=options)
    with contextlib.closing(store):
        assert "hush" not in repr(vars(store)) + repr(store) + repr(vars(store._link))
        message = r"127\.0\.0\.1.*\(attempt 7\); check that the server runs"
        with pytest.raises(StoreUnavailable, match=message) as error:
            store.list()
        assert "hush" not in str(error.value)
    assert "hush" not in "".join(capfd.readouterr())


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
