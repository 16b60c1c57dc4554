"""Which flows can be scheduled, what an entry may say of each, and the request that comes of it.

Adding a flow is one entry in `FLOWS`. Nothing here imports prefect: what is wrong is refused before
any server is asked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flows.clustering.method import Method, Projection
from flows.doctor_visit import DoctorRequest
from flows.ingestion import IngestRequest
from flows.session import Target
from flows.settings import Settings

_WHERE: Final = frozenset({"collection", "store"})
_OF_THE_WORKER: Final = ("api_key", "target_api_key", "schedules", "gpu_slots", "server_")
"""Settings, by how they begin, that no request carries: a run reads them where it runs."""


class ClusterOptions(Method):
    """What an entry may say of a clustering; see `flows.cluster.ClusterRequest`."""

    projection: Projection = "pca"
    verify_names: bool = True
    report: str | None = None


def _ingest(settings: Settings, own: Mapping[str, Any]) -> dict[str, Any]:
    target = _portable(Target.of(settings))
    asked = IngestRequest.of(own.get("sources", ()), settings)
    sources = tuple(_portable_source(source) for source in asked.sources)
    return asked.model_copy(update={"target": target, "sources": sources}).model_dump(mode="json")


def _cluster(settings: Settings, own: Mapping[str, Any]) -> dict[str, Any]:
    target = _portable(Target.of(settings)).model_copy(update={"encoder": None})
    options = ClusterOptions(**own)
    options.check()
    report = options.report and str(Path(options.report).expanduser().absolute())
    said = options.model_dump(mode="json", exclude={"report"})
    return {"target": target.model_dump(mode="json"), **said, "report": report}


def _doctor(settings: Settings, own: Mapping[str, Any]) -> dict[str, Any]:
    sources = tuple(_portable_source(source) for source in own.get("sources", ()))
    return DoctorRequest(
        **{
            **own,
            "target": _portable(Target.of(settings)),
            "sources": sources,
            "include": settings.include,
            "exclude": settings.exclude,
        }
    ).model_dump(mode="json")


@dataclass(frozen=True)
class ScheduledFlow:
    """A flow that can be scheduled."""

    module: str
    attribute: str
    """The flow's name in its module."""
    settings: frozenset[str]
    """Settings that an entry may say for itself."""
    own: frozenset[str]
    """What else it may say."""
    request: Callable[[Settings, Mapping[str, Any]], dict[str, Any]]
    """Its request, as JSON, from the settings in force and what else was said."""


FLOWS: Final[Mapping[str, ScheduledFlow]] = {
    "ingest": ScheduledFlow(
        module="flows.ingest",
        attribute="ingest_flow",
        settings=frozenset(
            name for name in Settings.model_fields if not name.startswith(_OF_THE_WORKER)
        ),
        own=frozenset({"sources"}),
        request=_ingest,
    ),
    "cluster": ScheduledFlow(
        module="flows.cluster",
        attribute="cluster_flow",
        settings=_WHERE,
        own=frozenset(ClusterOptions.model_fields),
        request=_cluster,
    ),
    "doctor": ScheduledFlow(
        module="flows.doctor",
        attribute="doctor_flow",
        settings=_WHERE | {"encoder", "include", "exclude"},
        own=frozenset(DoctorRequest.model_fields) - {"target", "include", "exclude"},
        request=_doctor,
    ),
}


def _portable(target: Target) -> Target:
    """A target that means the same in another working folder."""
    store = target.store if "://" in target.store else str(Path(target.store).absolute())
    encoder = target.encoder
    if encoder is not None and Path(encoder).exists():
        encoder = str(Path(encoder).absolute())
    return target.model_copy(update={"store": store, "encoder": encoder})


def _portable_source(source: str) -> str:
    if source.startswith("python:") or "://" in source:
        return source
    return str(Path(source).absolute())
