"""Measures of given impressions: how well every system orders them (AUC, GAUC), and how true its probabilities are (log loss,
calibration), with intervals over users; per request NDCG and its like, where requests hold more than one item."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shortlist.core import rows
from shortlist.core.batch import Array, Batch
from shortlist.core.errors import ConfigError
from shortlist.metric.calibration import error_interval, reliability
from shortlist.metric.impressions import auc, auc_interval, group_auc, logloss
from shortlist.metric.interval import entry, mean_interval, paired, summary
from shortlist.metric.ranking import ranking

RATE, OVERALL = "baseline:item_rate", "baseline:overall"


@dataclass
class Scored:
    """Every exposure of one or several windows, (m,) each, in requests of log order. batch: with the candidate column `label`,
    and the request columns `warm` and `window` (the cut of its window)."""

    batch: Batch
    scores: dict[str, Array]  # by system, the pipeline first; not finite sinks
    chances: dict[str, Array] = field(default_factory=dict)  # float64 probabilities of the systems that have them

    @property
    def label(self) -> Array:
        """Grades; above 0 is a positive."""
        return self.batch.cand["label"]

    @property
    def user(self) -> Array:
        """The user of every exposure."""
        return self.batch.spread(self.batch.user)

    def of(self, requests: Array) -> Scored:
        """Some of the requests, by mask."""
        keep = self.batch.spread(requests)
        return Scored(
            self.batch.only(np.flatnonzero(requests)),
            {name: score[keep] for name, score in self.scores.items()},
            {name: chance[keep] for name, chance in self.chances.items()},
        )

    def both(self) -> bool:
        """Is there anything to tell apart?"""
        return bool((self.label > 0).any() and not (self.label > 0).all())


def measured(scored: Scored, ks: list[int], resamples: int, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """`systems` and `paired` as metrics.json holds them. ConfigError when all exposures have one label."""
    if not scored.both():
        raise ConfigError(
            f"timeline.test: of {len(scored.label)} impressions {int((scored.label > 0).sum())} were acted on: nothing to tell apart"
        )
    warm = scored.batch.req["warm"]
    parts = {"warm": scored.of(warm), "cold": scored.of(~warm)}
    systems: dict[str, Any] = {}
    for name in scored.scores:
        systems[name] = _system(scored, name, ks, resamples, seed)
        systems[name]["slices"] = {
            title: {**_system(part, name, ks, resamples, seed), "requests": part.batch.n}
            for title, part in parts.items()
            if part.batch.n and part.both()
        }
    differences = {
        f"pipeline - {name}": _difference(scored, name, ks, resamples, seed)
        for name in scored.scores
        if name != "pipeline"
    }
    return systems, differences


def _system(scored: Scored, name: str, ks: list[int], resamples: int, seed: int) -> dict[str, Any]:
    """Every figure of one system."""
    label, user, score = scored.label, scored.user, scored.scores[name]
    times: dict[str, Any] = {"resamples": resamples, "seed": seed}
    figures = {"auc": entry(auc(score, label), *auc_interval(score, label, user, **times))}
    values, sizes = group_auc(score, label, user)
    usable = np.isfinite(values)
    low, high = mean_interval(values, np.arange(len(values)), weights=sizes, **times)
    mean = float(np.average(values[usable], weights=sizes[usable])) if usable.any() else float("nan")
    figures["gauc"] = entry(mean, float(low), float(high))
    if name in scored.chances:
        chance = scored.chances[name]
        figures |= summary({"logloss": logloss(chance, label)}, user, **times)
        error = reliability(chance, label).expected_error()
        figures["calibration"] = entry(error, *error_interval(chance, label, user, **times))
    figures |= summary(per_request(scored, name, ks), scored.batch.user, **times)
    return figures


def _difference(scored: Scored, name: str, ks: list[int], resamples: int, seed: int) -> dict[str, Any]:
    """Pipeline minus one system, with paired intervals, of every metric that both have."""
    label, user = scored.label, scored.user
    ours, theirs = scored.scores["pipeline"], scored.scores[name]
    times: dict[str, Any] = {"resamples": resamples, "seed": seed}
    gap = auc(ours, label) - auc(theirs, label)
    found = {"auc": entry(gap, *auc_interval(ours, label, user, baseline=theirs, **times))}
    (own, sizes), (other, _) = group_auc(ours, label, user), group_auc(theirs, label, user)
    usable = np.isfinite(own)
    low, high = paired(own, other, np.arange(len(own)), weights=sizes, **times)
    mean = float(np.average((own - other)[usable], weights=sizes[usable])) if usable.any() else float("nan")
    found["gauc"] = entry(mean, float(low), float(high))
    if "pipeline" in scored.chances and name in scored.chances:
        losses = [logloss(scored.chances[system], label) for system in ("pipeline", name)]
        found |= summary({"logloss": losses[0] - losses[1]}, user, **times)
    mine, its = per_request(scored, "pipeline", ks), per_request(scored, name, ks)
    return found | summary({metric: mine[metric] - its[metric] for metric in mine}, scored.batch.user, **times)


def per_request(scored: Scored, name: str, ks: list[int]) -> dict[str, Array]:
    """Metrics of ordered lists, (n,) each: NaN for requests of one item or without a positive, and nothing at all where no
    request is left. There is no wrong order of one item, and no right one where nothing was taken."""
    batch = scored.batch
    taken = np.bincount(batch.owner[scored.label > 0], minlength=batch.n)
    judged = np.flatnonzero((np.diff(batch.offsets) > 1) & (taken > 0))
    if not len(judged):
        return {}
    own = batch.with_columns({"score": scored.scores[name]}).only(judged)
    ordered = own.take(rows.order(own, own.cand["score"]))
    targets = own.keep(own.cand["label"] > 0)
    made: dict[str, Array] = {}
    for k in ks:
        values = ranking(ordered.offsets, ordered.item, targets.offsets, targets.item, k)
        for metric in ("ndcg", "mrr", "hitrate", "map"):
            made[f"{metric}@{k}"] = np.full(batch.n, np.nan)
            made[f"{metric}@{k}"][judged] = values[metric]
    return made


def table_columns(scored: Scored, name: str, ks: list[int]) -> dict[str, Array]:
    """What requests.parquet holds of one system, (n,) each: `gauc`, the AUC of the request's user (NaN where he has one label
    only), so that the mean over exposures is GAUC; `logloss`, the mean over the request's items; and the metrics of lists."""
    batch = scored.batch
    values, _ = group_auc(scored.scores[name], scored.label, scored.user)
    made = {"gauc": values[np.unique(batch.user, return_inverse=True)[1]]}
    if name in scored.chances:
        loss = logloss(scored.chances[name], scored.label)
        made["logloss"] = np.bincount(batch.owner, weights=loss, minlength=batch.n) / np.diff(batch.offsets)
    return made | per_request(scored, name, ks)


def diagram(scored: Scored) -> dict[str, Any]:
    """The reliability diagram of every system that has probabilities, as details.json holds it."""
    made = {}
    for name, chance in scored.chances.items():
        bins = reliability(chance, scored.label)
        made[name] = {
            "count": bins.count.tolist(),
            "predicted": bins.predicted.tolist(),
            "observed": bins.observed.tolist(),
        }
    return made
