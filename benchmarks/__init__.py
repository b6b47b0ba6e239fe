"""Benchmarks: a file a question, each measured in pairs; ``python -m rnnjax.benchmarks`` asks them all."""
