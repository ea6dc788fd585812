"""The card that is measured, and what else a reader needs to judge the figures."""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

NO_CARD = (
    "No CUDA device that torch can use is on this machine. benchmarks/gpu measures a card; "
    "benchmarks/README.md names those for the processor."
)
PACKAGES = (
    "laion_dask",
    "torch",
    "torchvision",
    "open_clip_torch",
    "cudf-cu13",
    "rmm-cu13",
    "cupy-cuda13x",
    "triton",
    "polars",
    "pyarrow",
    "pandas",
    "numpy",
    "dask",
)


def is_installed(package: str) -> bool:
    """Whether a module of that name can be imported; it is not."""
    return importlib.util.find_spec(package) is not None


def require(*packages: str) -> None:
    """End the process, with one line that says why and the code 2, where nothing can be measured.

    Parameters
    ----------
    *packages : str
        Modules without which there is nothing to measure, beside torch and laion_dask.
    """
    missing = [name for name in ("torch", "laion_dask", *packages) if not is_installed(name)]
    if missing:
        _end(f"Not installed: {', '.join(missing)}. Install the extra 'laion_dask[gpu]'.")
    import torch

    if not torch.cuda.is_available():
        _end(NO_CARD)


def _end(why: str) -> None:
    print(why, file=sys.stderr)
    raise SystemExit(2)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def about() -> dict:
    """Date, card, driver, processor and versions."""
    import torch

    found = {"name": "none", "memory_bytes": 0}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found = {"name": properties.name, "memory_bytes": properties.total_memory}
    return {
        "date": datetime.date.today().isoformat(),
        "card": found,
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "cpu": _processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": _versions(),
    }


def _driver() -> str:
    """The driver's version, as nvidia-smi says it."""
    if shutil.which("nvidia-smi") is None:
        return "unknown"
    ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    lines = subprocess.run(ask, capture_output=True, text=True).stdout.split()
    return lines[0] if lines else "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not there"
    return versions
