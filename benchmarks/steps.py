"""Rates of one core for steps that no other benchmark measures, for `laion_dask.plan`.

    python benchmarks/steps.py

CPU seconds of one thread, which other work on the machine hardly changes: of each statistic and
grouping over partitions in memory, of an empty pass that only reads their columns, and of whole
verbs on Dask's synchronous scheduler. Each run is stored; a plan counts with the best, since other
work on the machine only slows a run down.
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
#: Rows of embeddings are read by these; the others read metadata alone.
OF_EMBEDDINGS = ("perceived", "train")


def partitions(source: str) -> list:
    """Some partitions in memory, as statistics see them."""
    import pyarrow.parquet as pq

    import laion_dask as ld

    paths = sorted(Path(source).glob("*.parquet"))
    frame = ld.read_shards(paths[:1])
    names = {column.upper(): column for column in frame.columns}
    table = pq.read_table(paths[0])
    table = table.rename_columns([names.get(name.upper(), name) for name in table.column_names])
    return [table.slice(at * PART_ROWS, PART_ROWS) for at in range(PARTS)]


def chunks(tables: list) -> Iterator[tuple[str, int, Callable]]:
    """Every statistic without groups, or with one group whose rows are found before; groupings."""
    import laion_dask as ld
    from laion_dask.aggregations.default_set import LISTS
    from laion_dask.aggregations.engine.base import Partition
    from laion_dask.aggregations.grouping.base import ByColumn, members
    from laion_dask.aggregations.grouping.domains import sites
    from laion_dask.dtypes import kind_of_arrow

    kinds = {field.name: kind_of_arrow(field.type) for field in tables[0].schema} | {
        "shard": "integer"
    }
    rows = sum(map(len, tables))
    gender, by = ld.terms("gender").bind(kinds), ByColumn("language")
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

    def ready(table):
        """A partition whose groups are known already."""
        part = Partition(table)
        for one in (gender, ld.terms("age"), ld.terms("occupations"), by):
            members(part, one.bind(kinds))
        sites(part, "url", "tld")
        sites(part, "url", "domain")
        return part

    for name, spec in specs.items():
        bound = spec.bind({name: kind for name, kind in kinds.items() if name != "shard"})
        yield name, rows, lambda bound=bound: [bound.chunk(p) for p in made(tables, ready)]
    every = [ld.terms(name) for name in (*LISTS, "occupations")]
    measures = tuple(ld.rates(None, by=one).bind(kinds) for one in every)

    def lists(table):
        return Partition(table, measures)

    yield (
        "grouping terms",
        rows * len(every),
        lambda: [members(p, one) for p in made(tables, lists) for one in every],
    )
    yield "grouping column", rows, lambda: [members(p, by) for p in made(tables, Partition)]

    def hosts(table):
        part = Partition(table)
        sites(part, "url", "tld")
        return part

    domains = ld.domains()
    yield "grouping site", rows, lambda: [members(p, domains) for p in made(tables, hosts)]
    yield "hosts", rows, lambda: [sites(p, "url", "tld") for p in made(tables, Partition)]


#: Partitions that were made ready before the clock starts.
_ready: list = []


def made(tables: list, make: Callable) -> list:
    """Partitions, whose preparation `cpu_seconds` leaves out."""
    start = time.process_time()
    _ready[:] = [make(table) for table in tables]
    made.took += time.process_time() - start
    return _ready


made.took = 0.0


def verbs(source: str, vectors: str) -> Iterator[tuple[str, int, Callable]]:
    """Whole verbs on the synchronous scheduler."""
    import numpy as np

    import laion_dask as ld
    from laion_dask.aggregations.engine.base import Statistic

    class Nothing(Statistic):
        """Reads the columns of the standard statistics, and counts nothing."""

        name = "nothing"
        reads = ("url", "text", "language", "width", "height", "punsafe", "pwatermark", "shard")

        def bind(self, kinds):
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
    few = frame.partitions[:1]
    scored = few.laion.score_captions(proxy)[proxy.name]
    n = len(few)
    yield "captions, profanity", n, scored.compute
    few = ld.read_shards(str(Path(vectors) / "metadata"))
    emb = ld.open_embeddings(str(Path(vectors) / "img_emb"), model="ViT-L-14:openai", like=few)
    one, other = np.load(Path(vectors) / "queries.npy")[:2]
    prompts = {"one": one, "other": other}
    yield "perceived", SEARCHED, lambda: few.laion.perceived(emb, prompts)
    labels = few.assign(label=few["hash"] % 3 == 0)
    yield "labels", SEARCHED, lambda: labelled(labels[["label", "shard", "row"]])
    yield "train", TRAINED, lambda: fitted(emb, labels)


def labelled(frame):
    """The pass over the labels alone, of `heads.train`."""
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
    """CPU seconds of one run, preparation apart, and the peak memory of the process so far."""
    made.took, start = 0.0, time.process_time()
    run()
    took = time.process_time() - start - made.took
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"wall_s": took, "peak_bytes": peak}


def group(which: str, source: str, vectors: str, repeats: int) -> dict:
    """All runs of the statistics, or of the verbs, in this process."""
    import dask

    dask.config.set(scheduler="sync")
    steps = chunks(partitions(source)) if which == "chunks" else verbs(source, vectors)
    found = {}
    for name, rows, run in steps:
        cpu_seconds(run)
        found[name] = {"rows": rows, "runs": [cpu_seconds(run) for _ in range(repeats)]}
        middle = statistics.median(run["wall_s"] for run in found[name]["runs"])
        print(f"{name}: {rows / middle:,.0f} rows/s", file=sys.stderr)
    return found


def report(about: dict, found: dict) -> str:
    """The Markdown that is printed and stored."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        "# Rates of single steps",
        "",
        f"{about['date']}, {about['cpu']}, one core, Python {about['python']}; {versions}. Medians "
        f"of {about['repeats']} runs, in CPU seconds of one thread.",
        "",
        "| step | rows | CPU s | rows/s |",
        "|---|---:|---:|---:|",
    ]
    for name, one in found.items():
        middle = statistics.median(run["wall_s"] for run in one["runs"])
        lines.append(f"| {name} | {one['rows']:,} | {middle:.3f} | {one['rows'] / middle:,.0f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure and report."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    if any(os.environ.get(name) != "1" for name in threads):
        os.environ |= dict.fromkeys(threads, "1")
        os.execv(sys.executable, [sys.executable, *sys.argv])
    from carve import child, conditions

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", default=".bench", help="where the generated rows are kept")
    parser.add_argument("--results", default=str(HERE / "results"), help="where to write")
    args = parser.parse_args()
    source = child("carve_data.py", "prepare", args.data, str(CARVED))
    vectors = child("search_data.py", "prepare", args.data, str(SEARCHED))
    steps = {}
    for which in ("chunks", "verbs"):
        steps |= child("steps.py", "--group", which, source, vectors, str(args.repeats))
    about = conditions(0, 0, args.repeats)
    about = {name: about[name] for name in ("date", "cpu", "system", "python", "repeats")}
    import importlib.metadata

    about |= {"cores": CORES, "versions": {n: importlib.metadata.version(n) for n in PACKAGES}}
    mapped = {name: SEARCHED * 1536 if name in OF_EMBEDDINGS else 0 for name in steps}
    text = report(about, steps)
    print(text)
    target = Path(args.results) / "steps"
    target.with_suffix(".md").write_text(text)
    stored = {**about, "mapped_bytes": mapped, "steps": steps}
    target.with_suffix(".json").write_text(json.dumps(stored, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--group"]:
        *given, repeats = sys.argv[2:]
        print(json.dumps(group(*given, int(repeats))))
    else:
        raise SystemExit(main())
