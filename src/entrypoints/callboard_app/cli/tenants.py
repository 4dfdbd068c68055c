"""Tenants, their settings and credits; keys and tokens."""

from __future__ import annotations

import sys
from datetime import timedelta
from uuid import UUID

import click

from callboard.errors import InvalidInput
from callboard.ids import KeyId
from callboard.tenants.model import Surface
from callboard.tenants.settings import SECRETS, SETTINGS
from callboard_app.cli.common import command, emit, json_option, opened, refuse, table, tenant_option

_SURFACES = click.Choice([surface.value for surface in Surface])


@click.group()
def tenant() -> None:
    """Tenants: one per shop, workspace or business."""


@tenant.command("create")
@click.option("--slug", required=True, help="Short and unique; names the tenant on the command line.")
@click.option("--name", required=True, help="What customers read as {{shopName}}.")
@click.option("--region", default="IN", show_default=True, help="Default country of phones (ISO 3166).")
@click.option("--timezone", default="Asia/Kolkata", show_default=True, help="Zone of its days (IANA).")
@click.option("--credits", "amount", default=1_000, show_default=True, type=click.IntRange(0), help="Opening credits.")
@json_option
@command
async def create(slug: str, name: str, region: str, timezone: str, amount: int, as_json: bool) -> None:
    """Create a tenant."""
    async with opened(None) as (container, _):
        made = await container.tenants.create(slug=slug, name=name, region=region, timezone=timezone)
        if amount:
            await container.credits.grant(made.id, amount, reason="opening balance")
        await container.equip(made)
    if as_json:
        emit({"id": str(made.id), "slug": made.slug})
        return
    click.echo(f"Tenant {made.slug} ({made.id}) with {amount:,} credits.")
    click.echo(f"Next: callboard key create --tenant {made.slug} --surface store", err=True)


@tenant.command("list")
@json_option
@command
async def list_(as_json: bool) -> None:
    """List tenants with their credits."""
    async with opened(None) as (container, _):
        rows = [
            {
                "id": str(t.id),
                "slug": t.slug,
                "name": t.name,
                "region": t.region,
                "timezone": t.timezone,
                "credits": await container.credits.balance(t.id),
            }
            for t in await container.tenants.list()
        ]
    if as_json:
        emit({"tenants": rows, "total": len(rows)})
    elif rows:
        table(rows, ("slug", "name", "region", "timezone", "credits", "id"))
    else:
        click.echo("No tenant yet. Create one: callboard tenant create --slug S --name N")


@tenant.command("set")
@click.argument("slug")
@click.argument("key", metavar="KEY")
@json_option
@command
async def set_(slug: str, key: str, as_json: bool) -> None:
    """Set one setting of a tenant; the value comes from standard input, an empty one removes it.

    KEY is a setting such as channel or quietHoursStart, or a provider's credential such as CALLBOARD_SMS_API_KEY,
    which is stored encrypted.
    """
    if key not in SECRETS and key not in SETTINGS:
        known = ", ".join([*SETTINGS, *sorted(SECRETS)])
        raise click.BadParameter(f"{key!r} is no setting. Known: {known}", param_hint="KEY")
    if sys.stdin.isatty():
        click.echo(f"Value of {key} (ends with Return):", err=True)
        value = sys.stdin.readline()
    else:
        value = sys.stdin.read()
    value = value.rstrip("\r\n")
    async with opened(slug) as (container, found):
        if key in SECRETS:
            await container.tenant_settings.put_secret(found.id, key, value or None)
        else:
            await container.tenant_settings.put(found.id, {key: value})
    if as_json:
        emit({"slug": slug, "key": key, "secret": key in SECRETS, "removed": not value})
    else:
        click.echo(f"{key} of {slug} {'set' if value else 'removed'}.")


@tenant.command("credit")
@click.argument("slug")
@click.argument("amount", type=click.IntRange(1))
@click.option("--reason", default=None, help="Why, for the account's history.")
@json_option
@command
async def credit(slug: str, amount: int, reason: str | None, as_json: bool) -> None:
    """Give a tenant credits."""
    async with opened(slug) as (container, found):
        balance = await container.credits.grant(found.id, amount, reason=reason)
    if as_json:
        emit({"slug": slug, "added": amount, "credits": balance})
    else:
        click.echo(f"{slug} has {balance:,} credits.")


