"""One published recommender on one data set, in an interpreter of its own (see requirements.txt): what bench/retrieval.py compares with.
It knows nothing of Shortlist: interactions come in as arrays, timings and recommendations go out as arrays.

    python published.py SYSTEM IN.npz OUT.npz '{"factors": 64, ...}'

IN: `indptr`, `indices`: the users x items matrix of what is known, binary, a row per user; `k`; `alone`: users to be asked one by one; `asked`:
the users to be answered.
OUT: `items` (users, k), -1 where there are fewer; `fit_s`, `all_s` on the wall and `fit_cpu`, `all_cpu` of
all threads; `one_ms` per user of `alone`; `peak_mb`: how far the memory rose
above what it was before the fit.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

CHUNK = 4096  # users at a time, where a package would hold users x items at once


def memory(field: str) -> float:
    """MB: `VmRSS`, what the process holds, or `VmHWM`, the most that it has held since `forget`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def forget() -> float:
    """From now on the peak is counted anew; MB held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


class Implicit:
    """A model of implicit: iALS, or item neighbours by cosine."""

    def __init__(self, kind: str, options: dict[str, Any]) -> None:
        threads = os.cpu_count() or 1
        if kind == "als":
            self.model = importlib.import_module("implicit.cpu.als").AlternatingLeastSquares(
                random_state=0, num_threads=threads, **options
            )
        else:
            self.model = importlib.import_module("implicit.nearest_neighbours").CosineRecommender(
                num_threads=threads, **options
            )

    def fit(self, matrix: Any) -> None:
        """As its documentation has it."""
        self.matrix = matrix
        self.model.fit(matrix, show_progress=False)

    def recommend(self, users: Any, k: int) -> Any:
        """(users, k) items, in chunks: implicit makes no such chunks for neighbours, and needs none for factors."""
        found = [
            self.model.recommend(some, self.matrix[some], N=k, filter_already_liked_items=True)[0]
            for some in np.array_split(users, max(len(users) // CHUNK, 1))
        ]
        return np.concatenate(found)

    def one(self, user: int, k: int) -> Any:
        """One user."""
        return self.model.recommend(user, self.matrix[user], N=k, filter_already_liked_items=True)


class Rectools:
    """EASE or PureSVD of RecTools, which takes and gives data frames."""

    def __init__(self, kind: str, options: dict[str, Any]) -> None:
        models = importlib.import_module("rectools.models")
        self.model = {"ease": models.EASEModel, "puresvd": models.PureSVDModel}[kind](**options)

    def fit(self, matrix: Any) -> None:
        """From the data set that `ready` made."""
        self.model.fit(self.data)

    def ready(self, matrix: Any) -> None:
        """Its own form of the data, which is not counted as fit."""
        pandas = importlib.import_module("pandas")
        users = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        frame = pandas.DataFrame(
            {"user_id": users, "item_id": matrix.indices, "weight": 1.0, "datetime": np.datetime64("2020-01-01", "ns")}
        )
        self.data = importlib.import_module("rectools.dataset").Dataset.construct(frame)

    def recommend(self, users: Any, k: int) -> Any:
        """A frame of user, item, score, rank; made into (users, k) items outside of the measured time."""
        self.model.verbose = 0
        parts = [
            self.model.recommend(users=some, dataset=self.data, k=k, filter_viewed=True)
            for some in np.array_split(users, max(len(users) // (4 * CHUNK), 1))
        ]
        return importlib.import_module("pandas").concat(parts)

    def table(self, found: Any, users: int, k: int) -> Any:
        """The frame as an array."""
        out = np.full((users, k), -1, dtype=np.int64)
        out[found["user_id"].to_numpy(), found["rank"].to_numpy() - 1] = found["item_id"].to_numpy()
        return out

    def one(self, user: int, k: int) -> Any:
        """One user."""
        return self.model.recommend(users=[user], dataset=self.data, k=k, filter_viewed=True)


class Slim:
    """SLIM by scikit-learn's ElasticNet, one item after another, as RePlay and others fit it; on all cores by threads, which the
    solver allows. Lists by implicit's scorer of sparse item-item models, the quickest that is published."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def fit(self, matrix: Any) -> None:
        """Weights of every item from all others."""
        model = importlib.import_module("sklearn.linear_model").ElasticNet
        items, threads = matrix.shape[1], os.cpu_count() or 1
        columns: list[Any] = [None] * items

        def work(first: int) -> None:
            own = sparse.csc_matrix(matrix, dtype=np.float32)
            solver = model(fit_intercept=False, positive=True, copy_X=False, **self.options)
            for item in range(first, items, threads):
                part = slice(own.indptr[item], own.indptr[item + 1])
                target = np.asarray(own[:, [item]].todense(), dtype=np.float32).ravel()
                own.data[part] = 0.0  # what an item says of itself does not count
                solver.fit(own, target)
                own.data[part] = 1.0
                columns[item] = solver.sparse_coef_.T

        workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.inner = Implicit("cosine", {})
        self.inner.matrix = matrix
        neighbours = importlib.import_module("implicit.nearest_neighbours")
        self.inner.model.similarity = sparse.csr_matrix(sparse.hstack(columns), dtype=np.float64)
        self.inner.model.scorer = neighbours.NearestNeighboursScorer(self.inner.model.similarity)

    def recommend(self, users: Any, k: int) -> Any:
        """See the class."""
        return self.inner.recommend(users, k)

    def one(self, user: int, k: int) -> Any:
        """One user."""
        return self.inner.one(user, k)


