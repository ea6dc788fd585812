"""Find 60, 5,000 and 500,000 terms in captions, ten ways, side by side, and say how they compare.

    python benchmarks/terms.py
    python benchmarks/terms.py --captions captions.parquet --column TEXT

Each way runs in a process of its own on one core, the ways in turn; medians count. What the ways
found is compared caption by caption, term by term. See `terms_ways`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from carve import cpu_model
from peers import require, say_left_out

HERE = Path(__file__).parent
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
"""Ways that are left out where their module is not installed."""
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
"""How many captions a way is given, from the first on: the slow ones would take hours."""

ONCE = {("5000", "hyperscan"), ("500000", "hyperscan")}
"""What takes a minute to get ready is run once."""

LIMITS_S = {("500000", "hyperscan"): 30}
"""Seconds of the processor after which a way is given up."""

WHICH = (PLAIN, "hyperscan", "ahocorasick-rs", "polars loop", "pandas loop", "pandas loop, objects")
WHETHER = ("polars alternation", "re alternation")
LIBRARIES = (OURS, PLAIN, "hyperscan", "ahocorasick-rs", "polars alternation")
"""The ways of a run with ``--libraries``: our kernel, and what could stand in its place."""

COMPARED = ("60", "5000")
"""Sets of terms for which polars is asked, too."""

TARGETS = (("polars loop", 25), ("pandas loop", 100))


def child(*arguments: str, limit_s: int = 0) -> dict | None:
    """What `terms_ways` prints as its last line, in one thread; None at the limit."""
    threads = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_IO_THREADS")
    done = subprocess.run(
        [sys.executable, str(HERE / "terms_ways.py"), *arguments],
        env={**os.environ, **dict.fromkeys(threads, "1"), "TERMS_CPU_LIMIT_S": str(limit_s)},
        stdout=subprocess.PIPE,
        text=True,
    )
    if limit_s and done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return None
    if done.returncode:
        raise SystemExit(f"terms_ways.py {' '.join(arguments)} failed with {done.returncode}.")
    return json.loads(done.stdout.splitlines()[-1])


def measure(data: Path, source: str, repeats: int, scratch: Path) -> dict[str, dict[str, list]]:
    """The runs of each way for each set of terms, in turn."""
    runs: dict[str, dict[str, list]] = {n: {way: [] for way in ROWS[n]} for n in ROWS}
    for repeat in range(repeats):
        for n, ways in ROWS.items():
            for way, rows in ways.items():
                if not find_spec(MODULES.get(way, "numpy")) or (repeat and (n, way) in ONCE):
                    continue
                out = str(scratch / f"{n}-{way}.npz")
                given = (way, source, str(data / f"terms-{n}.json"), str(rows), out)
                result = child(*given, limit_s=LIMITS_S.get((n, way), 0))
                if result is None:
                    print(f"{n} terms, {way}: given up", file=sys.stderr)
                    continue
                runs[n][way].append(result)
                told = f"{repeat + 1}/{repeats} {n} terms, {way}: {result['rate']:,.0f} captions/s"
                print(told, file=sys.stderr)
    return runs


def differences(scratch: Path, n: str, rows: dict[str, int]) -> dict[str, int]:
    """How many (caption, term), or captions, another way decided otherwise than ours."""
    ours = np.load(scratch / f"{n}-{OURS}.npz")
    wrong = {}
    for way in (*WHICH, *WHETHER):
        if not (scratch / f"{n}-{way}.npz").exists():
            continue
        theirs = np.load(scratch / f"{n}-{way}.npz")
        few = ours["rows"] < rows[way]
        mine, other = ours["rows"][few], theirs["rows"]
        if way in WHETHER:
            wrong[way] = len(np.setxor1d(mine, other))
        else:
            keys = [
                r * int(n) + w for r, w in ((mine, ours["which"][few]), (other, theirs["which"]))
            ]
            wrong[way] = len(np.setxor1d(*keys))
    return wrong


def real_captions(path: str, column: str, scratch: Path) -> str:
    """A file of real captions in the form that the ways take."""
    captions = pq.read_table(path, columns=[column])[column].cast(pa.string()).drop_null()
    kept = scratch / "real.parquet"
    pq.write_table(pa.table({"text": captions}), kept)
    return str(kept)


def differences_on(source: str, data: Path, scratch: Path) -> dict[str, int]:
    """The same against polars, term by term, on captions from elsewhere."""
    rows = pq.ParquetFile(source).metadata.num_rows
    wrong = {}
    for n in COMPARED:
        found = []
        for way in (OURS, "polars loop"):
            out = str(scratch / "real.npz")
            child(way, source, str(data / f"terms-{n}.json"), str(rows), out)
            one = np.load(out)
            found.append(one["rows"] * int(n) + one["which"])
        wrong[n] = len(np.setxor1d(*found))
    return {"captions": rows, **wrong}


def medians(runs: dict[str, list]) -> dict[str, dict[str, float]]:
    """Each way's median of each measure."""
    return {
        way: {key: statistics.median(run[key] for run in done) for key in done[0]}
        for way, done in runs.items()
        if done
    }


