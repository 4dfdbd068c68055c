"""The table of commands. It imports nothing, so that ``callboard --help`` costs little more than the interpreter."""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (
        "callboard_app.cli.demo:demo",
        "Fill a demo shop, send a campaign through the provider twin, show the proof.",
    ),
    "serve": ("callboard_app.cli.operations:serve", "Run the HTTP server (and, without Redis, the jobs)."),
    "worker": ("callboard_app.cli.operations:worker", "Run workers: sending, events, timers."),
    "sandbox": ("callboard_app.cli.operations:sandbox", "Run the provider twin alone."),
    "migrate": ("callboard_app.cli.operations:migrate", "Bring the database's schema up to date."),
    "doctor": (
        "callboard_app.cli.doctor:doctor",
        "Check configuration, database, broker and providers; say what to do.",
    ),
    "tenant": ("callboard_app.cli.tenants:tenant", "Create and list tenants, set their settings, give them credits."),
    "key": ("callboard_app.cli.tenants:key", "Create, list, rotate and revoke API keys."),
    "token": ("callboard_app.cli.tenants:token", "Issue tokens for browser clients."),
    "contacts": ("callboard_app.cli.contacts:contacts", "Import contacts from CSV or XLSX."),
    "campaign": ("callboard_app.cli.campaigns:campaign", "Send, watch, pause, resume and cancel campaigns."),
    "why": ("callboard_app.cli.explain:why", "Say in words what became of a message, and why."),
    "dead": ("callboard_app.cli.explain:dead", "List and replay what used up its attempts."),
}
"""Name → (where it is, what it does)."""

INTRODUCTION = "Customer engagement that explains, and proves, every message it sends."


def help_text() -> str:
    """What ``callboard --help`` prints."""
    width = max(map(len, COMMANDS)) + 2
    rows = "\n".join(f"  {name:<{width}}{text}" for name, (_, text) in COMMANDS.items())
    return (
        f"Usage: callboard [--version] [--help] COMMAND ...\n\n  {INTRODUCTION}\n\nCommands:\n{rows}\n\n"
        "Start with `callboard demo`. `callboard COMMAND --help` says more; `--json` makes output for programs.\n"
    )
