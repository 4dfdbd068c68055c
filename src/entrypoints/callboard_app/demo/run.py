"""The demo's course: twin, shop, contacts, campaign, report, proof."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import attrs

from callboard.campaigns.messages import CreateCampaign
from callboard.campaigns.model import Enqueued, InSegment
from callboard.ids import CampaignId, TenantId
from callboard.messages.model import OPEN, Message, State, Tally
from callboard.tenants.model import Surface
from callboard_adapters.files import open_rows
from callboard_adapters.sql.queries.store import StoreReads
from callboard_app.bootstrap import Container, bootstrap, prepare
from callboard_app.cli.common import log_to_stderr
from callboard_app.cli.contacts import read_rows
from callboard_app.demo.people import write_csv
from callboard_app.demo.proof import Check, Evidence, checks
from callboard_app.demo.show import Show
from callboard_app.demo.stage import Stage
from callboard_app.settings import load

SEGMENT: Final = "gender_female"
DESTINATION: Final = "https://shop.example.com/collections/winter?ref=callboard"
MESSAGE: Final = (
    "Hi {{firstName|there}}, winter is here!\n{{discount}} off everything at {{shopName}} until Sunday: " + DESTINATION
)
SETTLE_SECONDS: Final = 60.0
QUIET_LOOKS: Final = 4
"""The last reports may be between the twin and us: it is over when nothing moved for so many looks."""


@attrs.frozen(kw_only=True)
class Outcome:
    """What ``--json`` prints: the report and every check."""

    report: Mapping[str, Any]
    checks: list[Check]

    @property
    def holds(self) -> bool:
        """Whether every number adds up."""
        return all(check.holds for check in self.checks)

    def as_json(self) -> dict[str, object]:
        """One object."""
        return {
            **self.report,
            "checks": [
                {"claim": c.claim, "ours": _plain(c.ours), "theirs": _plain(c.theirs), "holds": c.holds}
                for c in self.checks
            ],
            "ok": self.holds,
        }


async def play(stage: Stage, show: Show, *, contacts: int, surface: Surface) -> Outcome:
    """Fill the shop, send, wait for the receipts, prove. The stage's twin runs already."""
    settings = load(stage.environment)
    log_to_stderr(settings)
    async with bootstrap(settings) as container:
        await prepare(container)
        shop = await container.tenants.create(slug=_slug(), name="Kaveri Home Store")
        await container.equip(shop)
        await container.credits.grant(shop.id, max(contacts, 1_000), reason="demo")
        await stage.serve()
        show.note(f"API {stage.url}, provider twin {stage.twin}, data in {stage.folder}")

        file = write_csv(stage.folder / "contacts.csv", contacts)
        show.step(f"Import {file.name}: {contacts:,} people, with the dirt real files have")
        began = time.perf_counter()
        with open_rows(file) as rows, show.bar("importing", contacts) as advance:
            imported = await read_rows(container, shop.id, rows, advance=advance)
        show.imported(imported, time.perf_counter() - began)

        show.step("Segments")
        counted = await container.segments.list_counted(shop.id)
        show.segments(counted, SEGMENT)
        chosen, preview = next((s, n) for s, n in counted if s.key == SEGMENT)

        wanted = CreateCampaign(
            name="Winter sale",
            message=MESSAGE,
            audience=InSegment(segment_id=chosen.id),
            include_discount=True,
            discount_value="20 %",
        )
        show.step(f"Campaign “{wanted.name}” to {chosen.name}: {preview:,} people")
        sample = await container.campaigns.preview_draft(shop.id, wanted)
        show.message(sample.text, f"{sample.parts.parts} SMS parts, {sample.parts.encoding.value}")
        before = await container.credits.balance(shop.id)
        campaign = await container.campaigns.create(shop.id, wanted)
        began = time.perf_counter()
        queued = await container.campaigns.enqueue(shop.id, campaign.id)
        enqueue_seconds = time.perf_counter() - began
        sending_seconds = await _watch(container, stage, show, shop.id, campaign.id, queued)

        tally, messages = await _ledger(container, shop.id, queued)
        after = await container.credits.balance(shop.id)
        async with container.store.work(shop.id) as w:
            link = (await w.links.for_campaign(campaign.id))[0]
        short_url = f"{settings.short_url}/r/{link.token}"
        evidence = Evidence(
            csv_rows=contacts,
            imported=imported,
            preview=preview,
            enqueued=queued,
            tally=tally,
            rows=messages,
            received=await stage.received(),
            credits_before=before,
            credits_after=after,
            short_url=short_url,
            unsubscribe_url=f"{settings.public_url}/unsubscribe/",
            destination=DESTINATION,
            redirects_to=await stage.follow(short_url),
        )
        key = await container.keys.create(shop.id, surfaces=[surface], label="demo")
        report = {
            "tenant": shop.slug,
            "campaign": str(campaign.id),
            "segment": SEGMENT,
            "imported": {
                word: getattr(imported, word) for word in ("total", "created", "updated", "skipped", "invalid")
            },
            "recipients": queued.recipients,
            "accepted": tally.accepted,
            "states": {state.value: n for state, n in tally.by_state.items() if n},
            "by_reason": dict(tally.by_reason),
            "credits": {
                "before": before,
                "after": after,
                "debited": queued.credits_debited,
                "returned": queued.credits_debited - (before - after),
            },
            "rates": {
                "enqueued_per_second": round(queued.recipients / max(enqueue_seconds, 1e-9)),
                "sent_per_second": round(queued.recipients / max(sending_seconds, 1e-9)),
            },
            "addresses": {
                "api": stage.url,
                "documentation": f"{stage.url}/schema",
                "health": f"{stage.url}/health/ready",
                "metrics": f"{stage.url}/metrics",
                "twin": f"{stage.twin}/_control/received?provider=sms",
                "short_link": short_url,
                "data": str(stage.folder),
            },
            "credentials": {
                "key": key.text,
                "token": container.issue_token(shop.id, "demo", [surface], timedelta(days=1)),
            },
        }
        return Outcome(report=report, checks=checks(evidence))


