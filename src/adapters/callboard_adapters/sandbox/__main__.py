"""``python -m callboard_adapters.sandbox --port 8787``: the twin alone, without the rest of the product."""

from __future__ import annotations

import argparse

from callboard_adapters.sandbox.serve import read_config, run_sandbox


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="sandbox", description="The provider twin")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8787)
    parser.add_argument("--config", default="{}", help="JSON, or @file")
    given = parser.parse_args()
    run_sandbox(given.host, given.port, read_config(given.config))


if __name__ == "__main__":
    main()
