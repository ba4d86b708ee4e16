"""How long does a whole backtest on globo take, reading to report? Several runs of recipes/globo.toml, each in a process of its own
as a user would start it, and the ratio of their median to the practitioner's hand-made script (LightGBM, four label days), which took
131 s on two cores under the same protocol; that figure was measured earlier, not in this run.

    python bench/backtest.py [--runs 3] [--data globo:PATH] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = 131.0  # seconds
ROOT = Path(__file__).parents[1]
COMMAND = "from shortlist.cli.main import main; main()"


def once(data: str) -> tuple[float, float]:
    """Seconds of one run, and the NDCG@10 that it reached: a fast run of something else would be no comparison."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        words = ["backtest", str(ROOT / "recipes" / "globo.toml"), "--data", data, "--out", str(out), "--json"]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", COMMAND, *words], check=True, capture_output=True, cwd=ROOT)
        seconds = time.perf_counter() - start
        metrics = json.loads((out / "metrics.json").read_text())
        return seconds, float(metrics["systems"]["pipeline"]["ndcg@10"]["value"])


def main() -> None:
    """Run, print the median and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--data")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    folder = Path(os.environ.get("SHORTLIST_DATA", ROOT.parent / "shared" / "data")) / "globo"
    if not given.data and not folder.is_dir():
        print(f"not run: no globo under {folder.parent}; set SHORTLIST_DATA or give --data", file=sys.stderr)
        return
    runs = [once(given.data or f"globo:{folder}") for _ in range(given.runs)]
    median = statistics.median(seconds for seconds, _ in runs)
    found = {"seconds": [round(s, 1) for s, _ in runs], "median": round(median, 1), "ndcg@10": runs[0][1]}
    found |= {"script_seconds": SCRIPT, "ratio": round(median / SCRIPT, 2)}
    if given.json:
        print(json.dumps(found, indent=1))
        return
    print(
        f"globo, {given.runs} runs: median {median:.0f} s, {found['ratio']} x the script's {SCRIPT:.0f} s; NDCG@10 {runs[0][1]:.4f}"
    )


if __name__ == "__main__":
    main()
