"""The in-memory store: real transactions, one at a time, over every port of the core."""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Callable, Generator
from functools import cached_property
from types import TracebackType
from typing import Generic, TypeVar

from callboard.clock import Clock
from callboard.errors import Unavailable
from callboard.ids import Ids, TenantId
from callboard.tenants.model import Tenant
from callboard_adapters.memory.automations import MemoryAutomations, MemoryShopEvents, MemoryTemplates
from callboard_adapters.memory.campaigns import MemoryCampaigns
from callboard_adapters.memory.contacts import MemoryContacts
from callboard_adapters.memory.credits import MemoryAccounts, MemoryCredits
from callboard_adapters.memory.delivery import (
    MemoryDeliveries,
    MemoryInbox,
    MemoryOutbox,
    MemoryOutboxes,
    MemoryTimerQueue,
    MemoryTimers,
)
from callboard_adapters.memory.ledger import MemoryLedger
from callboard_adapters.memory.links import MemoryLinkDirectory, MemoryLinks
from callboard_adapters.memory.queue import MemoryQueue
from callboard_adapters.memory.receipts import MemoryReceipts
from callboard_adapters.memory.scope import Checkpoint, Scope, no_checkpoint
from callboard_adapters.memory.segments import MemoryAudiences, MemorySegments
from callboard_adapters.memory.senders import MemorySenders
from callboard_adapters.memory.state import State, TenantRows
from callboard_adapters.memory.tenants import MemoryCredentials, MemoryDirectory, MemorySettings

W = TypeVar("W")
Make = Callable[[Scope, TenantRows | None], W]
PATIENCE = 1_000_000


@types.coroutine
def _let_others_run() -> Generator[None, None, None]:
    """Give way once: asyncio runs the next task on a bare ``yield``, and so does any driver that steps coroutines."""
    yield


class MemoryWork:
    """Every tenant-bound repository over one transaction; structurally each context's ``ports.Work``."""

    def __init__(self, scope: Scope, mine: TenantRows) -> None:
        self._of = (scope, mine)

    @property
    def tenant(self) -> Tenant:
        """Whose transaction this is."""
        return self._of[1].tenant

    @cached_property
    def settings(self) -> MemorySettings:
        return MemorySettings(*self._of)

    @cached_property
    def credentials(self) -> MemoryCredentials:
        return MemoryCredentials(*self._of)

    @cached_property
    def contacts(self) -> MemoryContacts:
        return MemoryContacts(*self._of)

    @cached_property
    def segments(self) -> MemorySegments:
        return MemorySegments(*self._of)

    @cached_property
    def audiences(self) -> MemoryAudiences:
        return MemoryAudiences(*self._of)

    @cached_property
    def credits(self) -> MemoryCredits:
        return MemoryCredits(*self._of)

    @cached_property
    def links(self) -> MemoryLinks:
        return MemoryLinks(*self._of)

    @cached_property
    def campaigns(self) -> MemoryCampaigns:
        return MemoryCampaigns(*self._of)

    @cached_property
    def ledger(self) -> MemoryLedger:
        return MemoryLedger(*self._of)

    @cached_property
    def senders(self) -> MemorySenders:
        return MemorySenders(*self._of)

    @cached_property
    def automations(self) -> MemoryAutomations:
        return MemoryAutomations(*self._of)

    @cached_property
    def templates(self) -> MemoryTemplates:
        return MemoryTemplates(*self._of)

    @cached_property
    def shop_events(self) -> MemoryShopEvents:
        return MemoryShopEvents(*self._of)

    @cached_property
    def outbox(self) -> MemoryOutbox:
        return MemoryOutbox(*self._of)

    @cached_property
    def timers(self) -> MemoryTimers:
        return MemoryTimers(*self._of)

    @cached_property
    def inbox(self) -> MemoryInbox:
        return MemoryInbox(*self._of)


