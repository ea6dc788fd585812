"""The GPU under test and its environment: host, driver, versions."""

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

NO_GPU = (
    "No CUDA device that torch can use was found. benchmarks/gpu requires a GPU; "
    "the CPU benchmarks are listed in benchmarks/README.md."
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
    """Whether a module of that name can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def require(*packages: str) -> None:
    """Exit with code 2 and a one-line explanation if a module or the GPU is missing.

    Parameters
    ----------
    *packages : str
        Required modules, in addition to torch and laion_dask.
    """
    missing = [name for name in ("torch", "laion_dask", *packages) if not is_installed(name)]
    if missing:
        _exit(f"Not installed: {', '.join(missing)}. Install the extra 'laion_dask[gpu]'.")
    import torch

    if not torch.cuda.is_available():
        _exit(NO_GPU)


def _exit(message: str) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(2)


def cores() -> int:
    """Number of CPU cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def about() -> dict:
    """Date, GPU, driver, CPU and versions."""
    import torch

    gpu = {"name": "none", "memory_bytes": 0}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        gpu = {"name": properties.name, "memory_bytes": properties.total_memory}
    return {
        "date": datetime.date.today().isoformat(),
        "gpu": gpu,
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "cpu": _cpu_model(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": _versions(),
    }


def _driver() -> str:
    """The driver version reported by nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return "unknown"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.split()
    return lines[0] if lines else "unknown"


def _cpu_model() -> str:
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
            versions[name] = "not installed"
    return versions
