"""An encoder's settings changed for one evaluation: prompt, pooling, TP, CP, the papers' texts."""

import re
from dataclasses import dataclass
from typing import Any, Final, get_args

from embedder.config import ContrastivePrompting, ContrastMode, EncoderConfig, TokenPrepending
from embedder.specification import EncoderSpecification, specify
from flows.errors import InvalidInput

OFF: Final = "off"
_RANGE: Final = re.compile(r"(\d{1,4}):(\d{1,4})")
_CONTRAST: Final = re.compile(r"(\d{1,4})(?::([a-z_]+))?(?::([\d.]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What is changed; None or False: as the encoder has it."""

    prompt: str | None = None
    """A template's key, or a template with one `{}`; for queries, too."""
    pooling: str | None = None
    token_prepending: str | None = None
    """`off`, or START:EXIT: before the layers from START on, EXIT not among them."""
    contrastive_prompting: str | None = None
    """`off`, or LAYER[:MODE[:STRENGTH]]."""
    output_layer: int | None = None
    normalise: bool = False
    """Whether texts are changed as the papers' evaluations do it."""

    def apply(self, specification: EncoderSpecification) -> EncoderSpecification:
        """The same model with these settings; what is not overridden stays.

        Raises:
            InvalidInput: a TP or CP that cannot be read.
            InvalidConfig: settings that do not go together, or do not fit the model.
        """
        settings = specification.config.model_dump()
        changes = self._changes(specification.config)
        if not changes:
            return specification
        return specify(specification.name, EncoderConfig(**settings | changes))

    def _changes(self, config: EncoderConfig) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        if self.prompt is not None:
            changes |= {"template": self.prompt, "query_template": None}
        if self.pooling is not None:
            changes["pooling"] = self.pooling
        if self.token_prepending is not None:
            changes["token_prepending"] = _prepending(self.token_prepending, config)
        if self.contrastive_prompting is not None:
            changes["contrastive_prompting"] = _contrast(self.contrastive_prompting, config)
        if self.output_layer is not None:
            changes["output_layer"] = self.output_layer
        if self.normalise:
            changes["normalise_text"] = "papers"
        return changes


def _prepending(given: str, config: EncoderConfig) -> TokenPrepending | None:
    """Token Prepending; whatever is not said is as the encoder has it."""
    if given == OFF:
        return None
    found = _RANGE.fullmatch(given)
    if found is None:
        raise InvalidInput(f"--tp {given!r}: expected off or START:EXIT, such as 1:3")
    own = config.token_prepending.model_dump() if config.token_prepending else {}
    return TokenPrepending(**own | {"start": int(found[1]), "exit": int(found[2])})


def _contrast(given: str, config: EncoderConfig) -> ContrastivePrompting | None:
    """Contrastive Prompting, likewise."""
    if given == OFF:
        return None
    found = _CONTRAST.fullmatch(given)
    modes = get_args(ContrastMode)
    if found is None or (found[2] is not None and found[2] not in modes):
        raise InvalidInput(
            f"--cp {given!r}: expected off or LAYER[:MODE[:STRENGTH]], such as 1:norm or "
            f"4:scaled:0.5, with MODE from {', '.join(modes)}"
        )
    own = config.contrastive_prompting.model_dump() if config.contrastive_prompting else {}
    changes: dict[str, Any] = {"layer": int(found[1])}
    if found[2] is not None:
        changes["mode"] = found[2]
    if found[3] is not None:
        try:
            changes["strength"] = float(found[3])
        except ValueError:
            raise InvalidInput(
                f"--cp {given!r}: strength {found[3]!r} is no number; expected one such as 0.5"
            ) from None
    return ContrastivePrompting(**own | changes)