def table(middle: dict[str, dict[str, float]]) -> str:
    """Markdown: captions a second, and how many times as many ours finds."""
    heads = ("way", "captions/s", "ours is faster by", "captions given", "peak MB",
             "terms made ready s", "imports s")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |"]
    lines.append("|---|" + "---:|" * 6)
    for way, found in middle.items():
        shown = f"**{way}**" if way == OURS else way
        ratio = middle[OURS]["rate"] / found["rate"]
        cells = (
            f"{found['rate']:,.0f}", f"{ratio:,.1f}", f"{found['rows']:,.0f}",
            f"{found['peak_bytes'] / 1e6:.0f}", f"{found['prepare_s']:.2f}",
            f"{found['import_s']:.2f}",
        )  # fmt: skip
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return "\n".join(lines)


def targets(middle: dict[str, dict]) -> list[dict]:
    """What was asked, what was reached."""
    reached = []
    for n in COMPARED:
        found = middle[n]
        for way, least in TARGETS:
            if way not in found:
                continue
            ratio = found[OURS]["rate"] / found[way]["rate"]
            told = f"{int(n):,} terms: at least {least} times a {way}"
            reached.append({"target": told, "reached": round(ratio, 1), "passed": ratio >= least})
    return reached


def report(about: dict, middle: dict, wrong: dict, reached: list[dict]) -> str:
    """The Markdown that is printed and stored."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    lines = [
        "# Find terms in captions",
        "",
        f"{about['date']}, {about['cpu']}, one core, Python {about['python']}; {versions}. "
        f"Medians of {about['repeats']} processes a way, in turn; captions per second of CPU; "
        "*imports* has numba's reading of what it compiled before in it.",
    ]
    for n, found in middle.items():
        lines += ["", f"## {int(n):,} terms", "", table(found)]
        for way in ROWS[n]:
            if way not in found and (n, way) in LIMITS_S:
                seconds = LIMITS_S[n, way]
                lines += ["", f"{way} was not ready after {seconds} s of the processor."]
    told = {k: v for k, v in wrong.items() if k != "real"}
    agree = not any(count for ways in told.values() for count in ways.values())
    lines += ["", "All masks agree." if agree else f"Masks differ: {json.dumps(told)}"]
    if "real" in wrong:
        real = wrong["real"]
        lines.append(
            f"On {real['captions']:,} captions of the web, decided otherwise than polars: "
            + ", ".join(f"{real[n]} with {int(n):,} terms" for n in COMPARED) + "."
        )  # fmt: skip
    lines.append("")
    for t in reached:
        lines.append(f"- {'pass' if t['passed'] else 'FAIL'}: {t['target']}: {t['reached']}")
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--libraries", action="store_true", help="the kernel's rivals alone")
    parser.add_argument("--data", default=".bench", help="where the generated captions are kept")
    parser.add_argument("--captions", help="a Parquet file of real captions, to compare on too")
    parser.add_argument("--column", default="TEXT", help="its column of captions")
    parser.add_argument("--results", default=str(HERE / "results"), help="where to write")
    return parser.parse_args()


def main() -> int:
    """Measure, compare, report; 1 when masks differ."""
    args = arguments()
    require("polars")
    say_left_out(*MODULES.values())
    data = Path(args.data)
    if args.libraries:
        for n, ways in ROWS.items():
            ROWS[n] = {way: rows for way, rows in ways.items() if way in LIBRARIES}
    most = max(max(ways.values()) for ways in ROWS.values())
    source = child("prepare", args.data, str(most))["path"]
    with tempfile.TemporaryDirectory(dir=args.data) as folder:
        scratch = Path(folder)
        runs = measure(data, source, args.repeats, scratch)
        wrong: dict[str, dict] = {n: differences(scratch, n, ROWS[n]) for n in ROWS}
        if args.captions:
            real = real_captions(args.captions, args.column, scratch)
            wrong["real"] = differences_on(real, data, scratch)
    middle = {n: medians(done) for n, done in runs.items()}
    reached = targets(middle)
    about = {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "versions": {
            name: version(name) for name in PACKAGES if find_spec(MODULES.get(name, "numpy"))
        },
        "repeats": args.repeats,
    }
    text = report(about, middle, wrong, reached)
    print(text)
    name = Path(args.results) / ("terms-libraries" if args.libraries else "terms")
    name.parent.mkdir(parents=True, exist_ok=True)
    name.with_suffix(".md").write_text(text)
    stored = {**about, "medians": middle, "different": wrong, "targets": reached, "runs": runs}
    name.with_suffix(".json").write_text(json.dumps(stored, indent=1) + "\n")
    return int(any(count for n in ROWS for count in wrong[n].values()))


if __name__ == "__main__":
    raise SystemExit(main())
