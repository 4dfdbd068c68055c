"""Segments: who is meant, as a small tree with two interpreters that a property test holds equal."""
