"""The public HTTP surfaces: one Litestar app, one dialect per surface."""
