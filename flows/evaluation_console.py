"""What people see of an explained text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from flows import console
from flows.evaluation.heat_map import ROLE_NAMES

if TYPE_CHECKING:
    from flows.evaluation.explanation import Explained, ExplainedPrompt

BAR: Final = 24
"""Characters of a bar of 100 %."""


def show_explained(explained: "Sequence[Explained]") -> None:
    """Tokens with their shares in the last layer, and every layer's shares by role."""
    for one in explained:
        console.say(f"{one.called} {one.name}, fingerprint {one.fingerprint[:12]}")
        if one.truncated:
            console.say("the text was cut to fit max_tokens")
        for prompt in one.prompts:
            _show_prompt(prompt)
    if len(explained) == 2:
        _show_change(*explained)
    console.say(
        "shares of the last token's attention, mean over heads, without BOS (its own column: of "
        "all); layers are counted from 0, function words are English ones"
    )


def _show_prompt(prompt: "ExplainedPrompt") -> None:
    row = prompt.row
    last = len(row.weight_LN) - 1
    console.say(f"template {console.one_line(prompt.template, 200)}")
    console.table(
        ["token", "role", f"layer {last} %", ""],
        [
            [_shown(token), role, f"{100 * share:.1f}", "#" * round(BAR * float(share))]
            for token, role, share in zip(row.tokens, row.roles, row.without_bos[-1], strict=True)
        ],
    )
    console.say("")
    shares = row.by_role()
    console.table(
        ["layer", *(f"{name} %" for name in ROLE_NAMES.values())],
        [
            [str(layer), *(f"{100 * shares[role][layer]:.1f}" for role in ROLE_NAMES)]
            for layer in range(last + 1)
        ],
    )
    console.say("")


def _show_change(encoder: "Explained", against: "Explained") -> None:
    """The last layers' shares side by side, mean over prompts."""
    own, other = (
        {
            role: sum(float(p.row.by_role()[role][-1]) for p in one.prompts) / len(one.prompts)
            for role in ROLE_NAMES
        }
        for one in (encoder, against)
    )
    console.table(
        ["last layer", "encoder %", "against %", "difference"],
        [
            [
                name,
                f"{100 * own[role]:.1f}",
                f"{100 * other[role]:.1f}",
                f"{100 * (own[role] - other[role]):+.1f}",
            ]
            for role, name in ROLE_NAMES.items()
        ],
    )
    console.say("")


def _shown(token: str) -> str:
    return repr(token)[1:-1] if token.strip() != token or not token.isprintable() else token or "…"
