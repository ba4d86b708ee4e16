"""How do our sources stand against the published packages? Fit, answers for all users, the answer for one, recall@10, NDCG@10 and memory,
each against the quickest package that is known to us, in one run: the same data, the same cut, the same k, both scored by the
same code, each run in a fresh process, medians of interleaved runs.

    python3.11 -m venv ../rivals && ../rivals/bin/pip install --no-deps -r bench/rivals/requirements.txt
    python bench/retrieval.py --rivals ../rivals/bin/python [--rows ials-ml1m,ease-ml1m] [--runs 3] [--json] [--choose]

Without --rivals only ours is measured. --choose: what was known is cut once more in the same way, and both are fitted with every choice of
their options on what comes before; recall there chooses, and what comes after the outer cut is not looked at. On globo the
inner cut hides the click that ended the session before: a user's last click but one, which it hid at first, most often
begins a session, is half as easy to find, and prefers other options.
Ours answers through the engine: outside ids in, a table with ids, ranks and scores out, seen items left out by a filter; implicit answers
in codes, RecTools in data frames. Both use all cores. BLAS has one thread where implicit says so; its threads sleep while they have
nothing to do, which `shortlist` sees to, and here for the rivals, too: they are quicker for it.
`_s` is time on the wall, `_cpu` processor seconds of all threads, which a busy machine disturbs less;
`peak_mb` is how far memory rose above what was held before the fit (Linux).
Data. ml1m: all ratings, the newest tenth of time to be found. globo: all clicks, the last one of everybody with five
or more to be found; that leaks across users, and is here because a day ahead nothing personal is any good on news (.004 of NDCG@10),
so that it could not tell whether two systems do the same. `globo-N`, `ml1m-N`: the events of the N most frequent items,
for EASE and scikit-learn's SLIM cannot take them all.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import FitContext
from shortlist.data.dataset import Dataset, encode, tables
from shortlist.data.log import Log
from shortlist.order.seen import Seen
from shortlist.pipeline.pipeline import Pipeline
from shortlist.retrieve.ease import Ease
from shortlist.retrieve.ials import Ials
from shortlist.retrieve.itemknn import Itemknn
from shortlist.retrieve.puresvd import Puresvd
from shortlist.retrieve.slim import Slim
from shortlist.serve.engine import Engine
from shortlist.state.state import State

ROOT = Path(__file__).parents[1]
K = 10
ALONE = 200  # users asked one by one
PUBLISHED = str(ROOT / "bench" / "rivals" / "published.py")
ASKED_FOR = 20_000  # users by whom options are chosen
PASSES = (15, 10, 8, 6, 4, 2)
SESSION_END = 30  # seconds after the click before, in this data set: always
ENOUGH = 0.995  # of the recall of the most passes
KEYS = ("fit_s", "fit_cpu", "all_s", "all_cpu", "one_ms", "peak_mb")
ASKED = "bare_ms"  # one request to the source alone, codes in and codes out, as implicit has it


@dataclass
class Choice:
    """Options to choose from: all of the grid first, with the most passes; then, with the best of it, fewer."""

    grid: dict[str, tuple[Any, ...]]
    passes: str
    counts: tuple[int, ...]  # descending

    def best(self, measure: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
        """The options of the highest figure; of the numbers of passes the lowest that is within ENOUGH of the most passes'."""
        tried = []
        for values in itertools.product(*self.grid.values()):
            options = {**dict(zip(self.grid, values, strict=True)), self.passes: self.counts[0]}
            tried.append((measure(options), options))
        most, best = max(tried, key=lambda one: one[0])
        for count in self.counts[1:]:
            fewer = {**best, self.passes: count}
            if measure(fewer) < ENOUGH * most:
                break
            best = fewer
        return best


@dataclass
class Row:
    """A comparison: our part, and a system of bench/rivals/published.py with its options."""

    data: str
    part: Any
    rival: str
    options: dict[str, Any] = field(default_factory=dict)
    blas: int = 1  # threads of the rival's BLAS while it fits
    choice: Choice | None = None  # of our options
    rival_choice: Choice | None = None


