"""Callboard's core: every decision about contacting a customer, with its reason. Pure Python, no I/O."""

__version__ = "0.1.0"
