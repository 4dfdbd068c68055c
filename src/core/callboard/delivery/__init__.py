"""Getting events to their subscribers and timers to their handlers: at least once, with exactly one effect."""