class MemorySystemWork:
    """The repositories that look across tenants, over one transaction."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @cached_property
    def directory(self) -> MemoryDirectory:
        return MemoryDirectory(self._scope)

    @cached_property
    def link_directory(self) -> MemoryLinkDirectory:
        return MemoryLinkDirectory(self._scope)

    @cached_property
    def queue(self) -> MemoryQueue:
        return MemoryQueue(self._scope)

    @cached_property
    def receipts(self) -> MemoryReceipts:
        return MemoryReceipts(self._scope)

    @cached_property
    def accounts(self) -> MemoryAccounts:
        return MemoryAccounts(self._scope)

    @cached_property
    def outboxes(self) -> MemoryOutboxes:
        return MemoryOutboxes(self._scope)

    @cached_property
    def deliveries(self) -> MemoryDeliveries:
        return MemoryDeliveries(self._scope)

    @cached_property
    def timers(self) -> MemoryTimerQueue:
        return MemoryTimerQueue(self._scope)


class MemoryStore:
    """A database of one process. ``clock`` is its own time, as a database server's is.

    Units of work take turns: the second one waits until the first has committed or rolled back, so every history is
    serial. A unit of work that is opened inside another one waits for itself, and gets Unavailable after ``patience``
    turns, as it would from a locked database file. ``checkpoint`` is awaited before and after every port call and
    commit; what it raises there is what a crash at that point would do.
    """

    def __init__(
        self, *, clock: Clock, ids: Ids, checkpoint: Checkpoint = no_checkpoint, patience: int = PATIENCE
    ) -> None:
        self._state = State()
        self._clock = clock
        self._ids = ids
        self._checkpoint = checkpoint
        self._patience = patience
        self._line: deque[object] = deque()

    def work(self, tenant: TenantId) -> Unit[MemoryWork]:
        """One tenant's transaction; NotFound for an unknown tenant."""
        return Unit(self, tenant, lambda scope, mine: MemoryWork(scope, _known(mine)))

    def system(self) -> Unit[MemorySystemWork]:
        """A transaction across tenants."""
        return Unit(self, None, lambda scope, _: MemorySystemWork(scope))

    async def _enter(self, tenant: TenantId | None) -> tuple[Scope, TenantRows | None]:
        await self._checkpoint("before begin")
        ticket = object()
        self._line.append(ticket)
        try:
            turns = 0
            while self._line[0] is not ticket:
                turns += 1
                if turns > self._patience:
                    raise Unavailable("Another unit of work holds the store")  # noqa: TRY301 - leaves the line below
                await _let_others_run()
            scope = Scope(state=self._state, clock=self._clock, ids=self._ids, checkpoint=self._checkpoint)
            return scope, None if tenant is None else scope.rows_of(tenant)
        except BaseException:
            self._line.remove(ticket)
            raise

    def _leave(self, scope: Scope, *, commit: bool) -> None:
        scope.open = False
        if commit:
            self._state.journal.commit()
        else:
            self._state.journal.rollback()
        self._line.popleft()


def _known(mine: TenantRows | None) -> TenantRows:
    assert mine is not None  # _enter has refused an unknown tenant
    return mine


class Unit(Generic[W]):
    """``async with`` over one transaction: leaving commits, raising takes every change back."""

    def __init__(self, store: MemoryStore, tenant: TenantId | None, make: Make[W]) -> None:
        self._store = store
        self._tenant = tenant
        self._make = make
        self._scope: Scope | None = None

    async def __aenter__(self) -> W:
        if self._scope is not None:
            raise RuntimeError("A unit of work is used once")
        self._scope, mine = await self._store._enter(self._tenant)  # noqa: SLF001 - two halves of one thing
        return self._make(self._scope, mine)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        scope, store = self._scope, self._store
        assert scope is not None
        if error is not None:
            # Nothing is awaited here: a coroutine that is closed in the middle must roll back too.
            store._leave(scope, commit=False)  # noqa: SLF001
            return
        try:
            await scope.checkpoint("before commit")
        except BaseException:
            store._leave(scope, commit=False)  # noqa: SLF001
            raise
        store._leave(scope, commit=True)  # noqa: SLF001
        await scope.checkpoint("after commit")