@click.group()
def key() -> None:
    """API keys: shown once, stored as a digest."""


@key.command("create")
@tenant_option
@click.option("--surface", "surfaces", multiple=True, required=True, type=_SURFACES, help="May be given several times.")
@click.option("--scope", "scopes", multiple=True, help="Limits the key; may be given several times.")
@click.option("--label", default="", help="What it is for.")
@click.option("--expires", type=click.IntRange(1), default=None, metavar="DAYS", help="Days until it expires.")
@json_option
@command
async def key_create(
    slug: str, surfaces: tuple[str, ...], scopes: tuple[str, ...], label: str, expires: int | None, as_json: bool
) -> None:
    """Create a key and show it, once."""
    async with opened(slug) as (container, found):
        end = None if expires is None else container.clock.now() + timedelta(days=expires)
        new = await container.keys.create(
            found.id, surfaces=[Surface(s) for s in surfaces], scopes=scopes, label=label, expires_at=end
        )
    if as_json:
        emit({"id": str(new.credential.id), "key": new.text})
        return
    click.echo(new.text)
    click.echo("Keep it now: it is not shown again.", err=True)


@key.command("list")
@tenant_option
@json_option
@command
async def key_list(slug: str, as_json: bool) -> None:
    """List a tenant's keys."""
    async with opened(slug) as (container, found):
        now = container.clock.now()
        rows = [
            {
                "id": str(k.id),
                "prefix": k.prefix,
                "label": k.label,
                "surfaces": sorted(s.value for s in k.surfaces),
                "scopes": sorted(k.scopes),
                "state": "revoked"
                if k.revoked_at is not None
                else "expired"
                if k.expires_at is not None and k.expires_at <= now
                else "active",
                "expiresAt": None if k.expires_at is None else k.expires_at.isoformat(),
                "lastUsedAt": None if k.last_used_at is None else k.last_used_at.isoformat(),
            }
            for k in await container.keys.list(found.id)
        ]
    if as_json:
        emit({"keys": rows, "total": len(rows)})
    elif rows:
        table(rows, ("id", "prefix", "label", "surfaces", "state", "expiresAt", "lastUsedAt"))
    else:
        click.echo(f"No key yet. Create one: callboard key create --tenant {slug} --surface store")


@key.command("revoke")
@click.argument("identity", metavar="ID")
@tenant_option
@json_option
@command
async def key_revoke(identity: str, slug: str, as_json: bool) -> None:
    """Revoke a key; every process refuses it within five seconds."""
    async with opened(slug) as (container, found):
        await container.keys.revoke(found.id, _key_id(identity))
    if as_json:
        emit({"id": identity, "revoked": True})
    else:
        click.echo("Revoked.")


@key.command("rotate")
@click.argument("identity", metavar="ID")
@click.option("--overlap", default=24.0, show_default=True, type=click.FloatRange(0, 720), metavar="HOURS")
@tenant_option
@json_option
@command
async def key_rotate(identity: str, overlap: float, slug: str, as_json: bool) -> None:
    """Make a successor; both keys work until the overlap is over."""
    async with opened(slug) as (container, found):
        new = await container.keys.rotate(found.id, _key_id(identity), overlap=timedelta(hours=overlap))
    if as_json:
        emit({"id": str(new.credential.id), "key": new.text})
        return
    click.echo(new.text)
    click.echo(f"Keep it now. The old key ends in {overlap:g} h.", err=True)


@click.group()
def token() -> None:
    """Tokens for browser clients."""


@token.command("issue")
@tenant_option
@click.option("--user", required=True, help="Who holds it: becomes `sub`.")
@click.option("--surface", "surfaces", multiple=True, required=True, type=_SURFACES)
@click.option("--ttl", default=3600, show_default=True, type=click.IntRange(1, 31_536_000), help="Seconds.")
@json_option
@command
async def token_issue(slug: str, user: str, surfaces: tuple[str, ...], ttl: int, as_json: bool) -> None:
    """Issue a signed token."""
    async with opened(slug) as (container, found):
        text = container.issue_token(found.id, user, [Surface(s) for s in surfaces], timedelta(seconds=ttl))
    if as_json:
        emit({"token": text})
    else:
        click.echo(text)


def _key_id(text: str) -> KeyId:
    try:
        return KeyId(UUID(text))
    except ValueError:
        refuse("Not a key's id", code=InvalidInput.code, advice="See: callboard key list")
