"""Points on their way to a server: several requests under way, and the order kept that counts.

Points without a vector (heads, entries in quarantine) are a barrier: they are sent when all before
them is acknowledged, and what comes after waits for them. Between two barriers requests go side by
side. So a head is never stored without the chunks before it, nor a chunk without the head that
announces it, whatever is lost on the way.

Two programs that write the same collection do not harm each other's points: an id follows from
document, position and content, so that both write the same chunk, and of two heads of a document
the last one written stays. Each says `stored` after its own chunks only. Two *versions* of a
document written at once may leave chunks of both, under the later head; the next run that
finds the document changed removes what is not its own. Qdrant could make a write depend on what is
stored (`update_filter`); it would not mend this, as no condition spans a head and its chunks.
"""

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial

from search.records import Point
from search.stores import server_wire
from search.stores.server_failures import require_applied
from search.stores.server_link import ServerLink


def upload(link: ServerLink, name: str, points: Sequence[Point], *, dimension: int) -> None:
    """Insert or replace points; all are applied when it returns.

    Args:
        link: The way to the server.
        name: The collection's.
        points: Checked ones.
        dimension: D, the vectors' size.

    Raises:
        SearchError: the first request that failed. No request is under way any more then; some of
            those after it may have been carried out, but no barrier after it.
    """
    for is_barrier, run in itertools.groupby(points, key=lambda point: point.vector is None):
        batches = server_wire.requests(run, dimension=dimension, options=link.options)
        if is_barrier:
            for batch in batches:
                _send(link, name, batch)
        else:
            _side_by_side(link, batches, partial(_send, link, name))


def _send(
    link: ServerLink, name: str, batch: list[Point], stop: threading.Event | None = None
) -> None:
    if stop is not None and stop.is_set():
        return
    structs = server_wire.to_structs(batch)

    def write() -> None:
        require_applied(link.client.upsert(name, structs, wait=True))

    link.call(f"collection {name!r}", write, stop=stop)


def _side_by_side(
    link: ServerLink, batches: Iterator[list[Point]], send: Callable[..., None]
) -> None:
    """Send batches in the link's streams; as many wait in memory as there are streams."""
    first = next(batches)
    second = next(batches, None)
    if second is None:
        send(first)  # in this thread
        return
    stop = threading.Event()
    under_way: set[Future[None]] = set()
    try:
        for batch in itertools.chain((first, second), batches):
            if len(under_way) >= link.options.streams:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                _require_done(done)
            under_way.add(link.submit(partial(send, batch, stop)))
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            _require_done(done)
    except BaseException:
        # the others make no further attempt; none is cancelled, for `wait` waits for ever for a
        # cancelled one that its pool forgets
        stop.set()
        wait(under_way)
        raise


def _require_done(futures: Iterable["Future[None]"]) -> None:
    for future in futures:
        future.result()
