"""Where a CPU's time goes: `python -m benchmarks.kernels`, milliseconds of single operations.

At the shape of SmolLM2-135M in bfloat16: a norm before and after freed memory is kept; a gated MLP,
plain and fused; causal attention by torch's kernel and written out, for rows of several lengths
with about as many tokens. These are the figures behind `embedder.cpu_kernels`, `embedder.memory`
and `embedder.attention`.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from benchmarks.results_file import finish
from benchmarks.shapes import SHAPES
from embedder import attention
from embedder.attention import Rule, causal_attention
from embedder.cpu_kernels import FusedMLP
from embedder.memory import keep_freed_memory
from embedder.packing import Packing, Span

SHAPE = SHAPES["smollm2-135m"]
TOKENS = 2048
LENGTHS = (16, 32, 64, 128, 256, 512)


def milliseconds(run: Callable[[], Any], repeats: int) -> float:
    """Median of so many runs, after two that warm up."""
    times = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(times[2:]), 3)


def attention_row(length: int, repeats: int) -> dict[str, Any]:
    """One length: torch's kernel against the product written out."""
    packing = Packing.of([Span((length,) * (TOKENS // length))])
    q, k, v = (
        torch.randn(packing.tokens, heads, SHAPE.head_dim).bfloat16()
        for heads in (
            SHAPE.num_attention_heads,
            SHAPE.num_key_value_heads,
            SHAPE.num_key_value_heads,
        )
    )
    row: dict[str, Any] = {"tokens_per_row": length}
    own = attention._blockwise
    for name, kernel in (("torch_ms", attention._dot_product), ("written_out_ms", own)):
        with patch.object(attention, "_blockwise", kernel):
            run = lambda: causal_attention(q, k, v, packing.strips[0], Rule(0.125))  # noqa: E731
            row[name] = milliseconds(run, repeats)
    return row


@torch.inference_mode()
def measure(repeats: int) -> dict[str, Any]:
    """All of it; the norm comes first, before any large block was freed."""
    config: Any = LlamaConfig(
        hidden_size=SHAPE.hidden_size, intermediate_size=SHAPE.intermediate_size
    )
    norm: Any = LlamaRMSNorm(SHAPE.hidden_size)
    hidden = torch.randn(TOKENS, SHAPE.hidden_size, dtype=torch.bfloat16)
    norm = norm.to(torch.bfloat16)
    fresh = milliseconds(lambda: norm(hidden), repeats)
    keep_freed_memory()
    kept = milliseconds(lambda: norm(hidden), repeats)
    mlp: Any = LlamaMLP(config).to(torch.bfloat16)
    fused = FusedMLP(mlp)
    return {
        "tokens": TOKENS,
        "norm": {"fresh_memory_ms": fresh, "kept_memory_ms": kept},
        "mlp": {
            "plain_ms": milliseconds(lambda: mlp(hidden), repeats),
            "fused_ms": milliseconds(lambda: fused(hidden), repeats),
        },
        "attention": [attention_row(length, repeats) for length in LENGTHS],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    finish("kernels", measure(options.repeats), file=options.file)


if __name__ == "__main__":
    main()