def system(name: str, options: dict[str, Any]) -> Any:
    """By name: implicit-als, implicit-cosine, rectools-ease, rectools-puresvd, sklearn-slim."""
    family, _, kind = name.partition("-")
    if family == "sklearn":
        return Slim(options)
    return {"implicit": Implicit, "rectools": Rectools}[family](kind, options)


def main() -> None:
    """Fit, recommend, write."""
    name, source, out, text = sys.argv[1:]
    given = np.load(source)
    shape = (len(given["indptr"]) - 1, int(given["size"]))
    matrix = sparse.csr_matrix(
        (np.ones(len(given["indices"]), dtype=np.float32), given["indices"], given["indptr"]), shape=shape
    )
    k, alone = int(given["k"]), given["alone"]
    options = json.loads(text)
    often = np.argsort(-np.bincount(matrix.indices, minlength=shape[1]), kind="stable")[:200]
    small = sparse.csr_matrix(matrix[:3000][:, often])
    small = small[np.diff(small.indptr) > 0]
    tried = system(name, {**options, "factors": 4} if "factors" in options else options)  # imports, and threads started
    if hasattr(tried, "ready"):
        tried.ready(small)
    tried.fit(small)
    tried.recommend(np.arange(small.shape[0]), 3)
    model = system(name, options)
    if hasattr(model, "ready"):
        model.ready(matrix)
    before = forget()
    start, used = time.perf_counter(), time.process_time()
    model.fit(matrix)
    fit_s, fit_cpu = time.perf_counter() - start, time.process_time() - used
    start, used = time.perf_counter(), time.process_time()
    asked = given["asked"]
    found = model.recommend(asked, k)
    all_s, all_cpu = time.perf_counter() - start, time.process_time() - used
    peak_mb = memory("VmHWM") - before
    one = []
    for user in alone:
        start = time.perf_counter()
        model.one(int(user), k)
        one.append(1000 * (time.perf_counter() - start))
    if hasattr(model, "table"):
        items = model.table(found, shape[0], k)
    else:
        items = np.full((shape[0], k), -1, dtype=np.int64)
        items[asked] = found
    spent: dict[str, Any] = {"fit_s": fit_s, "fit_cpu": fit_cpu, "all_s": all_s, "all_cpu": all_cpu}
    np.savez(out, items=items, **spent, one_ms=one, peak_mb=peak_mb)


if __name__ == "__main__":
    main()
