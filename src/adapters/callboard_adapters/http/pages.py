"""The few pages people see: plain HTML, no script, nothing from elsewhere."""

from __future__ import annotations

from html import escape

from litestar import Response

_CSP = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
_STYLE = (
    "body{font:17px/1.5 system-ui,sans-serif;max-width:32rem;margin:12vh auto;padding:0 1.5rem;color:#222}"
    "button{font:inherit;padding:.6rem 1.4rem;border:0;border-radius:.4rem;background:#222;color:#fff;cursor:pointer}"
)


def page(title: str, body: str, *, status: int = 200) -> Response[bytes]:
    """``body`` is trusted HTML, ``title`` is text."""
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    headers = {"Content-Security-Policy": _CSP, "Cache-Control": "no-store"}
    return Response(html.encode(), status_code=status, media_type="text/html", headers=headers)
