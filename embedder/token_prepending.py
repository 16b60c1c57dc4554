"""Token Prepending (arXiv 2412.11556, section 3): the sentence's own summary, put in front of it.

A decoder's early tokens cannot see the later ones. Before each layer of a range, the state of the
last token, which has seen everything, is copied into the placeholder that stands before the text.
"""

from torch import Tensor


def prepend_last_state(hidden_TD: Tensor, placeholder_P: Tensor, source_P: Tensor) -> Tensor:
    """Copy `hidden[source]` to `hidden[placeholder]`, leaving the input untouched.

    Args:
        hidden_TD: packed hidden states before a layer, any float dtype, shape (T, D).
        placeholder_P: int64 (P,), packed index of each placeholder token.
        source_P: int64 (P,), packed index of the last token of that placeholder's row.
    """
    return hidden_TD.index_copy(0, placeholder_P, hidden_TD[source_P])
