"""Pieces of vector code against plain arithmetic, as every processor would have them: with AVX-512, with AVX2, with neither."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import numpy as np
from numba import njit
from shortlist.index.dot import add16, bound16, dot64

@njit
def run(query, codes, totals, single, scales, uppers):
    best = np.float32(-np.inf)
    for row in range(0, len(codes), 16):
        for start in range(0, codes.shape[1], 64):
            add16(query, codes, row, start, totals, row)
            for r in range(row, row + 16):
                single[r] += dot64(query, codes, r, start)
        best = max(best, bound16(totals, row, scales, row, np.float32(0.5), np.float32(3.0), uppers))
    return best

draw = np.random.default_rng(0)
for wide in (64, 192):
    codes = draw.integers(-127, 128, (80, wide)).astype(np.int8)
    codes[:16], most = draw.choice(np.array([-127, 127], np.int8), (16, wide)), min(32767, 2**31 // (128 * wide))
    query = draw.integers(-most, most + 1, wide).astype(np.int16)
    query[:32] = draw.choice(np.array([-most, most]), 32)
    scales, uppers = draw.random(80).astype(np.float32), np.empty(80, np.float32)
    totals, single = np.full(80, 7, np.int32), np.full(80, 7, np.int32)
    best = run(query, codes, totals, single, scales, uppers)
    wanted = 7 + codes.astype(np.int64) @ query.astype(np.int64)
    assert (totals == wanted).all() and (single == wanted).all()
    bounds = scales * (np.float32(0.5) * wanted.astype(np.float32) + np.float32(3.0))
    np.testing.assert_allclose(uppers, bounds, rtol=1e-6)
    assert best == uppers.max()
text = "".join(run.inspect_asm().values())
print("wide" if "ymm" in text and "pmaddwd" in text else "plain")
"""


@pytest.mark.parametrize("processor", ["", "haswell +avx,+avx2,+fma,+bmi,+bmi2", "generic"])
def test_every_processor_gets_the_same_sums(processor: str) -> None:
    if platform.machine() != "x86_64" and processor:
        pytest.skip("names of another family of processors")
    name, _, features = processor.partition(" ")
    settings = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features} if name else {}
    if name == "haswell" and "avx2" not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        pytest.skip("this processor has no AVX2")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if name:
        assert done.stdout.strip() == ("wide" if name == "haswell" else "plain")
