"""Campaigns: what to say, to whom, when; their rounds run through the one sending pipeline."""
