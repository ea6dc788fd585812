"""Rehearse Binder without Docker: its scripts, one core, 2 GB, the first notebook in JupyterLab.

    python benchmarks/binder.py

A clone of the repository is prepared by `binder/postBuild` in a new environment, with torch from
pip instead of conda, and JupyterLab is started by `binder/start` on one core, in a control group
whose memory is limited if this user may make one. A headless Chromium outside of it opens
the first notebook and runs all cells. Needs a terminal that may use the package index.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from explorer_page import WITHOUT_GPU, recorded_page
from reporting import HERE, RESULTS, conditions, setting, target, verdicts, write

#: What mybinder.org gives a session at most, in bytes; it guarantees 450 MB.
LIMIT = 2_000_000_000
NOTEBOOK = "notebooks/00_explore.ipynb"
PACKAGES = ("dask", "panel", "bokeh", "jupyterlab", "laion_dask")
#: Folders of the environment that conda's torch for CPUs does not have.
_CUDA = ("nvidia", "triton", "cuda")
_CUDA_LIBRARIES = re.compile(r"torch/lib/lib(torch_cuda|c10_cuda|torch_nvshmem).*\.so")


def prepare(folder: Path) -> tuple[Path, dict]:
    """Clone the repository, and run `postBuild` in a new environment; return it with its sizes."""
    clone, home = folder / "laion_dask", folder / "environment"
    subprocess.run(["git", "clone", "--quiet", str(HERE.parent), str(clone)], check=True)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    script = (clone / "binder/postBuild").read_text()
    script = script.replace("grep -v -E '^torch(vision)?==' constraints.txt", "cat constraints.txt")
    started = time.perf_counter()
    subprocess.run(["bash", "-c", script], cwd=clone, env=_environment(home), check=True)
    sizes = {"seconds": time.perf_counter() - started, "bytes": 0, "cuda_bytes": 0}
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            size, name = path.stat().st_size, path.relative_to(home).as_posix()
            parts = name.partition("site-packages/")[2]
            is_cuda = parts.startswith(_CUDA) or _CUDA_LIBRARIES.search(name)
            sizes["cuda_bytes" if is_cuda else "bytes"] += size
    return clone, sizes


def _environment(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, "PATH": f"{home / 'bin'}:{kept['PATH']}", "JUPYTERHUB_SERVICE_PREFIX": "/"}


@contextmanager
def limited(limit: int) -> Iterator[Path | None]:
    """A control group with a memory limit; None if this user cannot make one."""
    for root, name in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = root / f"laion-dask-{os.getpid()}"
        try:
            group.mkdir()
            (group / name).write_text(str(limit))
        except OSError:
            continue
        try:
            yield group
        finally:
            for _ in range(100):
                try:
                    group.rmdir()
                    break
                except OSError:
                    time.sleep(0.1)
        return
    yield None


class Memory:
    """The most memory that a process and its children have had, in bytes, without shared pages."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.peak = 0
        self._process = psutil.Process(process.pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            try:
                family = [self._process, *self._process.children(recursive=True)]
                used = sum(one.memory_full_info().uss for one in family)
            except psutil.Error:
                continue
            self.peak = max(self.peak, used)

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return self.peak


def run_notebook(clone: Path, home: Path, group: Path | None) -> dict:
    """Open the first notebook in JupyterLab, run all cells, and wait for the map's picture."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    join = f"echo $$ > {group / 'cgroup.procs'}; " if group else ""
    command = (
        f"{join}exec taskset -c 0 binder/start jupyter lab --no-browser --allow-root "
        f"--port={port} --ip=127.0.0.1 --IdentityProvider.token= --ServerApp.root_dir=."
    )
    log = clone / "lab.log"
    with log.open("w") as file:
        server = subprocess.Popen(
            ["bash", "-c", command],
            cwd=clone,
            env=_environment(home),
            stdout=file,
            stderr=file,
        )
    memory = Memory(server)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address + "/api")
        with recorded_page(*WITHOUT_GPU) as recorded:
            page = recorded.page
            page.goto(f"{address}/lab/tree/{NOTEBOOK}")
            page.get_by_text("| Idle").wait_for(timeout=180_000)
            started = time.perf_counter()
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            explorer = page.locator(".page.ready")
            explorer.wait_for(state="attached", timeout=300_000)
            # JupyterLab goes to the last cell, and draws only what is in view.
            explorer.evaluate("page => page.scrollIntoView()")
            page.wait_for_selector(".ld-map[data-order]", timeout=300_000)
            first = time.perf_counter() - started
            page.get_by_text("| Idle").wait_for(timeout=300_000)
            page.wait_for_timeout(5_000)
            errors = page.locator(".jp-RenderedText[data-mime-type*=error]").count()
            return {
                "first_figure": first,
                "all_cells": time.perf_counter() - started - 5,
                "errors": errors,
                "memory": memory.stop(),
            }
    finally:
        memory.stop()
        server.terminate()
        server.wait()


def _wait_for(address: str) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=2)
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"JupyterLab did not answer at {address}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        clone, sizes = prepare(Path(name))
        with limited(LIMIT) as group:
            figures = run_notebook(clone, Path(name) / "environment", group)
            is_limited = group is not None
    reached = [
        target("memory under 2 GB", figures["memory"], at_most=LIMIT),
        target("no cell fails", figures["errors"], at_most=0),
    ]
    about = conditions(PACKAGES, cores=1, memory_is_limited=is_limited)
    limit = "limited to 2 GB" if is_limited else "not limited, which this user may not do"
    text = f"""# Binder, rehearsed

{setting(about)} Memory was {limit}; torch is that of pip.

| what | |
|---|---:|
| postBuild | {sizes["seconds"]:.0f} s |
| Python packages, without CUDA | {sizes["bytes"] / 1e9:.2f} GB |
| CUDA libraries that conda's torch does not have | {sizes["cuda_bytes"] / 1e9:.2f} GB |
| first figure, from Run All | {figures["first_figure"]:.1f} s |
| all cells | {figures["all_cells"]:.1f} s |
| peak memory of JupyterLab and the kernel | {figures["memory"] / 1e6:.0f} MB |

{verdicts(reached)}
"""
    stored = {"about": about, "sizes": sizes, "figures": figures, "targets": reached}
    write(given.results, "binder", text, stored)


if __name__ == "__main__":
    main()
