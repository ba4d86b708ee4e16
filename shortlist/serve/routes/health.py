"""Health: is the process alive, and is it ready for requests?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Request, Response

from shortlist.serve import wire
from shortlist.serve.eventlog.contract import LogError
from shortlist.serve.http import Routes, json
from shortlist.state.snapshot import digest

if TYPE_CHECKING:
    from shortlist.serve.app import App


def add(routes: Routes, app: App) -> None:
    """GET /healthz, /readyz, /v1/state."""
    service = app.service

    async def healthz(request: Request) -> wire.Health:
        """The process is alive. It says nothing of its readiness: a worker that warms up must not be killed for it."""
        return wire.Health("ok")

    async def readyz(request: Request) -> Response:
        """200 when the worker has caught up with the log and has replayed real requests; 503 before, and while the log is away."""
        problem, behind = service.problem, 0
        if service.ready:
            try:
                behind = service.behind()
            except LogError as error:
                problem = str(error)
        ready = service.ready and not problem
        bundles = {name: engine.name for name, engine in service.engines.items()}
        position = min(engine.position for engine in service.engines.values())
        return json(wire.Ready(ready, bundles, position, behind, problem), 200 if ready else 503)

    async def standing(request: Request) -> wire.Standing:
        """A digest of all that this worker holds, by surface: workers and replicas at one log position have the same, and so has a replay."""
        app.check()
        surface = request.query_params.get("surface")
        engine = service.engine(surface)
        engine.catch_up()
        return wire.Standing(engine.name, engine.position, engine.state.count, digest(engine.state))

    about = {"name": "surface", "in": "query", "required": False, "schema": {"enum": list(service.engines)}}
    routes.add(
        "GET", "/v1/state", standing, scope="admin", name="state", summary="A digest of the state", answer=wire.Standing,
        errors=(422, 503), parameters=[about],
    )  # fmt: skip
    routes.add("GET", "/healthz", healthz, scope="", name="healthz", summary="Alive?", answer=wire.Health)
    routes.add(
        "GET", "/readyz", readyz, scope="", name="readyz", summary="Ready?", answer=wire.Ready, other={503: wire.Ready}
    )
