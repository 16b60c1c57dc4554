"""`sextant explain`: a text's tokens with their shares, and the heat map."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from embedder.specification import specify
from flows.evaluation.explanation import explain_text
from flows.evaluation.heat_map import render_heat_map
from tests.flows.conftest import CommandLine

HOSTILE = "An owl </td><script>alert('x')</script> & \"quoted\" \u202e text"


class Tags(HTMLParser):
    """Counts tags, and keeps what could ask a network for something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count it."""
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.addresses += [str(v) for key, v in attrs if key in ("src", "href")]


def test_the_heat_map_is_one_harmless_file(encoder_folder: Path) -> None:
    """A cell for each layer and token; no script, no address; texts become no markup."""
    (found,) = explain_text(HOSTILE, [specify(str(encoder_folder))], "document")
    page = render_heat_map(HOSTILE, [found])
    seen = Tags(page)
    (prompt,) = found.prompts
    layers, tokens = prompt.row.weight_LN.shape
    assert seen.tags["td"] == layers * (tokens + 6)
    assert "script" not in seen.tags
    assert seen.addresses == []
    assert "url(" not in page
    assert "&lt;script&gt;" in page
    assert "default-src &#x27;none&#x27;" in page
    assert "prefers-color-scheme: dark" in page


def test_the_command(sextant: CommandLine, encoder_folder: Path) -> None:
    """JSON with every token; a table for people; a file where it was asked for."""
    text = "An owl hunts at night."
    options = ("--encoder", encoder_folder)
    found = sextant("explain", text, *options, "--against", encoder_folder, "--json").json
    assert found["text"] == text
    (prompt,) = found["prompts"]
    assert found["against"]["prompts"] == [prompt]
    shares = [token["share"] for token in prompt["tokens"]]
    assert sum(shares) == pytest.approx(1, abs=0.01)
    content = "".join(t["token"] for t in prompt["tokens"] if t["role"] == "content")
    assert content.split() == ["owl", "hunts", "night"]
    assert len(prompt["layers"]) == len(prompt["tokens"][0]["by_layer"]) == 2
    shown = sextant("explain", text, *options, "--html", "map.html")
    assert shown.code == 0, shown.err
    assert "content words %" in shown.out
    assert (sextant.folder / "map.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([" "], "TEXT ' ' is empty"),
        (["text", "--kind", "poem"], "--kind 'poem': expected query or document"),
        (
            ["text", "--html", "map.txt"],
            "--html 'map.txt': expected a file name that ends in .html",
        ),
        (["text", "--html", "no/map.html"], "--html 'no/map.html': expected a file in a folder"),
        (["text", "--against", "nobody"], "unknown encoder 'nobody'"),
        (["text", "--tp", "x"], "--tp 'x': expected off or START:EXIT"),
    ],
)
def test_wrong_usage(sextant: CommandLine, arguments: list[str], message: str) -> None:
    """One line, exit code 2."""
    run = sextant("explain", *arguments)
    assert run.code == 2
    assert message in run.complaint
