"""``callboard doctor``: every part of an installation, what is wrong with it and what to do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Final, Literal

import attrs
import click

from callboard_app.cli.common import command, emit, json_option, log_to_stderr
from callboard_app.settings import Providers, Settings, SettingsError, load, sqlite_file

if TYPE_CHECKING:
    from callboard_app.bootstrap import Container

Verdict = Literal["ok", "warning", "error"]
_MARKS: Final = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


@attrs.frozen
class Finding:
    """One thing that was looked at. ``advice`` says what to do about a warning or an error."""

    part: str
    verdict: Verdict
    text: str
    advice: str | None = None


@click.command()
@json_option
@command
async def doctor(as_json: bool) -> None:
    """Check configuration, database, broker, workers and providers.

    Exit code 1 when something keeps the installation from working.
    """
    found: list[Finding] = []
    async for finding in examine():
        found.append(finding)
        if not as_json:
            mark, color = _MARKS[finding.verdict]
            click.secho(f"{mark} ", fg=color, nl=False)
            click.echo(f"{finding.part}: {finding.text}")
            if finding.advice:
                click.echo(f"    {finding.advice}")
    failed = any(finding.verdict == "error" for finding in found)
    if as_json:
        emit({"ok": not failed, "findings": [attrs.asdict(finding) for finding in found]})
    if failed:
        raise click.exceptions.Exit(1)


async def examine() -> AsyncIterator[Finding]:
    """Every check in order; those that need a part which is broken are left out."""
    try:
        settings = load()
    except SettingsError as error:
        yield Finding("settings", "error", str(error), "Change or unset the variable.")
        return
    log_to_stderr(settings)
    yield Finding("python", "ok", sys.version.split()[0])
    for finding in _settings(settings):
        yield finding
    from callboard_app.bootstrap import bootstrap

    try:
        async with bootstrap(settings) as container:
            database = await _database(container)
            yield database
            if database.verdict != "error":
                async for finding in _inside(container):
                    yield finding
            yield await _broker(container)
            yield await _provider(container)
    except SettingsError as error:
        yield Finding("settings", "error", str(error), "Set the variable and try again.")


def _settings(settings: Settings) -> list[Finding]:
    found = [Finding("environment", "ok", settings.environment.value)]
    if settings.secret_key is None and not settings.production:
        found.append(
            Finding(
                "secret key",
                "warning",
                "made by ourselves and kept in .callboard-secret",
                "Set CALLBOARD_SECRET_KEY where several machines share a database.",
            )
        )
    local = settings.public_url.startswith(("http://127.", "http://localhost"))
    if local and settings.providers is Providers.LIVE:
        found.append(
            Finding(
                "public address",
                "error" if settings.production else "warning",
                f"{settings.public_url}: links in messages and delivery reports cannot reach it",
                "Set CALLBOARD_PUBLIC_URL to the https:// address of this server.",
            )
        )
    else:
        found.append(Finding("public address", "ok", settings.public_url))
    return found


async def _database(container: Container) -> Finding:
    from callboard.errors import CoreError
    from callboard_app.bootstrap import prepare

    file = sqlite_file(container.settings)
    what = f"SQLite, {file}" if file else "PostgreSQL" if not container.store.sqlite else "SQLite in memory"
    try:
        async with asyncio.timeout(10):
            await prepare(container)
    except CoreError as error:
        advice = {
            "SCHEMA_OUTDATED": "Run: callboard migrate",
            "SCHEMA_UNKNOWN": "Install the newer version, or name another database.",
            "UNAVAILABLE": "Check that the server runs and that CALLBOARD_DATABASE_URL is right.",
        }.get(error.code)
        return Finding("database", "error", f"{what}: {error.message}", advice)
    except TimeoutError:
        return Finding("database", "error", f"{what}: no answer within 10 s", "Is the address right and reachable?")
    return Finding("database", "ok", f"{what}, schema up to date")


async def _inside(container: Container) -> AsyncIterator[Finding]:
    tenants = await container.tenants.list()
    if not tenants:
        yield Finding(
            "tenants", "warning", "none", "Create one: callboard tenant create --slug S --name N --credits 1000"
        )
    else:
        yield Finding("tenants", "ok", str(len(tenants)))
    workers = await container.workers_alive()
    async with container.store.system() as s:
        waiting, dead = await s.queue.waiting(), await s.deliveries.dead(limit=100)
    if workers:
        yield Finding("workers", "ok", f"{len(workers)} alive")
    else:
        yield Finding(
            "workers",
            "error" if waiting else "warning",
            f"none alive, {waiting} chunks wait" if waiting else "none alive",
            "Start `callboard worker`, or `callboard serve` without CALLBOARD_REDIS_URL.",
        )
    if dead:
        yield Finding("dead letters", "warning", f"{len(dead)}", "See: callboard dead list")
    from callboard.errors import NotConfigured
    from callboard.tenants.model import Channel

    for tenant in tenants[:20]:
        policy = await container.tenant_settings.policy(tenant.id)
        try:
            await container.channels.client(tenant.id, Channel(policy.channel))
        except NotConfigured as error:
            yield Finding(f"tenant {tenant.slug}", "warning", error.message)
        else:
            yield Finding(f"tenant {tenant.slug}", "ok", f"sends by {policy.channel.value}")


async def _broker(container: Container) -> Finding:
    if container.settings.redis_url is None:
        return Finding("broker", "ok", "in this process (CALLBOARD_REDIS_URL is not set)")
    if await _answers(container.ping_broker):
        return Finding("broker", "ok", "Redis answers")
    return Finding(
        "broker",
        "warning",
        "Redis does not answer: work is accepted and done, about a second later",
        "Check CALLBOARD_REDIS_URL and that the server runs.",
    )


async def _provider(container: Container) -> Finding:
    from callboard_adapters.outbound import Reply

    if container.settings.providers is Providers.LIVE:
        return Finding("providers", "ok", "live: on for every tenant whose credentials are set")
    url = container.settings.sandbox_url.rstrip("/")
    answer = await container.http.call("GET", f"{url}/_control/health", deadline=3)
    if isinstance(answer, Reply) and answer.status == 200:
        return Finding("providers", "ok", f"the twin answers at {url}")
    return Finding(
        "providers", "error", f"no twin at {url}", "Start it: callboard sandbox, or set CALLBOARD_SANDBOX_URL."
    )


async def _answers(check: Callable[[], Awaitable[None]]) -> bool:
    try:
        async with asyncio.timeout(3):
            await check()
    except Exception:
        return False
    return True
