"""The settings of a server's connection: their defaults are the store's own, and stand once."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.errors import InvalidInput
from flows.settings import Settings, load_settings
from search.errors import InvalidRequest
from search.stores.server_options import ServerOptions


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and none of the caller's variables."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SEXTANT_{name.upper()}", raising=False)
    return tmp_path


def test_the_defaults_are_the_stores() -> None:
    """Nothing set, nothing changed."""
    assert load_settings().server_options == ServerOptions()


def test_every_option_has_a_setting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By variable, and by the file; none is left at its default."""
    (folder / "sextant.toml").write_text(
        "server_grpc = false\nserver_streams = 9\nserver_timeout_seconds = 5\n"
        "server_insecure_key = true\n"
    )
    monkeypatch.setenv("SEXTANT_SERVER_GRPC_PORT", "7000")
    monkeypatch.setenv("SEXTANT_SERVER_CA", "ca.pem")
    monkeypatch.setenv("SEXTANT_SERVER_MAX_REQUEST_MB", "0.9")
    options = load_settings().server_options
    assert options == ServerOptions(
        grpc=False,
        grpc_port=7000,
        timeout_seconds=5,
        streams=9,
        max_request_mb=0.9,
        ca_certificate=Path("ca.pem"),
        allow_insecure_key=True,
    )
    default = ServerOptions()
    assert all(
        getattr(options, name) != getattr(default, name) for name in type(options).model_fields
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GRPC_PORT", "0"),
        ("TIMEOUT_SECONDS", "inf"),
        ("STREAMS", "65"),
        ("MAX_REQUEST_MB", "31"),
        ("GRPC", "perhaps"),
        ("INSECURE_KEY", "7"),
    ],
)
def test_a_setting_out_of_range_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """In one line, with the variable's name."""
    monkeypatch.setenv(f"SEXTANT_SERVER_{name}", value)
    with pytest.raises(InvalidInput, match=rf"\(SEXTANT_SERVER_{name}\): "):
        load_settings()


@pytest.mark.parametrize("command", [["list"], ["delete", "docs", "--yes"]])
def test_commands_use_them(monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    """A certificate that is not there stops a command before anything is sent."""
    monkeypatch.setenv("SEXTANT_SERVER_CA", "absent.pem")
    result = CliRunner().invoke(app, ["collections", *command, "--store", "https://127.0.0.1:1"])
    assert isinstance(result.exception, InvalidRequest)
    assert "certificate file 'absent.pem'" in str(result.exception)
