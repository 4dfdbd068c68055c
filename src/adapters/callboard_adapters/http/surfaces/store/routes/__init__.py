"""Handlers of the store: translate, call, translate."""
