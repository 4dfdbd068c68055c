"""The dashboard on the wire."""

from __future__ import annotations

from datetime import date, datetime

from callboard_adapters.http.surfaces.store.wire.common import Camel


class LastDays(Camel):
    """What happened in the last seven days, today included."""

    sent: int
    delivered: int
    failed: int
    unsubscribes: int


class TopCampaign(Camel):
    """One of the campaigns that sent most."""

    id: str
    name: str
    sent: int
    delivered: int
    failed: int
    created_at: datetime


class DayRate(Camel):
    """Delivered of accepted messages of a day, in percent."""

    date: date
    delivered_rate: float


class DayCredits(Camel):
    """Credits debited on a day."""

    date: date
    credits_debited: int


class Reports(Camel):
    """The reports, embedded."""

    last7_days: LastDays
    top_campaigns: list[TopCampaign]
    delivery_rate_trend: list[DayRate]
    credits_usage: list[DayCredits]


class Kpis(Camel):
    """The same figures under the names newer clients use."""

    total_contacts: int
    active_campaigns: int
    active_automations: int


class DashboardOut(Camel):
    """``GET /dashboard``."""

    credits: int
    total_campaigns: int
    total_contacts: int
    total_messages_sent: int
    active_automations: int
    kpis: Kpis
    reports: Reports
