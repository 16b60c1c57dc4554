"""Clusters matched to those before: worked examples with a handful of chunks."""

import numpy as np

from flows.clustering.lineage import Before, Change, trace

AXES = np.eye(6, dtype=np.float32)


def _trace(labels, before, known=(), *, centroids=None, next_id=0):
    count = max(labels, default=-1) + 1
    return trace(
        np.array(labels, np.int32),
        np.array(before, np.int32),
        known,
        centroids_KD=AXES[:count] if centroids is None else np.array(centroids, np.float32),
        next_id=next_id,
    )


def test_a_first_run_counts_from_zero():
    """Nothing is known: ids follow the labels, everything is born."""
    found = _trace([0, 0, 1, -1], [-2] * 4)
    assert (found.ids, found.fates, found.next_id) == ((0, 1), ("born", "born"), 2)
    assert [change.kind for change in found.changes] == ["born", "born"]


def test_the_same_groups_keep_their_ids_whatever_their_order():
    """The labels have changed places; the ids have not."""
    found = _trace([1, 1, 1, 0, 0, 0, 0], [5, 5, 5, 2, 2, 2, 2])
    assert (found.ids, found.fates, found.changes) == ((2, 5), ("steady", "steady"), ())
    assert found.next_id == 6


def test_new_chunks_do_not_cost_a_cluster_its_id():
    """Three old chunks and twelve new ones: it has grown."""
    found = _trace([0] * 15, [4] * 3 + [-2] * 12)
    assert (found.ids, found.fates, found.sizes_before) == ((4,), ("grown",), (3,))
    assert found.changes == (Change(kind="grown", before=(4,), after=(4,)),)


def test_deleted_chunks_make_it_shrink():
    """The last run had ten, as its files say; three are left."""
    found = _trace([0] * 3, [4] * 3, [Before(id=4, size=10)])
    assert (found.fates, found.sizes_before) == (("shrunk",), (10,))


def test_a_split_is_told_and_the_larger_part_keeps_the_id():
    """Six and four of ten: the six go on as 3, the four get a new id."""
    found = _trace([0] * 6 + [1] * 4, [3] * 10, next_id=9)
    assert found.ids == (3, 9)
    assert found.fates == ("split", "split")
    assert found.changes == (Change(kind="split", before=(3,), after=(3, 9)),)


def test_a_merger_is_told_and_nothing_dies():
    """Two clusters become one, which goes on as the larger."""
    found = _trace([0] * 10, [1] * 6 + [2] * 4)
    assert (found.ids, found.fates) == ((1,), ("merged",))
    assert found.changes == (Change(kind="merged", before=(1, 2), after=(1,)),)


def test_a_cluster_whose_chunks_are_gone_has_died():
    """Known from the last run's files alone; its id is not used again."""
    found = _trace([0, 0, 1, 1], [0, 0, -2, -2], [Before(id=0, size=2), Before(id=7, size=5)])
    assert found.ids == (0, 8)
    assert [c.kind for c in found.changes] == ["born", "died"]
    assert found.changes[1].before == (7,)


def test_without_members_the_centroid_tells():
    """All chunks were stored anew: the cluster in the same direction is the same."""
    known = [
        Before(id=3, size=4, centroid=AXES[1]),
        Before(id=4, size=4, centroid=AXES[0]),
        Before(id=5, size=4, centroid=np.ones(3, np.float32)),
    ]
    found = _trace([0] * 4 + [1] * 4, [-2] * 8, known)
    assert found.ids == (4, 3)
    assert [c.kind for c in found.changes] == ["died"]
    other = [Before(id=3, size=4, centroid=AXES[4])]
    assert _trace([0] * 4, [-2] * 4, other).ids == (4,)


def test_a_few_chunks_that_move_make_no_split():
    """Three of twenty go to a neighbour: both stay what they were."""
    found = _trace([0] * 17 + [1] * 3 + [1] * 20, [0] * 20 + [1] * 20)
    assert found.ids == (0, 1)
    assert {change.kind for change in found.changes} <= {"grown", "shrunk"}


def test_outliers_belong_to_nothing_before_and_after():
    """Chunks of no cluster neither match nor make one."""
    found = _trace([-1, -1, 0, 0], [0, 0, -1, -1])
    assert found.ids == (1,)
    assert [change.kind for change in found.changes] == ["born", "died"]


def test_no_cluster_at_all():
    """All are outliers now: those before have died."""
    found = _trace([-1, -1], [0, 0], centroids=np.empty((0, 6)))
    assert (found.ids, [c.kind for c in found.changes]) == ((), ["died"])
