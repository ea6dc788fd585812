"""Say the language of real captions several ways, side by side, and how far the ways agree.

    python benchmarks/language.py captions.parquet --column TEXT

Each way runs in a process of its own on one core, the ways in turn; medians count. pycld2 and CLD3
(the package cld3-py) are measured where they are installed; laion_dask does not need them.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from carve import cpu_model
from language_ways import PLANTED, SEED, WAYS
from peers import say_left_out

HERE = Path(__file__).parent
MODULES = {"pycld2": "pycld2", "CLD3": "gcld3"}
PACKAGES = ("py3langid", "pycld2", "cld3-py", "numpy", "scipy", "pyarrow", "laion_dask")
OURS = "laion_dask"
SAME = {"iw": "he", "fil": "tl", "nb": "no", "jw": "jv"}
"""Codes by which detectors name one language."""


def measure(
    captions: str, column: str, repeats: int, scratch: Path
) -> tuple[dict[str, dict], dict[str, list[list[str]]]]:
    """The medians of each way, and its labels; the first turn is not counted."""
    ways = [way for way in WAYS if importlib.util.find_spec(MODULES.get(way, "py3langid"))]
    runs, labels = {way: [] for way in ways}, {}
    for repeat in range(repeats + 1):
        for way in ways:
            out = scratch / "labels.json"
            command = [sys.executable, str(HERE / "language_ways.py"), way, captions, column, out]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(out.read_text())
            labels[way] = [[SAME.get(code, code) for code in codes] for codes in found]
            if repeat:
                runs[way].append(json.loads(done.stdout.splitlines()[-1]))
                print(f"{repeat}/{repeats} {way}: {runs[way][-1]['rate']:,.0f}/s", file=sys.stderr)
    middle = {
        way: {key: statistics.median(run[key] for run in several) for key in several[0]}
        for way, several in runs.items()
    }
    return middle, labels


def speeds(middle: dict[str, dict], labels: dict[str, list]) -> str:
    """Markdown: what each way takes, and what it says on the whole."""
    lines = ["| way | captions/s | load s | peak MB | und | English | English of the known |"]
    lines.append("|---|" + "---:|" * 6)
    for way, found in middle.items():
        codes = labels[way][0]
        n, und, english = len(codes), codes.count("und"), codes.count("en")
        lines.append(
            f"| {f'**{way}**' if way == OURS else way} | {found['rate']:,.0f} | "
            f"{found['load_s']:.2f} | {found['peak_bytes'] / 1e6:.0f} | {und / n:.1%} | "
            f"{english / n:.1%} | {english / max(n - und, 1):.1%} |"
        )
    return "\n".join(lines)


def agreement(labels: dict[str, list]) -> dict[str, dict[str, float]]:
    """Of the captions to which two ways both give a language, the share that get the same."""
    found: dict[str, dict[str, float]] = {}
    for one in labels:
        for two in labels:
            pairs = zip(labels[one][0], labels[two][0], strict=True)
            both = [(a, b) for a, b in pairs if "und" not in (a, b)]
            found.setdefault(one, {})[two] = sum(a == b for a, b in both) / max(len(both), 1)
    return found


def agreements(found: dict[str, dict[str, float]]) -> str:
    """Markdown of `agreement`."""
    lines = ["| | " + " | ".join(found) + " |", "|---|" + "---:|" * len(found)]
    for one, others in found.items():
        lines.append(f"| {one} | " + " | ".join(f"{share:.1%}" for share in others.values()) + " |")
    return "\n".join(lines)


def recovered(labels: dict[str, list]) -> dict[str, dict[str, list[float]]]:
    """Of the demo's captions in each language, the shares told right, and wrong; the rest und."""
    from laion_dask.demo.planting import plan_rows

    spoken = [row.language for row in plan_rows(PLANTED, SEED)]
    found: dict[str, dict[str, list[float]]] = {}
    for way, (_, codes) in labels.items():
        counts = Counter(zip(spoken, codes, strict=True))
        for language, n in Counter(spoken).items():
            right, und = counts[language, language] / n, counts[language, "und"] / n
            found.setdefault(way, {})[language] = [
                round(right, 4),
                round(max(1 - right - und, 0.0), 4),
            ]
    return found


def recoveries(found: dict[str, dict[str, list[float]]]) -> str:
    """Markdown of `recovered`."""
    languages = sorted(next(iter(found.values())))
    lines = ["| way | " + " | ".join(languages) + " |", "|---|" + "---:|" * len(languages)]
    for way, shares in found.items():
        cells = (f"{right:.0%} / {wrong:.0%}" for right, wrong in map(shares.get, languages))
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(about: dict, middle: dict, labels: dict) -> str:
    """The Markdown that is printed and stored."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return f"""# The language of {about["captions"]:,} real captions

{about["date"]}, {about["cpu"]}, one core, Python {about["python"]}; {versions}. Medians of
{about["repeats"]} runs in turn, imports and the model apart.

{speeds(middle, labels)}

pycld2 and CLD3 say und where they call themselves unreliable, laion_dask below its floors,
py3langid alone never. That CLD2 calls nearly all of these captions English says little: crawlers of
LAION-400M kept a caption when CLD2 said so, and these look like such. How far two ways agree on the
captions to which both give a language:

{agreements(agreement(labels))}

Captions of three words in the demo's corpus whose language is known, {PLANTED:,} of them, told
right / told as another language; the rest und:

{recoveries(recovered(labels))}
"""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("captions", help="a Parquet file")
    parser.add_argument("--column", default="TEXT")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--results", default=str(HERE / "results"), help="where to write")
    return parser.parse_args()


def main() -> int:
    """Measure, compare, report."""
    args = arguments()
    say_left_out(*MODULES.values())
    with tempfile.TemporaryDirectory() as scratch:
        middle, labels = measure(args.captions, args.column, args.repeats, Path(scratch))
    known = {d.metadata["Name"] for d in importlib.metadata.distributions()}
    about = {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_model(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES if name in known},
        "captions": len(labels[OURS][0]),
        "repeats": args.repeats,
    }
    text = report(about, middle, labels)
    print(text)
    name = Path(args.results) / "language"
    name.with_suffix(".md").write_text(text)
    told = {"agreement": agreement(labels), "planted": recovered(labels)}
    counts = {way: dict(Counter(codes[0]).most_common(20)) for way, codes in labels.items()}
    stored = {**about, "medians": middle, "counts": counts, **told}
    name.with_suffix(".json").write_text(json.dumps(stored, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
