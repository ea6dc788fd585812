"""Score embeddings with the NSFW network and a linear head on a card.

    LAION_DASK_WEIGHTS=folder python benchmarks/gpu/heads.py
    python benchmarks/gpu/heads.py --rows 4000000 --file-rows 1000000

From the card's own memory: the heads, and torch as one would write it. And from the page cache:
`df.laion.score` on a frame, and torch over the same files. Without the published weights, random
ones of the same sizes, and no look-ups.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import card
import ceilings
import cpu_path
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

#: Files that the rows lie in.
FILES = 8
READ, LINEAR_HALF = "read only", "torch float16 product"
TORCH_FULL, TORCH_NARROW = "torch float32", "torch, autocast to bfloat16"
FULL, NARROW = f"{OURS} float32", f"{OURS} bfloat16"
BY_FILE, VERB, CPU = "torch, file to card", f"{OURS}, df.laion.score", f"{OURS}, no card"
#: How far our scores may be from torch's: in float32, but those of files, where both are narrow.
ALLOWED = {OURS: 1e-5, FULL: 1e-5, NARROW: 0.01, VERB: 0.03}


def linear_ways(x, folder: Path) -> dict[str, Callable[[], object]]:
    """A linear head over rows in the device's memory; the half product takes them for unit ones."""
    import torch

    weight, bias, plain = affine(folder, x.device)
    half, head = weight.half(), linear_head(folder)
    return {
        TORCH_FULL: lambda: in_blocks(plain, x),
        LINEAR_HALF: lambda: torch.mv(x, half).float() + bias,
        # Every byte once, as numbers of four bytes, which mean nothing.
        READ: lambda: x.view(torch.int32).amax(),
        OURS: lambda: head.on_device(x),
    }


def nsfw_ways(x) -> dict[str, Callable[[], object]]:
    """The network over rows in the device's memory."""
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
        found = frame.laion.score(emb, *heads)[[head.name for head in heads]].compute()
        return np.stack([found[head.name].to_numpy() for head in heads], axis=1)

    return run


def by_file(folder: Path, device) -> Callable[[], object]:
    """Both heads by torch: block after block of the files to the card; (n, 2)."""
    import torch

    files, plain, linear = vectors.mapped(folder), sequential(device), affine(folder, device)[2]

    def run():
        found = []
        with torch.inference_mode():
            for rows in files:
                for at in range(0, len(rows), BLOCK):
                    x = torch.from_numpy(rows[at : at + BLOCK]).to(device)
                    with torch.autocast(torch.device(device).type, torch.bfloat16):
                        first = plain(x).float()
                    found.append(torch.stack([first, linear(x)], dim=1))
            return torch.cat(found).cpu().numpy()

    return run


def cpu_ways(folder: Path) -> dict[str, Callable[[], object]]:
    """For `cpu_path`."""
    return {"score": verb(folder)}


def apart(runs: dict[str, Runs], reference: str) -> dict[str, float]:
    """How far each way's scores are from the reference's at most; inf where one has a NaN."""
    if reference not in runs or runs[reference].error:
        return {}
    true = runs[reference].result
    return {
        name: _apart(each.result, true)
        for name, each in runs.items()
        if each.result is not None and name not in (READ, reference)
    }


def _apart(found, true) -> float:
    worst = float(abs(found - true).max())
    return math.inf if math.isnan(worst) else worst


def wrong(found: dict[str, float]) -> list[str]:
    """Our ways that are too far from the reference."""
    return [
        f"{name} differs by {value:.1e}, over {ALLOWED[name]:.0e}"
        for name, value in found.items()
        if name in ALLOWED and not value <= ALLOWED[name]
    ]


def lines(
    runs: dict[str, Runs],
    rows: int,
    rate: float,
    arithmetic: tuple[int, float] | None,
    found: dict[str, float],
) -> list[list[str]]:
    """A line of a table for each way: rates, shares of the ceilings, difference.

    Parameters
    ----------
    rate : float
        Bytes a second at most.
    arithmetic : (int, float), optional
        Operations a row takes, and how many a second there can be at most.
    """
    made = []
    for name, each in runs.items():
        cells = [
            name,
            number(rows / each.median / 1e6, 1),
            number(each.median * 1e3, 2),
            share(rows * DIM * 2 / each.median, rate),
        ]
        if arithmetic:
            cells.append(share(rows * arithmetic[0] / each.median, arithmetic[1]))
        made.append([*cells, f"{found[name]:.0e}" if name in found else ""])
    return made


