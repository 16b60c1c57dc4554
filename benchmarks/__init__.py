"""Benchmarks: code that anybody can rerun. Each prints its result and, with `--file`, files it."""
