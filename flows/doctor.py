"""Doctor: look a collection over, and mend it where asked. Thin over `doctor_visit`."""

from prefect import flow, task

from flows.doctor_report import CollectionUnwell, DoctorReport
from flows.doctor_visit import DoctorRequest, visit
from flows.progress import Silent


@task(name="doctor-visit", persist_result=False)
def visit_task(request: DoctorRequest) -> DoctorReport:
    """All of a visit: it is one pass over the collection."""
    return visit(request, Silent())


@flow(name="doctor", persist_result=False)
def doctor_flow(request: DoctorRequest) -> DoctorReport:
    """Look a collection over; a run that leaves something wrong has failed, so that it is noticed.

    Raises:
        CollectionUnwell: something is wrong that was not mended.
    """
    report = visit_task(request)
    if not report.healthy:
        raise CollectionUnwell(report.summary)
    return report
