"""The HTTP API: routes over a `Backend`, with keys, limits, metrics and problem details.

Nothing here loads a model or opens a store: what answers is given (`search.api.backend`).
"""
