"""CatBoost (Prokhorenkova et al., NeurIPS 2018): gradient boosted oblivious trees; categories natively, missing values as they
are. Pointwise (Logloss, RMSE), pairwise (PairLogit) or listwise (YetiRank, QuerySoftMax, QueryRMSE)."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from catboost import CatBoost, CatBoostError, FeaturesData, Pool

from shortlist.core.batch import Array, Batch
from shortlist.core.component import hidden, param
from shortlist.core.contracts import FitContext, Frame, split
from shortlist.core.errors import BundleError, ConfigError
from shortlist.core.names import kept

BY_REQUEST = ("YetiRank", "QuerySoftMax", "QueryRMSE", "PairLogit")
METRICS = {"NDCG": "NDCG:top=10;type=Base", "AUC": "QueryAUC:type=Classic", "Logloss": "Logloss", "RMSE": "RMSE"}
SMALL_IS_GOOD = ("Logloss", "RMSE")
STEP = 20  # trees between two looks at the newer frame
PARALLEL = 20_000  # rows from which prediction pays for a second thread


@dataclass
class Catboost:
    """The number of trees is chosen on the newer `valid` frame when there is one and `choose` is not "none", else it is `iterations`.
    Listwise losses, and the metric that chooses, compare the rows of one group: a request, or what the recipe's `[train] group` says."""

    loss: str = param("Logloss", "training loss", options=("Logloss", "RMSE", *BY_REQUEST))
    iterations: int = param(400, "trees, at most", low=1, high=100_000)
    rate: float = param(0.08, "learning rate", low=1e-5, high=1.0)
    depth: int = param(6, "depth of the oblivious trees", low=1, high=12)
    l2: float = param(5.0, "L2 regularisation of the leaves", low=0.0)
    columns: float = param(1.0, "share of the features tried at each level", low=0.05, high=1.0)
    bins: int = param(128, "values that a number is cut into", low=8, high=254)
    one_hot: int = param(16, "categories with at most so many values are split one by one", low=2, high=255)
    ctr: bool = param(
        False, "also encode larger categories by label statistics inside CatBoost (slow; the state's rates do the same)"
    )
    choose: str = param(
        "auto",
        "what chooses the number of trees: NDCG@10 or AUC within groups, or the loss; auto = NDCG where groups have rows to order, "
        "else Logloss, or RMSE for that loss; none = nothing does, there are as many as `iterations` says",
        options=("auto", "none", *METRICS),
    )
    drop: list[str] = param(
        [], "feature columns to leave out, by exact name, prefix ending in * or suffix beginning with *"
    )
    spare: list[str] = param([], "columns that stay although `drop` names them, written likewise")
    threads: int = param(0, "threads for training; 0 = every core", low=0)
    names: tuple[str, ...] = hidden(())  # the feature columns, in order
    trees: int = hidden(0)
    curve: dict[str, list[float]] = hidden({})
    _model: Any = hidden(None)
    _numbers: tuple[str, ...] = hidden(())
    _categories: tuple[str, ...] = hidden(())

    def fit(self, frame: Frame, valid: Frame | None, ctx: FitContext) -> None:
        """Learn from a frame. Groups are requests; a request without a label teaches a listwise loss nothing and is expected
        to have been dropped. ConfigError when nothing is positive."""
        if not (frame.label > 0).any():
            raise ConfigError(f"{ctx.place}: no positive row in the training frame: the sources found no target")
        if (frame.label == frame.label[0]).all():
            raise ConfigError(
                f"{ctx.place}: all {len(frame.label)} rows of the training frame have the same label: nothing to tell apart; "
                "choose longer windows, or more candidates"
            )
        self.names = kept(frame.features, self.drop, self.spare)
        _, _, self._numbers, self._categories = split(frame.batch.take(np.zeros(0, dtype=np.int64)), self.names)
        if not self.ctr:  # large categories would be encoded by label statistics: leave them to the state's aggregates
            self._categories = tuple(
                name for name in self._categories if int(frame.batch.cand[name].max(initial=-1)) + 2 <= self.one_hot
            )
        options: dict[str, Any] = {
            "loss_function": self.loss,
            "iterations": self.trees if valid is None and self.trees else self.iterations,
            "learning_rate": self.rate,
            "depth": self.depth,
            "l2_leaf_reg": self.l2,
            "rsm": self.columns,
            "random_seed": ctx.seed,
            "one_hot_max_size": self.one_hot,
            "max_ctr_complexity": 1,
            "boosting_type": "Plain",
            "border_count": self.bins,
            "thread_count": self.threads or os.cpu_count() or 1,
            "allow_writing_files": False,
            "logging_level": "Silent",
        }
        model = CatBoost(options)
        try:
            model.fit(self._pool(frame))
        except CatBoostError as error:
            raise ConfigError(f"{ctx.place}: cannot learn from {len(frame.label)} rows: {error}") from None
        self._model = model
        if valid is not None and self.choose != "none":
            self._choose(self._pool(valid), self._metric(valid))

    def _metric(self, valid: Frame) -> str:
        """The name of the metric that chooses the number of trees."""
        if self.choose != "auto":
            return self.choose
        if (np.diff(_groups(valid.batch)) == 0).any():
            return "NDCG"
        return "RMSE" if self.loss == "RMSE" else "Logloss"  # NDCG of one row is 1, whatever the model

    def _choose(self, valid: Pool, metric: str) -> None:
        """Cut the model to the number of trees that does best on a newer frame."""
        # CatBoost also writes what it measures into the folder `train_dir`, whatever `allow_writing_files` says; without one it
        # is `catboost_info` where the command is run. As a parameter of the fit it would be part of the model's file.
        with tempfile.TemporaryDirectory() as folder:
            self._model._init_params["train_dir"] = folder
            found = self._model.eval_metrics(valid, [METRICS[metric]], eval_period=STEP, tmp_dir=folder)
            values = next(iter(found.values()))
            del self._model._init_params["train_dir"]
        trees = [min(i * STEP + 1, self.iterations) for i in range(len(values) - 1)] + [self.iterations]
        best = int(np.argmin(values) if metric in SMALL_IS_GOOD else np.argmax(values))
        self.trees = trees[best]
        self.curve = {"iteration": [float(count) for count in trees], "valid": [float(value) for value in values]}
        if (
            self.trees < self.iterations
        ):  # not to all of them: CatBoost may have made fewer than it says, and would refuse
            self._model.shrink(self.trees)

    def _pool(self, frame: Frame) -> Pool:
        label = frame.label if self.loss in BY_REQUEST or self.loss == "RMSE" else (frame.label > 0).astype(np.float32)
        weight = None if (frame.weight == 1).all() else frame.weight
        return Pool(self._data(frame.batch), label=label, group_id=_groups(frame.batch), weight=weight)

    def _data(self, batch: Batch) -> FeaturesData:
        # Column by column: CatBoost reads this layout without copying, and so do we write it.
        numbers = np.empty((batch.m, len(self._numbers)), dtype=np.float32, order="F")
        for j, name in enumerate(self._numbers):
            numbers[:, j] = batch.cand[name]
        if not self._categories:
            return FeaturesData(num_feature_data=numbers, num_feature_names=list(self._numbers))
        categories = np.empty((batch.m, len(self._categories)), dtype=object)
        for j, name in enumerate(self._categories):
            codes = batch.cand[name]
            texts = np.array([b"%d" % code for code in range(-1, int(codes.max(initial=-1)) + 1)], dtype=object)
            categories[:, j] = texts[codes + 1]
        return FeaturesData(
            num_feature_data=numbers,
            cat_feature_data=categories,
            num_feature_names=list(self._numbers),
            cat_feature_names=list(self._categories),
        )

    def score(self, batch: Batch) -> Array:
        """(m,) float32 raw scores (log-odds for Logloss)."""
        if not batch.m:
            return np.zeros(0, dtype=np.float32)
        threads = 1 if batch.m < PARALLEL else self.threads or -1
        raw = self._model.predict(self._data(batch), prediction_type="RawFormulaVal", thread_count=threads)
        return np.asarray(raw, dtype=np.float32)

    def importance(self) -> dict[str, float]:
        """Share of the prediction's change that each feature column carries, in percent, largest first."""
        gains = dict(
            zip(
                [*self._numbers, *self._categories],
                self._model.get_feature_importance(type="PredictionValuesChange"),
                strict=True,
            )
        )
        return {name: float(gain) for name, gain in sorted(gains.items(), key=lambda entry: -entry[1])}

    def save_files(self, folder: Path) -> None:
        """CatBoost's own binary format, and the column names as JSON. BundleError when the disk refuses."""
        about = self._model.get_metadata()
        for name in ("model_guid", "train_finish_time"):  # else no two fits would give the same bundle
            about[name] = ""
        try:
            self._model.save_model(str(folder / "model.cbm"))
        except CatBoostError as error:  # not an OSError, whatever happened
            raise BundleError(f"{folder / 'model.cbm'}: cannot be written: {error}") from None
        about = {"names": self.names, "numbers": self._numbers, "categories": self._categories, "trees": self.trees}
        (folder / "model.json").write_text(json.dumps(about))

    def load_files(self, folder: Path) -> None:
        """Read what `save_files` wrote. BundleError when it is missing or damaged."""
        try:
            about = json.loads((folder / "model.json").read_text())
            self.names, self.trees = tuple(about["names"]), about["trees"]
            self._numbers, self._categories = tuple(about["numbers"]), tuple(about["categories"])
            self._model = CatBoost().load_model(str(folder / "model.cbm"))
        except (CatBoostError, OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{folder}: not a readable model: {' '.join(str(error).split())}") from None


def _groups(batch: Batch) -> Array:
    """(m,) number of the group of each row: its request, or the run of requests that share the column `group`."""
    if "group" not in batch.req:
        return batch.owner
    group = batch.req["group"]
    return batch.spread(np.cumsum(np.append(0, np.diff(group) != 0)))
