"""Tune: an encoder adapted to pairs or to a teacher, as a Prefect flow. Thin over `tuning`."""

from typing import Any

from prefect import flow, get_run_logger, task

from embedder.tuning.trainer import StepDone
from flows.tuning import TuneRequest, run_tune


@task(name="tune-encoder", persist_result=False)
def tune_task(request: TuneRequest) -> dict[str, Any]:
    """All of a tuning. A run that was killed is taken up by a request with `resume`."""
    log = get_run_logger()

    def told(step: StepDone) -> None:
        if step.saved:
            measured = "" if step.measure is None else f", dev {step.measure:.4f}"
            log.info("step %d of %d: loss %.4f%s", step.step, step.steps, step.loss, measured)

    return run_tune(request, told=told)


@flow(name="tune", persist_result=False)
def tune_flow(request: TuneRequest) -> dict[str, Any]:
    """Tune an encoder; returns what the run came to."""
    return tune_task(request)
