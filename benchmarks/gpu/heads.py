"""Score embeddings with the NSFW network and a linear head on a GPU.

    LAION_DASK_WEIGHTS=folder python benchmarks/gpu/heads.py
    python benchmarks/gpu/heads.py --rows 4000000 --file-rows 1000000

From GPU memory: the heads, and straightforward torch code. From the page cache: `df.laion.score` on
a frame, and torch over the same files. Without the published weights, the network has random
weights of the same sizes and no look-ups.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import ceilings
import cpu_path
import environment
import vectors
from heads_data import (
    BLOCK,
    Rows,
    affine,
    flops,
    in_blocks,
    is_published,
    linear_head,
    network,
    nsfw_head,
    sequential,
    write_linear,
)
from report import OURS, Report, arguments, number, ratio, scratch, share, table, target
from timing import Runs, in_turn
from vectors import DIM

#: Number of files that hold the rows.
FILES = 8
READ, LINEAR_HALF = "read only", "torch float16 product"
TORCH_FULL, TORCH_NARROW = "torch float32", "torch, autocast to bfloat16"
FULL, NARROW = f"{OURS} float32", f"{OURS} bfloat16"
BY_FILE, VERB, CPU = "torch, file to GPU", f"{OURS}, df.laion.score", f"{OURS}, no GPU"
#: Largest allowed difference from torch in float32; for files, from torch in bfloat16.
ALLOWED = {OURS: 1e-5, FULL: 1e-5, NARROW: 0.01, VERB: 0.03}


def linear_ways(x, folder: Path) -> dict[str, Callable[[], object]]:
    """A linear head over rows in device memory; the float16 product assumes unit rows."""
    import torch

    weight, bias, plain = affine(folder, x.device)
    half, head = weight.half(), linear_head(folder)
    return {
        TORCH_FULL: lambda: in_blocks(plain, x),
        LINEAR_HALF: lambda: torch.mv(x, half).float() + bias,
        # Reads every byte once, reinterpreted as int32.
        READ: lambda: x.view(torch.int32).amax(),
        OURS: lambda: head.on_device(x),
    }


def nsfw_ways(x) -> dict[str, Callable[[], object]]:
    """The network over rows in device memory."""
    import torch

    plain, full, narrow = sequential(x.device), nsfw_head("float32"), nsfw_head("bfloat16")

    def autocast():
        with torch.autocast(x.device.type, torch.bfloat16):
            return in_blocks(plain, x)

    return {
        TORCH_FULL: lambda: in_blocks(plain, x),
        TORCH_NARROW: autocast,
        FULL: lambda: full.on_device(x),
        NARROW: lambda: narrow.on_device(x),
    }


def verb(folder: Path) -> Callable[[], object]:
    """Both heads by ``df.laion.score``, the network in bfloat16; (n, 2)."""
    import numpy as np

    import laion_dask as ld

    frame = ld.read_shards(folder / "metadata")
    emb = ld.open_embeddings(folder / "img_emb", model=ld.ClipModel("ViT-L-14", "openai"))
    heads = nsfw_head("bfloat16"), linear_head(folder)

    def run():
        scores = frame.laion.score(emb, *heads)[[head.name for head in heads]].compute()
        return np.stack([scores[head.name].to_numpy() for head in heads], axis=1)

    return run


def by_file(folder: Path, device) -> Callable[[], object]:
    """Both heads by torch, which copies the files to the GPU block by block; (n, 2)."""
    import torch

    files, plain, linear = vectors.mapped(folder), sequential(device), affine(folder, device)[2]

    def run():
        blocks = []
        with torch.inference_mode():
            for rows in files:
                for at in range(0, len(rows), BLOCK):
                    x = torch.from_numpy(rows[at : at + BLOCK]).to(device)
                    with torch.autocast(torch.device(device).type, torch.bfloat16):
                        first = plain(x).float()
                    blocks.append(torch.stack([first, linear(x)], dim=1))
            return torch.cat(blocks).cpu().numpy()

    return run


def cpu_ways(folder: Path) -> dict[str, Callable[[], object]]:
    """Contenders that `cpu_path` runs."""
    return {"score": verb(folder)}


def differences(runs: dict[str, Runs], reference: str) -> dict[str, float]:
    """The largest difference of each contender from the reference; inf if there is a NaN."""
    if reference not in runs or runs[reference].error:
        return {}
    true = runs[reference].result
    return {
        name: _largest_difference(each.result, true)
        for name, each in runs.items()
        if each.result is not None and name not in (READ, reference)
    }


def _largest_difference(scores, true) -> float:
    worst = float(abs(scores - true).max())
    return math.inf if math.isnan(worst) else worst


def too_different(differs: dict[str, float]) -> list[str]:
    """Our contenders that differ too much from the reference, as messages."""
    return [
        f"{name} differs by {value:.1e}, more than {ALLOWED[name]:.0e}"
        for name, value in differs.items()
        if name in ALLOWED and not value <= ALLOWED[name]
    ]


def lines(
    runs: dict[str, Runs],
    rows: int,
    rate: float,
    arithmetic: tuple[int, float] | None,
    differs: dict[str, float],
) -> list[list[str]]:
    """One table row per contender: rates, shares of the peak rates, difference.

    Parameters
    ----------
    rate : float
        Peak bytes per second.
    arithmetic : (int, float), optional
        Operations per row, and peak operations per second.
    """
    rows_ = []
    for name, each in runs.items():
        cells = [
            name,
            number(rows / each.median / 1e6, 1),
            number(each.median * 1e3, 2),
            share(rows * DIM * 2 / each.median, rate),
        ]
        if arithmetic:
            cells.append(share(rows * arithmetic[0] / each.median, arithmetic[1]))
        rows_.append([*cells, f"{differs[name]:.0e}" if name in differs else ""])
    return rows_


def measure(folder: Path, rows: int, file_rows: int, repeats: int, device: str) -> dict:
    """The runs of the three parts: linear, network, page cache."""
    write_linear(folder)
    draw = Rows(device)
    sizes = [file_rows * (i + 1) // FILES - file_rows * i // FILES for i in range(FILES)]
    vectors.write_shards(folder, sizes, draw)
    x = vectors.fill(draw, rows, device)
    linear = in_turn(linear_ways(x, folder), device, repeats=repeats)
    nsfw = in_turn(nsfw_ways(x), device, repeats=repeats)
    del x
    ways = {BY_FILE: by_file(folder, device), VERB: verb(folder)}
    cached = in_turn(ways, device, repeats=repeats)
    cpu = cpu_path.measured("heads", folder)
    cached[CPU] = Runs(error=cpu) if isinstance(cpu, str) else Runs(cpu["score"])
    return {"linear": linear, "nsfw": nsfw, "cached": cached}


def targets(parts: dict, rows: int, copy: float) -> list[dict]:
    """The targets, with the values reached."""
    linear, nsfw = parts["linear"][OURS].median, parts["nsfw"][NARROW].median
    cached = parts["cached"]
    return [
        target(
            "linear head, from GPU memory: at least 0.7 of the copy rate",
            rows * DIM * 2 / linear / copy,
            at_least=0.7,
        ),
        target(
            "NSFW network in bf16, from GPU memory: at least 0.8 G rows/s",
            rows / nsfw / 1e9,
            at_least=0.8,
        ),
        target(
            f"both, from the page cache: not slower than {CPU}",
            ratio(cached[VERB].median, cached[CPU].median),
            at_most=1.0,
        ),
    ]


def report(parts: dict, rows: int, file_rows: int, peak: ceilings.Ceilings) -> Report:
    """The tables, the targets and any differences."""
    linear_differs = differences(parts["linear"], TORCH_FULL)
    nsfw_differs = differences(parts["nsfw"], TORCH_FULL)
    cached = differences(parts["cached"], BY_FILE)
    too_far = [*too_different(linear_differs), *too_different(nsfw_differs), *too_different(cached)]
    head = ["contender", "M rows/s", "ms", "of copy rate", "differs by"]
    wide = [*head[:4], "of bf16 product", head[4]]
    sizes = (DIM, *(len(bias) for _, bias in network().layers))
    arithmetic = flops(sizes), peak.matmul
    weights = (
        "published, with look-ups in every contender"
        if is_published()
        else "random, without look-ups"
    )
    head_cached = [*head[:3], "of the rate to the GPU", head[4]]
    tables = {
        f"Linear head, {rows:,} rows in GPU memory": table(
            head, lines(parts["linear"], rows, peak.copy, None, linear_differs)
        ),
        f"NSFW network, {rows:,} rows in GPU memory": table(
            wide, lines(parts["nsfw"], rows, peak.copy, arithmetic, nsfw_differs)
        ),
        f"Both, {file_rows:,} rows in files in the page cache": table(
            head_cached, lines(parts["cached"], file_rows, peak.to_gpu, None, cached)
        ),
    }
    return Report(
        name="heads",
        title="Heads over embeddings on a GPU",
        about=environment.about(),
        ceilings=peak,
        tables=tables,
        targets=targets(parts, rows, peak.copy),
        notes=[
            f"Rows are {DIM} float16 numbers. The network's weights are {weights}; "
            f"{'-'.join(map(str, sizes))}, {flops(sizes):,} operations per row. The linear "
            "head's weights are random.",
            *(f"WRONG: {each}." for each in too_far),
        ],
        runs={f"{each}: {part}": r for part, runs in parts.items() for each, r in runs.items()},
        figures={"rows": rows, "file_rows": file_rows, "published": is_published()},
        wrong=bool(too_far),
    )


def main() -> int:
    """Measure, compare, report; return 1 if scores differ."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=8_000_000, help="rows in GPU memory")
    parser.add_argument("--file-rows", type=int, default=4_000_000)
    args = parser.parse_args()
    environment.require()
    peak = ceilings.measure("cuda")
    with scratch(args.data, args.file_rows * DIM * 2) as folder:
        parts = measure(Path(folder), args.rows, args.file_rows, args.repeats, "cuda")
    return report(parts, args.rows, args.file_rows, peak).write(args.results)


if __name__ == "__main__":
    raise SystemExit(main())
