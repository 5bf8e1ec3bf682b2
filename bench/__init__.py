"""Benchmarks: each row of `make bench` beside its own limit, measured in the same run on the same machine."""
