"""Filters as the embedded engine has them."""

from typing import Any

import qdrant_edge as qdrant

from search.stores.edge_wire import AnyOf, Between, Condition, Conditions, Present, Words


def to_filter(conditions: Conditions) -> qdrant.Filter | None:
    """A filter as the engine has it; None if it states no condition."""
    if not conditions.must and not conditions.must_not:
        return None
    return qdrant.Filter(
        must=[_condition(one) for one in conditions.must],
        must_not=[_condition(one) for one in conditions.must_not],
    )


def _condition(condition: Condition) -> Any:
    match condition:
        case Between(path=path, bounds=bounds, is_time=is_time):
            kind: Any = qdrant.RangeDateTime if is_time else qdrant.RangeFloat
            return qdrant.FieldCondition(path, range=kind(**bounds))
        case Words(path=path, words=words):
            return qdrant.FieldCondition(path, match=qdrant.MatchText(words))
        case Present(path=path):
            return qdrant.FieldCondition(path, is_empty=False)
        case AnyOf(filters=filters):
            choices: list[Any] = [to_filter(one) for one in filters]
            return qdrant.Filter(should=choices)
        case (path, values):
            any_of: Any = list(values)
            return qdrant.FieldCondition(path, match=qdrant.MatchAny(any_of))
