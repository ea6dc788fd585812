"""Compare several ways to embed the same images.

    python benchmarks/embed.py --images photos/
    python benchmarks/embed.py --images photos/ --model ViT-L-14 --n 20000   # with a GPU

Each contender runs in its own process. Contenders take turns, with a warm page cache; loading is
timed separately, and medians are reported. Weights are random with a fixed seed, so nothing has to
be downloaded. This script imports only the standard library; `carve_data` explains why.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from reporting import CORES, HERE, RESULTS, conditions, setting, target, verdicts, write

OURS, LOOP, AUTOCAST, PEER = (
    "laion_dask",
    "open_clip loop",
    "open_clip loop, autocast",
    "clip-retrieval",
)
PACKAGES = ("torch", "torchvision", "open_clip_torch", "pillow", "dask", "laion_dask")
MEASURES = ("wall_s", "cpu_s", "load_s", "peak_bytes", "gpu_bytes")


def child(python: str, script: str, *arguments: str) -> dict:
    """Run a script of this folder, with two threads on a CPU; return the JSON of its last line."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(CORES))
    environment = {**os.environ, **({} if has_gpu() else threads), "HF_HUB_OFFLINE": "1"}
    completed = subprocess.run(
        [python, str(HERE / script), *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )
    if completed.returncode:
        command = f"{script} {' '.join(arguments)}"
        raise SystemExit(f"{command} failed with exit code {completed.returncode}.")
    return json.loads(completed.stdout.splitlines()[-1])


def has_gpu() -> bool:
    """Whether the driver reports a GPU; does not import torch."""
    return bool(gpu_name())


def gpu_name() -> str:
    """The name of the first GPU, or an empty string."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    names = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return names[0] if names else ""


def measure(
    pythons: dict[str, str], files: dict, args, scratch: Path
) -> tuple[dict[str, list[dict]], list[dict]]:
    """Run the contenders in turn, and the single stages after each turn."""
    runs: dict[str, list[dict]] = {way: [] for way in pythons}
    stages = []
    for repeat in range(1, args.repeats + 1):
        for way, python in pythons.items():
            out = scratch / way
            shutil.rmtree(out, ignore_errors=True)
            inputs = (files["tars"], args.model, files["weights"])
            result = child(python, "embed_ways.py", way, *inputs, str(out))
            runs[way].append(result)
            shown = f"{args.n / result['wall_s']:.1f} images/s"
            print(f"{repeat}/{args.repeats} {way}: {shown}", file=sys.stderr)
        stages.append(child(sys.executable, "embed_data.py", "stages", *inputs))
    return runs, stages


def targets(speed: dict[str, float], cosine: dict[str, float], stages: dict) -> list[dict]:
    """The targets, with the values reached."""
    ours = speed[OURS]
    forward = next(v for k, v in stages.items() if k.startswith("forward, laion_dask"))
    exact = target("cosine to float32 at least 0.9999", cosine[OURS], at_least=0.9999)
    if has_gpu():
        return [
            target("0.6 of the rate of the forward pass alone", ours / forward, at_least=0.6),
            exact,
        ]
    return [
        target("3.2 x open_clip's loop", ours / speed[LOOP], at_least=3.2),
        target("1.15 x the same loop under autocast", ours / speed[AUTOCAST], at_least=1.15),
        target("0.95 of the rate of the forward pass alone", ours / forward, at_least=0.95),
        exact,
    ]


def table(median: dict[str, dict], speed: dict[str, float], cosine: dict[str, float]) -> str:
    """A Markdown table, one row per contender."""
    lines = [
        "| contender | images/s | x loop | CPU s | peak MB | GPU MB | cosine to the loop | load s |"
    ]
    lines.append("|---|" + "---:|" * 7)
    for way, values in median.items():
        name = f"**{way}**" if way == OURS else way
        cells = [name, f"{speed[way]:.1f}", f"{speed[way] / speed[LOOP]:.2f}"]
        cells += [f"{values['cpu_s']:.1f}", f"{values['peak_bytes'] / 1e6:.0f}"]
        cells += [f"{values['gpu_bytes'] / 1e6:.0f}", f"{cosine[way]:.6f}"]
        lines.append(f"| {' | '.join(cells)} | {values['load_s']:.1f} |")
    return "\n".join(lines)


def report(about: dict, rows: str, stages: dict, reached: list[dict]) -> str:
    """The Markdown report."""
    lines = [
        f"# Embed {about['images']:,} images with {about['model']}",
        "",
        f"{setting(about)} Medians of {about['repeats']} runs; contenders take turns, loading "
        "excluded; random weights.",
        "",
        rows,
        "",
        "| single stage | images/s |",
        "|---|---:|",
        *(f"| {name} | {value:,.0f} |" for name, value in stages.items()),
        "",
    ]
    lines.append(verdicts(reached))
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", required=True, help="folder with tars of photographs")
    parser.add_argument(
        "--n", type=int, default=1024, help="number of images; the given ones are repeated"
    )
    parser.add_argument("--model", default="ViT-B-32", help="model name in open_clip")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--clip-retrieval", metavar="PYTHON", help="interpreter that has it installed"
    )
    parser.add_argument("--data", default=".bench", help="folder for tars and weights")
    parser.add_argument("--results", default=RESULTS, help="folder for the results")
    return parser.parse_args()


def main() -> int:
    """Measure, compare, report."""
    args = arguments()
    ways = {LOOP: sys.executable, AUTOCAST: sys.executable}
    if args.clip_retrieval:
        ways[PEER] = args.clip_retrieval
    ways[OURS] = sys.executable
    inputs = (args.data, args.images, args.model, str(args.n))
    files = child(sys.executable, "embed_data.py", "prepare", *inputs)
    with tempfile.TemporaryDirectory(dir=args.data) as scratch:
        runs, of_stages = measure(ways, files, args, Path(scratch))
        outs = [str(Path(scratch) / way) for way in (LOOP, *ways)]
        cosine = child(sys.executable, "embed_data.py", "compare", *outs)
    stages = {name: statistics.median(one[name] for one in of_stages) for name in of_stages[0]}
    median = {
        way: {key: statistics.median(run[key] for run in results) for key in MEASURES}
        for way, results in runs.items()
    }
    speed = {way: args.n / values["wall_s"] for way, values in median.items()}
    reached = targets(speed, cosine, stages)
    cores = (os.cpu_count() if has_gpu() else None) or CORES
    parameters = {"model": args.model, "images": args.n, "repeats": args.repeats}
    about = conditions(PACKAGES, cores=cores, gpu=gpu_name() or None, **parameters)
    name = "embed" if args.model == "ViT-B-32" else f"embed-{args.model}"
    text = report(about, table(median, speed, cosine), stages, reached)
    stored = {**about, "medians": median, "cosine": cosine, "stages": stages, "targets": reached}
    write(args.results, f"{name}-gpu" if has_gpu() else name, text, {**stored, "runs": runs})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
