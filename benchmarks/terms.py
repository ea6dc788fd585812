"""Compare ten ways to find 60, 5,000 and 500,000 terms in captions.

    python benchmarks/terms.py
    python benchmarks/terms.py --captions captions.parquet --column TEXT

Each contender runs in its own process on one core. Contenders take turns, and medians are reported.
The matches are compared caption by caption and term by term. See `terms_ways`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from peers import report_skipped, require
from reporting import HERE, RESULTS, conditions, setting, target, verdicts, write

OURS, LISTS, PLAIN = "laion_dask", "laion_dask, all lists", "laion_dask without LLVM IR"
PACKAGES = (
    "polars",
    "pandas",
    "pyarrow",
    "numba",
    "numpy",
    "hyperscan",
    "ahocorasick-rs",
    "laion_dask",
)
MODULES = {"hyperscan": "hyperscan", "ahocorasick-rs": "ahocorasick_rs"}
"""Contenders that are skipped if their module is not installed."""
ROWS = {
    "60": {
        OURS: 500_000, PLAIN: 500_000, LISTS: 500_000, "hyperscan": 500_000,
        "ahocorasick-rs": 500_000, "polars alternation": 500_000, "re alternation": 50_000,
        "polars loop": 200_000, "pandas loop": 100_000, "pandas loop, objects": 20_000,
    },
    "5000": {
        OURS: 500_000, PLAIN: 500_000, "hyperscan": 500_000, "ahocorasick-rs": 500_000,
        "polars alternation": 20_000, "re alternation": 2_000,
        "polars loop": 3_000, "pandas loop": 3_000, "pandas loop, objects": 200,
    },
    "500000": {OURS: 500_000, PLAIN: 500_000, "ahocorasick-rs": 500_000, "hyperscan": 500_000},
}  # fmt: skip
"""Number of captions for each contender; the slow ones would take hours with all of them."""

ONCE = {("5000", "hyperscan"), ("500000", "hyperscan")}
"""Contenders that run only once, because their preparation takes a minute."""

LIMITS_S = {("500000", "hyperscan"): 30}
"""CPU seconds after which a contender is stopped."""

WHICH = (PLAIN, "hyperscan", "ahocorasick-rs", "polars loop", "pandas loop", "pandas loop, objects")
WHETHER = ("polars alternation", "re alternation")
LIBRARIES = (OURS, PLAIN, "hyperscan", "ahocorasick-rs", "polars alternation")
"""The contenders with ``--libraries``: our kernel and its alternatives."""

COMPARED = ("60", "5000")
"""The sets of terms that polars is also measured with."""

TARGETS = (("polars loop", 25), ("pandas loop", 100))


def child(script: str, *arguments: str, limit_s: int = 0) -> dict | None:
    """Run a script with one thread and return the JSON of its last line; None at the limit."""
    threads = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_IO_THREADS")
    completed = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        env={**os.environ, **dict.fromkeys(threads, "1"), "TERMS_CPU_LIMIT_S": str(limit_s)},
        stdout=subprocess.PIPE,
        text=True,
    )
    if limit_s and completed.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return None
    if completed.returncode:
        command = " ".join((script, *arguments))
        raise SystemExit(f"{command} failed with exit code {completed.returncode}.")
    return json.loads(completed.stdout.splitlines()[-1])


def measure(data: Path, source: str, repeats: int, scratch: Path) -> dict[str, dict[str, list]]:
    """Run the contenders in turn, for each set of terms."""
    runs: dict[str, dict[str, list]] = {n: {way: [] for way in ROWS[n]} for n in ROWS}
    for repeat in range(repeats):
        for n, ways in ROWS.items():
            for way, rows in ways.items():
                if not find_spec(MODULES.get(way, "numpy")) or (repeat and (n, way) in ONCE):
                    continue
                out = str(scratch / f"{n}-{way}.npz")
                inputs = (way, source, str(data / f"terms-{n}.json"), str(rows), out)
                result = child("terms_ways.py", *inputs, limit_s=LIMITS_S.get((n, way), 0))
                if result is None:
                    print(f"{n} terms, {way}: stopped at the limit", file=sys.stderr)
                    continue
                runs[n][way].append(result)
                rate = f"{result['rate']:,.0f} captions/s"
                print(f"{repeat + 1}/{repeats} {n} terms, {way}: {rate}", file=sys.stderr)
    return runs


def differences(scratch: Path, n: str, rows: dict[str, int]) -> dict[str, int]:
    """Number of (caption, term) pairs, or captions, where a contender differs from laion_dask."""
    ours = np.load(scratch / f"{n}-{OURS}.npz")
    differing = {}
    for way in (*WHICH, *WHETHER):
        if not (scratch / f"{n}-{way}.npz").exists():
            continue
        theirs = np.load(scratch / f"{n}-{way}.npz")
        few = ours["rows"] < rows[way]
        mine, other = ours["rows"][few], theirs["rows"]
        if way in WHETHER:
            differing[way] = len(np.setxor1d(mine, other))
        else:
            keys = [
                r * int(n) + w for r, w in ((mine, ours["which"][few]), (other, theirs["which"]))
            ]
            differing[way] = len(np.setxor1d(*keys))
    return differing


def real_captions(path: str, column: str, scratch: Path) -> str:
    """Write real captions in the format that the contenders read, and return the path."""
    captions = pq.read_table(path, columns=[column])[column].cast(pa.string()).drop_null()
    path_ = scratch / "real.parquet"
    pq.write_table(pa.table({"text": captions}), path_)
    return str(path_)


def differences_on(source: str, data: Path, scratch: Path) -> dict[str, int]:
    """The same for polars, term by term, on captions from another file."""
    rows = pq.ParquetFile(source).metadata.num_rows
    differing = {}
    for n in COMPARED:
        keys = []
        for way in (OURS, "polars loop"):
            out = str(scratch / "real.npz")
            child("terms_ways.py", way, source, str(data / f"terms-{n}.json"), str(rows), out)
            matches = np.load(out)
            keys.append(matches["rows"] * int(n) + matches["which"])
        differing[n] = len(np.setxor1d(*keys))
    return {"captions": rows, **differing}


def medians(runs: dict[str, list]) -> dict[str, dict[str, float]]:
    """Median of each measure per contender."""
    return {
        way: {key: statistics.median(run[key] for run in results) for key in results[0]}
        for way, results in runs.items()
        if results
    }


def table(median: dict[str, dict[str, float]]) -> str:
    """A Markdown table: captions per second, and the speed of laion_dask relative to each."""
    heads = ("contender", "captions/s", "laion_dask / contender", "captions", "peak MB",
             "term set-up s", "imports s")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |"]
    lines.append("|---|" + "---:|" * 6)
    for way, values in median.items():
        shown = f"**{way}**" if way == OURS else way
        ratio = median[OURS]["rate"] / values["rate"]
        cells = (
            f"{values['rate']:,.0f}", f"{ratio:,.1f}", f"{values['rows']:,.0f}",
            f"{values['peak_bytes'] / 1e6:.0f}", f"{values['prepare_s']:.2f}",
            f"{values['import_s']:.2f}",
        )  # fmt: skip
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return "\n".join(lines)


def targets(median: dict[str, dict]) -> list[dict]:
    """The targets, with the values reached."""
    reached = []
    for n in COMPARED:
        medians_ = median[n]
        for way, least in TARGETS:
            if way not in medians_:
                continue
            ratio = medians_[OURS]["rate"] / medians_[way]["rate"]
            text = f"{int(n):,} terms: at least {least} x as fast as a {way}"
            reached.append(target(text, ratio, at_least=least))
    return reached


def report(about: dict, median: dict, differing: dict, reached: list[dict]) -> str:
    """The Markdown report."""
    lines = [
        f"# Find terms in captions{': our kernel and libraries' if about['libraries'] else ''}",
        "",
        f"{setting(about)} Medians of {about['repeats']} processes per contender, which take "
        "turns; captions per CPU second; *imports* includes loading numba's cache.",
    ]
    for n, medians_ in median.items():
        lines += ["", f"## {int(n):,} terms", "", table(medians_)]
        for way in ROWS[n]:
            if way not in medians_ and (n, way) in LIMITS_S:
                seconds = LIMITS_S[n, way]
                lines += ["", f"{way} was not ready after {seconds} CPU seconds."]
    counts = {k: v for k, v in differing.items() if k != "real"}
    agree = not any(count for ways in counts.values() for count in ways.values())
    lines += ["", "All matches agree." if agree else f"Matches differ: {json.dumps(counts)}"]
    if "real" in differing:
        real = differing["real"]
        lines.append(
            f"On {real['captions']:,} captions from the web, matches that differ from polars: "
            + ", ".join(f"{real[n]} with {int(n):,} terms" for n in COMPARED) + "."
        )  # fmt: skip
    lines.append("")
    lines.append(verdicts(reached))
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--libraries", action="store_true", help="only measure alternatives to our kernel"
    )
    parser.add_argument("--data", default=".bench", help="folder for the generated captions")
    parser.add_argument(
        "--captions", help="Parquet file of real captions, for a further comparison"
    )
    parser.add_argument("--column", default="TEXT", help="its column with the captions")
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    return parser.parse_args()


def main() -> int:
    """Measure, compare, report; return 1 if matches differ."""
    args = arguments()
    require("polars")
    report_skipped(*MODULES.values())
    data = Path(args.data)
    if args.libraries:
        for n, ways in ROWS.items():
            ROWS[n] = {way: rows for way, rows in ways.items() if way in LIBRARIES}
    most = max(max(ways.values()) for ways in ROWS.values())
    source = child("terms_data.py", args.data, str(most))["path"]
    with tempfile.TemporaryDirectory(dir=args.data) as folder:
        scratch = Path(folder)
        runs = measure(data, source, args.repeats, scratch)
        differing: dict[str, dict] = {n: differences(scratch, n, ROWS[n]) for n in ROWS}
        if args.captions:
            real = real_captions(args.captions, args.column, scratch)
            differing["real"] = differences_on(real, data, scratch)
    median = {n: medians(results) for n, results in runs.items()}
    reached = targets(median)
    about = conditions(PACKAGES, cores=1, repeats=args.repeats, libraries=args.libraries)
    name = "terms-libraries" if args.libraries else "terms"
    stored = {**about, "medians": median, "different": differing, "targets": reached, "runs": runs}
    write(args.results, name, report(about, median, differing, reached), stored)
    return int(any(count for n in ROWS for count in differing[n].values()))


if __name__ == "__main__":
    raise SystemExit(main())
