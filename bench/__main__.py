"""``python -m bench [name …] [--json]``: all benches, or the named ones."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = ("enqueue", "dispatch", "receipts", "reads", "imports", "startup")


def main() -> None:
    chosen = [a for a in sys.argv[1:] if not a.startswith("-")] or list(NAMES)
    options = [a for a in sys.argv[1:] if a.startswith("-")]
    for name in chosen:
        if name not in NAMES:
            sys.exit(f"unknown bench {name!r}; there are: {', '.join(NAMES)}")
        import_module(f"bench.{name}").main(options)


if __name__ == "__main__":
    main()
