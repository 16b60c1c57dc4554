"""What the repository promises: a valid compose file, true documentation, pins, a small starter."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def test_the_compose_file_has_the_services_of_a_deployment() -> None:
    """A Qdrant server, Postgres, Prefect and a worker, each image with a fixed version."""
    services = COMPOSE["services"]
    assert set(services) == {"qdrant", "postgres", "prefect", "worker"}
    for name, service in services.items():
        image = service.get("image", "")
        assert "build" in service or re.search(r":v?\d", image), f"{name} has no fixed version"
        assert service["restart"] == "unless-stopped"


def test_the_compose_file_holds_no_secret_and_opens_no_port_to_the_world() -> None:
    """Passwords and keys come from the environment, and ports are bound to the loopback."""
    for service in COMPOSE["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|API_KEY|CONNECTION", name):
                assert "${" in value and ":?" in value, f"{name} is written out"


def test_services_wait_for_what_they_need() -> None:
    """Whoever depends on a service waits until that is healthy, and it says when it is."""
    services = COMPOSE["services"]
    for service in services.values():
        for needed, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in services[needed]


def test_the_pins_that_prefect_needs_are_the_tested_versions() -> None:
    """The versions in constraints.txt lie in the ranges without which flows or schedules fail."""
    pinned = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    )
    pinned = {name.lower(): version for name, version in pinned.items()}
    assert pinned["prefect"].startswith("3.8.")
    assert (0, 139) <= tuple(int(p) for p in pinned["fastapi"].split(".")[:2]) < (0, 151)
    assert pinned["sqlalchemy"].startswith("2.0.")
    assert pinned["qdrant-edge-py"] == "0.9.0"


def test_every_dependency_is_pinned_and_explained() -> None:
    """What pyproject.toml asks for stands in constraints.txt and in the note on libraries."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower()
    note = (ROOT / "docs/decisions/0005-libraries.md").read_text(encoding="utf-8").lower()
    note += (ROOT / "docs/decisions/0004-prefect-pins.md").read_text(encoding="utf-8").lower()
    for requirement in project["dependencies"] + project["optional-dependencies"]["documents"]:
        name = re.split(r"[<>=\[]", requirement)[0].lower()
        assert re.search(rf"^{re.escape(name).replace('_', '[-_]')}==", constraints, re.M), name
        assert name in note, f"{name} is not explained"


def test_the_starter_fits_into_its_twenty_megabytes() -> None:
    """The bundled model takes at most 20 MB, and is safetensors."""
    folder = ROOT / "embedder/starter/model"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 20_000_000
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "line",
    [
        line.split("#")[0].strip()
        for block in re.findall(r"```\n(.*?)```", README, re.S)
        for line in block.splitlines()
        if line.startswith("sextant ")
    ],
)
def test_commands_of_the_readme_exist(line: str) -> None:
    """Every `sextant` line of the README names a command and options that the program has."""
    from typer.main import get_command

    from flows.cli import app

    words = shlex.split(line.split("<")[0])[1:]
    command: Any = get_command(app)
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands"), f"no such command: {line}"
    known = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        if word.startswith("-"):
            assert word in known, f"{command.name} has no option {word}"


def test_figures_are_what_the_results_say() -> None:
    """Every table of figures is the one that `python -m benchmarks.tables` makes."""
    from benchmarks.tables import FILES, render

    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert render(text) == text, f"{path.name} is stale: run python -m benchmarks.tables"


def test_settings_of_the_readme_are_the_settings() -> None:
    """The README lists every SEXTANT_ variable, and no other."""
    from flows.settings import ENVIRONMENT_PREFIX, Settings

    listed = set(re.findall(r"SEXTANT_[A-Z_]+", README)) - {ENVIRONMENT_PREFIX}
    assert listed == {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in Settings.model_fields}


def test_python_examples_of_the_readme_are_python() -> None:
    """They compile, and what they import is there."""
    for block in re.findall(r"```python\n(.*?)```", README, re.S):
        compile(block, "README.md", "exec")
        for module, names in re.findall(r"^from (\S+) import (.+)$", block, re.M):
            imported = __import__(module, fromlist=names.split(", "))
            for name in names.split(", "):
                assert hasattr(imported, name)
