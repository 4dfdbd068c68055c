"""What the commands share: settings, output for people and for programs, refusals that say what to do."""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from callboard.errors import CoreError
from callboard_app.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from callboard.tenants.model import Tenant
    from callboard_app.bootstrap import Container

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

ADVICE: Mapping[str, str] = {
    "INSUFFICIENT_CREDITS": "Add credits: callboard tenant credit SLUG AMOUNT",
    "NO_RECIPIENTS": "Nobody in this audience is opted in and reachable.",
    "UNAVAILABLE": "Is the database running? callboard doctor checks every part.",
    "SCHEMA_OUTDATED": "Run: callboard migrate",
    "SCHEMA_UNKNOWN": "Install the newer version of Callboard, or name another database in CALLBOARD_DATABASE_URL.",
    "ALREADY_SENDING": "Watch it: callboard campaign watch NAME",
}


class Refusal(click.ClickException):
    """The command was understood and cannot be done: exit code 1, and what to do next."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "ERROR",
        advice: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.advice = advice
        self.details = dict(details or {})
        context = click.get_current_context(silent=True)  # gone by the time click shows the error
        self._as_json = context is not None and bool(context.find_root().meta.get("json"))

    def show(self, _file: object = None) -> None:
        """One JSON object on standard output with ``--json``, words on standard error otherwise."""
        if self._as_json:
            emit(
                {
                    "error": self.code,
                    "message": self.message,
                    "advice": self.advice,
                    **({"details": self.details} if self.details else {}),
                }
            )
            return
        click.secho(f"✗ {self.message}", fg="red", err=True)
        if self.advice:
            click.echo(f"  {self.advice}", err=True)


def emit(value: Mapping[str, object]) -> None:
    """The one JSON object."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def json_option(command: F) -> F:
    """``--json``: one JSON object on standard output and nothing else there."""

    def remember(context: click.Context, _parameter: click.Parameter, value: bool) -> bool:
        if value:
            context.find_root().meta["json"] = True
        return value

    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        callback=remember,
        is_eager=True,
        help="Print one JSON object and nothing else.",
    )(command)


def tenant_option(command: F) -> F:
    """``--tenant SLUG``."""
    return click.option("--tenant", "slug", default="default", show_default=True, help="The tenant's slug.")(command)


def settings_or_exit(**overrides: Any) -> Settings:
    """Settings from the environment; exit code 2 naming the variable that cannot be used."""
    try:
        return load(**overrides)
    except SettingsError as error:
        raise Refusal(str(error), code="SETTINGS", advice="Change or unset the variable and try again.") from None


def log_to_stderr(settings: Settings) -> None:
    """For commands that end: only what is wrong, and never on standard output."""
    import attrs

    from callboard_app.logs import configure

    configure(attrs.evolve(settings, log_level="error" if settings.log_level == "error" else "warning"))


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine; the core's refusals become exit code 1 with advice."""
    try:
        return asyncio.run(main)
    except CoreError as error:
        raise Refusal(error.message, code=error.code, advice=ADVICE.get(error.code), details=error.details) from None
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None


def command(function: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """An ``async def`` as a click callback."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        run(function(*args, **kwargs))

    return wrapper


def table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Rows for people, as wide as they need to be."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        numbers = all(isinstance(row[name], int) for row in rows)
        shown.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(_cell(row[name]) for name in columns))
    Console(soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 240).print(shown)


@contextmanager
def progress(text: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, drawn only on a terminal; yields a function that takes how much is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(text, total=total)
        yield lambda done: bar.update(task, completed=done)


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@asynccontextmanager
async def opened(slug: str | None) -> AsyncIterator[tuple[Container, Tenant]]:
    """The container on a database whose schema is known, and the tenant of this name (None: none is looked up).

    Refuses an unknown slug, naming the ones that exist.
    """
    from callboard_app.bootstrap import NO_TENANT, bootstrap, prepare

    settings = settings_or_exit()
    log_to_stderr(settings)
    async with bootstrap(settings) as container:
        await prepare(container)
        if slug is None:
            yield container, NO_TENANT
            return
        tenants = await container.tenants.list()
        found = next((tenant for tenant in tenants if tenant.slug == slug), None)
        if found is None:
            names = ", ".join(tenant.slug for tenant in tenants[:10])
            advice = f"There is: {names}" if names else "Create one: callboard tenant create --slug S --name N"
            refuse(f"No tenant {slug!r}", code="NOT_FOUND", advice=advice)
        yield container, found


def refuse(message: str, *, advice: str | None = None, code: str = "ERROR") -> NoReturn:
    """Stop with exit code 1."""
    raise Refusal(message, code=code, advice=advice)
