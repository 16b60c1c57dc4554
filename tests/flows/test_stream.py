"""Work done ahead: order, bounds, errors and early ends of chained stages."""

import threading
from collections.abc import Generator, Iterator
from contextlib import closing

import pytest

from flows.stream import BusyTimes, ahead


def test_items_come_in_order_and_all_of_them() -> None:
    """Two stages, one after the other."""
    squares = (number * number for number in ahead(iter(range(100)), depth=3))
    assert list(ahead(squares, depth=1)) == [number * number for number in range(100)]


def test_a_stage_runs_no_further_ahead_than_it_may() -> None:
    """With a depth of two, at most two wait, one is taken and one is in the making."""
    made: list[int] = []
    third = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 3:
                third.set()
            yield number

    taken = ahead(numbers(), depth=2)
    assert next(taken) == 0
    assert third.wait(30)
    assert len(made) == 4
    taken.close()
    assert len(made) <= 5


def test_an_error_comes_after_the_items_before_it() -> None:
    """As if the items were made on the spot."""

    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("the second is bad")

    seen = []
    with pytest.raises(ValueError, match="the second is bad"):
        for item in ahead(ahead(broken(), depth=5), depth=5):
            seen.append(item)  # noqa: PERF402
    assert seen == [1]


def test_who_stops_early_stops_every_stage() -> None:
    """The stages before are closed, their threads end, and what they held is released."""
    closed: list[str] = []

    def stage(name: str, items: Iterator[int]) -> Generator[int]:
        try:
            yield from items
        finally:
            closed.append(name)
            if isinstance(items, Generator):
                items.close()

    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    before = threading.active_count()
    first = ahead(stage("first", endless()), depth=2)
    with closing(ahead(stage("second", first), depth=2)) as items:
        assert next(items) == 0
    assert sorted(closed) == ["first", "second"]
    assert threading.active_count() == before


def test_busy_times_add_up_by_stage() -> None:
    """Every block counts, from whichever thread, also one that fails."""
    busy = BusyTimes()
    with busy.at("read"):
        pass
    with pytest.raises(ValueError, match="no"), busy.at("write"):
        raise ValueError("no")
    with busy.at("read"):
        pass
    assert list(busy.seconds()) == ["read", "write"]
    assert all(seconds >= 0 for seconds in busy.seconds().values())
