"""Metrics: figures for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Request, Response

from shortlist.serve.http import Routes
from shortlist.serve.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from shortlist.serve.app import App


def add(routes: Routes, app: App) -> None:
    """GET /metrics."""

    async def metrics(request: Request) -> Response:
        """Figures of all workers in Prometheus' text format."""
        return Response(app.figures.metrics.text(), media_type=CONTENT_TYPE)

    routes.add(
        "GET",
        "/metrics",
        metrics,
        scope="read",
        name="metrics",
        summary="Figures for Prometheus",
        answer=str,
        kind="text/plain",
    )
