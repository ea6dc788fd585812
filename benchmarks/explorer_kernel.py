"""Time and memory of the explorer's sample and selection, without a browser.

    python benchmarks/explorer_kernel.py
    python benchmarks/explorer_kernel.py --rows 2000000

Each size runs in new processes: one that draws the sample, and one that opens it again and filters.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from reporting import RESULTS, child, conditions, setting, target, verdicts, write

PACKAGES = ("laion_dask", "numpy", "numba", "pyarrow", "duckdb", "dask")
#: The targets: CPU seconds for all counts after a change, and megabytes, by rows.
LIMITS = {2_000_000: (0.1, 600), 10_000_000: (0.4, 2000)}
REPEATS = 9


def memory() -> dict[str, int]:
    """Megabytes of this process now and at most; mapped files count as far as they were read."""
    lines = (line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    status = {name: value.split()[0] for name, value in lines if value.strip()}
    return {name: int(status[name]) // 1024 for name in ("VmRSS", "VmHWM")}


def timed(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """The median of the CPU seconds of some calls; they run on one thread."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def run(metadata: str, rows: int) -> dict:
    """Draw or open the sample; if it was open already, filter it."""
    import laion_dask as ld
    from laion_dask.explorer.filters import Categories, NumberRange
    from laion_dask.explorer.sample import draw_sample
    from laion_dask.explorer.selection import Selection

    frame = ld.read_shards(metadata)
    start = time.perf_counter()
    sample = draw_sample(frame, rows)
    found = {"sample_s": time.perf_counter() - start, **memory()}
    if found["sample_s"] > 1:
        return found
    selection = Selection(sample)
    language = sample.columns["language"]
    filters = {
        "similarity": [NumberRange("similarity", low / 100, 0.4) for low in range(28, 38)],
        "width": [NumberRange("width", low, None) for low in range(200, 700, 50)],
        "language": [Categories.of(language, [label]) for label in language.labels[:10]],
    }
    for key, several in filters.items():
        selection.counts("width")
        at = iter(several)

        def change(key: str = key, at=at) -> None:
            selection.set(key, next(at))
            for name in sample.columns:
                selection.counts(name)

        found[f"{key}_s"] = timed(change)
    found["undo_s"] = timed(lambda: (selection.undo(), selection.counts("width")))
    selection.clear()
    found["page_s"] = timed(lambda: sample.page(selection.positions(0, 100)))
    by_width = iter(range(REPEATS))

    def order() -> None:
        selection.set("width", NumberRange("width", 100 + next(by_width), None))
        selection.positions(0, 100, order_by="aesthetic", descending=True)

    found["order_s"] = timed(order)
    found["views"] = len(sample.columns)
    return found | memory()


def measure(folder: str, rows: int) -> dict:
    """The figures of one size."""
    from explorer_data import prepare

    metadata = str(prepare(folder, rows, 0) / "metadata")
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        first, again = (child("explorer_kernel.py", "--of", metadata, str(rows)) for _ in range(2))
        n_bytes = sum(f.stat().st_size for f in Path(cache).rglob("*") if f.is_file())
    return {"rows": rows, "first": first, "again": again, "disk_MB": n_bytes // 2**20}


def report(about: dict, sizes: list[dict]) -> tuple[str, list[dict]]:
    """The Markdown report, and the targets with the values reached."""
    lines = [
        "# The explorer without a browser",
        "",
        f"{setting(about)} Medians of {REPEATS} changes, in CPU seconds, each with the counts "
        "of all views; samples in seconds. Memory is that of the process; pages of mapped files "
        "count as far as they were read.",
        "",
        "| what | " + " | ".join(f"{one['rows']:,} rows" for one in sizes) + " |",
        "|---|" + "---:|" * len(sizes),
    ]
    rows = {
        "first sample": lambda one: one["first"]["sample_s"],
        "sample from the cache": lambda one: one["again"]["sample_s"],
        "range of similarity, all counts": lambda one: one["again"]["similarity_s"],
        "range of width, all counts": lambda one: one["again"]["width_s"],
        "one language, all counts": lambda one: one["again"]["language_s"],
        "undo": lambda one: one["again"]["undo_s"],
        "page of 100 rows": lambda one: one["again"]["page_s"],
        "filter, and the first 100 rows by a score": lambda one: one["again"]["order_s"],
    }
    for name, figure in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{figure(one):.3f}" for one in sizes) + " |")
    of_memory = {
        "memory after the first sample, MB": lambda one: one["first"]["VmRSS"],
        "its peak, MB": lambda one: one["first"]["VmHWM"],
        "memory after all of these, MB": lambda one: one["again"]["VmRSS"],
        "on disk, MB": lambda one: one["disk_MB"],
        "views": lambda one: one["again"]["views"],
    }
    for name, figure in of_memory.items():
        lines.append(f"| {name} | " + " | ".join(f"{figure(one):,}" for one in sizes) + " |")
    reached = []
    for one in sizes:
        seconds, megabytes = LIMITS.get(one["rows"], (float("inf"), float("inf")))
        slowest = max(one["again"][f"{key}_s"] for key in ("similarity", "width", "language"))
        name = f"{one['rows']:,} rows"
        reached += [
            target(f"{name}, a filter and all counts: at most {seconds} CPU s", slowest,
                   at_most=seconds),
            target(f"{name}, memory: at most {megabytes} MB", one["again"]["VmRSS"],
                   at_most=megabytes),
        ]  # fmt: skip
    return "\n".join([*lines, "", verdicts(reached)]) + "\n", reached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=list(LIMITS))
    parser.add_argument("--data", default=".bench")
    parser.add_argument("--results", default=RESULTS)
    parser.add_argument("--of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.of:
        print(json.dumps(run(options.of[0], int(options.of[1]))))
        return
    Path(options.data).mkdir(parents=True, exist_ok=True)
    folder = os.path.abspath(options.data)
    sizes = [measure(folder, rows) for rows in options.rows]
    about = conditions(PACKAGES, rows=options.rows)
    text, reached = report(about, sizes)
    write(options.results, "explorer_kernel", text, {**about, "sizes": sizes, "targets": reached})


if __name__ == "__main__":
    sys.exit(main())