async def _watch(
    container: Container, stage: Stage, show: Show, tenant: TenantId, campaign: CampaignId, queued: Enqueued
) -> float:
    """Follow the run until every receipt is in; returns the seconds until everything was handed over."""
    reads = StoreReads(container.store)  # a reader's snapshot: looking on takes no turn from the senders
    began = time.perf_counter()
    handed_over: float | None = None
    quiet = 0
    with show.live(queued.recipients) as update:
        while True:
            progress = await reads.run_progress(tenant, campaign)
            assert progress is not None
            tally = progress.tally
            open_rows = sum(tally[state] for state in OPEN)
            seconds = time.perf_counter() - began
            done = queued.recipients - open_rows
            update(done, {state: tally[state] for state in State}, done / seconds if handed_over is None else 0.0)
            if not open_rows and handed_over is None:
                handed_over = seconds
            settling = open_rows + tally[State.ACCEPTED] + tally[State.UNKNOWN]
            quiet = 0 if settling or (await stage.twin_counts())["callbacks"]["pending"] else quiet + 1
            if handed_over is not None and quiet >= QUIET_LOOKS:
                return handed_over
            if seconds > SETTLE_SECONDS + queued.recipients / 200 or not stage.alive():
                return handed_over or seconds
            await asyncio.sleep(0.15)


async def _ledger(container: Container, tenant: TenantId, queued: Enqueued) -> tuple[Tally, list[Message]]:
    """The rollup and the rows it sums up, in one transaction."""
    rows: list[Message] = []
    async with container.store.work(tenant) as w:
        tally = await w.ledger.tally([queued.run_id])
        while page := await w.ledger.messages(queued.run_id, after=rows[-1].id.seq if rows else 0, limit=5_000):
            rows.extend(page)
    return tally, rows


def _slug() -> str:
    """A new shop each time: with ``--data`` the demo can be run again on the same folder."""
    return f"demo-{int(time.time()):x}"


def _plain(value: object) -> object:
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else value
