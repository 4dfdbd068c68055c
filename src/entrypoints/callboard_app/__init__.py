"""Entry points: settings, the wiring of core and adapters, the server, the worker and the command line."""
