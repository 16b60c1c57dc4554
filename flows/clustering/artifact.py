"""A cluster report as a page in Prefect's interface, beside the flow run that wrote it."""

from flows.clustering.markdown import escape, render
from flows.clustering.report import ClusterReport
from flows.run_report import artifact_key


def cluster_rows(report: ClusterReport) -> list[dict[str, str | int | float]]:
    """A row for each cluster: what Prefect shows as a table."""
    return [
        {
            "id": cluster.id,
            "name": escape(cluster.name),
            "chunks": cluster.size,
            "documents": cluster.documents,
            "change": cluster.fate,
            "stability": "" if cluster.stability is None else cluster.stability,
            "name precision": "" if cluster.name_check is None else cluster.name_check.precision,
        }
        for cluster in report.clusters
    ]


def publish_artifact(report: ClusterReport) -> tuple[str, ...]:
    """File the report with Prefect, as a page and a table; for use inside the flow.

    Returns:
        Warnings, mostly none: a report that cannot be filed fails no run.
    """
    from prefect.artifacts import create_markdown_artifact, create_table_artifact
    from prefect.context import FlowRunContext

    if FlowRunContext.get() is None:
        return ("the report was not filed with Prefect: no flow is running here",)
    description = f"Clusters of {escape(report.collection)}, run {escape(report.run_id)}"
    try:
        create_markdown_artifact(
            render(report),
            key=artifact_key(report.collection, "report", kind="cluster"),
            description=description,
        )
        create_table_artifact(
            cluster_rows(report),
            key=artifact_key(report.collection, "clusters", kind="cluster"),
            description=description,
        )
    except Exception as error:  # noqa: BLE001 - the report is written, whatever Prefect says
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = ": ".join((type(error).__name__, *lines[:1]))
        return (f"the report was not filed with Prefect: {reason}",)
    return ()
