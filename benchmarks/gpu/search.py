"""Exact search on a GPU: the 100 nearest, for 1, 1,000 and 10,000 queries.

    python benchmarks/gpu/search.py
    python benchmarks/gpu/search.py --rows 4000000

`df.laion.search` on a frame of many shards: the first search, which is discarded, copies the
embeddings to the GPU; the measured ones find them there. The peer is torch over the same rows in
GPU memory: a matrix product and topk, block by block. A few queries are checked against float64.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import ceilings
import cpu_path
import environment
import vectors
from report import OURS, Report, arguments, number, ratio, room, scratch, share, table, target
from timing import Runs, in_turn
from vectors import DIM

K, MANY, FEW = 100, 10_000, 1000
SHARD = 1_000_000
#: Default limits: the number of rows, and their share of GPU memory.
MOST, GPU_SHARE = 16_000_000, 0.3
#: Rows and queries per block for torch, and the number of queries checked.
BLOCK, QUERY_BATCH, CHECKED = 1 << 20, 1000, 16
#: A row is wrong if its cosine is below that of the last true neighbor by more than this.
NEAR = 1e-6
VERB, HALF, NARROW = f"{OURS}, df.laion.search", "torch float16, topk", "torch bfloat16, topk"
READ, CPU = "read only", f"{OURS}, no GPU"
ONE, ALL, FIRST = "1 query, all rows", f"{MANY:,} queries, all rows", f"{FEW:,} queries, 1st shard"


def rows_that_fit(gpu_bytes: int, file_bytes: int, host_bytes: int) -> int:
    """Rows in whole shards that fit on the GPU, in files, and in 0.3 of host memory."""
    fits = min(gpu_bytes * GPU_SHARE, file_bytes, host_bytes * 0.3)
    return max(SHARD, min(MOST, int(fits // (DIM * 2)) // SHARD * SHARD))


def rows_here(data: str | None) -> int:
    """`rows_that_fit` for this machine."""
    import torch

    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return rows_that_fit(torch.cuda.mem_get_info()[0], room(data), host)


def prepare(folder: Path, rows: int, shard: int, device):
    """Write all shards, ``queries.npy``, and links to the first shard in ``first``."""
    import numpy as np

    draw = vectors.Clustered(device)
    sizes = [min(shard, rows - at) for at in range(0, rows, shard)]
    vectors.write_shards(folder, sizes, draw)
    np.save(folder / "queries.npy", draw(MANY).float().cpu().numpy())
    for kind in ("img_emb", "metadata"):
        path = sorted((folder / kind).iterdir())[0]
        link = folder / "first" / kind / path.name
        link.parent.mkdir(parents=True)
        os.link(path, link)


def verb(folder: Path, queries) -> Callable[[], object]:
    """``df.laion.search``; row numbers over all shards, (m, K)."""
    import numpy as np

    import laion_dask as ld

    frame = ld.read_shards(folder / "metadata")
    emb = ld.open_embeddings(folder / "img_emb", model="ViT-L-14", like=frame)
    starts = np.cumsum([0, *(file.n_rows for file in emb.files)])

    def run():
        hits = frame.laion.search(emb, queries, K, columns=[])
        rows = starts[hits["shard"].to_numpy()] + hits["row"].to_numpy()
        return rows.reshape(len(queries), -1)

    return run


def by_torch(x, queries, dtype) -> Callable[[], object]:
    """A product and topk, block by block, in the given dtype; row numbers, (m, K)."""
    import torch

    on_device = torch.from_numpy(queries).to(x.device)

    def nearest(batch):
        best = None
        for at in range(0, len(x), BLOCK):
            scores = batch @ x[at : at + BLOCK].to(dtype).T
            cosines, rows = scores.topk(min(K, scores.shape[1]), dim=1)
            block_best = cosines, rows + at
            if best is not None:
                both = [torch.cat(pair, dim=1) for pair in zip(best, block_best, strict=True)]
                cosines, order = both[0].topk(min(K, both[0].shape[1]), dim=1)
                block_best = cosines, both[1].gather(1, order)
            best = block_best
        return best[1]

    def run():
        with torch.inference_mode():
            batches = vectors.unit(on_device).to(dtype).split(QUERY_BATCH)
            return torch.cat([nearest(batch) for batch in batches]).cpu().numpy()

    return run


def reading(x) -> Callable[[], object]:
    """Read every byte of the rows once, reinterpreted as int32."""
    import torch

    return lambda: x.view(torch.int32).amax()


def cpu_ways(folder: Path) -> dict[str, Callable[[], object]]:
    """Contenders that `cpu_path` runs, on the first shard only, which fits in the page cache."""
    import numpy as np

    queries = np.load(folder / "queries.npy")
    return {
        ONE: verb(folder / "first", queries[:1]),
        FIRST: verb(folder / "first", queries[:FEW]),
    }


def true_cosines(x, queries, returned):
    """In float64: the K-th best cosine per query, (m,), and the cosines of ``returned``, (m, n)."""
    import torch

    units = vectors.unit(torch.as_tensor(queries, device=x.device).double())
    best = torch.full((len(units), 0), 0.0, device=x.device, dtype=torch.float64)
    for at in range(0, len(x), vectors.BLOCK):
        cosines = units @ vectors.unit(x[at : at + vectors.BLOCK].double()).T
        best = torch.cat([best, cosines], dim=1)
        best = best.topk(min(K, best.shape[1]), dim=1).values
    rows = vectors.unit(x[torch.as_tensor(returned, device=x.device).reshape(-1)].double())
    mine = torch.einsum("mkd,md->mk", rows.view(*returned.shape, -1), units)
    return best[:, -1].cpu().numpy(), mine.cpu().numpy()


def wrong_rows(x, queries, returned) -> int:
    """Number of returned rows that are not nearest neighbors, for the first `CHECKED` queries.

    Ties within `NEAR` are accepted. Duplicate and missing rows count as wrong.
    """
    import numpy as np

    returned = np.asarray(returned)[:CHECKED]
    last, mine = true_cosines(x, queries[:CHECKED], returned)
    below = (mine < last[:, None] - NEAR).sum()
    missing = sum(min(K, len(x)) - len(np.unique(rows)) for rows in returned)
    return int(below + missing)


def measure(folder: Path, rows: int, shard: int, repeats: int, device: str) -> dict:
    """The runs of each task, and the wrong rows of each contender."""
    import numpy as np
    import torch

    prepare(folder, rows, shard, device)
    queries, parts = np.load(folder / "queries.npy"), vectors.mapped(folder)
    x = torch.empty((rows, DIM), dtype=torch.float16, device=device)
    for number_, part in enumerate(parts):
        x[number_ * shard : number_ * shard + len(part)].copy_(torch.from_numpy(part))
    first = x[: len(parts[0])]
    tasks = {
        ONE: (folder, x, queries[:1]),
        ALL: (folder, x, queries),
        FIRST: (folder / "first", first, queries[:FEW]),
    }
    runs, wrong = {}, {}
    for what, (source, vectors_, batch) in tasks.items():
        ways = {
            HALF: by_torch(vectors_, batch, torch.float16),
            NARROW: by_torch(vectors_, batch, torch.bfloat16),
            VERB: verb(source, batch),
        }
        if len(batch) == 1:
            ways[READ] = reading(vectors_)
        runs[what] = in_turn(ways, device, repeats=min(repeats, 3) if what == ALL else repeats)
        wrong[what] = {
            name: wrong_rows(vectors_, batch, each.result)
            for name, each in runs[what].items()
            if each.result is not None and name != READ
        }
    del x, first, tasks, vectors_, ways
    return {"runs": runs, "wrong": wrong, "cpu": cpu_path.measured("search", folder)}


def limits(rows: int, m: int, peak: ceilings.Ceilings) -> tuple[float, float]:
    """Lower bounds in seconds: the rows at the copy rate, and the product at its peak rate."""
    return rows * DIM * 2 / peak.copy, 2 * rows * m * DIM / peak.matmul


def lines(runs: dict[str, Runs], rows: int, m: int, wrong: dict, peak) -> list[list[str]]:
    """One table row per contender."""
    read, multiply = limits(rows, m, peak)
    checked = K * min(m, CHECKED)
    return [
        [
            name,
            number(each.median * 1e3, 2),
            number(each.first * 1e3, 1),
            number(m / each.median, 1),
            share(read, each.median),
            share(multiply, each.median),
            f"{wrong[name]:,} of {checked:,}" if name in wrong else "",
        ]
        for name, each in runs.items()
    ]


def targets(results: dict, rows: int, shard: int, peak: ceilings.Ceilings) -> list[dict]:
    """The targets, with the values reached."""
    runs, cpu = results["runs"], results["cpu"]
    one, thousand = runs[ONE][VERB].median, runs[FIRST][VERB].median
    slow = Runs() if isinstance(cpu, str) else Runs(cpu[FIRST])
    wrong = [each.get(VERB) for each in results["wrong"].values()]
    return [
        target(
            "no wrong row",
            float("nan") if None in wrong else sum(wrong),
            at_most=0,
        ),
        target(
            "one query: at least 0.7 of the copy rate",
            limits(rows, 1, peak)[0] / one,
            at_least=0.7,
        ),
        target(
            f"{FEW:,} queries over {shard:,} rows: at most 3 x the bf16 product's time",
            thousand / limits(shard, FEW, peak)[1],
            at_most=3.0,
        ),
        target(
            f"{FEW:,} queries over {shard:,} rows: not slower than {CPU}",
            ratio(thousand, slow.median),
            at_most=1.0,
        ),
    ]


def report(results: dict, rows: int, shard: int, peak: ceilings.Ceilings) -> Report:
    """The tables, the targets and the wrong rows."""
    head = ["contender", "ms", "first, ms", "queries/s", "of copy rate", "of bf16 product", "wrong"]
    sizes = {ONE: (rows, 1), ALL: (rows, MANY), FIRST: (shard, FEW)}
    tables = {
        f"{what} ({n:,})": table(
            head, lines(results["runs"][what], n, m, results["wrong"][what], peak)
        )
        for what, (n, m) in sizes.items()
    }
    cpu = results["cpu"]
    slow = cpu
    if not isinstance(cpu, str):
        took = {what.rpartition(", ")[0]: Runs(each).median for what, each in cpu.items()}
        slow = ", ".join(f"{what} {number(each * 1e3)} ms" for what, each in took.items())
    runs = {
        f"{each}: {what}": r for what, ways in results["runs"].items() for each, r in ways.items()
    }
    if not isinstance(cpu, str):
        runs |= {f"{CPU}, 1st shard: {what}": Runs(each) for what, each in cpu.items()}
    return Report(
        name="search",
        title=f"The {K} nearest of {rows:,} x {DIM} float16 on a GPU",
        about=environment.about(),
        ceilings=peak,
        tables=tables,
        targets=targets(results, rows, shard, peak),
        notes=[
            "*First* is the discarded run; for df.laion.search, it includes copying the embeddings "
            f"to the GPU. *Wrong*: for at most the first {CHECKED} queries, rows whose cosine in "
            f"float64 is below that of the last true neighbour by more than {NEAR}, and missing "
            "rows.",
            f"{CPU}, over the first shard only ({shard:,} rows): {slow}.",
        ],
        runs=runs,
        figures={"rows": rows, "shard": shard, "wrong": results["wrong"]},
        wrong=any(each.get(VERB) for each in results["wrong"].values()),
    )


def main() -> int:
    """Measure, compare, report; return 1 if a row is wrong."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, help="default: as many as fit, up to 16 million")
    args = parser.parse_args()
    environment.require()
    rows = args.rows or rows_here(args.data)
    peak = ceilings.measure("cuda")
    with scratch(args.data, rows * DIM * 2) as folder:
        results = measure(Path(folder), rows, min(rows, SHARD), args.repeats, "cuda")
    return report(results, rows, min(rows, SHARD), peak).write(args.results)


if __name__ == "__main__":
    raise SystemExit(main())
