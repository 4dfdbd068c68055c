"""The command line. Each command's module is imported when the command runs."""

from __future__ import annotations

from importlib import import_module

import click

from callboard_app.commands import COMMANDS, INTRODUCTION


class _Lazy(click.Group):
    """A group that knows its commands by the table and imports the one that is called."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            close = [known for known in COMMANDS if known.startswith(name[:3])]
            context.fail(
                f"No such command {name!r}."
                + (f" Did you mean {' or '.join(close)}?" if close else " See callboard --help.")
            )
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=_Lazy, help=INTRODUCTION, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="callboard", prog_name="callboard")
def root() -> None:
    """All commands."""
