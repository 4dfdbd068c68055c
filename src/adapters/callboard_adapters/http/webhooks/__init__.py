"""Callbacks that more than one surface may serve: no bearer, a signature over the raw body instead."""
