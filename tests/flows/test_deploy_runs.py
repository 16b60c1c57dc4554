"""What stands around a scheduled run: slots, one line for a failure, the flow's own parameter.

Nothing here may import prefect before the fixture has named a server.
"""

from pathlib import Path
from typing import Any

import pytest

from flows import scheduled
from flows.ingestion import Ingestion, IngestRequest
from flows.schedulable import FLOWS
from flows.session import Session, Target

pytestmark = pytest.mark.usefixtures("prefect_api", "letters")


def run(flow: str, request: dict[str, Any], **options: Any) -> Any:
    """Run an entry point as an engine does; returns its last state."""
    return getattr(scheduled, flow)(request, schedule="test", return_state=True, **options)


def request_for(target: Target, *sources: Path) -> dict[str, Any]:
    request = IngestRequest(sources=tuple(str(source) for source in sources), target=target)
    return request.model_dump(mode="json")


def test_entry_points_are_the_flows_with_their_own_parameter() -> None:
    """Of the same name, whose request is checked like the flow's."""
    from prefect.utilities.callables import parameter_schema

    for name in FLOWS:
        flow = getattr(scheduled, name)
        assert flow.name == name
        assert {"request", "schedule", "occupy"} <= set(parameter_schema(flow).properties)
        assert getattr(scheduled, name) is flow
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = scheduled.nothing


def test_a_run_says_what_it_did(
    target: Target, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In its last state, and on standard error; slots are free afterwards."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate

    with get_client(sync_client=True) as client:
        limit = GlobalConcurrencyLimitCreate(name="test-slots", limit=2)
        client.create_global_concurrency_limit(limit)
    state = run("ingest", request_for(target, corpus), occupy={"test-slots": 2})
    assert state.is_completed()
    assert state.message == "4 documents stored, 0 unchanged, 0 removed, 0 quarantined"
    assert capsys.readouterr().err == f"sextant: test: began\nsextant: test: {state.message}\n"
    again = run("ingest", request_for(target, corpus), occupy={"test-slots": 2})
    assert again.message.startswith("0 documents stored, 4 unchanged")


def test_a_report_goes_where_its_runner_keeps_state(target: Target, corpus: Path) -> None:
    """Unless the request says where: a worker's folders are not those of whoever deployed it."""
    assert run("ingest", request_for(target, corpus)).is_completed()
    state = run("cluster", {"target": target.model_dump(mode="json"), "k": 1})
    assert state.message.startswith("1 clusters of ")
    assert (Path(target.store) / "notes" / "report" / "clusters.json").exists()


def test_a_failure_is_one_line(
    target: Target, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run has failed with our own message, and no traceback."""
    state = run("ingest", request_for(target, tmp_path / "gone"))
    assert state.is_failed()
    assert state.message.startswith(f"source {str(tmp_path / 'gone')!r}: no such file or folder")
    assert (
        capsys.readouterr().err == f"sextant: test: began\nsextant: test: failed: {state.message}\n"
    )


def test_a_limit_that_is_missing_is_named(target: Target, corpus: Path) -> None:
    """Rather than passed by in silence; nothing is begun."""
    state = run("ingest", request_for(target, corpus), occupy={"nobody-made-it": 1})
    assert state.is_failed()
    assert state.message == (
        "the Prefect server has no limit 'nobody-made-it'; apply the schedules again "
        "(`sextant deploy`)"
    )
    assert not Path(target.store).exists()


def test_a_defect_is_said_to_be_one(
    target: Target,
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run fails; where it went wrong is left to Prefect's log."""

    def broken(request: IngestRequest, session: Session) -> Ingestion:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(Ingestion, "begin", broken)
    state = run("ingest", request_for(target, corpus))
    assert state.is_failed()
    assert "sextant: test: failed: unexpected ZeroDivisionError: oops\n" in capsys.readouterr().err


def test_a_request_that_does_not_fit_fails(target: Target) -> None:
    """As when the worker's version is another than the one that made the deployment."""
    state = run("ingest", {"sources": ["x"], "target": target.model_dump(), "bogus": 1})
    assert state.is_failed()
    assert "bogus" in state.message
