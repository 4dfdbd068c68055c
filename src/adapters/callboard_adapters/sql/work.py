"""The SQL unit of work: one connection, one transaction, every repository bound to one tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from types import TracebackType
from typing import Final, Self

from sqlalchemy import Text, bindparam, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from callboard.errors import NotFound
from callboard.ids import Ids, TenantId
from callboard.tenants.model import Tenant
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.automations import SqlAutomations, SqlShopEvents, SqlTemplates
from callboard_adapters.sql.campaigns import SqlCampaigns
from callboard_adapters.sql.contacts import SqlContacts
from callboard_adapters.sql.credits import SqlAccounts, SqlCredits
from callboard_adapters.sql.delivery import (
    SqlDeliveries,
    SqlInbox,
    SqlOutbox,
    SqlOutboxes,
    SqlTimerQueue,
    SqlTimers,
)
from callboard_adapters.sql.directory import SqlDirectory
from callboard_adapters.sql.engine import answering, create_engine, is_sqlite
from callboard_adapters.sql.ledger import SqlLedger
from callboard_adapters.sql.links import SqlLinkDirectory, SqlLinks
from callboard_adapters.sql.queue import SqlQueue
from callboard_adapters.sql.receipts import SqlReceipts, SqlWebhookCalls
from callboard_adapters.sql.scope import Scope
from callboard_adapters.sql.secrets import SecretBox
from callboard_adapters.sql.segments import SqlAudiences, SqlSegments
from callboard_adapters.sql.senders import SqlSenders
from callboard_adapters.sql.tenants import SqlCredentials, SqlSettings
from callboard_adapters.sql.turns import writing
from callboard_adapters.sql.workers import SqlWorkers


class SqlWork:
    """Every tenant-bound repository over one transaction; structurally each context's ``ports.Work``."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @property
    def tenant(self) -> Tenant:
        """Whose transaction this is."""
        assert self._scope.tenant is not None
        return self._scope.tenant

    @property
    def connection(self) -> AsyncConnection:
        """The open connection, for read queries that join this transaction."""
        return self._scope.connection

    @cached_property
    def settings(self) -> SqlSettings:
        return SqlSettings(self._scope)

    @cached_property
    def credentials(self) -> SqlCredentials:
        return SqlCredentials(self._scope)

    @cached_property
    def contacts(self) -> SqlContacts:
        return SqlContacts(self._scope)

    @cached_property
    def segments(self) -> SqlSegments:
        return SqlSegments(self._scope)

    @cached_property
    def audiences(self) -> SqlAudiences:
        return SqlAudiences(self._scope)

    @cached_property
    def credits(self) -> SqlCredits:
        return SqlCredits(self._scope)

    @cached_property
    def links(self) -> SqlLinks:
        return SqlLinks(self._scope)

    @cached_property
    def campaigns(self) -> SqlCampaigns:
        return SqlCampaigns(self._scope)

    @cached_property
    def ledger(self) -> SqlLedger:
        return SqlLedger(self._scope)

    @cached_property
    def senders(self) -> SqlSenders:
        return SqlSenders(self._scope)

    @cached_property
    def automations(self) -> SqlAutomations:
        return SqlAutomations(self._scope)

    @cached_property
    def templates(self) -> SqlTemplates:
        return SqlTemplates(self._scope)

    @cached_property
    def shop_events(self) -> SqlShopEvents:
        return SqlShopEvents(self._scope)

    @cached_property
    def outbox(self) -> SqlOutbox:
        return SqlOutbox(self._scope)

    @cached_property
    def timers(self) -> SqlTimers:
        return SqlTimers(self._scope)

    @cached_property
    def inbox(self) -> SqlInbox:
        return SqlInbox(self._scope)


class SqlSystemWork:
    """The repositories that look across tenants, over one transaction."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @cached_property
    def directory(self) -> SqlDirectory:
        return SqlDirectory(self._scope)

    @cached_property
    def link_directory(self) -> SqlLinkDirectory:
        return SqlLinkDirectory(self._scope)

    @cached_property
    def queue(self) -> SqlQueue:
        return SqlQueue(self._scope)

    @cached_property
    def receipts(self) -> SqlReceipts:
        return SqlReceipts(self._scope)

    @cached_property
    def accounts(self) -> SqlAccounts:
        return SqlAccounts(self._scope)

    @cached_property
    def outboxes(self) -> SqlOutboxes:
        return SqlOutboxes(self._scope)

    @cached_property
    def deliveries(self) -> SqlDeliveries:
        return SqlDeliveries(self._scope)

    @cached_property
    def timers(self) -> SqlTimerQueue:
        return SqlTimerQueue(self._scope)

    @cached_property
    def webhook_calls(self) -> SqlWebhookCalls:
        return SqlWebhookCalls(self._scope)

    @cached_property
    def workers(self) -> SqlWorkers:
        return SqlWorkers(self._scope)


class SqlStore:
    """Opens units of work on one engine; one store per event loop."""

    def __init__(self, engine: AsyncEngine, *, ids: Ids, secret_key: bytes) -> None:
        self.engine = engine
        self.sqlite = is_sqlite(engine)
        self._ids = ids
        self._secrets = SecretBox(secret_key)

    @classmethod
    def open(cls, url: str, *, ids: Ids, secret_key: bytes, pool_size: int = 8) -> Self:
        """A store on ``url``; nothing connects before the first unit of work."""
        return cls(create_engine(url, pool_size=pool_size), ids=ids, secret_key=secret_key)

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def work(self, tenant: TenantId) -> AsyncIterator[SqlWork]:
        """One tenant's transaction; NotFound for an unknown tenant, Unavailable when the database does not answer."""
        async with self._begin() as connection:
            scope = self._scope(connection, await self._enter(connection, tenant))
            yield SqlWork(scope)
            await scope.counts.flush(connection, sqlite=self.sqlite)

    @asynccontextmanager
    async def system(self) -> AsyncIterator[SqlSystemWork]:
        """A transaction across tenants: the row-level policies are told so explicitly."""
        async with self._begin() as connection:
            if not self.sqlite:
                await connection.execute(_SET_SYSTEM)
            scope = self._scope(connection, None)
            yield SqlSystemWork(scope)
            await scope.counts.flush(connection, sqlite=self.sqlite)

    def _scope(self, connection: AsyncConnection, tenant: Tenant | None) -> Scope:
        return Scope(connection=connection, tenant=tenant, ids=self._ids, secrets=self._secrets, sqlite=self.sqlite)

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[AsyncConnection]:
        with answering():
            async with writing(self.engine) as connection:
                yield connection

    async def _enter(self, connection: AsyncConnection, tenant: TenantId) -> Tenant:
        """Read the tenant, and tell the row-level policies whose transaction this is, in one statement."""
        entered = _ENTER_SQLITE if self.sqlite else _ENTER
        row = (await connection.execute(entered, {"tenant": tenant})).first()
        if row is None:
            raise NotFound("No such tenant")
        return Tenant(
            id=TenantId(row.id),
            slug=row.slug,
            name=row.name,
            region=row.region,
            timezone=row.timezone,
            created_at=row.created_at,
        )


_ENTER_SQLITE: Final = select(t.tenants).where(t.tenants.c.id == bindparam("tenant"))
_ENTER: Final = _ENTER_SQLITE.add_columns(func.set_config("app.tenant", cast(t.tenants.c.id, Text), True))
_SET_SYSTEM: Final = text("SELECT set_config('app.scope', 'system', true)")
