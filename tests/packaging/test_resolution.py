"""The extras resolve together; asks the package index, so it runs where that can be reached."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.paths import ROOT


@pytest.mark.network
@pytest.mark.timeout(900)
def test_the_gpu_extra_resolves_together_with_torch(tmp_path):
    report = tmp_path / "report.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"),
            *("--constraint", "constraints.txt", "--report", str(report), ".[gpu]"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if "Temporary failure" in done.stderr or "Failed to establish" in done.stderr:
        pytest.skip(f"the package index cannot be reached: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    installed = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    found = {package["name"]: package for package in installed}
    assert {"torch", "cudf-cu13", "dask-cudf-cu13", "dask-cuda", "open_clip_torch"} <= set(found)
    assert found["dask"]["version"] == found["distributed"]["version"] == "2026.7.1"
