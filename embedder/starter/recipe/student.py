"""The starter before training: a small Llama that computes a weighted mean of the teacher's tokens.

A network that starts at noise first has to find out what words mean and that a text is about all of
them. This one starts there. Its token embeddings are the teacher's vectors of the single tokens,
centred, their lengths the SIF weights a / (a + p) of Arora et al. (ICLR 2017); its first layer
attends evenly and passes values through unchanged; the other layers start near zero. RMSNorm would
undo the weights, so its epsilon is large enough to make it almost linear at the embeddings' scale.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaModel

from embedder.starter.recipe.tokenizer import BOS, EOS, PAD

HIDDEN = 384
"""As wide as the teacher's vectors."""
LAYERS = 4
HEADS = 6
INTERMEDIATE = 640
RMS_EPSILON = 1e-2
SIF_A = 1e-3
MAX_POSITIONS = 1024


def student_config(tokenizer: Tokenizer) -> LlamaConfig:
    """The architecture: 9.2 M parameters, 18.5 MB in float16."""
    return LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=HIDDEN,
        intermediate_size=INTERMEDIATE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=MAX_POSITIONS,
        rms_norm_eps=RMS_EPSILON,
        bos_token_id=tokenizer.token_to_id(BOS),
        eos_token_id=tokenizer.token_to_id(EOS),
        pad_token_id=tokenizer.token_to_id(PAD),
    )


def sif_weights(tokenizer: Tokenizer, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """SIF weights a / (a + p(token)) over the training texts, float32 of shape (vocabulary,)."""
    counts: Counter[int] = Counter()
    for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False):
        counts.update(encoding.ids)
    total = sum(counts.values())
    p = np.array([counts[i] / total for i in range(tokenizer.get_vocab_size())])
    return (SIF_A / (SIF_A + p)).astype(np.float32)


def token_surfaces(tokenizer: Tokenizer) -> list[str]:
    """What each token of the vocabulary looks like as text."""
    return [tokenizer.decode([i]).strip() or "." for i in range(tokenizer.get_vocab_size())]


def build_student(
    tokenizer: Tokenizer,
    *,
    token_vectors: npt.NDArray[np.float16],
    weights: npt.NDArray[np.float32],
    seed: int = 0,
) -> LlamaModel:
    """A float32 Llama at the starting point described above.

    Args:
        tokenizer: the starter's own.
        token_vectors: the teacher's unit vectors of `token_surfaces`, (vocabulary, 384).
        weights: `sif_weights`, (vocabulary,).
        seed: of the small random matrices.
    """
    torch.manual_seed(seed)
    model: Any = LlamaModel(student_config(tokenizer))
    vectors = torch.from_numpy(token_vectors.astype(np.float32))
    vectors = vectors - vectors.mean(0)
    vectors = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-6)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                small = 2e-3 if name.endswith(("o_proj.weight", "down_proj.weight")) else 2e-2
                parameter.normal_(std=small)
        model.embed_tokens.weight.copy_(vectors * torch.from_numpy(weights)[:, None])
        first = model.layers[0].self_attn
        first.v_proj.weight.copy_(torch.eye(HIDDEN))
        first.o_proj.weight.copy_(torch.eye(HIDDEN))
    built: LlamaModel = model
    return built
