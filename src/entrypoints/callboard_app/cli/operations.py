"""Running things: the server, workers, the twin, migrations."""

from __future__ import annotations

import os
import sys

import click

from callboard_app.cli.common import command, emit, json_option, settings_or_exit


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for every one.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="HTTP processes.")
def serve(host: str, port: int, workers: int) -> None:
    """Run the HTTP server.

    Without CALLBOARD_REDIS_URL it also does the work of `callboard worker`. Ready when GET /health/ready answers 200.
    """
    from callboard_app.serve import run_server

    settings_or_exit()  # a bad setting ends here, with its name
    code = run_server(host=host, port=port, workers=workers)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # everything is closed; Dramatiq's idle threads need not be waited for


@click.command()
@click.option(
    "--processes",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Processes; dead ones are started again.",
)
@click.option(
    "--threads",
    default=None,
    type=click.IntRange(1, 64),
    help="Chunks sent at once per process [CALLBOARD_DISPATCHERS, 3].",
)
@click.option("--number", default=0, hidden=True)
@click.option("--parent", default=None, type=int, hidden=True)
def worker(processes: int, threads: int | None, number: int, parent: int | None) -> None:
    """Run workers: sending, events, timers, sweeps.

    One process runs by itself, several under a supervisor. SIGTERM ends within 25 s without leaving a message unknown.
    """
    from callboard_app.logs import configure

    settings = settings_or_exit()
    configure(settings)
    if processes == 1:
        from callboard_app.worker import run_worker

        sys.exit(run_worker(settings, number=number, threads=threads, parent=parent))
    from callboard_app.supervisor import Supervisor

    def line(child: int) -> list[str]:
        extra = [] if threads is None else ["--threads", str(threads)]
        return [
            sys.executable,
            "-m",
            "callboard_app",
            "worker",
            "--number",
            str(child),
            "--parent",
            str(os.getpid()),
            *extra,
        ]

    sys.exit(Supervisor(line, processes=processes).run())


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8787, show_default=True, type=click.IntRange(1, 65535))
@click.option("--callbacks", default=None, metavar="URL", help="Whom to tell of deliveries [CALLBOARD_PUBLIC_URL].")
@click.option("--config", default="{}", metavar="JSON|@FILE", help="Settings of the twin, as in POST /_control/config.")
def sandbox(host: str, port: int, callbacks: str | None, config: str) -> None:
    """Run the provider twin alone; its control API is under /_control."""
    import json

    from callboard_adapters.sandbox.config import patched
    from callboard_adapters.sandbox.serve import read_config, run_sandbox

    try:
        given = read_config(config)
    except (ValueError, OSError) as error:
        raise click.BadParameter(str(error), param_hint="--config") from None
    base = (callbacks or settings_or_exit().public_url).rstrip("/")
    targets = {
        "sms": {"delivery_url": f"{base}/webhooks/sms/delivery", "inbound_url": f"{base}/webhooks/sms/inbound"},
        "whatsapp": {"webhook_url": f"{base}/webhooks/whatsapp"},
    }
    named = json.loads(config) if config.lstrip().startswith("{") else {}
    for provider, urls in targets.items():
        missing = {name: url for name, url in urls.items() if name not in named.get(provider, {})}
        given = patched(given, {provider: missing})
    run_sandbox(host, port, given)


@click.command()
@json_option
@command
async def migrate(as_json: bool) -> None:
    """Bring the database's schema up to date."""
    from callboard_adapters.sql import schema

    url = settings_or_exit().database_url.get_secret_value()
    changed = False
    try:
        schema.check(url)
    except schema.SchemaOutdated:
        schema.migrate(url)
        changed = True
    if as_json:
        emit({"revision": schema.head(), "changed": changed})
    else:
        click.echo(f"The schema is {'now' if changed else 'already'} at revision {schema.head()}.")
