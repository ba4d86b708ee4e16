"""Routes without ceremony: a handler gets a checked body and returns an object; errors, limits, access and figures are seen to here.

FastAPI describes the routes (OpenAPI, /docs); bodies are decoded and encoded by msgspec alone, because checking them twice costs more than
the answer."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from shortlist.core.errors import ShortlistError
from shortlist.pipeline.resilient import Unavailable
from shortlist.serve.eventlog.contract import KeyUsed, LogError
from shortlist.serve.hint import hint
from shortlist.serve.security import Denied

LOGGER = logging.getLogger("shortlist.serve")
JSON = "application/json"
_encoder = msgspec.json.Encoder()


class Refused(ShortlistError):
    """A request that is not answered. status: the HTTP status; after: seconds after which it may be asked again, 0 = not said."""

    def __init__(self, status: int, message: str, after: int = 0) -> None:
        super().__init__(message)
        self.status, self.after = status, after


class Error(msgspec.Struct):
    """What went wrong, in one line."""

    error: str


@dataclass
class Hooks:
    """Where access and figures are plugged in. allow: called with the request and the route's scope (read, write, admin, or "" for
    open routes) before its body is read; raises Denied (401, 403) or Refused (429). finished: called with the route's name, the status and the
    seconds it took."""

    allow: Callable[[Request, str], None] = lambda request, scope: None
    finished: Callable[[str, int, float], None] = lambda route, status, seconds: None


class Bare(APIRoute):
    """A route whose handler gets the request as it is."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself: it has no dependencies to be looked up."""
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler


class Routes:
    """A group of routes, and the types of their bodies for the OpenAPI document."""

    def __init__(self, hooks: Hooks, most: int) -> None:
        """most: bytes of a body."""
        self.hooks, self.most = hooks, most
        self.router = APIRouter(route_class=Bare)
        self.types: list[Any] = [Error]

    def add(
        self, method: str, path: str, handler: Callable[..., Awaitable[Any]], *, scope: str, name: str, summary: str, answer: Any,
        body: Any = None, errors: tuple[int, ...] = (), parameters: list[dict[str, Any]] | None = None,
        other: dict[int, Any] | None = None, kind: str = JSON,
    ) -> None:  # fmt: skip
        """A route. handler: called with the request, and the decoded body where `body` (a msgspec type) says that there is one; returns an
        object that msgspec encodes, or a Response of the media type `kind`. errors: the statuses that it may refuse with; other: statuses whose body is a type of its own."""
        decoder = None if body is None else msgspec.json.Decoder(body)
        hooks, most = self.hooks, self.most

        async def run(request: Request) -> Response:
            started = time.perf_counter()
            try:
                hooks.allow(request, scope)
                if decoder is None:
                    made = await handler(request)
                else:
                    made = await handler(request, decoder.decode(await read(request, most)))
                response = made if isinstance(made, Response) else json(made)
            except Exception as error:
                response = failed(error, body)
            hooks.finished(name, response.status_code, time.perf_counter() - started)
            return response

        self.types += [answer] if body is None else [answer, body]
        statuses = {*errors, *((401, 403) if scope else ()), *((400, 413, 422) if body is not None else ())}
        extra: dict[str, Any] = {
            "responses": {
                "200": {"description": "Done", "content": {kind: {"schema": reference(answer)}}},
                **{
                    str(status): {"description": ABOUT[status], "content": {JSON: {"schema": reference(Error)}}}
                    for status in sorted(statuses)
                },
            }
        }
        for status, made in (other or {}).items():
            content = {JSON: {"schema": reference(made)}}
            extra["responses"][str(status)] = {"description": ABOUT[status], "content": content}
        if body is not None:
            extra["requestBody"] = {"required": True, "content": {JSON: {"schema": reference(body)}}}
        if parameters:
            extra["parameters"] = parameters
        self.router.add_api_route(
            path, run, methods=[method], name=name, operation_id=name, summary=summary, openapi_extra=extra, response_model=None,
            responses={}, description=" ".join((handler.__doc__ or "").split()),
        )  # fmt: skip


ABOUT = {
    400: "Not JSON", 401: "No valid key", 403: "The key does not allow this", 404: "Not there", 409: "The key belongs to another batch",
    413: "Too large", 422: "Not as it should be", 429: "Too busy: ask again later", 503: "Not ready, or the log is away",
}  # fmt: skip


def json(made: Any, status: int = 200) -> Response:
    """An object as a response."""
    return Response(_encoder.encode(made), status, media_type=JSON)


def failed(error: Exception, body: Any = None) -> Response:
    """The response to an error: one clear line, and a status that says whose fault it is. body: the type that a body should have had."""
    if isinstance(error, Denied):
        response = json(Error(str(error)), error.status)
        if error.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response
    if isinstance(error, Refused):
        response = json(Error(str(error)), error.status)
        if error.after:
            response.headers["Retry-After"] = str(error.after)
        return response
    if isinstance(error, msgspec.ValidationError):
        told = line(f"body: {error}")  # what was sent is echoed, so it is cut before what helps is added
        return json(Error(told + ("" if body is None else hint(body, str(error)))), 422)
    if isinstance(error, msgspec.DecodeError | UnicodeDecodeError | RecursionError):
        return json(Error(line(f"body: not JSON: {error}")), 400)
    if isinstance(error, LogError | Unavailable):
        return json(Error(line(str(error))), 503)
    if isinstance(error, KeyUsed):
        return json(Error(line(str(error))), 409)
    if isinstance(error, ShortlistError):
        return json(Error(line(str(error))), 422)
    if isinstance(error, ClientDisconnect):
        return json(Error("the client went away"), 400)
    LOGGER.error("a request failed", exc_info=error)
    return json(Error("internal error"), 500)


def line(text: str, longest: int = 500) -> str:
    """One line, cut where it echoes too much of what was sent."""
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else f"{flat[:longest]} ..."


async def read(request: Request, most: int) -> bytes:
    """The body, refused before it is read whole where it is larger than allowed."""
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > most:
        raise Refused(413, f"body: {told} bytes; at most {most}")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise Refused(413, f"body: more than {most} bytes")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def reference(made: Any) -> dict[str, Any]:
    """Where the OpenAPI document describes a type."""
    return msgspec.json.schema_components([made], ref_template="#/components/schemas/{name}")[0][0]


def document(app: FastAPI, groups: list[Routes], title: str, about: str, version: str) -> Callable[[], dict[str, Any]]:
    """What makes the OpenAPI document: FastAPI's, with the bodies that msgspec knows."""
    from_fastapi = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = from_fastapi()
            made["info"] = {"title": title, "description": about, "version": version}
            types = list({id(each): each for group in groups for each in group.types}.values())
            _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
            made.setdefault("components", {})["schemas"] = dict(components)
            app.openapi_schema = made
        return app.openapi_schema

    return openapi


def plain_errors(app: FastAPI) -> None:
    """What the framework refuses by itself (an unknown path, a wrong method) reads like every other error."""

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = json(Error(line(str(error.detail))), error.status_code)
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        return response

    app.add_exception_handler(HTTPException, http)


def identifier(name: str) -> str:
    """A name as Python has them, for the fields of a type that is made while running."""
    return "f_" + re.sub(r"\W", "_", name)
