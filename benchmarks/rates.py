"""Collect the rates that `laion_dask.plan` uses from the results in this folder.

    python benchmarks/rates.py

Writes ``laion_dask/planning/rates.json``; a test keeps the two consistent. A rate applies to one
worker on one core. Most benchmarks ran with two threads on two cores, so their rates are halved.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE.parent / "laion_dask" / "planning" / "rates.json"
#: Bytes per row of the embeddings in all benchmarks: 768 float16 numbers.
ROW = 1536

#: Peak rates of GPUs, from the manufacturer. bfloat16 is without sparsity (the data sheets list
#: twice that, with sparsity); the link is one direction (the data sheets list the sum of both).
GPUS = [
    {
        "name": "NVIDIA H200",
        "memory_bytes_per_s": 4.8e12,
        "bfloat16_flop_per_s": 989e12,
        "link_bytes_per_s": 64e9,
        "memory_bytes": 141e9,
        "source": "NVIDIA H200 Tensor Core GPU data sheet (SXM): 4.8 TB/s, 1,979 TFLOP/s bfloat16 "
        "with sparsity, PCIe 5.0 x16 128 GB/s both ways",
    },
    {
        "name": "NVIDIA H100 80GB",
        "memory_bytes_per_s": 3.35e12,
        "bfloat16_flop_per_s": 989e12,
        "link_bytes_per_s": 64e9,
        "memory_bytes": 80e9,
        "source": "NVIDIA H100 Tensor Core GPU data sheet (SXM): 3.35 TB/s, 1,979 TFLOP/s bfloat16 "
        "with sparsity, PCIe 5.0 x16 128 GB/s both ways",
    },
    {
        "name": "NVIDIA A100-SXM4-80GB",
        "memory_bytes_per_s": 2.039e12,
        "bfloat16_flop_per_s": 312e12,
        "link_bytes_per_s": 32e9,
        "memory_bytes": 80e9,
        "source": "NVIDIA A100 80GB data sheet (SXM): 2,039 GB/s, 312 TFLOP/s bfloat16, PCIe 4.0 "
        "x16 64 GB/s both ways",
    },
]


def rates() -> dict:
    """The contents of ``rates.json``."""
    carve, heads, embed, verbs = (
        json.loads((HERE / "results" / f"{name}.json").read_text())
        for name in ("carve-32000000", "heads-262144", "embed", "verbs")
    )
    ours = carve["runs"]["laion_dask"]
    streams = carve["medians"]["laion_dask"]["peak_bytes"]
    collected = [_rate("where", "carve-32000000", carve, carve["rows"], ours, held=streams)]
    for step, n in verbs["rows"].items():
        mapped = verbs["mapped_bytes"][step]
        # A verb over metadata streams partitions, whose memory the plan adds itself.
        held = None if mapped else streams
        queries = {"search": 1, "search_1000": 1000}.get(step)
        collected.append(
            _rate(step.removesuffix("_1000"), "verbs", verbs, n, verbs["runs"][step], mapped, held)
        )
        collected[-1] |= {"row_bytes": ROW} if mapped else {}
        collected[-1] |= {"queries": queries} if queries else {}
    for precision in ("float32", "bfloat16"):
        runs, n = heads["nsfw"]["runs"][f"laion_dask {precision}"], heads["rows"]["nsfw"]
        collected.append(_rate(f"nsfw {precision}", "heads-262144", heads, n, runs, n * ROW))
        collected[-1] |= {"row_bytes": ROW}
    runs = embed["runs"]["laion_dask"]
    collected.append(_rate(f"embed {embed['model']}", "embed", embed, embed["images"], runs))
    collected += [*_other_rates(), *_step_rates(streams), *_cluster_rates()]
    return {"rates": collected, "gpus": GPUS}


def _other_rates() -> list[dict]:
    """Rates of joins, language detection and index builds, from the benchmarks with peers."""
    small, large, index, language = (
        json.loads((HERE / "results" / f"{name}.json").read_text())
        for name in ("join-4000000", "join-16000000", "index", "language")
    )
    small_runs, large_runs = small["runs"]["laion_dask"], large["runs"]["laion_dask"]
    build, own = index["runs"]["build"], language["medians"]["laion_dask"]
    n, captions = index["rows"], language["captions"]
    return [
        _rate("join", "join-4000000", small, small["rows"], small_runs),
        _rate("join on disk", "join-16000000", large, large["rows"], large_runs),
        _rate("build_index", "index", index, n, [build], n * ROW) | {"row_bytes": ROW},
        _rate("language", "language", language, captions, [own]),
    ]


def _step_rates(streams: float) -> list[dict]:
    """Rates of single steps on one core. Over metadata they stream partitions, like a filter."""
    steps = json.loads((HERE / "results" / "steps.json").read_text())
    collected = []
    for name, step in steps["steps"].items():
        mapped = steps["mapped_bytes"][name]
        held = None if mapped else streams
        collected.append(_rate(name, "steps", steps, step["rows"], step["runs"], mapped, held))
        # Other load on the machine only slows a run down, so use the fastest one.
        collected[-1]["rows_per_s"] = collected[-1]["fastest"]
        collected[-1] |= {"row_bytes": ROW} if mapped else {}
    return collected


def _cluster_rates() -> list[dict]:
    """Rates of the parts of clustering, whose units are not rows; see `curation.clusters.work`."""
    about = json.loads((HERE / "results" / "clusters.json").read_text())
    return [
        {
            "step": name,
            "device": "cpu",
            "rows_per_s": median,
            "slowest": slowest,
            "fastest": fastest,
            "process_bytes": about["peak_bytes"],
            "processor": f"{about['cpu']}, one core",
            "date": about["date"],
            "source": "benchmarks/results/clusters.json",
        }
        for name, (slowest, median, fastest) in about["units_per_s"].items()
    ]


def _rate(
    step: str,
    file: str,
    about: dict,
    rows: int,
    runs: list[dict],
    mapped: int = 0,
    held: float | None = None,
) -> dict:
    """One rate: rows per second per core, of the median, slowest and fastest run."""
    walls = sorted(run["wall_s"] for run in runs)
    peaks = sorted(run["peak_bytes"] for run in runs)
    cores = about.get("cores", 1)
    on = f"{cores} threads on {cores} cores" if cores > 1 else "one core"
    return {
        "step": step,
        "device": "cpu",
        "rows_per_s": rows / statistics.median(walls) / cores,
        "slowest": rows / walls[-1] / cores,
        "fastest": rows / walls[0] / cores,
        "process_bytes": int(held or statistics.median(peaks) - mapped),
        "processor": f"{about['cpu']}, {on}",
        "date": about["date"],
        "source": f"benchmarks/results/{file}.json",
    }


if __name__ == "__main__":
    TARGET.write_text(json.dumps(rates(), indent=1) + "\n")
    print(f"{TARGET}: {len(rates()['rates'])} rates")
