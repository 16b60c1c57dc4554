"""From a model's files to what runs: device, config, tokenizer, weights; what fails is one line."""

from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel
from transformers.utils import logging as transformers_logging

from embedder.errors import InvalidConfig, ModelUnavailable
from embedder.int8_weights import int8_state


def load_model(folder: Path, *, dtype: torch.dtype) -> Any:
    """The base model, from safetensors, without code of its own, frozen; silently.

    The modules are made without memory and filled from the mapped files, tensor by tensor; int8
    files (`embedder.int8_weights`) are expanded first.
    Attention is torch's own wherever the model's type can use it.

    Raises:
        ModelUnavailable: the weights cannot be read, do not fit the config, or are not whole.
    """
    log: Any = transformers_logging
    bars, verbosity = log.is_progress_bar_enabled(), log.get_verbosity()
    log.disable_progress_bar()
    log.set_verbosity_error()
    try:
        model: Any
        state = int8_state(folder)
        source: dict[str, Any] = {}
        family: Any = AutoModel
        if state is not None:
            source = {"config": load_config(folder), "state_dict": state}
            with torch.device("meta"):
                family = type(family.from_config(source["config"]))
        model, loading = family.from_pretrained(
            folder if state is None else None,
            **source,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, SafetensorError, ValueError, KeyError) as error:
        raise ModelUnavailable(
            f"the model in {str(folder)!r} cannot be loaded ({_one_line(error)}); "
            "fetch or save it again"
        ) from error
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
    if missing := sorted(loading["missing_keys"]):
        # transformers would fill them with random numbers, other ones each time.
        raise ModelUnavailable(
            f"the weights in {str(folder)!r} lack {len(missing)} tensors ({missing[0]}, ...); "
            "fetch or save the model again"
        )
    return model.eval().requires_grad_(requires_grad=False)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The fast tokenizer, without the padding and the cut that its file may ask for.

    Raises:
        ModelUnavailable: the file cannot be read.
    """
    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust side raises nothing narrower
        raise ModelUnavailable(
            f"{str(path)!r} cannot be read as a tokenizer ({_one_line(error)}); save it again"
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def load_config(folder: Path) -> Any:
    """The transformers config of the model.

    Raises:
        ModelUnavailable: it has fields that no such model has.
    """
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        raise ModelUnavailable(
            f"config.json in {str(folder)!r} is not a model's ({_one_line(error)}); "
            "fetch or save it again"
        ) from error


def usable_device(device: str | None) -> torch.device:
    """The device of that name; None takes CUDA if there is one, else the CPU.

    Raises:
        InvalidConfig: there is no such device here.
    """
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise InvalidConfig(
            f"device {device!r} cannot be used ({_one_line(error)}); use 'cpu', or None to choose"
        ) from error
    return chosen


def _one_line(error: BaseException) -> str:
    return shorten(str(error), 200, placeholder=" ...") or type(error).__name__


def leading_special_ids(tokenizer: Tokenizer) -> list[int]:
    """Ids that the model's tokenizer puts in front of every input, such as BOS."""
    bare = tokenizer.encode("x", add_special_tokens=False).ids
    full = tokenizer.encode("x", add_special_tokens=True).ids
    return list(full[: full.index(bare[0])]) if bare and bare[0] in full else []
