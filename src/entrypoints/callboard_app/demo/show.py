"""What the demo prints, through one console (standard error when the output is for programs)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from callboard.contacts.model import ImportReport
from callboard.messages.model import State
from callboard.segments.model import Segment
from callboard_app.demo.proof import Check

_ALWAYS = (State.DELIVERED, State.FAILED, State.SKIPPED)
"""Counts that are told even when they are zero."""
_COLORS = {
    State.QUEUED: "grey50",
    State.SENDING: "yellow",
    State.ACCEPTED: "cyan",
    State.SENT: "blue",
    State.DELIVERED: "green",
    State.READ: "green",
    State.FAILED: "red",
    State.SKIPPED: "magenta",
    State.CANCELLED: "magenta",
    State.UNKNOWN: "bright_yellow",
    State.UNCONFIRMED: "bright_yellow",
}


class Show:
    """The demo's pages, in order."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def title(self, text: str, under: str) -> None:
        """The first lines."""
        self._console.print(Panel(Text.assemble((text, "bold"), "\n", (under, "dim")), expand=False, padding=(0, 2)))

    def step(self, text: str) -> None:
        """The head of a section."""
        self._console.print()
        self._console.print(Text.assemble(("▸ ", "cyan"), (text, "bold")))

    def note(self, text: str, style: str = "dim") -> None:
        """A line below it."""
        self._console.print(Padding(Text(text, style=style), (0, 0, 0, 2)))

    @contextmanager
    def bar(self, text: str, total: int) -> Iterator[Any]:
        """A progress bar; yields a function that takes how much is done."""
        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        with progress:
            task = progress.add_task(text, total=total)
            yield lambda done: progress.update(task, completed=done)

    def imported(self, report: ImportReport, seconds: float) -> None:
        """One outcome per row."""
        parts = [f"{getattr(report, word):,} {word}" for word in ("created", "updated", "skipped", "invalid")]
        rate = report.total / max(seconds, 1e-9)
        self.note(f"{report.total:,} rows in {seconds:.2f} s ({rate:,.0f}/s): {', '.join(parts)}", "")
        for error in report.errors[:3]:
            self.note(f"line {error.line}: {error.field}: {error.reason}")

    def segments(self, counted: Sequence[tuple[Segment, int]], chosen: str) -> None:
        """Who could be written to now."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("segment")
        table.add_column("name")
        table.add_column("reachable now", justify="right")
        for segment, count in counted:
            mine = segment.key == chosen
            table.add_row(segment.key, segment.name, f"{count:,}", style="bold green" if mine else "")
        self._console.print(Padding(table, (0, 0, 0, 2)))

    def message(self, text: str, parts: str) -> None:
        """The text as one person will read it."""
        self._console.print(Padding(Panel(Text(text), expand=False, subtitle=parts, border_style="dim"), (0, 0, 0, 2)))

    @contextmanager
    def live(self, total: int) -> Iterator[Any]:
        """Live counts by state; yields a function that takes them and the messages handed over per second."""
        progress = Progress(
            SpinnerColumn(),
            TextColumn("sending"),
            BarColumn(40),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            console=self._console,
        )
        task = progress.add_task("", total=total, rate="")
        counts = Text()

        def update(done: int, states: Mapping[State, int], rate: float) -> None:
            progress.update(task, completed=done, rate=f"{rate:,.0f}/s" if rate else "")
            counts.plain = ""
            for state, n in states.items():
                if n:
                    counts.append(f"  {state.value} ", style="dim")
                    counts.append(f"{n:,}", style=_COLORS[state])

        if not self._console.is_terminal:
            yield lambda *_: None
            return
        with Live(Padding(Group(progress, counts), (0, 0, 0, 2)), console=self._console, refresh_per_second=10):
            yield update

    def report(self, report: Mapping[str, Any]) -> None:
        """The campaign's outcome: one state and one reason per recipient, credits, rates."""
        table = Table(box=None, pad_edge=False, header_style="dim", show_header=False)
        table.add_column(justify="right")
        table.add_column()
        table.add_row(f"{report['accepted']:,}", Text("accepted by the provider, of which now", style="bold"))
        for state in State:
            n = report["states"].get(state.value, 0)
            if n or state in _ALWAYS:
                table.add_row(f"{n:,}", Text(state.value, style=_COLORS[state]))
        for reason, n in sorted(report["by_reason"].items(), key=lambda item: -item[1]):
            table.add_row(Text(f"{n:,}", style="dim"), Text(f"  because {reason}", style="dim"))
        self._console.print(Padding(table, (0, 0, 0, 2)))
        money, rates = report["credits"], report["rates"]
        self.note(
            f"credits {money['before']:,} → {money['after']:,}  "
            f"({money['debited']:,} debited, {money['returned']:,} returned)",
            "",
        )
        self.note(
            f"enqueued {rates['enqueued_per_second']:,.0f} recipients/s, "
            f"sent {rates['sent_per_second']:,.0f} messages/s through the twin, every state on disk",
            "",
        )

    def checks(self, checks: Sequence[Check]) -> None:
        """Every number against the other side's."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("")
        table.add_column("claim")
        table.add_column("ours", justify="right", overflow="fold")
        table.add_column("the other side", justify="right", overflow="fold")
        for check in checks:
            mark = Text("✓", style="green") if check.holds else Text("✗", style="bold red")
            table.add_row(mark, check.claim, *(_cell(value) for value in (check.ours, check.theirs)))
        self._console.print(Padding(table, (0, 0, 0, 2)))

    def addresses(self, rows: Mapping[str, str]) -> None:
        """Where everything is."""
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        for name, value in rows.items():
            table.add_row(name, value)
        self._console.print(Padding(table, (0, 0, 0, 2)))


def _cell(value: object) -> Text:
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, int):
        return Text(f"{value:,}")
    if isinstance(value, dict):
        return Text("\n".join(f"{key} {n:,}" for key, n in sorted(value.items())))
    return Text(str(value))
