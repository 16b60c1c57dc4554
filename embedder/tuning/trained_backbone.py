"""The encoder's own forward while its weights move: nothing of an earlier step is kept.

The layer loop and the hooks are those that encode; what they keep between calls, because weights
that stand still give the same again, is made anew here, with its gradients.
"""

from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from embedder.backbone import Backbone, Prefix, seeded_placeholder
from embedder.config import EncoderConfig
from embedder.errors import InvalidConfig
from embedder.hooked import HookedBackbone


class TrainedBackbone(Backbone):
    """The layer loop, to be differentiated.

    Args:
        model: as for `Backbone`; its parameters say what is trained.
        recompute: whether each layer is computed again in the backward pass, so that only its
            input is kept until then.
    """

    def __init__(self, model: PreTrainedModel, *, recompute: bool) -> None:
        super().__init__(model)
        self._recompute = recompute

    def _prefix(self, ids: tuple[int, ...], output: int) -> Prefix:
        made = super()._prefix(ids, output)
        self._prefixes.clear()
        return made

    def _layer(self, index: int, batch: Any, normal: Any, **options: Any) -> Any:
        if not (self._recompute and self.model.training):
            return super()._layer(index, batch, normal, **options)
        whole = super()._layer
        # The batch goes on to the next layer before this one is computed again.
        kept = replace(batch)

        def layer(hidden_TD: Tensor) -> Any:
            return whole(index, replace(kept, hidden_TD=hidden_TD), normal, **options)

        return checkpoint(layer, batch.hidden_TD, use_reentrant=False)


class TrainedHookedBackbone(HookedBackbone):
    """transformers' own forward with hooks, to be differentiated."""

    def forward(self, rows: Any, config: EncoderConfig, *arguments: Any, **options: Any) -> Tensor:
        """As `HookedBackbone.forward`; the placeholder follows embeddings that are trained."""
        if self._embedding.weight.requires_grad:
            self._placeholder_D = seeded_placeholder(self._embedding)
        return super().forward(rows, config, *arguments, **options)


def trained_backbone(
    backbone: Backbone | HookedBackbone, *, recompute: bool
) -> TrainedBackbone | TrainedHookedBackbone:
    """The same model under the same forward, to be trained.

    Raises:
        InvalidConfig: layers are to be computed again where hooks act on them, which by then are
            gone.
    """
    if isinstance(backbone, Backbone):
        return TrainedBackbone(backbone.model, recompute=recompute)
    if recompute:
        kind = backbone.model.config.model_type
        raise InvalidConfig(
            f"tuning: gradient_checkpointing does not go with a {kind!r} model, which runs through "
            "hooks; leave it out, and use a smaller chunk"
        )
    return TrainedHookedBackbone(backbone.model)
