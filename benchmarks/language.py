"""Compare language detectors on real captions: speed, and agreement.

    python benchmarks/language.py captions.parquet --column TEXT

Each contender runs in its own process on one core. Contenders take turns, and medians are reported.
pycld2 and CLD3 (the package cld3-py) are measured if they are installed; laion_dask does not need
them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from language_ways import PLANTED, SEED, WAYS
from peers import report_skipped
from reporting import RESULTS, conditions, setting, write

HERE = Path(__file__).parent
MODULES = {"pycld2": "pycld2", "CLD3": "gcld3"}
PACKAGES = ("py3langid", "pycld2", "cld3-py", "numpy", "scipy", "pyarrow", "laion_dask")
OURS = "laion_dask"
SAME = {"iw": "he", "fil": "tl", "nb": "no", "jw": "jv"}
"""Codes that different detectors use for the same language."""


def measure(
    captions: str, column: str, repeats: int, scratch: Path
) -> tuple[dict[str, dict], dict[str, list[list[str]]]]:
    """The medians and the labels of each contender; the first turn is discarded."""
    ways = [way for way in WAYS if importlib.util.find_spec(MODULES.get(way, "py3langid"))]
    runs, labels = {way: [] for way in ways}, {}
    for repeat in range(repeats + 1):
        for way in ways:
            out = scratch / "labels.json"
            command = [sys.executable, str(HERE / "language_ways.py"), way, captions, column, out]
            completed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            outputs = json.loads(out.read_text())
            labels[way] = [[SAME.get(code, code) for code in codes] for codes in outputs]
            if repeat:
                runs[way].append(json.loads(completed.stdout.splitlines()[-1]))
                print(f"{repeat}/{repeats} {way}: {runs[way][-1]['rate']:,.0f}/s", file=sys.stderr)
    median = {
        way: {key: statistics.median(run[key] for run in several) for key in several[0]}
        for way, several in runs.items()
    }
    return median, labels


def speeds(median: dict[str, dict], labels: dict[str, list]) -> str:
    """A Markdown table: speed and memory of each contender, and the share of its labels."""
    lines = ["| contender | captions/s | load s | peak MB | und | English | English if not und |"]
    lines.append("|---|" + "---:|" * 6)
    for way, values in median.items():
        codes = labels[way][0]
        n, und, english = len(codes), codes.count("und"), codes.count("en")
        lines.append(
            f"| {f'**{way}**' if way == OURS else way} | {values['rate']:,.0f} | "
            f"{values['load_s']:.2f} | {values['peak_bytes'] / 1e6:.0f} | {und / n:.1%} | "
            f"{english / n:.1%} | {english / max(n - und, 1):.1%} |"
        )
    return "\n".join(lines)


def agreement(labels: dict[str, list]) -> dict[str, dict[str, float]]:
    """Share of captions with equal labels, among those that both contenders label."""
    shares: dict[str, dict[str, float]] = {}
    for one in labels:
        for two in labels:
            pairs = zip(labels[one][0], labels[two][0], strict=True)
            both = [(a, b) for a, b in pairs if "und" not in (a, b)]
            shares.setdefault(one, {})[two] = sum(a == b for a, b in both) / max(len(both), 1)
    return shares


def agreement_table(shares: dict[str, dict[str, float]]) -> str:
    """`agreement` as a Markdown table."""
    lines = ["| | " + " | ".join(shares) + " |", "|---|" + "---:|" * len(shares)]
    for one, others in shares.items():
        lines.append(f"| {one} | " + " | ".join(f"{share:.1%}" for share in others.values()) + " |")
    return "\n".join(lines)


def accuracy(labels: dict[str, list]) -> dict[str, dict[str, list[float]]]:
    """Shares of the demo captions in each language labeled correctly and incorrectly."""
    from laion_dask.demo.planting import plan_rows

    true = [row.language for row in plan_rows(PLANTED, SEED)]
    shares: dict[str, dict[str, list[float]]] = {}
    for way, (_, codes) in labels.items():
        counts = Counter(zip(true, codes, strict=True))
        for language, n in Counter(true).items():
            right, und = counts[language, language] / n, counts[language, "und"] / n
            shares.setdefault(way, {})[language] = [
                round(right, 4),
                round(max(1 - right - und, 0.0), 4),
            ]
    return shares


def accuracy_table(shares_of: dict[str, dict[str, list[float]]]) -> str:
    """`accuracy` as a Markdown table."""
    languages = sorted(next(iter(shares_of.values())))
    lines = ["| contender | " + " | ".join(languages) + " |", "|---|" + "---:|" * len(languages)]
    for way, shares in shares_of.items():
        cells = (f"{right:.0%} / {wrong:.0%}" for right, wrong in map(shares.get, languages))
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(about: dict, median: dict, labels: dict) -> str:
    """The Markdown report."""
    return f"""# The language of {about["captions"]:,} real captions

{setting(about)} Medians of {about["repeats"]} runs; contenders take turns, imports and
the model excluded.

{speeds(median, labels)}

pycld2 and CLD3 return und if they report a result as unreliable, laion_dask below its thresholds,
and py3langid never. CLD2 labels nearly all of these captions as English, which says little:
LAION-400M only kept captions that CLD2 had labelled as English, and these captions resemble those.
Agreement of each pair on the captions that both label:

{agreement_table(agreement(labels))}

Shares of {PLANTED:,} captions of the demo corpus (three words each, known language) labelled
correctly / labelled as another language; the rest is und:

{accuracy_table(accuracy(labels))}
"""


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("captions", help="Parquet file with the captions")
    parser.add_argument("--column", default="TEXT", help="column with the captions")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    return parser.parse_args()


def main() -> int:
    """Measure, compare, report."""
    args = arguments()
    report_skipped(*MODULES.values())
    with tempfile.TemporaryDirectory() as scratch:
        median, labels = measure(args.captions, args.column, args.repeats, Path(scratch))
    captions = len(labels[OURS][0])
    about = conditions(PACKAGES, cores=1, captions=captions, repeats=args.repeats)
    tables = {"agreement": agreement(labels), "planted": accuracy(labels)}
    counts = {way: dict(Counter(codes[0]).most_common(20)) for way, codes in labels.items()}
    stored = {**about, "medians": median, "counts": counts, **tables}
    write(args.results, "language", report(about, median, labels), stored)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
