"""Waking workers up: Dramatiq on Redis or in this process; the database holds the work, a broker only costs latency."""
