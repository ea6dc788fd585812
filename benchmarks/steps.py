"""Measure single-core rates of steps that no other benchmark covers, for `laion_dask.plan`.

    python benchmarks/steps.py

Measures CPU seconds of one thread, which other load on the machine hardly affects: for each
statistic and grouping over partitions in memory, for an empty pass that only reads their columns,
and for whole verbs on Dask's synchronous scheduler. Every run is stored; a plan uses the fastest,
because other load only slows a run down.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HERE, CORES = Path(__file__).parent, 1
CARVED, SEARCHED, TRAINED = 1_000_000, 200_000, 50_000
PARTS, PART_ROWS = 4, 100_000
PACKAGES = ("numpy", "pandas", "pyarrow", "duckdb", "dask", "scikit-learn", "laion_dask")
#: Steps that read embeddings; the others read only metadata.
OF_EMBEDDINGS = ("perceived", "train")


def partitions(source: str) -> list:
    """Partitions in memory, as passed to statistics."""
    import pyarrow.parquet as pq

    import laion_dask as ld

    paths = sorted(Path(source).glob("*.parquet"))
    frame = ld.read_shards(paths[:1])
    names = {column.upper(): column for column in frame.columns}
    table = pq.read_table(paths[0])
    table = table.rename_columns([names.get(name.upper(), name) for name in table.column_names])
    return [table.slice(at * PART_ROWS, PART_ROWS) for at in range(PARTS)]


def chunks(tables: list) -> Iterator[tuple[str, int, Callable]]:
    """Yield every statistic, with its groups assigned in advance, and the groupings."""
    import laion_dask as ld
    from laion_dask.aggregations.default_set import LISTS
    from laion_dask.aggregations.engine.base import Partition
    from laion_dask.aggregations.grouping.base import ByColumn, members
    from laion_dask.aggregations.grouping.domains import sites
    from laion_dask.dtypes import arrow_column_type

    column_types = {field.name: arrow_column_type(field.type) for field in tables[0].schema} | {
        "shard": "integer"
    }
    rows = sum(map(len, tables))
    gender, by = ld.terms("gender").bind(column_types), ByColumn("language")
    specs = {
        "statistic describe": ld.describe(),
        "statistic rates": ld.rates("punsafe > 0.5", by=gender),
        "statistic curve": ld.curve("punsafe", by=gender),
        "statistic concentration": ld.concentration("domain"),
        "statistic duplicate_share": ld.duplicate_share("url"),
        "statistic cooccurrence": ld.cooccurrence(ld.terms("occupations"), by=gender),
        "statistic divergence": ld.divergence(by, by=gender),
        "statistic intersections": ld.intersections(gender, ld.terms("age")),
        "statistic hate_content_rate": ld.hate_content_rate("punsafe"),
    }

    def grouped(table):
        """A partition with its groups already assigned."""
        part = Partition(table)
        for grouping in (gender, ld.terms("age"), ld.terms("occupations"), by):
            members(part, grouping.bind(column_types))
        sites(part, "url", "tld")
        sites(part, "url", "domain")
        return part

    for name, spec in specs.items():
        bound = spec.bind({name: type_ for name, type_ in column_types.items() if name != "shard"})
        yield name, rows, lambda bound=bound: [bound.chunk(p) for p in prepared(tables, grouped)]
    every = [ld.terms(name) for name in (*LISTS, "occupations")]
    measures = tuple(ld.rates(None, by=one).bind(column_types) for one in every)

    def lists(table):
        return Partition(table, measures)

    yield (
        "grouping terms",
        rows * len(every),
        lambda: [members(p, one) for p in prepared(tables, lists) for one in every],
    )
    yield "grouping column", rows, lambda: [members(p, by) for p in prepared(tables, Partition)]

    def hosts(table):
        part = Partition(table)
        sites(part, "url", "tld")
        return part

    domains = ld.domains()
    yield "grouping site", rows, lambda: [members(p, domains) for p in prepared(tables, hosts)]
    yield "hosts", rows, lambda: [sites(p, "url", "tld") for p in prepared(tables, Partition)]


#: Partitions prepared before the clock starts.
_partitions: list = []


def prepared(tables: list, prepare: Callable) -> list:
    """Prepare the partitions; `cpu_seconds` excludes the time that this takes."""
    start = time.process_time()
    _partitions[:] = [prepare(table) for table in tables]
    prepared.seconds += time.process_time() - start
    return _partitions


prepared.seconds = 0.0


def verbs(source: str, vectors: str) -> Iterator[tuple[str, int, Callable]]:
    """Yield whole verbs, to run on the synchronous scheduler."""
    import numpy as np

    import laion_dask as ld
    from laion_dask.aggregations.engine.base import Statistic

    class Nothing(Statistic):
        """Reads the columns of the standard statistics and computes nothing."""

        name = "nothing"
        reads = ("url", "text", "language", "width", "height", "punsafe", "pwatermark", "shard")

        def bind(self, column_types):
            return self

        def chunk(self, partition):
            return 0

        def combine(self, states):
            return 0

        def finalize(self, state, options):
            import pandas as pd

            return pd.DataFrame({"n": [0]})

    frame = ld.read_shards(source)
    narrowed = frame.laion.where("similarity > 0.3 and width >= 256")
    yield "statistics", CARVED, lambda: ld.statistics(frame, Nothing())
    yield "rows", CARVED, narrowed.laion.rows
    yield "funnel", CARVED, narrowed.laion.funnel
    proxy = ld.heads.toxicity()
    part = frame.partitions[:1]
    scored = part.laion.score_captions(proxy)[proxy.name]
    n = len(part)
    yield "captions, profanity", n, scored.compute
    searched = ld.read_shards(str(Path(vectors) / "metadata"))
    emb = ld.open_embeddings(str(Path(vectors) / "img_emb"), model="ViT-L-14:openai", like=searched)
    one, other = np.load(Path(vectors) / "queries.npy")[:2]
    prompts = {"one": one, "other": other}
    yield "perceived", SEARCHED, lambda: searched.laion.perceived(emb, prompts)
    labels = searched.assign(label=searched["hash"] % 3 == 0)
    yield "labels", SEARCHED, lambda: labelled(labels[["label", "shard", "row"]])
    yield "train", TRAINED, lambda: fitted(emb, labels)


def labelled(frame):
    """Only the pass of `heads.train` over the labels."""
    from laion_dask.runtime import graph
    from laion_dask.training import sample as kernels

    graph.map_columns(
        frame,
        kernels.labelled_sample,
        "label",
        0,
        TRAINED,
        reads=["label", "shard", "row"],
        meta=kernels.labelled_sample(frame._meta, "label", 0, TRAINED),
    ).compute()


def fitted(emb, labels):
    import laion_dask as ld

    ld.heads.train(emb, labels[["label", "shard", "row"]], label="label", max_rows=TRAINED)


def cpu_seconds(run: Callable) -> dict:
    """CPU seconds of one run, without preparation, and the peak memory of the process so far."""
    prepared.seconds, start = 0.0, time.process_time()
    run()
    seconds = time.process_time() - start - prepared.seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"wall_s": seconds, "peak_bytes": peak}


def group(which: str, source: str, vectors: str, repeats: int) -> dict:
    """Run all statistics, or all verbs, in this process."""
    import dask

    dask.config.set(scheduler="sync")
    steps = chunks(partitions(source)) if which == "chunks" else verbs(source, vectors)
    results = {}
    for name, rows, run in steps:
        cpu_seconds(run)
        results[name] = {"rows": rows, "runs": [cpu_seconds(run) for _ in range(repeats)]}
        median = statistics.median(run["wall_s"] for run in results[name]["runs"])
        print(f"{name}: {rows / median:,.0f} rows/s", file=sys.stderr)
    return results


def report(about: dict, steps: dict) -> str:
    """The Markdown report."""
    from reporting import setting

    lines = [
        "# Rates of single steps",
        "",
        f"{setting(about)} Medians of {about['repeats']} runs, in CPU seconds of one thread.",
        "",
        "| step | rows | CPU s | rows/s |",
        "|---|---:|---:|---:|",
    ]
    for name, step in steps.items():
        rows, median = step["rows"], statistics.median(run["wall_s"] for run in step["runs"])
        lines.append(f"| {name} | {rows:,} | {median:.3f} | {rows / median:,.0f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure and report."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    if any(os.environ.get(name) != "1" for name in threads):
        os.environ |= dict.fromkeys(threads, "1")
        os.execv(sys.executable, [sys.executable, *sys.argv])
    from reporting import RESULTS, child, conditions, write

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", default=".bench", help="folder for the generated rows")
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    source = child("carve_data.py", "prepare", args.data, str(CARVED))
    vectors = child("search_data.py", "prepare", args.data, str(SEARCHED))
    steps = {}
    for which in ("chunks", "verbs"):
        steps |= child("steps.py", "--group", which, source, vectors, str(args.repeats))
    about = conditions(PACKAGES, cores=CORES, repeats=args.repeats)
    mapped = {name: SEARCHED * 1536 if name in OF_EMBEDDINGS else 0 for name in steps}
    stored = {**about, "mapped_bytes": mapped, "steps": steps}
    write(args.results, "steps", report(about, steps), stored)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--group"]:
        *inputs, repeats = sys.argv[2:]
        print(json.dumps(group(*inputs, int(repeats))))
    else:
        raise SystemExit(main())
