"""The explorer in Chromium: time from the release of the mouse to the last view that changes.

    python benchmarks/explorer.py --rows 2000000
    python benchmarks/explorer.py --rows 200000 --cores 1
    python benchmarks/explorer.py --rows 2000000 --peers /path/to/python

`laion-dask explore` serves the page; a headless Chromium on the same cores draws it, without a GPU
and without the network. ``--peers`` names a Python that has jupyter-scatter, embedding-atlas and
jupyterlab installed.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from explorer_data import prepare
from explorer_page import WITHOUT_GPU, Answer, RecordedPage, recorded_page
from explorer_peers import measure_peers
from reporting import HERE, RESULTS, conditions, setting, target, verdicts, write

PACKAGES = ("panel", "bokeh", "numba", "dask", "numpy", "laion_dask")
#: Seconds and bytes that an answer may take, by rows and cores: what the explorer aims at.
LIMITS = {
    (200_000, 1): {"box": 0.4, "lasso": 0.4, "zoom": 0.3, "hover": 0.1, "memory": 0.6e9},
    (2_000_000, 2): {"box": 0.4, "lasso": 0.4, "zoom": 0.3, "hover": 0.1, "memory": 0.6e9},
    (10_000_000, 2): {"box": 1.0, "lasso": 1.0, "memory": 2e9},
}
#: Seconds to the first figure with the projection on disk, and without.
FIRST = {"first figure, again": 2.0, "first figure": 10.0}
MESSAGE, SELECTION = 0.3e6, 0.5e6


@contextmanager
def served(folder: Path, rows: int, cache: str):
    """The address of an explorer, its process, and the seconds until it listened."""
    command = [
        *(sys.executable, "-m", "laion_dask", "explore", str(folder / "metadata")),
        *("--embeddings", str(folder / "img_emb"), "--sample", str(rows)),
    ]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "XDG_CACHE_HOME": cache}
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        if found is None:
            raise SystemExit(f"The explorer did not start: {line}")
        yield found[0], process, time.perf_counter() - started
    finally:
        process.terminate()
        process.wait()


def memory(process: subprocess.Popen) -> tuple[int, int]:
    """The memory of a process, with mapped files, and its high-water mark; in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = (re.search(rf"{name}:\s+(\d+)", status)[1] for name in ("VmRSS", "VmHWM"))
    now, peak = (1024 * int(each) for each in found)
    return now, peak


def circle(box: dict, radius: float, steps: int = 60, at: tuple[float, float] = (0.5, 0.5)):
    """Places on a circle in a box of the page; the radius is a share of the smaller side."""
    x, y = box["x"] + at[0] * box["width"], box["y"] + at[1] * box["height"]
    r = radius * min(box["width"], box["height"])
    angles = [2 * math.pi * step / steps for step in range(steps)]
    return [(x + r * math.cos(angle), y + r * math.sin(angle)) for angle in angles]


def interactions(page: RecordedPage, repeats: int) -> dict[str, list[Answer]]:
    """What each action takes, several times, at other places."""
    stage = page.page.locator(".ld-map-stage")
    box = stage.bounding_box()
    found: dict[str, list[Answer]] = {name: [] for name in ("lasso", "box", "zoom", "hover")}

    def add(name: str, act: Callable[..., object], *given: object) -> None:
        found[name].append(page.after(partial(act, *given)))

    for number in range(repeats):
        place = (0.42 + 0.04 * number, 0.45 + 0.02 * number)
        page.page.get_by_role("button", name="Lasso", exact=True).first.click()
        add("lasso", page.drag, circle(box, 0.22, at=place))
        page.page.get_by_role("button", name="Box", exact=True).first.click()
        corners = circle(box, 0.25, steps=8, at=place)
        add("box", page.drag, [corners[1], corners[5]])
        page.after(partial(stage.press, "Escape"))
        add("zoom", stage.press, "+")
        add("hover", page.page.mouse.move, *circle(box, 0.02 * (number + 1), steps=8)[number])
        page.after(partial(stage.press, "-"))
        page.page.mouse.move(2, 2)
    return found


