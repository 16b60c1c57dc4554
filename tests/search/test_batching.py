"""Threads that share one encoder: joined, answered each his own, and told of their own faults."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

from search.batching import BatchingEncoder
from search.errors import EncoderUnavailable


class Lengths:
    """A text's vector is its length; the first call waits until it is let go."""

    fingerprint = "f" * 64
    name = "lengths"

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.threads: set[int] = set()
        self.started, self.go = threading.Event(), threading.Event()

    def encode_query(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row per text; a text that says `bad` is none."""
        self.calls.append(list(sentences))
        self.threads.add(threading.get_ident())
        self.started.set()
        assert self.go.wait(30)
        if "bad" in sentences:
            raise ValueError("a bad text")
        return np.asarray([[len(text), 1] for text in sentences], dtype=np.float32).reshape(-1, 2)


class Crowd:
    """Callers that all wait while the encoder is busy with a first one."""

    def __init__(self, batching: BatchingEncoder, encoder: Lengths, pool: ThreadPoolExecutor):
        self.first = pool.submit(batching.encode_query, ["first"])
        assert encoder.started.wait(30)
        self._batching, self._encoder, self._pool = batching, encoder, pool

    def ask(self, *requests: list[str]) -> list[Callable[[], npt.NDArray[np.float32]]]:
        """Queue requests in this order, then let the encoder go on."""
        results: list[Callable[[], npt.NDArray[np.float32]]] = []
        for number, request in enumerate(requests, start=1):
            results.append(self._pool.submit(self._batching.encode_query, request).result)
            while len(self._batching._waiting) < number:
                threading.Event().wait(0.001)
        self._encoder.go.set()
        return results


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Sixteen threads."""
    with ThreadPoolExecutor(16) as pool:
        yield pool


def test_those_who_wait_go_together(pool: ThreadPoolExecutor) -> None:
    """One call, by one thread, for all; each gets his own rows; equal texts are encoded once."""
    encoder = Lengths()
    batching = BatchingEncoder(encoder)
    assert (batching.fingerprint, batching.name) == (encoder.fingerprint, "lengths")
    crowd = Crowd(batching, encoder, pool)
    answers = crowd.ask(["a", "bb"], [], ["bb"], ["ccc", "a"])
    assert [answer()[:, 0].tolist() for answer in answers] == [[1, 2], [], [2], [3, 1]]
    assert answers[1]().shape == (0, 2)
    assert crowd.first.result().tolist() == [[5, 1]]
    assert encoder.calls == [["first"], ["a", "bb", "ccc"]]
    assert len(encoder.threads) == 1
    batching.close()
    assert (batching.requests, batching.calls) == (5, 2)


def test_an_idle_encoder_is_asked_at_once() -> None:
    """One caller at a time: no call waits for another, and each is encoded alone."""
    encoder = Lengths()
    encoder.go.set()
    batching = BatchingEncoder(encoder)
    for text in ("x", "yy", "zzz"):
        assert batching.encode_query([text]).tolist() == [[len(text), 1]]
    assert encoder.calls == [["x"], ["yy"], ["zzz"]]
    batching.close()


def test_a_bad_text_fails_its_caller_alone(pool: ThreadPoolExecutor) -> None:
    """The call that failed is taken apart; the others have their vectors."""
    encoder = Lengths()
    batching = BatchingEncoder(encoder)
    good, bad, also_good = Crowd(batching, encoder, pool).ask(["good"], ["bad"], ["too"])
    assert good().tolist() == [[4, 1]]
    assert also_good().tolist() == [[3, 1]]
    with pytest.raises(ValueError, match="a bad text"):
        bad()
    assert batching.encode_query(["after"]).tolist() == [[5, 1]]
    batching.close()


@pytest.mark.parametrize(
    ("most", "requests", "calls"),
    [
        ({"max_sentences": 3}, [["a"], ["b", "c"], ["d"]], [["a", "b", "c"], ["d"]]),
        ({"max_sentences": 1}, [["a", "b"], ["c"]], [["a", "b"], ["c"]]),
        ({"max_characters": 5}, [["aa"], ["bbb"], ["c"]], [["aa", "bbb"], ["c"]]),
        ({"max_characters": 5}, [["a"], ["bbbbbbbb"], ["c"]], [["a"], ["bbbbbbbb"], ["c"]]),
    ],
)
def test_a_call_is_bounded(
    most: dict[str, int],
    requests: list[list[str]],
    calls: list[list[str]],
    pool: ThreadPoolExecutor,
) -> None:
    """In the order they came; nobody's texts are parted, nobody is passed over."""
    encoder = Lengths()
    batching = BatchingEncoder(encoder, **most)
    for answer, request in zip(
        Crowd(batching, encoder, pool).ask(*requests), requests, strict=True
    ):
        assert answer()[:, 0].tolist() == [len(text) for text in request]
    assert encoder.calls[1:] == calls
    batching.close()


def test_closing_answers_those_who_wait(pool: ThreadPoolExecutor) -> None:
    """What was asked before is answered, what is asked later is refused; twice is harmless."""
    encoder = Lengths()
    batching = BatchingEncoder(encoder)
    crowd = Crowd(batching, encoder, pool)
    [waiting] = crowd.ask(["waiting"])
    batching.close()
    batching.close()
    assert crowd.first.result().tolist() == [[5, 1]]
    assert waiting().tolist() == [[7, 1]]
    with pytest.raises(EncoderUnavailable, match="'lengths' was closed; open it again"):
        batching.encode_query(["late"])


def test_closing_what_was_never_asked() -> None:
    """No thread was started, and none is waited for."""
    batching = BatchingEncoder(Lengths())
    batching.close()
    with pytest.raises(EncoderUnavailable, match="was closed"):
        batching.encode_query([])
