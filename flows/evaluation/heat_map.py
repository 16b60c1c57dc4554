"""A heat map of attention as one HTML file that opens offline: layers down, tokens across.

It holds no script and asks nothing of any network; texts and tokens can become no markup.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from flows.clustering.markup import Child, Markup, element, together

if TYPE_CHECKING:
    from embedder.evaluation.attention import Role
    from flows.evaluation.explanation import Explained, ExplainedPrompt

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --paper: #fff; --line: #d8dee6;
  --heat: 20 92 160; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8edf3; --soft: #9aa7b6; --paper: #12171e; --line: #2c3642;
    --heat: 96 176 255; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  margin: 2rem auto; padding: 0 1.5rem; max-width: 90rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.soft, caption { color: var(--soft); }
caption { text-align: left; padding-bottom: .5rem; }
.scroll { overflow-x: auto; padding-bottom: .5rem; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { padding: .25rem .4rem; text-align: right; font-variant-numeric: tabular-nums; }
thead th { vertical-align: bottom; border-bottom: 1px solid var(--line); }
tbody th { color: var(--soft); font-weight: normal; position: sticky; left: 0;
  background: var(--paper); }
.map thead th { writing-mode: vertical-rl; text-align: right; font-family: ui-monospace, monospace;
  font-weight: normal; white-space: pre; max-height: 14rem; }
.map td { min-width: 1.9rem; border: 1px solid var(--paper);
  background: rgb(var(--heat) / calc(var(--share) * .75)); }
.content { font-weight: bold !important; } .prompt, .bos, .punctuation { color: var(--soft); }
.placeholder { font-style: italic; }
"""
ROLE_NAMES: "Final[dict[Role, str]]" = {
    "prompt": "prompt",
    "placeholder": "placeholder",
    "content": "content words",
    "function": "function words",
    "punctuation": "punctuation",
    "bos": "BOS, of all",
}


def render_heat_map(text: str, explained: "Sequence[Explained]") -> str:
    """The page, with the maps of every encoder one after the other.

    Args:
        text: what was encoded.
        explained: for each encoder its prompts.
    """
    body = element(
        "body",
        element("h1", "Where the last token looks"),
        element("p", text),
        element(
            "p",
            "Share of the last token's attention in each layer, mean over heads, without BOS, so "
            "that a row sums to 100. Content words are bold. The darker a cell, the nearer to the "
            "largest share of its map.",
            class_="soft",
        ),
        [_section(one) for one in explained],
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", "Where the last token looks"),
        element("style", Markup(STYLE)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _section(one: "Explained") -> Markup:
    return element(
        "section",
        element("h2", one.called),
        element("p", f"encoder {one.name}, fingerprint {one.fingerprint[:12]}", class_="soft"),
        [together(_map(prompt), _roles(prompt)) for prompt in one.prompts],
    )


def _map(prompt: "ExplainedPrompt") -> Markup:
    """One row a layer, one column a token."""
    share_LN = prompt.row.without_bos
    largest = max(float(share_LN.max()), float(np.finfo(np.float32).tiny))
    head = [
        element("th", _visible(token), scope="col", class_=role, title=role)
        for token, role in zip(prompt.row.tokens, prompt.row.roles, strict=True)
    ]

    def cells(layer: int) -> Iterator[Child]:
        for share, token in zip(share_LN[layer], prompt.row.tokens, strict=True):
            yield element(
                "td",
                f"{100 * share:.0f}",
                style=f"--share:{share / largest:.3f}",
                title=f"{_visible(token)}: {100 * share:.1f} %",
            )

    rows = [
        element("tr", element("th", f"layer {layer}", scope="row"), cells(layer))
        for layer in range(len(share_LN))
    ]
    table = element(
        "table",
        element("caption", f"template {prompt.template}"),
        element("thead", element("tr", element("th", "", scope="col"), head)),
        element("tbody", rows),
        class_="map",
    )
    return element(
        "div", table, class_="scroll", tabindex="0", role="region", aria_label="Heat map"
    )


def _roles(prompt: "ExplainedPrompt") -> Markup:
    """The same, summed up by what tokens are."""
    shares = prompt.row.by_role()
    head = [element("th", name, scope="col") for name in ROLE_NAMES.values()]
    rows = [
        element(
            "tr",
            element("th", f"layer {layer}", scope="row"),
            [element("td", f"{100 * shares[role][layer]:.1f} %") for role in ROLE_NAMES],
        )
        for layer in range(len(prompt.row.weight_LN))
    ]
    return element(
        "div",
        element(
            "table",
            element("thead", element("tr", element("th", "", scope="col"), head)),
            element("tbody", rows),
        ),
        class_="scroll",
    )


def _visible(token: str) -> str:
    """A token with its blanks and control characters made visible."""
    shown = token.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "·")
    shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in shown)
    return shown or "…"
