"""Benchmarks: one file a question, run with `python -m rnnjax.benchmarks`."""
