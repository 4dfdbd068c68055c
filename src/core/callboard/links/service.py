"""Following short links and unsubscribe links: public, so the tenant comes from the token alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date

import attrs

from callboard.clock import Clock
from callboard.contacts import ports as contacts_ports
from callboard.contacts.model import ConsentSource
from callboard.contacts.service import opt_out
from callboard.errors import Gone, InvalidInput, NotFound
from callboard.ids import TenantId
from callboard.links import rules
from callboard.links.ports import SystemWork
from callboard.work import OpenSystemWork, OpenWork

ClickKey = tuple[TenantId, str, date]


@attrs.frozen(kw_only=True)
class Visit:
    """Where to send the visitor, and under which key to count the click (None: not a person's)."""

    url: str
    click: ClickKey | None


@attrs.frozen(kw_only=True)
class LinkService:
    """``unsubscribe_keys``: the first signs, all verify. ``allowed_hosts`` empty allows every host."""

    system: OpenSystemWork[SystemWork]
    work: OpenWork[contacts_ports.Work]
    clock: Clock
    unsubscribe_keys: tuple[bytes, ...] = attrs.field(repr=False)
    production: bool = False
    allowed_hosts: frozenset[str] = frozenset()

    async def resolve(self, token: str, *, agent: str, method: str, purpose: str = "") -> Visit:
        """NotFound for an unknown token and for a destination not allowed (any more), Gone for an expired one."""
        if not rules.looks_like_token(token):
            raise NotFound("Link not found")
        async with self.system() as s:
            link = await s.link_directory.by_token(token)
        if link is None:
            raise NotFound("Link not found")
        now = self.clock.now()
        if rules.expired(link, now):
            raise Gone("This link has expired")
        try:
            url = rules.check_destination(link.url, production=self.production, allowed_hosts=self.allowed_hosts)
        except InvalidInput:
            raise NotFound("Link not found") from None
        counted = rules.counts_as_click(method=method, agent=agent, purpose=purpose)
        return Visit(url=url, click=(link.tenant_id, link.token, now.astimezone(UTC).date()) if counted else None)

    async def count(self, clicks: Mapping[ClickKey, int]) -> None:
        """Add clicks, many at once: callers may collect them for a moment."""
        if clicks:
            async with self.system() as s:
                await s.link_directory.add_clicks(clicks)

    def check_unsubscribe(self, token: str) -> None:
        """For the page that asks "really?": NotFound for a forged token. Changes nothing, so scanners may look."""
        if rules.verify_unsubscribe(token, self.unsubscribe_keys) is None:
            raise NotFound("Link not found")

    async def unsubscribe(self, token: str) -> bool:
        """Opt the token's contact out of its tenant's marketing; True when that was news. NotFound if forged."""
        contact = rules.verify_unsubscribe(token, self.unsubscribe_keys)
        if contact is None:
            raise NotFound("Link not found")
        async with self.system() as s:
            found = await s.link_directory.recipient(contact)
        if found is None:
            raise NotFound("Link not found")
        tenant, phone = found
        if phone is None:
            return False
        async with self.work(tenant) as w:
            source, now = ConsentSource.UNSUBSCRIBE_LINK, self.clock.now()
            return await opt_out(w, phone, source=source, evidence=contact.hex, now=now)
