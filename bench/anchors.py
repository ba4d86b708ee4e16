"""Do our sources and metrics give what others published? Every row of the tables below is measured anew: the split and the candidates are the
authors', recommending and measuring are ours. `ok`: within the tolerance of the published figure, or of what others reproduced with code of
their own, in every metric: 0.001 for closed forms, 0.005 for iterative models, whose authors drew other numbers to begin with (where a fit
takes seconds, ours is the mean of three seeds). What is not ok, and why, is in docs/results.md.

    python bench/anchors.py [--only NAME ...] [--extra FOLDER] [--json] [--choose]

--only: a protocol, or protocol/row; several may be given. --json: a JSON object a line, each printed as its row is done, so that a run that
is broken off keeps what it has. --choose: instead, of the rows whose figure came without its hyperparameters, what every choice gives on
the validation items; the test items are not looked at. --extra: a folder with two files of the authors' that the data folder lacks, without
which some rows are passed over: `u.data` (the lines of MovieLens-100K in their first order) and `meta_info_ml1m.csv` (the attributes of
films that HybridSVD was published with). Data: SHORTLIST_DATA. Minutes on two cores, two thirds of it for two models: `citeulike-a/ease`
(16,980 items, 3.5 GB) and the EASE rows of `beauty`; all others are seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.protocol import citeulike_a, folds_ml1m, ncf_ml1m, sar_ml100k, sequential, spectralcf_ml1m
from bench.protocol.world import Row, data_folder
from shortlist.cli.progress import Watch

Make = Callable[[Path, Callable[..., Any], Path], Any]
PROTOCOLS: dict[str, tuple[Make, Sequence[Row]]] = {
    "ncf-ml1m": (ncf_ml1m.Protocol, ncf_ml1m.ROWS),
    "spectralcf-ml1m": (spectralcf_ml1m.Protocol, spectralcf_ml1m.ROWS),
    "citeulike-a": (citeulike_a.Protocol, citeulike_a.ROWS),
    "sar-ml100k": (sar_ml100k.Protocol, sar_ml100k.ROWS),
    "hybridsvd-ml1m": (folds_ml1m.Hybrid, folds_ml1m.HYBRID),
    "coffee-ml1m": (folds_ml1m.Coffee, folds_ml1m.COFFEE),
    "sequential-ml1m": (sequential.Ml1m, sequential.ML1M),
    "sequential-beauty": (sequential.Beauty, sequential.BEAUTY),
}


def off(row: Row, got: dict[str, float]) -> float:
    """How far the figures are from the nearer table, by the metric that is furthest."""
    tables = [table for table in (row.published, row.reproduced) if table]
    return min(max(abs(got[name] - figure) for name, figure in table.items()) for table in tables)


def chosen(only: Sequence[str]) -> dict[str, list[Row]]:
    """The rows that are asked for, by protocol; SystemExit with the choices for a name that is none."""
    names = {f"{protocol}/{row.name}" for protocol, (_, rows) in PROTOCOLS.items() for row in rows}
    for name in only:
        if name not in PROTOCOLS and name not in names:
            raise SystemExit(
                f"--only {name!r}: no such protocol or row; choices: {', '.join([*PROTOCOLS, *sorted(names)])}"
            )
    found = {}
    for protocol, (_, rows) in PROTOCOLS.items():
        keep = [row for row in rows if not only or protocol in only or f"{protocol}/{row.name}" in only]
        if keep:
            found[protocol] = keep
    return found


def run(only: Sequence[str], extra: Path, progress: Callable[..., Any], tell: Callable[[dict[str, Any]], None]) -> None:
    """Measure the rows and tell each as it is done."""
    wanted = chosen(only)
    for protocol in progress(wanted, "protocols", len(wanted)):
        measure = PROTOCOLS[protocol][0](data_folder(), progress, extra)
        for row in progress(wanted[protocol], protocol, len(wanted[protocol])):
            line = {"row": f"{protocol}/{row.name}", "published": row.published, "reproduced": row.reproduced}
            lacks = measure.lacks(row)
            if lacks:
                tell({**line, "lacks": lacks})
                continue
            start = time.perf_counter()
            fits = [measure.measure(replace(row, seed=seed)) for seed in range(row.seeds)]
            got = {name: sum(fit[name] for fit in fits) / len(fits) for name in fits[0]}
            away = off(row, got)
            tell(
                {
                    **line,
                    "ours": got,
                    "off": away,
                    "tolerance": row.tolerance,
                    "ok": away <= row.tolerance + 5e-5,  # what is published is rounded to four digits
                    "seconds": time.perf_counter() - start,
                }
            )


def choose(
    only: Sequence[str], extra: Path, progress: Callable[..., Any], tell: Callable[[dict[str, Any]], None]
) -> None:
    """Measure every choice of the rows that leave one, on the validation items, and tell each as it is done."""
    wanted = chosen(only)
    for protocol in progress(wanted, "protocols", len(wanted)):
        rows = [row for row in wanted[protocol] if row.choices]
        if not rows:
            continue
        measure = PROTOCOLS[protocol][0](data_folder(), progress, extra)
        for row in rows:
            for options, got in measure.choose(row):
                tell({"row": f"{protocol}/{row.name}", "options": options, "validation": got})


def printed(line: dict[str, Any]) -> None:
    """A row as a line of the table."""
    metrics = list(line["published"] or line["reproduced"])
    columns = [" ".join(f"{table[name]:.4f}" if table else "-" for name in metrics) for table in _tables(line)]
    if "lacks" in line:
        print(f"{line['row']:<34s} {columns[0]:<28s} {columns[1]:<28s} passed over: needs {line['lacks']}", flush=True)
        return
    print(
        f"{line['row']:<34s} {columns[0]:<28s} {columns[1]:<28s} {columns[2]:<28s} {line['off']:.4f} {line['tolerance']:.3f} "
        f"{'ok' if line['ok'] else 'NO':<3s}{line['seconds']:7.1f}  {' '.join(metrics)}",
        flush=True,
    )


def _tables(line: dict[str, Any]) -> list[dict[str, float]]:
    return [line["published"], line["reproduced"], line.get("ours", {})]


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--extra", type=Path, default=data_folder() / "anchors" / "original")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--choose", action="store_true")
    options = parser.parse_args()
    chosen(options.only)
    if not data_folder().is_dir():
        raise SystemExit(f"no data under {data_folder()}; say where they are by SHORTLIST_DATA")
    lines: list[dict[str, Any]] = []

    def tell(line: dict[str, Any]) -> None:
        lines.append(line)
        if options.json:
            print(json.dumps(line), flush=True)
        elif options.choose:
            figures = " ".join(f"{name} {figure:.4f}" for name, figure in line["validation"].items())
            print(f"{line['row']:<34s} {line['options']}  {figures}", flush=True)
        else:
            printed(line)

    if options.choose:
        with Watch() as progress:
            choose(options.only, options.extra, progress, tell)
        return
    if not options.json:
        heads = ("row", "published", "reproduced", "ours")
        print(f"{heads[0]:<34s} {heads[1]:<28s} {heads[2]:<28s} {heads[3]:<28s} off    tol.  ok seconds")
    with Watch() as progress:
        run(options.only, options.extra, progress, tell)
    missed = sum(not line.get("ok", True) for line in lines)
    left_out = sum("lacks" in line for line in lines)
    print(f"{len(lines) - missed - left_out} ok, {missed} not, {left_out} passed over", file=sys.stderr)


if __name__ == "__main__":
    main()