def slim(users: int, l1: float = 2.0, l2: float = 200.0) -> dict[str, Any]:
    """The same penalties as ElasticNet has them: a mean over users, and one strength with a share."""
    return {"alpha": (l1 + l2) / users, "l1_ratio": l1 / (l1 + l2)}


ROWS: dict[str, Row] = {
    # Both with what `--choose` found. The same loss: ours is implicit's divided by alpha - 1, with alpha0 = 1 / (alpha - 1) and
    # reg = regularization / alpha.
    "ials-ml1m": Row(
        "ml1m",
        Ials(alpha0=3.0, reg=30.0, nu=0.0, epochs=10),
        "implicit-als",
        {"factors": 64, "alpha": 4.0, "regularization": 30.0},
        choice=Choice({"alpha0": (0.1, 0.3, 1.0, 3.0), "reg": (3.0, 10.0, 30.0, 100.0)}, "epochs", PASSES),
        rival_choice=Choice(
            {"alpha": (1.0, 2.0, 4.0, 10.0), "regularization": (10.0, 30.0, 100.0)}, "iterations", PASSES
        ),
    ),
    "ials-globo": Row(
        "globo",
        Ials(alpha0=0.03, reg=3.0, nu=0.0, epochs=15),
        "implicit-als",
        {"factors": 64, "alpha": 30.0, "regularization": 30.0},
        choice=Choice({"alpha0": (0.01, 0.03, 0.1, 0.3), "reg": (1.0, 3.0, 10.0, 30.0)}, "epochs", PASSES),
        rival_choice=Choice(
            {"alpha": (10.0, 30.0, 100.0), "regularization": (10.0, 30.0, 100.0)}, "iterations", PASSES
        ),
    ),
    "itemknn-ml1m": Row("ml1m", Itemknn(k=100, shrink=0.0, cap=0), "implicit-cosine", {"K": 100}),
    "itemknn-globo": Row("globo", Itemknn(k=100, shrink=0.0, cap=0), "implicit-cosine", {"K": 100}),
    "ease-ml1m": Row("ml1m", Ease(), "rectools-ease", {"regularization": 500.0}, 2),
    "ease-globo": Row("globo-5000", Ease(), "rectools-ease", {"regularization": 500.0}, 2),
    "puresvd-ml1m": Row("ml1m", Puresvd(d=32), "rectools-puresvd", {"factors": 32}, 2),
    "puresvd-globo": Row("globo", Puresvd(d=32), "rectools-puresvd", {"factors": 32}, 2),
    "slim-ml1m": Row("ml1m-1000", Slim(), "sklearn-slim"),
    "slim-globo": Row("globo-500", Slim(), "sklearn-slim"),
}


@dataclass
class Cut:
    """What is known and what comes after: users and items of the matrix are those that are known."""

    data: Dataset
    log: Log
    later: Log
    now: int
    users: Array  # codes of the rows
    items: Array  # codes of the columns
    matrix: sparse.csr_array

    def targets(self) -> sparse.csr_array:
        """(users, items + 1): items of each row's user after the cut; those that nobody knew count in the last column."""
        later = self.later.take(np.isin(self.later.user, self.users))
        row, column = np.searchsorted(self.users, later.user), np.searchsorted(self.items, later.item)
        known = self.items[np.minimum(column, len(self.items) - 1)] == later.item
        found = sparse.csr_array((known, (row, np.where(known, column, 0))), shape=self.matrix.shape, dtype=bool)
        fresh = sparse.csr_array(found - found.multiply(self.matrix.astype(bool)))
        fresh.eliminate_zeros()
        pairs = np.unique(np.stack([row[~known], later.item[~known]], axis=1), axis=0)
        unknown = np.bincount(pairs[:, 0], minlength=len(self.users))
        return sparse.csr_array(sparse.hstack([fresh.astype(np.int64), unknown.reshape(-1, 1)]))


