"""Contacts from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from callboard_app.cli.common import command, emit, json_option, opened, progress, tenant_option

if TYPE_CHECKING:
    from callboard.contacts.model import ImportReport
    from callboard.ids import TenantId
    from callboard_adapters.files import Rows
    from callboard_app.bootstrap import Container


@click.group()
def contacts() -> None:
    """Contacts of a tenant."""


@contacts.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Read and count, change nothing.")
@tenant_option
@json_option
@command
async def import_(file: Path, dry_run: bool, slug: str, as_json: bool) -> None:
    """Import a CSV or XLSX file.

    Columns: phone (or phoneE164), firstName, lastName, email, gender, birthDate, smsConsent, tags, and common synonyms.
    Running it again changes nothing; the first of two rows with one phone wins; nobody is opted in again by a file.
    """
    from callboard_adapters.files import open_rows

    async with opened(slug) as (container, tenant):
        with open_rows(file) as rows, progress(f"Importing {file.name}", rows.count()) as advance:
            report = await read_rows(container, tenant.id, rows, advance=advance, dry_run=dry_run)
    if as_json:
        shown = attrs.asdict(report)
        shown.pop("dry_run")
        shown["errors"] = [
            {"row": e.line, "field": e.field, "value": e.value, "reason": e.reason} for e in report.errors
        ]
        emit(shown)
        return
    tell(report)


def tell(report: ImportReport) -> None:
    """The outcome for people: every row is in exactly one of the numbers."""
    would = "would be " if report.dry_run else ""
    click.secho(f"{report.total:,} rows", bold=True)
    for word in ("created", "updated", "skipped", "invalid"):
        if n := getattr(report, word):
            click.echo(f"  {n:>9,} {would}{word}")
    for error in report.errors[:10]:
        click.echo(f"  line {error.line}: {error.field}: {error.reason}", err=True)
    if len(report.errors) > 10:
        click.echo(f"  … and {len(report.errors) - 10:,} more; --json lists up to 1,000", err=True)


async def read_rows(
    container: Container, tenant: TenantId, rows: Rows, *, advance: Callable[[int], None], dry_run: bool = False
) -> ImportReport:
    """Import an open table; ``advance`` hears how many rows are through."""
    return await container.imports.run(
        tenant, rows, headers=rows.headers, dry_run=dry_run, progress=lambda report: advance(report.total)
    )
