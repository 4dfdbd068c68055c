"""An SQL store under test: the contract tests' world, and a look below it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
from sqlalchemy import event, text
from tests.contract.world import World

from callboard.ids import RunId, TenantId
from callboard_adapters.sql.work import SqlStore

SECRET_KEY = b"sql tests know this key 01234567"


@attrs.define(kw_only=True)
class Sql(World):
    """A world on a real database."""

    store: SqlStore
    url: str

    async def scalar(self, statement: str, **values: Any) -> Any:
        """One value, in system scope."""
        async with self.store.engine.begin() as c:
            if not self.store.sqlite:
                await c.execute(text("SELECT set_config('app.scope', 'system', true)"))
            return (await c.execute(text(statement), values)).scalar()

    async def recounted(self, tenant: TenantId, run: RunId) -> None:
        """The rollup equals the ledger, and the credits of the run are those of its rows."""
        rows = await self.rows(tenant, run)
        async with self.work(tenant) as w:
            tally = await w.ledger.tally([run])
        counted: dict[str, int] = {}
        for row in rows:
            counted[row.state] = counted.get(row.state, 0) + 1
        assert {state.value: n for state, n in tally.by_state.items() if n} == counted

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Every statement sent meanwhile."""
        seen: list[str] = []

        def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            seen.append(" ".join(statement.split()))

        engine = self.store.engine.sync_engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(engine, "before_cursor_execute", note)
