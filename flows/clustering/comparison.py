"""Two runs held against each other: ids stay, so that a cluster is compared with itself."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from flows.clustering.report import ClusterReport


class Difference(BaseModel):
    """What became of one cluster from one run to another."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int
    kind: Literal["born", "died", "grown", "shrunk", "steady"]
    name: str
    """In the later run; of one that is gone, its last."""
    name_before: str | None
    """None where it was not there."""
    size: int
    size_before: int

    @property
    def renamed(self) -> bool:
        """Whether it is called something else now."""
        return self.name_before is not None and self.name != self.name_before


def compare(before: ClusterReport, after: ClusterReport) -> list[Difference]:
    """Every cluster of either run, by id; any other size is growth or shrinking."""
    old = {one.id: one for one in before.clusters}
    new = {one.id: one for one in after.clusters}
    found = []
    for number in sorted(old.keys() | new.keys()):
        was, now = old.get(number), new.get(number)
        size, size_before = now.size if now else 0, was.size if was else 0
        kind: Literal["born", "died", "grown", "shrunk", "steady"]
        if was is None:
            kind = "born"
        elif now is None:
            kind = "died"
        elif size != size_before:
            kind = "grown" if size > size_before else "shrunk"
        else:
            kind = "steady"
        shown = now or was
        found.append(
            Difference(
                id=number,
                kind=kind,
                name=shown.name if shown else "",
                name_before=was.name if was else None,
                size=size,
                size_before=size_before,
            )
        )
    return found