def cut(name: str, choosing: bool = False) -> Cut:
    """A data set by name: see the top of the file. choosing: what is known, cut once more."""
    family, _, head = name.partition("-")
    folder = Path(os.environ.get("SHORTLIST_DATA", ROOT.parent / "shared" / "data"))
    if family == "ml1m":
        read = tables(f"ml1m:{folder / 'ml-1m'}", variant="loo")
    else:
        read = tables(f"globo:{folder / 'globo'}")
    if head:
        often = read.events.group_by("item_id").len().sort("len", "item_id", descending=True).head(int(head))
        read.events = read.events.filter(pl.col("item_id").is_in(often["item_id"].implode()))
    data = encode(read)
    log, later, now = apart(data.log, family)
    if choosing:
        log, later, now = apart(log, family, inner=True)
    users, rows = np.unique(log.user, return_inverse=True)
    items, columns = np.unique(log.item, return_inverse=True)
    matrix = sparse.csr_array((np.ones(len(log), dtype=np.float32), (rows, columns)), shape=(len(users), len(items)))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return Cut(data, log, later, now, users, items, matrix)


def apart(log: Log, family: str, inner: bool = False) -> tuple[Log, Log, int]:
    """What is known, what comes after, and when. inner: of what is known already."""
    if family == "ml1m":
        now = int(log.time[len(log) * 9 // 10])
        return log.before(now), log.slice(log.position(now), len(log)), now
    order = np.argsort(log.user, kind="stable")
    user, time_ = log.user[order], log.time[order]
    there, first = np.unique(user, return_index=True)
    ends = np.ones(len(log), dtype=bool)
    if inner:
        ends[0] = False
        ends[1:] = (user[1:] == user[:-1]) & (np.diff(time_) == SESSION_END)
    place = np.arange(len(log))
    newest = np.maximum.reduceat(np.where(ends, place, -1), first)
    newest = np.where(newest - first >= 4, newest, len(log))[np.searchsorted(there, user)]
    known, hidden = np.empty(len(log), dtype=bool), np.empty(len(log), dtype=bool)
    known[order], hidden[order] = place < newest, place == newest
    return log.take(known), log.take(hidden), int(log.time[-1]) + 1


def quality(items: Array, targets: sparse.csr_array) -> dict[str, float]:
    """Mean recall@K (hits / all targets) and NDCG@K over the users with a target."""
    asked = np.flatnonzero(np.diff(targets.indptr))
    found = items[asked]
    hit = np.zeros(found.shape, dtype=bool)
    known = found >= 0
    owner = np.broadcast_to(asked[:, None], found.shape)
    hit[known] = np.asarray(targets[owner[known], found[known]]).ravel() > 0
    count = np.asarray(targets[asked].sum(axis=1)).ravel()
    gain = 1 / np.log2(np.arange(K) + 2)
    best = np.cumsum(gain)[np.minimum(count, K) - 1]
    return {
        "recall@10": float((hit.sum(axis=1) / count).mean()),
        "ndcg@10": float(((hit * gain).sum(axis=1) / best).mean()),
        "users": len(asked),
    }


def memory(field: str) -> float:
    """MB: `VmRSS`, what the process holds, or `VmHWM`, the most that it has held since `forget`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def forget() -> float:
    """From now on the peak is counted anew; MB held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def engine_of(part: Any, given: Cut, log: Log) -> Engine:
    """The part as a pipeline of its own, with the state as of the log."""
    kind = str(given.data.catalogue.kinds.name(0))
    ctx = FitContext(given.data.catalogue, (kind,), now=given.now)
    part.fit(log, ctx)
    state = State(given.data.catalogue, part.folds(ctx), history=4096)
    state.apply(log.columns)
    return Engine(Pipeline({"own": part}, {"own": K}, filters(log, ctx)), state, k=K)


def filters(log: Log, ctx: FitContext) -> dict[str, Any]:
    """What was met is not recommended again."""
    seen = Seen()
    seen.fit(log, ctx)
    return {"seen": seen}


def ours(name: str, out: Path) -> None:
    """One run of our part, as `published.py` has one of the rival's."""
    row = ROWS[name]
    given = cut(row.data)
    kind = str(given.data.catalogue.kinds.name(0))
    ctx = FitContext(given.data.catalogue, (kind,), now=given.now)
    names = given.data.catalogue.users.ids.names(given.users).to_list()
    warm = engine_of(type(row.part)(), given, given.log.slice(0, 3000))  # compiles
    warm.recommend_all(names[:2000])
    warm.recommend({"user_id": names[0]})
    state = State(given.data.catalogue, row.part.folds(ctx), history=4096)
    state.apply(given.log.columns)
    left_out = filters(given.log, ctx)
    before = forget()
    start, used = time.perf_counter(), time.process_time()
    row.part.fit(given.log, ctx)
    fit_s, fit_cpu = time.perf_counter() - start, time.process_time() - used
    engine = Engine(Pipeline({"own": row.part}, {"own": K}, left_out), state, k=K)
    start, used = time.perf_counter(), time.process_time()
    found = engine.recommend_all(names)
    all_s, all_cpu = time.perf_counter() - start, time.process_time() - used
    peak_mb = memory("VmHWM") - before
    one = []
    for user in alone(given):
        start = time.perf_counter()
        engine.recommend({"user_id": names[user], "k": K})
        one.append(1000 * (time.perf_counter() - start))
    bare = []
    for user in given.users[alone(given)]:
        batch = Batch.of(np.array([user]), np.array(given.now))
        start = time.perf_counter()
        mask = left_out["seen"].mask(batch, state)
        row.part.retrieve(batch, state, K, mask)
        bare.append(1000 * (time.perf_counter() - start))
    items = np.full((len(names), K), -1, dtype=np.int64)
    row_of = pl.DataFrame({"user_id": names, "row": np.arange(len(names))})
    found = found.join(row_of, on="user_id", how="left")
    codes = given.data.catalogue.items.ids.codes(found["item_id"].to_list())
    place = found["rank"].to_numpy() - 1
    items[found["row"].to_numpy(), place] = np.searchsorted(given.items, codes)
    spent: dict[str, Any] = {"fit_s": fit_s, "fit_cpu": fit_cpu, "all_s": all_s, "all_cpu": all_cpu}
    np.savez(out, items=items, **spent, one_ms=one, peak_mb=peak_mb, bare_ms=bare)


def alone(given: Cut) -> Array:
    """Rows of the users that are asked one by one."""
    return np.linspace(0, len(given.users) - 1, ALONE).astype(np.int64)


def choose(name: str, rivals: str | None, tell: Callable[[dict[str, Any]], None]) -> None:
    """Every choice of both, by recall of up to ASKED_FOR users' items between the inner and the outer cut."""
    row = ROWS[name]
    given = cut(row.data, choosing=True)
    targets = given.targets()
    asked = np.flatnonzero(np.diff(targets.indptr))
    asked = np.sort(np.random.default_rng(0).permutation(asked)[:ASKED_FOR])
    kind = str(given.data.catalogue.kinds.name(0))
    ctx = FitContext(given.data.catalogue, (kind,), now=given.now)
    state = State(given.data.catalogue, row.part.folds(ctx), history=4096)
    state.apply(given.log.columns)
    left_out = filters(given.log, ctx)["seen"]

    def told(who: str, options: dict[str, Any], items: Array) -> float:
        got = quality(items, targets[asked])
        tell({"row": name, "who": who, "options": options, "recall@10": got["recall@10"], "ndcg@10": got["ndcg@10"]})
        return got["recall@10"]

    def own(options: dict[str, Any]) -> float:
        part = replace(row.part, **options)
        part.fit(given.log, ctx)
        found = []
        for users in np.array_split(given.users[asked], max(len(asked) // 2000, 1)):
            batch = Batch.of(users, np.array(given.now))
            codes = part.retrieve(batch, state, K, left_out.mask(batch, state)).items
            found.append(np.where(codes >= 0, np.searchsorted(given.items, codes), -1))
        return told("ours", options, np.concatenate(found))

    def theirs(options: dict[str, Any]) -> float:
        assert rivals is not None
        command = [rivals, PUBLISHED, row.rival, str(source), str(out), json.dumps({**row.options, **options})]
        return told("rival", options, run(command, out, row.blas)["items"][asked])

    if row.choice is not None:
        tell({"row": name, "who": "ours", "chosen": row.choice.best(own)})
    if row.rival_choice is not None and rivals is not None:
        with tempfile.TemporaryDirectory() as folder:
            source, out = Path(folder) / "in.npz", Path(folder) / "out.npz"
            written(source, given, asked)
            tell({"row": name, "who": "rival", "chosen": row.rival_choice.best(theirs)})


def written(path: Path, given: Cut, asked: Array | None = None) -> None:
    """The input of published.py."""
    matrix = given.matrix
    rows, one_by_one = np.arange(matrix.shape[0]) if asked is None else asked, alone(given)
    indptr, indices = matrix.indptr, matrix.indices
    np.savez(path, indptr=indptr, indices=indices, size=matrix.shape[1], k=K, asked=rows, alone=one_by_one)


def run(command: list[str], out: Path, blas: int | None) -> dict[str, Any]:
    """One process, and what it found."""
    env = dict(os.environ)
    if blas is not None:
        env |= {"OPENBLAS_NUM_THREADS": str(blas)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])}: failed:\n{done.stderr[-3000:]}")
    with np.load(out) as found:
        return {key: found[key] for key in ("items", *KEYS, ASKED) if key in found}


def measure(name: str, rivals: str | None, runs: int) -> dict[str, Any]:
    """A row: medians of both, the ratios, and the quality of both."""
    row = ROWS[name]
    given = cut(row.data)
    targets = given.targets()
    options = {**slim(len(given.users)), **row.options} if row.rival == "sklearn-slim" else row.options
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "rival": []}
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.npz", Path(folder) / "out.npz"
        written(source, given)
        for _ in range(runs):
            found["ours"].append(run([sys.executable, __file__, "--ours", name, "--out", str(out)], out, None))
            if rivals is not None:
                command = [rivals, PUBLISHED, row.rival, str(source), str(out), json.dumps(options)]
                found["rival"].append(run(command, out, row.blas))
    told: dict[str, Any] = {"row": name, "data": row.data, "system": row.rival, "runs": runs}
    told |= {"matrix": [*given.matrix.shape, int(given.matrix.nnz)], "options": options}
    for who, results in found.items():
        if results:
            keys = [key for key in results[0] if key != "items"]
            told[who] = {key: statistics.median(float(np.median(result[key])) for result in results) for key in keys}
            told[who] |= quality(results[-1]["items"], targets)
    if found["rival"]:
        told["rival"][ASKED] = told["rival"]["one_ms"]
        told["ours / rival"] = {key: told["ours"][key] / max(told["rival"][key], 1e-9) for key in told["ours"]}
    return told


def main() -> None:
    """Measure and print, a row at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals", help="the interpreter of an environment with bench/rivals/requirements.txt")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--ours", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        ours(options.ours, Path(options.out))
        return
    names = options.rows.split(",")
    for name in names:
        if name not in ROWS:
            parser.error(f"--rows: unknown row {name!r}; rows: {', '.join(ROWS)}")
    if options.choose:
        for name in names:
            choose(name, options.rivals, lambda line: print(json.dumps(line), flush=True))
        return
    if options.rivals is None and not options.json:
        print("ours only: --rivals names the interpreter to compare with")
    for name in names:
        told = measure(name, options.rivals, options.runs)
        if options.json:
            print(json.dumps(told), flush=True)
            continue
        print(
            f"\n{name}: {told['matrix'][0]:,} users x {told['matrix'][1]:,} items, {told['matrix'][2]:,} pairs; {told['system']}"
        )
        columns = [*KEYS[:5], ASKED, KEYS[5], "recall@10", "ndcg@10"]
        print(f"{'':>14}" + "".join(f"{column:>11}" for column in columns))
        for who in ("ours", "rival", "ours / rival"):
            if who in told:
                print(f"{who:>14}" + "".join(f"{told[who][column]:>11.4f}" for column in columns), flush=True)


if __name__ == "__main__":
    main()
