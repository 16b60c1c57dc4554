"""One text explained: what the last token looks at, under one encoder or two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedder.config import Kind
from embedder.specification import EncoderSpecification
from flows.encoders import load_encoder

if TYPE_CHECKING:
    from embedder.evaluation.attention import RowAttention

DIGITS = 4


@dataclass(frozen=True, slots=True, eq=False)
class ExplainedPrompt:
    """A text in one of an encoder's prompts."""

    template: str
    row: "RowAttention"

    def fields(self) -> dict[str, Any]:
        """For programs: every token with its share in each layer, and the roles' shares."""
        share_LN, shares = self.row.without_bos, self.row.by_role()
        return {
            "template": self.template,
            "tokens": [
                {
                    "token": token,
                    "id": identifier,
                    "role": role,
                    "share": round(float(share_LN[-1, place]), DIGITS),
                    "by_layer": [round(float(share), DIGITS) for share in share_LN[:, place]],
                }
                for place, (token, identifier, role) in enumerate(
                    zip(self.row.tokens, self.row.ids, self.row.roles, strict=True)
                )
            ],
            "layers": [
                {"layer": layer}
                | {role: round(float(share_L[layer]), DIGITS) for role, share_L in shares.items()}
                for layer in range(len(share_LN))
            ],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """A text under one encoder."""

    called: str
    """`encoder` or `against`."""
    name: str
    fingerprint: str
    truncated: bool
    """Whether the text was cut to fit."""
    prompts: tuple[ExplainedPrompt, ...]

    def fields(self) -> dict[str, Any]:
        """For programs."""
        return {
            "encoder": self.name,
            "fingerprint": self.fingerprint,
            "truncated": self.truncated,
            "prompts": [prompt.fields() for prompt in self.prompts],
        }


def explain_text(
    text: str, specifications: Sequence[EncoderSpecification], kind: Kind
) -> list[Explained]:
    """The attention of every encoder, one after the other: weights of one lie in memory at a time.

    Raises:
        EmbedderError: an encoder cannot be used, or its attention cannot be read.
    """
    from embedder.evaluation.attention import read_attention

    found = []
    for called, specification in zip(("encoder", "against"), specifications, strict=False):
        encoder = load_encoder(specification)
        (rows,) = read_attention(encoder, [text], kind=kind)
        templates = specification.config.templates(kind)
        found.append(
            Explained(
                called,
                specification.name,
                specification.fingerprint,
                encoder.prompting(kind).tokenize([text]).truncated[0],
                tuple(ExplainedPrompt(t, row) for t, row in zip(templates, rows, strict=True)),
            )
        )
    return found
