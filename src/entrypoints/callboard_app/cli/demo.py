"""``callboard demo``."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from callboard.tenants.model import Surface
from callboard_app.cli.common import command, emit, json_option, refuse


@click.command()
@click.option("--once", is_flag=True, help="End after the report: exit code 0, or 1 if a number does not add up.")
@click.option(
    "--surface", default="store", show_default=True, type=click.Choice(["store"]), help="Which product to show."
)
@click.option(
    "--contacts", default=10_000, show_default=True, type=click.IntRange(50, 1_000_000), help="People in the file."
)
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="A free one is taken if it is not."
)
@click.option("--data", default=None, type=click.Path(file_okay=False, path_type=Path), help="Keep everything here.")
@json_option
@command
async def demo(once: bool, surface: str, contacts: int, port: int, data: Path | None, as_json: bool) -> None:
    """Show the whole thing: no account, no network, one command.

    Fills a shop from a CSV file, sends a campaign through the provider twin, and proves every number against what the
    twin received. Keeps serving until Ctrl-C.
    """
    from rich.console import Console

    from callboard_app.demo.run import play
    from callboard_app.demo.show import Show
    from callboard_app.demo.stage import Stage, StageError

    console = Console(stderr=as_json)
    show = Show(console if console.is_terminal else Console(stderr=as_json, width=110))
    with ExitStack() as kept:
        folder = (
            Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="callboard-demo-"))) if data is None else data
        )
        folder.mkdir(parents=True, exist_ok=True)
        show.title("Callboard", "one shop, one campaign, every message accounted for")
        show.step("Start the provider twin and the server, jobs included")
        try:
            async with Stage(folder.resolve(), port=port, sandbox_port=8787) as stage:
                outcome = await play(stage, show, contacts=contacts, surface=Surface(surface))
                report = outcome.report
                show.step("Report")
                show.report(report)
                show.step("Proof: our numbers against the other side's")
                show.checks(outcome.checks)
                verdict = "Every number adds up." if outcome.holds else "A number does not add up."
                show.note(verdict, "bold green" if outcome.holds else "bold red")
                show.step("Look around")
                show.addresses({**report["addresses"], **report["credentials"]})
                key = report["credentials"]["key"]
                show.note(f"curl -H 'Authorization: Bearer {key}' {stage.url}/store/dashboard")
                if as_json:
                    emit(outcome.as_json())
                if not once:
                    show.note("Serving until Ctrl-C.", "bold")
                    await _until_stopped(stage)
        except StageError as error:
            refuse(str(error), code="NOT_STARTED", advice="Is another program in the way? Try another --port.")
    if not outcome.holds:
        raise click.exceptions.Exit(1)


async def _until_stopped(stage: object) -> None:
    """Until Ctrl-C, SIGTERM, or the end of one of the processes."""
    from callboard_app.demo.stage import Stage

    assert isinstance(stage, Stage)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    waits = {asyncio.create_task(stop.wait()), asyncio.create_task(stage.wait())}
    _, rest = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
