"""Benches: each row names its physical limit and prints our ratio to it, measured in the same run."""