def measure(folder: Path, rows: int, repeats: int) -> dict:
    """All figures of a size."""
    with tempfile.TemporaryDirectory() as cache:
        figures: dict = {}
        for name in ("first figure", "first figure, again"):
            with (
                served(folder, rows, cache) as (address, process, until_served),
                recorded_page(*WITHOUT_GPU) as page,
            ):
                first = page.open(address)
                page.page.wait_for_selector(".ld-map[data-order]", timeout=300_000)
                figures[name] = {
                    "seconds": first.views,
                    "with_labels": first.seconds,
                    "until_served": until_served,
                }
                figures["largest_message_at_start"] = first.largest
                if name.endswith("again"):
                    figures["answers"] = interactions(page, repeats)
                figures[name]["memory"], figures[name]["peak"] = memory(process)
    answers = figures.pop("answers")
    for name, runs in answers.items():
        figures[name] = {
            "seconds": statistics.median(run.seconds for run in runs),
            "runs": [round(run.seconds, 4) for run in runs],
            "bytes": max(run.bytes for run in runs),
            "largest": max(run.largest for run in runs),
        }
    return figures


def targets(figures: dict, rows: int, cores: int) -> list[dict]:
    """The figures that have a limit."""
    reached = []
    for name, limit in LIMITS.get((rows, cores), {}).items():
        if name == "memory":
            value = figures["first figure, again"]["memory"]
            reached.append(target(f"memory under {limit / 1e9} GB", value, at_most=limit))
        else:
            value = figures[name]["seconds"]
            reached.append(target(f"{name} within {limit} s", value, at_most=limit))
    if (rows, cores) != (10_000_000, 2):
        for name, limit in FIRST.items():
            value = figures[name]["seconds"]
            reached.append(target(f"{name} within {limit} s", value, at_most=limit))
    selections = [figures["lasso"], figures["box"]]
    largest = max([figures["largest_message_at_start"], *(s["largest"] for s in selections)])
    reached.append(target("messages of at most 0.3 MB", largest, at_most=MESSAGE))
    most = max(selection["bytes"] for selection in selections)
    reached.append(target("at most 0.5 MB a selection", most, at_most=SELECTION))
    return reached


def report(figures: dict, peers: dict, about: dict, rows: int, reached: list[dict]) -> str:
    """The report as Markdown."""
    lines = [f"# The explorer at {rows:,} rows", "", setting(about), ""]
    lines += [
        "Medians, from the release of the mouse or key to the frame painted after the last",
        "message; Chromium runs on the same cores, without a GPU.",
        "",
        "| what | seconds | kB sent |",
        "|---|---:|---:|",
    ]
    for name in ("first figure", "first figure, again"):
        lines.append(f"| {name} | {figures[name]['seconds']:.2f} | |")
    for name in ("lasso", "box", "zoom", "hover"):
        one = figures[name]
        lines.append(f"| {name} | {one['seconds']:.3f} | {one['bytes'] / 1000:.0f} |")
    lines.append("")
    for name in ("first figure", "first figure, again"):
        one = figures[name]
        lines.append(
            f"- {name}: the command served the page after {one['until_served']:.1f} s, labels of "
            f"regions came {one['with_labels']:.2f} s after the request; memory of the process, "
            f"with mapped files: {one['memory'] / 1e6:.0f} MB, at most {one['peak'] / 1e6:.0f} MB."
        )
    lines += [
        "",
        verdicts(reached),
        "",
    ]
    if peers:
        lines += ["## Peers", "", "| what | first figure s | lasso s | remark |"]
        lines += ["|---|---:|---:|---|"]
        for name, one in peers.items():
            figure, lasso = (
                f"{one[key]:.2f}" if one.get(key) is not None else "-" for key in ("first", "lasso")
            )
            lines.append(f"| {name} | {figure} | {lasso} | {one['remark']} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", default=".bench")
    parser.add_argument("--peers", help="A Python with jupyter-scatter and embedding-atlas.")
    parser.add_argument("--results", default=RESULTS)
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[: given.cores]
    folder = prepare(given.data, given.rows, given.dim)
    os.sched_setaffinity(0, cores)  # child processes inherit it
    figures = measure(folder, given.rows, given.repeats)
    peers = measure_peers(given.peers, given.rows) if given.peers else {}
    about = conditions(PACKAGES, cores=given.cores, rows=given.rows, dim=given.dim)
    reached = targets(figures, given.rows, given.cores)
    stored = {"about": about, "figures": figures, "peers": peers, "targets": reached}
    name = f"explorer-{given.rows}" + ("-one-core" if given.cores == 1 else "")
    write(given.results, name, report(figures, peers, about, given.rows, reached), stored)


if __name__ == "__main__":
    main()
