"""What the benchmarks share: child processes, conditions of a run, targets and files of results.

Imports only the standard library; `carve_data` explains why.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = str(HERE / "results")
CORES = 2


def child(script: str, *arguments: str) -> dict | str:
    """Run a script of this folder with two threads and return the JSON of its last line."""
    threads = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    completed = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        env={**os.environ, **dict.fromkeys(threads, str(CORES))},
        stdout=subprocess.PIPE,
        text=True,
    )
    if completed.returncode:
        command = f"{script} {' '.join(arguments)}"
        raise SystemExit(f"{command} failed with exit code {completed.returncode}.")
    return json.loads(completed.stdout.splitlines()[-1])


def cpu_model() -> str:
    """The CPU's name, as far as the platform reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def conditions(packages: Sequence[str], *, cores: int = CORES, **parameters: object) -> dict:
    """Hardware, versions of those packages that are installed, and parameters of the run."""
    versions = {name: _version(name) for name in packages}
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_model(),
        "cores": cores,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version for name, version in versions.items() if version},
        **parameters,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def setting(about: dict) -> str:
    """The conditions of a run, as the first sentence of a report."""
    cores = "one core" if about["cores"] == 1 else f"{about['cores']} cores"
    hardware = ", ".join(filter(None, (about["cpu"], cores, about.get("gpu"))))
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return f"{about['date']}, {hardware}, Python {about['python']}; {versions}."


def target(
    what: str, value: float, *, at_most: float = float("inf"), at_least: float = 0.0
) -> dict:
    """A target, with the value reached and whether that passes."""
    return {"target": what, "reached": round(value, 5), "passed": at_least <= value <= at_most}


def verdicts(reached: Sequence[dict]) -> str:
    """A Markdown list of targets, each with pass or FAIL and the value reached."""
    return "\n".join(
        f"- {'pass' if t['passed'] else 'FAIL'}: {t['target']}: {t['reached']:.4g}" for t in reached
    )


def write(folder: str, name: str, text: str, stored: dict) -> None:
    """Print a report, and write it as ``name.md`` and its figures as ``name.json``."""
    print(text)
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    (path / f"{name}.md").write_text(text)
    (path / f"{name}.json").write_text(json.dumps(stored, indent=1) + "\n")
