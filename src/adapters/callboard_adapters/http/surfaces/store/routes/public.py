"""What customers open: short links and the unsubscribe page. No credential; the token says whose it is."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, Router, get, post, route
from litestar.di import NamedDependency
from litestar.params import FromPath

from callboard.errors import CoreError
from callboard_adapters.http.container import Services
from callboard_adapters.http.pages import page

Core = NamedDependency[Services]


@route("/r/{token:str}", http_method=["GET", "HEAD"], status_code=302, opt={"public": True}, security=[{}])
async def follow_link(request: Request[Any, Any, Any], services: Core, token: FromPath[str]) -> Response[bytes]:
    """302 to the link's destination; machines that only look are redirected and not counted."""
    url = await services.clicks.follow(
        token,
        method=request.method,
        agent=request.headers.get("user-agent", ""),
        purpose=request.headers.get("sec-purpose", request.headers.get("purpose", "")),
    )
    return Response(b"", status_code=302, headers={"Location": url, "Cache-Control": "no-store"})


@get("/unsubscribe/{token:str}", opt={"public": True}, security=[{}])
async def ask_unsubscribe(services: Core, token: FromPath[str]) -> Response[bytes]:
    """A page with one button: opening it, as link scanners do, changes nothing."""
    try:
        services.links.check_unsubscribe(token)
    except CoreError:
        return page("This link is not valid", "<p>Please use the link from your message.</p>", status=404)
    form = '<form method="post"><button>Unsubscribe</button></form>'
    return page("Unsubscribe?", f"<p>You will get no more marketing messages from this shop.</p>{form}")


@post("/unsubscribe/{token:str}", status_code=200, opt={"public": True}, security=[{}])
async def unsubscribe(services: Core, token: FromPath[str]) -> Response[bytes]:
    """Opt out, from the page's button or one-click (RFC 8058); twice is as good as once."""
    try:
        await services.links.unsubscribe(token)
    except CoreError as error:
        if error.code != "NOT_FOUND":
            raise
        return page("This link is not valid", "<p>Please use the link from your message.</p>", status=404)
    return page("You are unsubscribed", "<p>You will get no more marketing messages from this shop.</p>")


router = Router("/", route_handlers=[follow_link, ask_unsubscribe, unsubscribe])
