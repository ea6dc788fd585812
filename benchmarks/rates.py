"""The rates that `laion_dask.plan` counts with, from this folder's results.

    python benchmarks/rates.py

Writes ``laion_dask/planning/rates.json``; a test holds the two together. A rate is that of one
worker, a core: most benchmarks ran with two threads on two cores, so it is half of what was seen.
"""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE.parent / "laion_dask" / "planning" / "rates.json"
#: Bytes of a row of the embeddings that all benchmarks use: 768 numbers of float16.
ROW = 1536

#: What a GPU can do at best, by its maker. bfloat16 without sparsity, which the data sheets state
#: with it, twice as high; the link in one direction, which they state for both.
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
    """Everything that stands in ``rates.json``."""
    carve, heads, embed, verbs = (
        json.loads((HERE / "results" / f"{name}.json").read_text())
        for name in ("carve-32000000", "heads-262144", "embed", "verbs")
    )
    ours = carve["runs"]["laion_dask"]
    streams = carve["medians"]["laion_dask"]["peak_bytes"]
    found = [_rate("where", "carve-32000000", carve, carve["rows"], ours, held=streams)]
    for step, n in verbs["rows"].items():
        mapped = verbs["mapped_bytes"][step]
        # A verb over metadata streams partitions, which a plan adds up by itself.
        held = None if mapped else streams
        queries = {"search": 1, "search_1000": 1000}.get(step)
        found.append(
            _rate(step.removesuffix("_1000"), "verbs", verbs, n, verbs["runs"][step], mapped, held)
        )
        found[-1] |= {"row_bytes": ROW} if mapped else {}
        found[-1] |= {"queries": queries} if queries else {}
    for precision in ("float32", "bfloat16"):
        runs, n = heads["nsfw"]["runs"][f"laion_dask {precision}"], heads["rows"]["nsfw"]
        found.append(_rate(f"nsfw {precision}", "heads-262144", heads, n, runs, n * ROW))
        found[-1] |= {"row_bytes": ROW}
    runs = embed["runs"]["laion_dask"]
    found.append(_rate(f"embed {embed['model']}", "embed", embed, embed["images"], runs))
    return {"rates": [*found, *_other_rates(), *_step_rates(streams)], "gpus": GPUS}


def _other_rates() -> list[dict]:
    """The rates of joins, of languages and of an index, by the benchmarks that compare peers."""
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
    """The rates of single steps, on one core. Over metadata they stream partitions, as a filter."""
    steps = json.loads((HERE / "results" / "steps.json").read_text())
    found = []
    for name, step in steps["steps"].items():
        mapped = steps["mapped_bytes"][name]
        held = None if mapped else streams
        found.append(_rate(name, "steps", steps, step["rows"], step["runs"], mapped, held))
        # Other work on the machine only slows a run down, so the best one counts.
        found[-1]["rows_per_s"] = found[-1]["fastest"]
        found[-1] |= {"row_bytes": ROW} if mapped else {}
    return found


def _rate(
    step: str,
    file: str,
    about: dict,
    rows: int,
    runs: list[dict],
    mapped: int = 0,
    held: float | None = None,
) -> dict:
    """One rate: rows a second of a core, by the median, slowest and fastest run."""
    walls = sorted(run["wall_s"] for run in runs)
    peaks = sorted(run["peak_bytes"] for run in runs)
    cores = about.get("cores", 1)
    on = f"{cores} threads on {cores} cores" if cores > 1 else "one core"
    return {
        "step": step,
        "device": "cpu",
        "rows_per_s": rows / _middle(walls) / cores,
        "slowest": rows / walls[-1] / cores,
        "fastest": rows / walls[0] / cores,
        "process_bytes": int(held or _middle(peaks) - mapped),
        "processor": f"{about['cpu']}, {on}",
        "date": about["date"],
        "source": f"benchmarks/results/{file}.json",
    }


def _middle(values: list[float]) -> float:
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


if __name__ == "__main__":
    TARGET.write_text(json.dumps(rates(), indent=1) + "\n")
    print(f"{TARGET}: {len(rates()['rates'])} rates")