def measure(folder: Path, rows: int, file_rows: int, repeats: int, device: str) -> dict:
    """The runs of the three parts."""
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
    found = cpu_path.measured("heads", folder)
    cached[CPU] = Runs(error=found) if isinstance(found, str) else Runs(found["score"])
    return {"linear": linear, "nsfw": nsfw, "cached": cached}


def targets(found: dict, rows: int, copy: float) -> list[dict]:
    """What was asked, what was reached."""
    linear, nsfw = found["linear"][OURS].median, found["nsfw"][NARROW].median
    cached = found["cached"]
    return [
        target(
            "linear head, from the card's memory: share of the copy rate, 0.7 or more",
            rows * DIM * 2 / linear / copy,
            at_least=0.7,
        ),
        target(
            "NSFW network in bf16, from the card's memory: G rows/s, 0.8 or more",
            rows / nsfw / 1e9,
            at_least=0.8,
        ),
        target(
            f"both, from the page cache: not slower than {CPU}",
            ratio(cached[VERB].median, cached[CPU].median),
            at_most=1.0,
        ),
    ]


def report(found: dict, rows: int, file_rows: int, made: ceilings.Ceilings) -> Report:
    """The tables, the targets and what differs."""
    apart_linear = apart(found["linear"], TORCH_FULL)
    apart_nsfw = apart(found["nsfw"], TORCH_FULL)
    cached = apart(found["cached"], BY_FILE)
    too_far = [*wrong(apart_linear), *wrong(apart_nsfw), *wrong(cached)]
    head = ["way", "M rows/s", "ms", "of copy rate", "differs by"]
    wide = [*head[:4], "of bf16 product", head[4]]
    sizes = (DIM, *(len(bias) for _, bias in network().layers))
    arithmetic = flops(sizes), made.matmul
    weights = "published, look-ups in every way" if is_published() else "random, without look-ups"
    head_cached = [*head[:3], "of the rate to the card", head[4]]
    tables = {
        f"Linear head, {rows:,} rows in the card's memory": table(
            head, lines(found["linear"], rows, made.copy, None, apart_linear)
        ),
        f"NSFW network, {rows:,} rows in the card's memory": table(
            wide, lines(found["nsfw"], rows, made.copy, arithmetic, apart_nsfw)
        ),
        f"Both, {file_rows:,} rows in files in the page cache": table(
            head_cached, lines(found["cached"], file_rows, made.to_card, None, cached)
        ),
    }
    return Report(
        name="heads",
        title="Heads over embeddings on a card",
        about=card.about(),
        ceilings=made,
        tables=tables,
        targets=targets(found, rows, made.copy),
        notes=[
            f"Rows are {DIM} numbers of float16. The network's weights are {weights}; "
            f"{'-'.join(map(str, sizes))}, {flops(sizes):,} operations a row. The linear head's "
            "are random.",
            *(f"WRONG: {each}." for each in too_far),
        ],
        runs={f"{each}: {part}": r for part, runs in found.items() for each, r in runs.items()},
        figures={"rows": rows, "file_rows": file_rows, "published": is_published()},
        wrong=bool(too_far),
    )


def main() -> int:
    """Measure, compare, report; 1 where scores differ."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=8_000_000, help="in the card's memory")
    parser.add_argument("--file-rows", type=int, default=4_000_000)
    args = parser.parse_args()
    card.require()
    made = ceilings.measure("cuda")
    with scratch(args.data, args.file_rows * DIM * 2) as folder:
        found = measure(Path(folder), args.rows, args.file_rows, args.repeats, "cuda")
    return report(found, args.rows, args.file_rows, made).write(args.results)


if __name__ == "__main__":
    raise SystemExit(main())
