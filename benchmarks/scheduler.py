"""Cost of the graph and the tasks of verbs, on Dask's distributed scheduler.

    python benchmarks/scheduler.py
    python benchmarks/scheduler.py --partitions 6000

Every partition is empty and read instantly, so that only graphs, tasks and scheduling are left. A
bare Dask graph of empty tasks shows what Dask itself takes. Each run has a fresh process with a
LocalCluster of two worker processes of one thread.
"""

from __future__ import annotations

import argparse
import sys

from reporting import RESULTS, child, conditions, setting, target, verdicts, write

BARE = "bare Dask graph"
WAYS = (BARE, "where and export", "statistics", "score and export", "search")
PACKAGES = ("dask", "distributed", "pandas", "pyarrow", "laion_dask")


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
        target("at most 1,000 bytes of graph per partition", graph, at_most=1000),
        target("at most 1 ms per step above Dask's empty task", above, at_most=1),
        target("at most 2 GB for client and scheduler together", memory / 1e9, at_most=2),
    ]


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
    lines = [
        "# Graphs and tasks on the distributed scheduler",
        "",
        f"{setting(about)} One run each. MB: peak memory of the process that holds client and "
        "scheduler. A task does the steps of Dask's graph that are fused into it, each of which "
        "would otherwise be a task; *ms/step above* is a task's time above that of an empty task, "
        "divided by its steps.",
        "",
        table(runs),
        "",
    ]
    lines.append(verdicts(reached))
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--partitions", type=int, nargs="+", default=[6_000, 60_000])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
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
    about, reached = conditions(PACKAGES), targets(runs)
    stored = {**about, "targets": reached, "runs": runs}
    write(args.results, "scheduler", report(about, runs, reached), stored)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
