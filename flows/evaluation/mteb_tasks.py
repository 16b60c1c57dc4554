"""Tasks of MTEB by name, and one of them run; the only room that knows mteb's own calls."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from flows.clustering.snippet import one_line
from flows.errors import FlowError, InvalidInput

if TYPE_CHECKING:
    from embedder.encoder import Encoder


HUB: Final = "https://huggingface.co"
PROBE_SECONDS: Final = 5.0


def known_tasks(names: Sequence[str]) -> dict[str, Any]:
    """Tasks of mteb by name, in the order given; no data is fetched.

    Raises:
        FlowError: mteb is not installed.
        InvalidInput: a name is no task's.
    """
    _stay_offline_without_network()
    try:
        import mteb
    except ModuleNotFoundError as error:
        raise FlowError(
            f"{error.name} is not installed, and running mteb needs it; "
            "install with pip install 'sextant-pipeline[mteb]'"
        ) from None
    found = {}
    for name in names:
        try:
            found[name] = mteb.get_task(name)
        except KeyError as error:
            hint = one_line(str(error.args[0]), 160)
            raise InvalidInput(
                f"MTEB has no task {name!r}: {hint}; give one of its names"
            ) from None
    return found


def as_model(encoder: "Encoder") -> Any:
    """The encoder as mteb wants a model."""
    from embedder.mteb_model import SextantMteb

    return SextantMteb(encoder)


def run_task(model: Any, task: Any) -> dict[str, Any]:
    """Run a task and say its main score, 0 to 1: the mean over its languages and subsets.

    Nothing is taken from mteb's cache of results, and nothing left there.

    Raises:
        FlowError: its data cannot be reached, or mteb cannot run it.
    """
    import mteb

    try:
        result = mteb.evaluate(
            model, task, cache=None, co2_tracker=False, show_progress_bar=False, raise_error=True
        )
        scores = result.task_results[0]
        score = float(scores.get_score())
    except Exception as error:
        raise FlowError(_reason(error)) from error
    return {
        "score": score,
        "n": sum(len(own) for own in scores.scores.values()),
        "metric": task.metadata.main_score,
    }


def _stay_offline_without_network() -> None:
    """Where the hub of data sets cannot be reached, have its libraries use their cache alone.

    They would try again for minutes otherwise. They read the variable when they are imported.
    """
    import httpx

    if os.environ.get("HF_HUB_OFFLINE"):
        return
    try:
        httpx.head(os.environ.get("HF_ENDPOINT", HUB), timeout=PROBE_SECONDS)
    except httpx.HTTPError:
        os.environ["HF_HUB_OFFLINE"] = "1"


def _reason(error: Exception) -> str:
    """Why mteb gave no score, in one line."""
    named = f"{type(error).__name__}: {one_line(str(error), 160)}"
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    if any(isinstance(one, OSError) for one in chain):
        return f"its data cannot be reached ({named}); fetch it where there is a network"
    return f"mteb cannot run it ({named})"
