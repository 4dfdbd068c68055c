"""OpenAPI: one document for everything, one per surface, and Swagger UI from our own files (no network needed)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from litestar import Litestar, Response, get
from litestar.di import Provide
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from callboard_adapters.http.surface import Surface, Surfaces

_FILES = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
    "start.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
}
_CSP = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
_REFUSALS = {
    "400": "The request cannot be understood; details name the field",
    "401": "Missing, wrong or expired credential",
    "403": "A credential for another surface",
    "404": "Unknown here",
    "409": "The state of things does not allow it now",
    "413": "The body is too large",
    "415": "The body has the wrong media type",
    "429": "Too many requests; see Retry-After",
    "503": "Try again; see Retry-After",
}
_DAY = "public, max-age=86400"


def document(
    title: str, version: str, surfaces: Sequence[Surface], dependencies: Mapping[str, Provide]
) -> dict[str, Any]:
    """The OpenAPI document of some surfaces, as plain JSON values; ``dependencies`` are what their handlers ask for."""
    config = OpenAPIConfig(
        title=title,
        version=version,
        components=Components(
            security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", description="API key or JWT")}
        ),
        security=[{"bearer": []}],
    )
    app = Litestar(
        [surface.router() for surface in surfaces],
        openapi_config=config,
        logging_config=None,
        dependencies=dict(dependencies),
    )
    schema: dict[str, Any] = json.loads(msgspec.json.encode(app.openapi_schema.to_schema()))
    for surface in surfaces:
        _tell_refusals(schema, surface)
    return schema


def _tell_refusals(schema: dict[str, Any], surface: Surface) -> None:
    """Litestar knows only its own error form: say what every operation of the surface answers instead."""
    if surface.problem is None:
        return
    name = f"{surface.title}{surface.problem.__name__}"
    (_,), components = msgspec.json.schema_components([surface.problem], ref_template="#/components/schemas/{name}")
    schema["components"].setdefault("schemas", {})[name] = components[surface.problem.__name__]
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    answers = {status: {"description": text, "content": content} for status, text in _REFUSALS.items()}
    for path, item in schema["paths"].items():
        if path.startswith(f"/{surface.name}/"):
            for operation in item.values():
                operation["responses"] |= answers


def surface_document(surface: Surface, version: str, dependencies: Mapping[str, Provide]) -> dict[str, Any]:
    """One surface as its clients know it: paths as in its contract, good under its name and, its own, at the root."""
    schema = document(surface.title, version, [surface], dependencies)
    prefix = f"/{surface.name}"
    schema["paths"] = {path.removeprefix(prefix) or "/": item for path, item in schema["paths"].items()}
    schema["servers"] = [{"url": prefix}, {"url": "/"}]
    return schema


def openapi_handlers(
    surfaces: Surfaces, version: str, dependencies: Mapping[str, Provide]
) -> list[ControllerRouterHandler]:
    """``/schema`` (the page), ``/schema/openapi.json`` and ``/schema/<surface>/openapi.json``."""

    @cache
    def everything() -> bytes:
        return msgspec.json.encode(document("Callboard", version, surfaces.served, dependencies))

    @cache
    def of(name: str) -> bytes:
        surface = next((surface for surface in surfaces.served if surface.name == name), None)
        if surface is None:
            raise NotFoundException
        return msgspec.json.encode(surface_document(surface, version, dependencies))

    @get(["/schema", "/schema/swagger"], include_in_schema=False, sync_to_thread=False)
    def page() -> Response[bytes]:
        options = "".join(f'<option value="/schema/{s.name}/openapi.json">{s.title}</option>' for s in surfaces.served)
        html = _PAGE.replace("{options}", f'{options}<option value="/schema/openapi.json">All surfaces</option>')
        return Response(html.encode(), media_type="text/html", headers={"Content-Security-Policy": _CSP})

    @get("/schema/openapi.json", include_in_schema=False, sync_to_thread=True)
    def whole() -> Response[bytes]:
        return Response(everything(), media_type="application/json")

    @get("/schema/{name:str}/openapi.json", include_in_schema=False, sync_to_thread=True)
    def one(name: FromPath[str]) -> Response[bytes]:
        return Response(of(name), media_type="application/json")

    @get("/schema/static/{file:str}", include_in_schema=False, sync_to_thread=True)
    def static(file: FromPath[str]) -> Response[bytes]:
        if file not in _FILES:
            raise NotFoundException
        folder = files("callboard_adapters.http") / "static"
        content = (folder / file if file in {"start.js", "page.css"} else folder / "swagger-ui" / file).read_bytes()
        return Response(content, headers={"content-type": _FILES[file], "Cache-Control": _DAY})

    return [page, whole, one, static]


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Callboard API</title>
<link rel="icon" href="/schema/static/favicon-32x32.png">
<link rel="stylesheet" href="/schema/static/swagger-ui.css">
<link rel="stylesheet" href="/schema/static/page.css">
</head>
<body>
<label class="pick">Surface <select id="surface">{options}</select></label>
<div id="ui"></div>
<script src="/schema/static/swagger-ui-bundle.js"></script>
<script src="/schema/static/start.js"></script>
</body>
</html>
"""
