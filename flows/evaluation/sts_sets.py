"""Sets of scored pairs: a file each, or a folder whose files are the subsets of one set."""

from pathlib import Path
from typing import TYPE_CHECKING

from flows.errors import InvalidInput
from flows.pair_files import SUFFIXES, read_pairs

if TYPE_CHECKING:
    from embedder.scored_pairs import ScoredPairs


def read_sts_set(place: str) -> tuple[str, "ScoredPairs"]:
    """A set's name, the stem of the file or the folder's, and its pairs.

    The files of a folder are laid together in the order of their names: the papers' "all" setting
    of a year whose subsets lie in files of their own.

    Raises:
        InvalidInput: a file is wrong, or a folder holds none.
    """
    import numpy as np

    from embedder.errors import InvalidConfig
    from embedder.evaluation.sts import require_ranks
    from embedder.scored_pairs import ScoredPairs

    path = Path(place)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
        if not files:
            raise InvalidInput(f"{place!r}: no pairs in it; expected files {', '.join(SUFFIXES)}")
        name = path.resolve().name
        parts = [read_pairs(str(file), option="") for file in files]
        pairs = ScoredPairs(
            tuple(text for part in parts for text in part.first),
            tuple(text for part in parts for text in part.second),
            np.concatenate([part.score_N for part in parts]),
        )
    else:
        name, pairs = path.stem, read_pairs(place, option="")
    try:
        require_ranks(name, pairs.score_N)
    except InvalidConfig as error:
        raise InvalidInput(str(error)) from None
    return name, pairs
