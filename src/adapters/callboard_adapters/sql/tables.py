"""The schema as SQLAlchemy Core tables; docs/decisions/0003 says why the ledger looks as it does."""

from __future__ import annotations

from datetime import UTC, date, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    Dialect,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

UNDATED = date(1, 1, 1)
"""The ``day`` of a count whose message was neither accepted nor finally refused yet."""


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in Python on every database; SQLite stores ``YYYY-MM-DD HH:MM:SS.ffffff`` text, which sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _id(name: str = "id", **kw: object) -> Column[object]:
    return Column(name, Uuid(), nullable=False, **kw)  # type: ignore[arg-type]


def _tenant() -> Column[object]:
    return Column("tenant_id", Uuid(), nullable=False)


def _at(name: str, *, nullable: bool = True) -> Column[datetime]:
    return Column(name, UtcDateTime(), nullable=nullable)


tenants = Table(
    "tenants",
    metadata,
    _id(primary_key=True),
    Column("slug", String(64), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("region", String(2), nullable=False),
    Column("timezone", String(64), nullable=False),
    _at("created_at", nullable=False),
)

tenant_settings = Table(
    "tenant_settings",
    metadata,
    _tenant(),
    Column("name", String(80), nullable=False),
    Column("value", Text, nullable=False),
    Column("secret", Boolean, nullable=False),
    PrimaryKeyConstraint("tenant_id", "name"),
)

tenant_counters = Table(
    "tenant_counters",
    metadata,
    _tenant(),
    Column("name", String(40), nullable=False),
    Column("n", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "name"),
)

api_keys = Table(
    "api_keys",
    metadata,
    _id(primary_key=True),
    _tenant(),
    Column("label", Text, nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("surfaces", Text, nullable=False),  # comma-separated
    Column("scopes", Text, nullable=False),  # comma-separated
    _at("created_at", nullable=False),
    _at("expires_at"),
    _at("revoked_at"),
    _at("last_used_at"),
    Index(None, "tenant_id"),
)

contacts = Table(
    "contacts",
    metadata,
    _id(primary_key=True),
    _tenant(),
    Column("phone", String(16)),  # E.164 with +
    Column("phone_valid", Boolean, nullable=False, default=True),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("email", Text),
    Column("gender", String(8)),
    Column("birth_date", Date),
    Column("tags", Text, nullable=False, default=""),  # "\x1fvip\x1fnew\x1f"; empty for none
    Column("consent", String(10), nullable=False),
    _at("created_at", nullable=False),
    _at("updated_at", nullable=False),
    _at("deleted_at"),
    # What a search looks at. Columns, not expressions: behind row-level security PostgreSQL uses an index only for
    # leakproof conditions, and lower() and substr() are not.
    Column("search_first_name", Text, Computed("lower(first_name)", persisted=True)),
    Column("search_last_name", Text, Computed("lower(last_name)", persisted=True)),
    Column("search_email", Text, Computed("lower(email)", persisted=True)),
    Column("phone_end", Text, Computed("substr(phone, length(phone) - 3)", persisted=True)),
)
Index(
    "uq_contacts_live_phone",
    contacts.c.tenant_id,
    contacts.c.phone,
    unique=True,
    postgresql_where=text("deleted_at IS NULL AND phone IS NOT NULL"),
    sqlite_where=text("deleted_at IS NULL AND phone IS NOT NULL"),
)
# A page is counted off in this index alone. On PostgreSQL "created_at IS NOT NULL", which is always true, keeps it out
# of every look-up that does not ask for created_at: without statistics PostgreSQL 18 took it for "tenant and phone"
# and read the whole tenant (130 times slower imports into a fresh database). Listing queries ask "created_at >= …".
Index(
    "ix_contacts_list",
    contacts.c.tenant_id,
    contacts.c.created_at,
    contacts.c.id,
    postgresql_where=text("deleted_at IS NULL AND created_at IS NOT NULL"),
    sqlite_where=text("deleted_at IS NULL"),
)
Index(
    "ix_contacts_reachable",
    contacts.c.tenant_id,
    contacts.c.gender,
    contacts.c.birth_date,
    postgresql_where=text("deleted_at IS NULL AND phone IS NOT NULL AND consent = 'opted_in'"),
    sqlite_where=text("deleted_at IS NULL AND phone IS NOT NULL AND consent = 'opted_in'"),
)
for _searched in ("search_first_name", "search_last_name", "search_email"):  # by prefix, whatever the collation
    Index(
        _searched.replace("search", "ix_contacts"),
        contacts.c.tenant_id,
        contacts.c[_searched],
        postgresql_ops={_searched: "text_pattern_ops"},
        postgresql_where=text(f"deleted_at IS NULL AND {_searched} IS NOT NULL"),
        sqlite_where=text(f"deleted_at IS NULL AND {_searched} IS NOT NULL"),
    )
Index(
    "ix_contacts_phone_end",
    contacts.c.tenant_id,
    contacts.c.phone_end,
    postgresql_where=text("deleted_at IS NULL AND phone_end IS NOT NULL"),
    sqlite_where=text("deleted_at IS NULL AND phone_end IS NOT NULL"),
)

consent_records = Table(
    "consent_records",
    metadata,
    # Integer on SQLite only: a BIGINT there is not the rowid and would not count by itself
    Column("id", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True),
    _tenant(),
    Column("contact_id", Uuid()),
    Column("phone", String(16), nullable=False),
    Column("consent", String(10), nullable=False),
    Column("source", String(20), nullable=False),
    Column("evidence", Text),
    _at("at", nullable=False),
    Index(None, "tenant_id", "phone"),
)
Index(  # the dashboard counts what people did, not what an import said of a million of them
    "ix_consent_records_unsubscribes",
    consent_records.c.tenant_id,
    consent_records.c.at,
    postgresql_where=text("consent = 'opted_out' AND source <> 'import'"),
    sqlite_where=text("consent = 'opted_out' AND source <> 'import'"),
)

suppressions = Table(
    "suppressions",
    metadata,
    _tenant(),
    Column("phone", String(16), nullable=False),
    Column("reason", String(40), nullable=False),
    _at("at", nullable=False),
    PrimaryKeyConstraint("tenant_id", "phone"),
)

segments = Table(
    "segments",
    metadata,
    _id(primary_key=True),
    _tenant(),
    Column("key", String(80), nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", String(8), nullable=False),
    Column("criteria", Text),  # JSON of segments.rules.dump_criteria
    Column("active", Boolean, nullable=False),
    _at("created_at", nullable=False),
    _at("updated_at", nullable=False),
    UniqueConstraint("tenant_id", "key"),
    UniqueConstraint("tenant_id", "name"),
)

segment_members = Table(
    "segment_members",
    metadata,
    _tenant(),
    Column("segment_id", Uuid(), nullable=False),
    Column("contact_id", Uuid(), nullable=False),
    PrimaryKeyConstraint("segment_id", "contact_id"),
)

credit_accounts = Table(
    "credit_accounts",
    metadata,
    Column("tenant_id", Uuid(), primary_key=True),
    Column("balance", BigInteger, nullable=False),
    CheckConstraint("balance >= 0", name="balance_not_negative"),
)

credit_entries = Table(
    "credit_entries",
    metadata,
    _tenant(),
    Column("key", String(80), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("run_id", Uuid()),
    Column("reason", Text),
    _at("at", nullable=False),
    PrimaryKeyConstraint("tenant_id", "key"),
    Index(None, "tenant_id", "at"),
)
Index(  # one debit per run among refunds per message
    "ix_credit_entries_debits",
    credit_entries.c.tenant_id,
    credit_entries.c.at,
    postgresql_where=text("kind = 'debit'"),
    sqlite_where=text("kind = 'debit'"),
)

campaigns = Table(
    "campaigns",
    metadata,
    _id(primary_key=True),
    _tenant(),
    Column("name", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("audience", Text, nullable=False),  # JSON of campaigns.rules.dump_audience
    Column("include_discount", Boolean, nullable=False),
    Column("discount_value", Text),
    Column("schedule_type", String(10), nullable=False),
    _at("schedule_at"),
    Column("every_days", SmallInteger),
    Column("priority", String(8), nullable=False),
    Column("template", Text),  # JSON of WhatsAppTemplate
    Column("status", String(10), nullable=False),
    Column("status_reason", Text),
    Column("current_run", Uuid()),
    Column("rounds", Integer, nullable=False),
    _at("next_run_at"),
    _at("created_at", nullable=False),
    _at("updated_at", nullable=False),
    UniqueConstraint("tenant_id", "name"),
    Index(None, "tenant_id", "created_at", "id"),
    Index(None, "tenant_id", "status"),
)

runs = Table(
    "runs",
    metadata,
    _id(primary_key=True),
    _tenant(),
    Column("campaign_id", Uuid()),
    Column("number", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("purpose", String(14), nullable=False),
    Column("priority", String(8), nullable=False),
    Column("content", Text, nullable=False),  # JSON of messages.Content
    Column("recipients", Integer, nullable=False),
    _at("created_at", nullable=False),
    _at("finished_at"),
    Column("retry_of", Uuid()),
    UniqueConstraint("campaign_id", "number"),
    Index(None, "tenant_id", "created_at"),
)
Index("ix_runs_open", runs.c.id, postgresql_where=text("state = 'open'"), sqlite_where=text("state = 'open'"))

# No foreign keys, no surrogate, no index on a column that changes with every send (performance.md section 1).
messages = Table(
    "messages",
    metadata,
    _tenant(),
    Column("run_id", Uuid(), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("contact_id", Uuid()),
    Column("phone", String(16), nullable=False),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("state", String(11), nullable=False),
    Column("reason", String(24)),
    Column("provider_code", String(80)),
    Column("provider_message_id", Text),
    Column("attempt", SmallInteger, nullable=False),
    Column("credits", SmallInteger, nullable=False),
    _at("next_at"),
    _at("sending_at"),
    _at("accepted_at"),
    _at("sent_at"),
    _at("delivered_at"),
    _at("read_at"),
    _at("failed_at"),
    PrimaryKeyConstraint("run_id", "seq"),
    UniqueConstraint("run_id", "phone"),
    postgresql_with={"fillfactor": "75"},
)
Index(
    "ix_messages_provider_id",
    messages.c.provider_message_id,
    postgresql_where=text("provider_message_id IS NOT NULL"),
    sqlite_where=text("provider_message_id IS NOT NULL"),
)
Index(  # on failed_at, not on state: updates that do not fail a row stay HOT
    "ix_messages_failed",
    messages.c.run_id,
    messages.c.seq,
    postgresql_where=text("failed_at IS NOT NULL"),
    sqlite_where=text("failed_at IS NOT NULL"),
)

chunks = Table(
    "chunks",
    metadata,
    _tenant(),
    Column("run_id", Uuid(), nullable=False),
    Column("number", Integer, nullable=False),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("priority", SmallInteger, nullable=False),  # rank, 0 first
    _at("created_at", nullable=False),
    Column("state", String(8), nullable=False),  # open, held (run paused), closed, dead
    _at("due_at", nullable=False),
    _at("lease_until"),
    Column("worker", String(80)),
    Column("claim", Integer, nullable=False),
    Column("barren", SmallInteger, nullable=False),  # claims since the last committed wave
    PrimaryKeyConstraint("run_id", "number"),
    postgresql_with={"fillfactor": "50"},  # every wave renews its lease: room for that on the same page
)
Index(  # leases to expire; on no column that a renewal changes
    "ix_chunks_leased",
    chunks.c.run_id,
    chunks.c.number,
    postgresql_where=text("worker IS NOT NULL"),
    sqlite_where=text("worker IS NOT NULL"),
)
Index(
    "ix_chunks_open",
    chunks.c.priority,
    chunks.c.created_at,
    chunks.c.run_id,
    chunks.c.number,
    postgresql_where=text("state = 'open'"),
    sqlite_where=text("state = 'open'"),
)

message_counts = Table(
    "message_counts",
    metadata,
    _tenant(),
    Column("run_id", Uuid(), nullable=False),
    Column("day", Date, nullable=False),
    Column("state", String(11), nullable=False),
    Column("reason", String(24), nullable=False),
    Column("n", BigInteger, nullable=False),
    PrimaryKeyConstraint("run_id", "day", "state", "reason"),
    Index(None, "tenant_id", "day"),
    postgresql_with={"fillfactor": "50"},  # every wave and every batch of receipts moves a few
)
Index(  # where unknown messages may be found
    "ix_message_counts_unknown",
    message_counts.c.run_id,
    postgresql_where=text("state = 'unknown'"),
    sqlite_where=text("state = 'unknown'"),
)

touches = Table(
    "touches",
    metadata,
    _tenant(),
    Column("phone", String(16), nullable=False),
    _at("at", nullable=False),
    Index(None, "tenant_id", "phone", "at"),
)

senders = Table(
    "senders",
    metadata,
    _tenant(),
    Column("channel", String(10), nullable=False),
    _at("paused_until"),
    Column("reason", Text),
    _at("next_slot_at"),
    PrimaryKeyConstraint("tenant_id", "channel"),
)

parked_receipts = Table(
    "parked_receipts",
    metadata,
    Column("provider", String(20), nullable=False),
    Column("key", Text, nullable=False),
    Column("provider_message_id", Text, nullable=False),
    Column("payload", Text, nullable=False),  # JSON of Receipt
    _at("received_at", nullable=False),
    PrimaryKeyConstraint("provider", "key"),
    Index(None, "provider_message_id"),
    Index(None, "received_at"),
)

webhook_calls = Table(
    "webhook_calls",
    metadata,
    _id(primary_key=True),
    Column("tenant_id", Uuid()),  # None while nobody owns it
    Column("provider", String(20), nullable=False),
    Column("verdict", String(20), nullable=False),
    Column("body", LargeBinary, nullable=False),
    _at("received_at", nullable=False),
    Index(None, "received_at"),
)

links = Table(
    "links",
    metadata,
    Column("token", String(43), primary_key=True),
    _tenant(),
    Column("url", Text, nullable=False),
    Column("campaign_id", Uuid()),
    _at("created_at", nullable=False),
    _at("expires_at"),
    Index(None, "tenant_id", "campaign_id"),
)

link_clicks = Table(
    "link_clicks",
    metadata,
    _tenant(),
    Column("token", String(43), nullable=False),
    Column("day", Date, nullable=False),
    Column("n", BigInteger, nullable=False),
    PrimaryKeyConstraint("token", "day"),
)

outbox = Table(
    "outbox",
    metadata,
    _id(primary_key=True),
    _tenant(),
    Column("type", String(60), nullable=False),
    Column("version", SmallInteger, nullable=False),
    Column("payload", Text, nullable=False),
    Column("correlation_id", String(128)),
    _at("created_at", nullable=False),
    _at("published_at"),
)
Index(
    "ix_outbox_unpublished",
    outbox.c.created_at,
    postgresql_where=text("published_at IS NULL"),
    sqlite_where=text("published_at IS NULL"),
)

deliveries = Table(
    "deliveries",
    metadata,
    _id(primary_key=True),
    _tenant(),
    Column("event_id", Uuid(), nullable=False),
    Column("subscriber", String(60), nullable=False),
    Column("state", String(8), nullable=False),  # waiting, done, dead
    Column("attempt", SmallInteger, nullable=False),
    _at("due_at", nullable=False),
    _at("lease_until"),
    Column("error", Text),
    _at("created_at", nullable=False),
    UniqueConstraint("event_id", "subscriber"),
)
Index(
    "ix_deliveries_waiting",
    deliveries.c.due_at,
    postgresql_where=text("state = 'waiting'"),
    sqlite_where=text("state = 'waiting'"),
)

timers = Table(
    "timers",
    metadata,
    _tenant(),
    Column("kind", String(40), nullable=False),
    Column("key", String(120), nullable=False),
    _at("due_at", nullable=False),
    _at("lease_until"),
    Column("claim", Integer, nullable=False),
    PrimaryKeyConstraint("tenant_id", "kind", "key"),
    Index(None, "due_at"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    _tenant(),
    Column("scope", String(120), nullable=False),
    Column("key", String(255), nullable=False),
    Column("body_hash", LargeBinary(32), nullable=False),
    Column("status", SmallInteger),  # None while the first call runs
    Column("content_type", String(80)),
    Column("body", LargeBinary),
    _at("created_at", nullable=False),
    _at("lease_until", nullable=False),
    PrimaryKeyConstraint("tenant_id", "scope", "key"),
    Index(None, "created_at"),
)

automations = Table(
    "automations",
    metadata,
    _id(primary_key=True),
    _tenant(),
    Column("name", Text, nullable=False),
    Column("trigger", String(30), nullable=False),
    Column("message", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    _at("created_at", nullable=False),
    _at("updated_at", nullable=False),
    Index(None, "tenant_id", "created_at"),
)

text_templates = Table(
    "text_templates",
    metadata,
    _id(primary_key=True),
    _tenant(),
    Column("name", String(200), nullable=False),
    Column("category", String(40), nullable=False),
    Column("message", Text, nullable=False),
    _at("created_at", nullable=False),
    _at("updated_at", nullable=False),
    UniqueConstraint("tenant_id", "name"),
)

shop_events = Table(
    "shop_events",
    metadata,
    _tenant(),
    Column("source", String(20), nullable=False),
    Column("external_id", String(200), nullable=False),
    Column("type", String(60), nullable=False),
    Column("contact_phone", String(16)),
    Column("contact_email", Text),
    Column("properties", Text, nullable=False),  # JSON
    _at("occurred_at", nullable=False),
    _at("received_at", nullable=False),
    PrimaryKeyConstraint("tenant_id", "source", "external_id"),
)

workers = Table(
    "workers",
    metadata,
    Column("name", String(80), primary_key=True),
    _at("started_at", nullable=False),
    _at("seen_at", nullable=False),
)

SYSTEM_TABLES = frozenset({"tenants", "parked_receipts", "webhook_calls", "workers"})
"""Tables that belong to no single tenant; every other one is under row-level security."""
