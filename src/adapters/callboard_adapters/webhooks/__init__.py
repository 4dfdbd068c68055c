"""Provider callbacks on their way in: group commit and whose they are."""
