"""How good vectors are, by the field's own measures, and where a model looks while it makes them.

Every measure takes vectors or a function that makes them, so that other encoders stand in the same
table. Reading files is `flows.evaluation`'s business.
"""
