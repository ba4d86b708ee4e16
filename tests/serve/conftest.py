"""A small fitted bundle, and services on it: in this process, or as a command with workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx import Client

from shortlist.data.dataset import encode
from shortlist.data.synthetic import world
from shortlist.experiment.fit import fit
from shortlist.pipeline.config import parse
from shortlist.serve.service import Service
from tests.serve.live import opened, serving

SHOP = {
    "data": {"positive": ["click"], "context": ["device"]},
    "timeline": {"test": 0.9, "window": "1d", "cutoffs": 2},
    "train": {"requests": 60, "validate": 30, "negatives": 10},
    "pipeline": {"pool": 60},
    "serve": {
        "deadline_ms": 20_000.0
    },  # what is tested with it is not time: a busy machine must not degrade the answers
    "source": [
        {"type": "popular", "half_life": "1d", "quota": 30},
        {"type": "itemknn", "quota": 20},
        {"type": "newest", "quota": 10},
        {"type": "trending", "short": "2h", "long": "1d", "prior": 1.0, "quota": 10},
        {"type": "content", "quota": 20},
    ],
    "filter": [{"type": "available"}, {"type": "seen", "event": ["click"]}],
    "feature": [
        {"type": "attributes"},
        {"type": "counts", "by": ["item", "item.category", "user x item.category"], "half_life": ["6h", "2d"]},
        {"type": "recency", "by": ["item", "user"]},
    ],
    "ranker": [{"type": "catboost", "iterations": 20, "depth": 4, "threads": 1}],
}


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with live sources and features."""
    folder = tmp_path_factory.mktemp("serve") / "shop"
    fit(parse(SHOP), encode(world(0, users=80, items=100, days=8).tables)).save(folder)
    return folder


@pytest.fixture
def service(shop: Path, tmp_path: Path) -> Service:
    """A fresh one on that bundle, not started: what serves it closes it."""
    return opened(shop, f"sqlite:{tmp_path / 'events.log'}")


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    """Requests to the application of `service`."""
    with serving(service) as made:
        yield made
