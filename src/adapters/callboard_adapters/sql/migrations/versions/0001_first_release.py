"""Everything of the first release.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PROTECTED = (
    "api_keys",
    "automations",
    "campaigns",
    "chunks",
    "consent_records",
    "contacts",
    "credit_accounts",
    "credit_entries",
    "deliveries",
    "idempotency_keys",
    "link_clicks",
    "links",
    "message_counts",
    "messages",
    "outbox",
    "runs",
    "segment_members",
    "segments",
    "senders",
    "shop_events",
    "suppressions",
    "tenant_counters",
    "tenant_settings",
    "text_templates",
    "timers",
    "touches",
)
"""Tables that belong to tenants: each gets the same policy."""

POLICY = (
    "tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')::uuid) "
    "OR (SELECT current_setting('app.scope', true)) = 'system'"
)

TABLES = (
    "api_keys",
    "automations",
    "campaigns",
    "chunks",
    "consent_records",
    "contacts",
    "credit_accounts",
    "credit_entries",
    "deliveries",
    "idempotency_keys",
    "link_clicks",
    "links",
    "message_counts",
    "messages",
    "outbox",
    "parked_receipts",
    "runs",
    "segment_members",
    "segments",
    "senders",
    "shop_events",
    "suppressions",
    "tenant_counters",
    "tenant_settings",
    "tenants",
    "text_templates",
    "timers",
    "touches",
    "webhook_calls",
    "workers",
)


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("surfaces", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
    )
    op.create_index("ix_api_keys_tenant_id", "api_keys", ["tenant_id"], unique=False)
    op.create_table(
        "automations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("trigger", sa.String(length=30), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_automations"),
    )
    op.create_index("ix_automations_tenant_id_created_at", "automations", ["tenant_id", "created_at"], unique=False)
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("include_discount", sa.Boolean(), nullable=False),
        sa.Column("discount_value", sa.Text(), nullable=True),
        sa.Column("schedule_type", sa.String(length=10), nullable=False),
        sa.Column("schedule_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("every_days", sa.SmallInteger(), nullable=True),
        sa.Column("priority", sa.String(length=8), nullable=False),
        sa.Column("template", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("current_run", sa.Uuid(), nullable=True),
        sa.Column("rounds", sa.Integer(), nullable=False),
        sa.Column("next_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_campaigns"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_campaigns_tenant_id_name"),
    )
    op.create_index(
        "ix_campaigns_tenant_id_created_at_id", "campaigns", ["tenant_id", "created_at", "id"], unique=False
    )
    op.create_index("ix_campaigns_tenant_id_status", "campaigns", ["tenant_id", "status"], unique=False)
    op.create_table(
        "chunks",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker", sa.String(length=80), nullable=True),
        sa.Column("claim", sa.Integer(), nullable=False),
        sa.Column("barren", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_chunks"),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index(
        "ix_chunks_leased",
        "chunks",
        ["run_id", "number"],
        unique=False,
        postgresql_where=sa.text("worker IS NOT NULL"),
        sqlite_where=sa.text("worker IS NOT NULL"),
    )
    op.create_index(
        "ix_chunks_open",
        "chunks",
        ["priority", "created_at", "run_id", "number"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
        sqlite_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "consent_records",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=True),
        sa.Column("phone", sa.String(length=16), nullable=False),
        sa.Column("consent", sa.String(length=10), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_consent_records"),
    )
    op.create_index("ix_consent_records_tenant_id_phone", "consent_records", ["tenant_id", "phone"], unique=False)
    op.create_index(
        "ix_consent_records_unsubscribes",
        "consent_records",
        ["tenant_id", "at"],
        unique=False,
        postgresql_where=sa.text("consent = 'opted_out' AND source <> 'import'"),
        sqlite_where=sa.text("consent = 'opted_out' AND source <> 'import'"),
    )
    op.create_table(
        "contacts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("phone", sa.String(length=16), nullable=True),
        sa.Column("phone_valid", sa.Boolean(), nullable=False),
        sa.Column("first_name", sa.Text(), nullable=True),
        sa.Column("last_name", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("gender", sa.String(length=8), nullable=True),
        sa.Column("birth_date", sa.Date(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("consent", sa.String(length=10), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("search_first_name", sa.Text(), sa.Computed("lower(first_name)", persisted=True), nullable=True),
        sa.Column("search_last_name", sa.Text(), sa.Computed("lower(last_name)", persisted=True), nullable=True),
        sa.Column("search_email", sa.Text(), sa.Computed("lower(email)", persisted=True), nullable=True),
        sa.Column(
            "phone_end", sa.Text(), sa.Computed("substr(phone, length(phone) - 3)", persisted=True), nullable=True
        ),
        sa.PrimaryKeyConstraint("id", name="pk_contacts"),
    )
    op.create_index(
        "ix_contacts_email",
        "contacts",
        ["tenant_id", "search_email"],
        unique=False,
        postgresql_ops={"search_email": "text_pattern_ops"},
        postgresql_where=sa.text("deleted_at IS NULL AND search_email IS NOT NULL"),
        sqlite_where=sa.text("deleted_at IS NULL AND search_email IS NOT NULL"),
    )
    op.create_index(
        "ix_contacts_first_name",
        "contacts",
        ["tenant_id", "search_first_name"],
        unique=False,
        postgresql_ops={"search_first_name": "text_pattern_ops"},
        postgresql_where=sa.text("deleted_at IS NULL AND search_first_name IS NOT NULL"),
        sqlite_where=sa.text("deleted_at IS NULL AND search_first_name IS NOT NULL"),
    )
    op.create_index(
        "ix_contacts_last_name",
        "contacts",
        ["tenant_id", "search_last_name"],
        unique=False,
        postgresql_ops={"search_last_name": "text_pattern_ops"},
        postgresql_where=sa.text("deleted_at IS NULL AND search_last_name IS NOT NULL"),
        sqlite_where=sa.text("deleted_at IS NULL AND search_last_name IS NOT NULL"),
    )
    op.create_index(
        "ix_contacts_list",
        "contacts",
        ["tenant_id", "created_at", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL AND created_at IS NOT NULL"),
        sqlite_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_contacts_phone_end",
        "contacts",
        ["tenant_id", "phone_end"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL AND phone_end IS NOT NULL"),
        sqlite_where=sa.text("deleted_at IS NULL AND phone_end IS NOT NULL"),
    )
    op.create_index(
        "ix_contacts_reachable",
        "contacts",
        ["tenant_id", "gender", "birth_date"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL AND phone IS NOT NULL AND consent = 'opted_in'"),
        sqlite_where=sa.text("deleted_at IS NULL AND phone IS NOT NULL AND consent = 'opted_in'"),
    )
    op.create_index(
        "uq_contacts_live_phone",
        "contacts",
        ["tenant_id", "phone"],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL AND phone IS NOT NULL"),
        sqlite_where=sa.text("deleted_at IS NULL AND phone IS NOT NULL"),
    )
    op.create_table(
        "credit_accounts",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("balance >= 0", name="ck_credit_accounts_balance_not_negative"),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_credit_accounts"),
    )
    op.create_table(
        "credit_entries",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "key", name="pk_credit_entries"),
    )
    op.create_index(
        "ix_credit_entries_debits",
        "credit_entries",
        ["tenant_id", "at"],
        unique=False,
        postgresql_where=sa.text("kind = 'debit'"),
        sqlite_where=sa.text("kind = 'debit'"),
    )
    op.create_index("ix_credit_entries_tenant_id_at", "credit_entries", ["tenant_id", "at"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("subscriber", sa.String(length=60), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("event_id", "subscriber", name="uq_deliveries_event_id_subscriber"),
    )
    op.create_index(
        "ix_deliveries_waiting",
        "deliveries",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
        sqlite_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.String(length=120), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("body_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("content_type", sa.String(length=80), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "scope", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "link_clicks",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("token", sa.String(length=43), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token", "day", name="pk_link_clicks"),
    )
    op.create_table(
        "links",
        sa.Column("token", sa.String(length=43), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("token", name="pk_links"),
    )
    op.create_index("ix_links_tenant_id_campaign_id", "links", ["tenant_id", "campaign_id"], unique=False)
    op.create_table(
        "message_counts",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("state", sa.String(length=11), nullable=False),
        sa.Column("reason", sa.String(length=24), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "day", "state", "reason", name="pk_message_counts"),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index("ix_message_counts_tenant_id_day", "message_counts", ["tenant_id", "day"], unique=False)
    op.create_index(
        "ix_message_counts_unknown",
        "message_counts",
        ["run_id"],
        unique=False,
        postgresql_where=sa.text("state = 'unknown'"),
        sqlite_where=sa.text("state = 'unknown'"),
    )
    op.create_table(
        "messages",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=True),
        sa.Column("phone", sa.String(length=16), nullable=False),
        sa.Column("first_name", sa.Text(), nullable=True),
        sa.Column("last_name", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=11), nullable=False),
        sa.Column("reason", sa.String(length=24), nullable=True),
        sa.Column("provider_code", sa.String(length=80), nullable=True),
        sa.Column("provider_message_id", sa.Text(), nullable=True),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("credits", sa.SmallInteger(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sending_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "seq", name="pk_messages"),
        sa.UniqueConstraint("run_id", "phone", name="uq_messages_run_id_phone"),
        postgresql_with={"fillfactor": "75"},
    )
    op.create_index(
        "ix_messages_failed",
        "messages",
        ["run_id", "seq"],
        unique=False,
        postgresql_where=sa.text("failed_at IS NOT NULL"),
        sqlite_where=sa.text("failed_at IS NOT NULL"),
    )
    op.create_index(
        "ix_messages_provider_id",
        "messages",
        ["provider_message_id"],
        unique=False,
        postgresql_where=sa.text("provider_message_id IS NOT NULL"),
        sqlite_where=sa.text("provider_message_id IS NOT NULL"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.String(length=60), nullable=False),
        sa.Column("version", sa.SmallInteger(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("correlation_id", sa.String(length=128), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )
    op.create_index(
        "ix_outbox_unpublished",
        "outbox",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("published_at IS NULL"),
        sqlite_where=sa.text("published_at IS NULL"),
    )
    op.create_table(
        "parked_receipts",
        sa.Column("provider", sa.String(length=20), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("provider_message_id", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("provider", "key", name="pk_parked_receipts"),
    )
    op.create_index("ix_parked_receipts_provider_message_id", "parked_receipts", ["provider_message_id"], unique=False)
    op.create_index("ix_parked_receipts_received_at", "parked_receipts", ["received_at"], unique=False)
    op.create_table(
        "runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("purpose", sa.String(length=14), nullable=False),
        sa.Column("priority", sa.String(length=8), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("recipients", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retry_of", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("campaign_id", "number", name="uq_runs_campaign_id_number"),
    )
    op.create_index(
        "ix_runs_open",
        "runs",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
        sqlite_where=sa.text("state = 'open'"),
    )
    op.create_index("ix_runs_tenant_id_created_at", "runs", ["tenant_id", "created_at"], unique=False)
    op.create_table(
        "segment_members",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("segment_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("segment_id", "contact_id", name="pk_segment_members"),
    )
    op.create_table(
        "segments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=80), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("criteria", sa.Text(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_segments"),
        sa.UniqueConstraint("tenant_id", "key", name="uq_segments_tenant_id_key"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_segments_tenant_id_name"),
    )
    op.create_table(
        "senders",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.String(length=10), nullable=False),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("next_slot_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "channel", name="pk_senders"),
    )
    op.create_table(
        "shop_events",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=False),
        sa.Column("type", sa.String(length=60), nullable=False),
        sa.Column("contact_phone", sa.String(length=16), nullable=True),
        sa.Column("contact_email", sa.Text(), nullable=True),
        sa.Column("properties", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "source", "external_id", name="pk_shop_events"),
    )
    op.create_table(
        "suppressions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("phone", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "phone", name="pk_suppressions"),
    )
    op.create_table(
        "tenant_counters",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "name", name="pk_tenant_counters"),
    )
    op.create_table(
        "tenant_settings",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("secret", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "name", name="pk_tenant_settings"),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("region", sa.String(length=2), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
        sa.UniqueConstraint("slug", name="uq_tenants_slug"),
    )
    op.create_table(
        "text_templates",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("category", sa.String(length=40), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_text_templates"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_text_templates_tenant_id_name"),
    )
    op.create_table(
        "timers",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claim", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "kind", "key", name="pk_timers"),
    )
    op.create_index("ix_timers_due_at", "timers", ["due_at"], unique=False)
    op.create_table(
        "touches",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("phone", sa.String(length=16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_touches_tenant_id_phone_at", "touches", ["tenant_id", "phone", "at"], unique=False)
    op.create_table(
        "webhook_calls",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("provider", sa.String(length=20), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_calls"),
    )
    op.create_index("ix_webhook_calls_received_at", "webhook_calls", ["received_at"], unique=False)
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_workers"),
    )
    if op.get_bind().dialect.name == "postgresql":
        for table in PROTECTED:
            op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
            op.execute(f"CREATE POLICY tenant ON {table} USING ({POLICY})")


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
