"""Cost of the graph and the tasks of verbs, on Dask's distributed scheduler.

    python benchmarks/scheduler.py
    python benchmarks/scheduler.py --partitions 6000

Every partition is empty and read instantly, so that only graphs, tasks and scheduling are left. A
bare Dask graph of empty tasks shows what Dask itself takes. Each run has a fresh process with a
LocalCluster of two worker processes of one thread.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
import sys
from pathlib import Path

from carve import child, cpu_model

HERE = Path(__file__).parent
BARE = "bare Dask graph"
WAYS = (BARE, "where and export", "statistics", "score and export", "search")
PACKAGES = ("dask", "distributed", "pandas", "pyarrow", "laion_dask")
MAX_GRAPH_BYTES, MAX_MS_ABOVE, MAX_MEMORY = 1000, 1.0, 2e9


def targets(runs: dict[str, dict[str, dict]]) -> list[dict]:
    """The targets, with the worst value reached."""
    largest = max(runs, key=int)
    ours = {n: {way: run for way, run in ways.items() if way != BARE} for n, ways in runs.items()}
    graph = max(r["graph_bytes_per_partition"] for ways in ours.values() for r in ways.values())
    above = max(
        (run["ms_per_task"] - runs[n][BARE]["ms_per_task"]) / run["steps_per_task"]
        for n, ways in ours.items()
        for run in ways.values()
    )
    memory = max(run["memory_bytes"] for run in ours[largest].values())
    return [
        _target("graph bytes per partition", graph, MAX_GRAPH_BYTES),
        _target("ms per step above Dask's empty task", above, MAX_MS_ABOVE),
        _target("GB of client and scheduler together", memory / 1e9, MAX_MEMORY / 1e9),
    ]


def _target(what: str, value: float, at_most: float) -> dict:
    return {
        "target": f"{what} at most {at_most:g}",
        "reached": round(value, 3),
        "passed": value <= at_most,
    }


def table(runs: dict[str, dict[str, dict]]) -> str:
    """A Markdown table of all runs."""
    head = (
        "| partitions | verb | tasks | steps/task | wall s | first result s | ms/task "
        "| ms/step above | graph B/partition | MB |"
    )
    lines = [head, "|---:|---|" + "---:|" * 8]
    for n, ways in runs.items():
        for way, run in ways.items():
            above = (run["ms_per_task"] - ways[BARE]["ms_per_task"]) / run["steps_per_task"]
            lines.append(
                f"| {int(n):,} | {way} | {run['tasks']:,} | {run['steps_per_task']} | "
                f"{run['wall_s']:.1f} | {run['first_s']:.2f} | {run['ms_per_task']:.2f} | "
                f"{above:.2f} | "
                f"{run['graph_bytes_per_partition']:.0f} | {run['memory_bytes'] / 1e6:.0f} |"
            )
    return "\n".join(lines)


def report(about: dict, runs: dict, reached: list[dict]) -> str:
    """The Markdown report."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        "# Graphs and tasks on the distributed scheduler",
        "",
        f"{about['date']}, {about['cpu']}, Python {about['python']}; {versions}. One run each. "
        "MB: peak memory of the process that holds client and scheduler. A task does the steps of "
        "Dask's graph that are fused into it, each of which would otherwise be a task; *ms/step "
        "above* is a task's time above that of an empty task, divided by its steps.",
        "",
        table(runs),
        "",
    ]
    for t in reached:
        lines.append(f"- {'pass' if t['passed'] else 'FAIL'}: {t['target']}: {t['reached']}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--partitions", type=int, nargs="+", default=[6_000, 60_000])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--results", default=str(HERE / "results"), help="folder for the results")
    args = parser.parse_args()
    runs: dict[str, dict[str, dict]] = {}
    for n in args.partitions:
        runs[str(n)] = {}
        for way in args.ways:
            result = child("scheduler_ways.py", way, str(n))
            assert isinstance(result, dict)
            runs[str(n)][way] = result
            print(f"{n:,} {way}: {result['ms_per_task']:.2f} ms/task", file=sys.stderr)
    if set(args.ways) != set(WAYS):
        print(table(runs))
        return 0
    about = {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    reached = targets(runs)
    text = report(about, runs, reached)
    print(text)
    name = Path(args.results) / "scheduler"
    name.parent.mkdir(parents=True, exist_ok=True)
    name.with_suffix(".md").write_text(text)
    name.with_suffix(".json").write_text(
        json.dumps({**about, "targets": reached, "runs": runs}, indent=1) + "\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
