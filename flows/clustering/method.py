"""How to cluster: the algorithm and its parameters, checked before any vector is read."""

from typing import Final, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict

from flows.errors import InvalidInput

Algorithm: TypeAlias = Literal["kmeans", "hdbscan", "bisecting"]
Projection: TypeAlias = Literal["pca", "umap"]

ALGORITHMS: Final[tuple[Algorithm, ...]] = get_args(Algorithm)
PROJECTIONS: Final[tuple[Projection, ...]] = get_args(Projection)
SEEDS: Final = 2**32
FEWEST_IN_CLUSTER: Final = 2


class Method(BaseModel):
    """What decides a clustering beside its vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: Algorithm = "kmeans"
    """`kmeans`: every point in one of k groups. `bisecting`: the same, halved step by step, so that
    groups form a tree. `hdbscan`: dense groups of any number and shape; the rest are outliers."""
    k: int | None = None
    """Clusters wanted; None: chosen by silhouette. Not of `hdbscan`."""
    min_cluster_size: int | None = None
    """Of `hdbscan`: the fewest points of a cluster; None: half the square root of all, 5 at
    least."""
    seed: int = 0
    """Of every random start and sample."""

    def check(self) -> None:
        """Refuse what no collection could satisfy.

        Raises:
            InvalidInput: k below 1, a seed outside 0 to 2**32 - 1, or a parameter of another
                algorithm.
        """
        if self.k is not None and self.k < 1:
            raise InvalidInput(
                f"k={self.k}; give 1 or more clusters, or leave it out to have it chosen"
            )
        if not 0 <= self.seed < SEEDS:
            raise InvalidInput(f"seed={self.seed}; give a whole number from 0 to {SEEDS - 1}")
        if self.algorithm == "hdbscan" and self.k is not None:
            raise InvalidInput(
                f"k={self.k} with algorithm 'hdbscan', which finds its number of clusters itself; "
                "leave k out, or give min_cluster_size"
            )
        size = self.min_cluster_size
        if size is not None and self.algorithm != "hdbscan":
            raise InvalidInput(
                f"min_cluster_size={size} with algorithm {self.algorithm!r}; it is of 'hdbscan' "
                "alone, leave it out"
            )
        if size is not None and size < FEWEST_IN_CLUSTER:
            raise InvalidInput(f"min_cluster_size={size}; give {FEWEST_IN_CLUSTER} or more")

    def check_count(self, count: int) -> None:
        """Refuse more clusters than there are points.

        Raises:
            InvalidInput: k is above `count`.
        """
        if self.k is not None and self.k > count:
            raise InvalidInput(
                f"k={self.k} clusters asked of {count} points; give k from 1 to {count}, "
                "or leave it out to have it chosen"
            )
