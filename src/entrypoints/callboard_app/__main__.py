"""``callboard`` and ``python -m callboard_app``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run one command; see ``callboard --help``."""
    if sys.argv[1:] in ([], ["--help"], ["-h"], ["help"]):
        from callboard_app.commands import help_text

        sys.stdout.write(help_text())
        return
    if sys.argv[1:] == ["--version"]:
        from callboard import __version__

        sys.stdout.write(f"callboard {__version__}\n")
        return
    from callboard_app.cli import root

    root(prog_name="callboard")


if __name__ == "__main__":
    main()
