"""How pip resolves pyproject.toml. Queries the package index; skipped if it is unreachable."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from support.paths import ROOT

pytestmark = [pytest.mark.network, pytest.mark.timeout(3000)]

#: Everything that a wheel is built from.
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "laion_dask")


def pip(*words: object, python: str = sys.executable) -> subprocess.CompletedProcess:
    """Run ``pip`` and return the completed process; skip if the index is unreachable."""
    completed = subprocess.run(
        [python, "-m", "pip", *map(str, words)], cwd=ROOT, capture_output=True, text=True
    )
    if "Temporary failure" in completed.stderr or "Failed to establish" in completed.stderr:
        pytest.skip(f"the package index cannot be reached: {completed.stderr.splitlines()[-1]}")
    return completed


@pytest.fixture
def source(tmp_path) -> Path:
    """A copy of the sources for pip to build in."""
    folder = tmp_path / "source"
    folder.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def test_the_gpu_extra_resolves_together_with_torch(source, tmp_path):
    report = tmp_path / "report.json"
    words = ("--dry-run", "--ignore-installed", "--quiet", "--constraint", "constraints.txt")
    completed = pip("install", *words, "--report", report, f"{source}[gpu]")
    assert completed.returncode == 0, completed.stderr
    installed = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    found = {package["name"]: package for package in installed}
    assert {"torch", "cudf-cu13", "dask-cudf-cu13", "dask-cuda", "open_clip_torch"} <= set(found)
    assert found["dask"]["version"] == found["distributed"]["version"] == "2026.7.1"


def test_the_core_alone_works_on_metadata(source, demo_folder, tmp_path):
    """In a fresh environment; prints its size and how long the installation takes."""
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    python = str(home / "bin/python")
    started = time.monotonic()
    completed = pip("install", "--constraint", "constraints.txt", source, python=python)
    assert completed.returncode == 0, completed.stderr
    seconds = time.monotonic() - started
    size = sum(file.stat().st_size for file in home.rglob("*") if file.is_file())
    print(f"core: {size / 1e6:,.0f} MB, installed in {seconds:,.0f} s")
    script = ROOT / "tests/support/metadata_work.py"
    completed = subprocess.run(
        [python, "-W", "ignore", script, demo_folder / "embedded/metadata", tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.split() == []  # no package of an extra could be imported


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_every_dependency_has_a_wheel(python, tmp_path):
    """For each supported Python, the core and all extras except the GPU ones.

    ``install --dry-run`` resolves like ``download`` but reads only the metadata of wheels.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    names = ("clip", "explore", "index", "multilingual", "notebook", "s3", "toxicity")
    wanted = [*project["dependencies"], *(line for name in names for line in extras[name])]
    wanted = [line for line in wanted if not line.startswith("laion_dask")]
    words = ("--dry-run", "--ignore-installed", "--only-binary=:all:", "--target", tmp_path)
    completed = pip("install", *words, "--quiet", "--python-version", python, *wanted)
    assert completed.returncode == 0, re.sub(r"(?m)^WARNING.*\n", "", completed.stderr)
