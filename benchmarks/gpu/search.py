"""Exact search on a card: the 100 nearest, for 1, 1,000 and 10,000 queries.

    python benchmarks/gpu/search.py
    python benchmarks/gpu/search.py --rows 4000000

`df.laion.search` on a frame of many shards: the first search brings the embeddings to the card,
those that count find them there. Beside it torch over the same rows in the card's memory, a matrix
product and topk, block by block. What was found is checked against float64 on some queries.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import card
import ceilings
import cpu_path
import vectors
from report import OURS, Report, arguments, number, ratio, room, scratch, share, table, target
from timing import Runs, in_turn
from vectors import DIM

K, MANY, SOME = 100, 10_000, 1000
SHARD = 1_000_000
#: The most rows that are written where none are asked for, and what they may take of the card.
MOST, OF_CARD = 16_000_000, 0.3
#: Rows and queries of torch's blocks, and queries that are checked.
BLOCK, LOT, CHECKED = 1 << 20, 1000, 16
#: A row is wrong whose cosine is below that of the last of the true ones by more than this.
NEAR = 1e-6
VERB, HALF, NARROW = f"{OURS}, df.laion.search", "torch float16, topk", "torch bfloat16, topk"
READ, CPU = "read only", f"{OURS}, no card"
ONE, ALL, FIRST = "1 query, all rows", f"{MANY:,} queries, all rows", f"{SOME:,} queries, 1st shard"


def rows_that_fit(card_bytes: int, file_bytes: int, host_bytes: int) -> int:
    """Whole shards: twice on the card with room to work, once in files, a third of the host."""
    fits = min(card_bytes * OF_CARD, file_bytes, host_bytes * 0.3)
    return max(SHARD, min(MOST, int(fits // (DIM * 2)) // SHARD * SHARD))


def rows_here(data: str | None) -> int:
    """As `rows_that_fit`, on this machine."""
    import torch

    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return rows_that_fit(torch.cuda.mem_get_info()[0], room(data), host)


def prepare(folder: Path, rows: int, shard: int, device):
    """All shards, the first of them once more in ``first``, and ``queries.npy``."""
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
        found = frame.laion.search(emb, queries, K, columns=[])
        rows = starts[found["shard"].to_numpy()] + found["row"].to_numpy()
        return rows.reshape(len(queries), -1)

    return run


def by_torch(x, queries, dtype) -> Callable[[], object]:
    """A product and topk, block by block, in a narrow dtype; row numbers, (m, K)."""
    import torch

    wanted = torch.from_numpy(queries).to(x.device)

    def of(some):
        best = None
        for at in range(0, len(x), BLOCK):
            scores = some @ x[at : at + BLOCK].to(dtype).T
            cosines, rows = scores.topk(min(K, scores.shape[1]), dim=1)
            found = cosines, rows + at
            if best is not None:
                both = [torch.cat(pair, dim=1) for pair in zip(best, found, strict=True)]
                cosines, order = both[0].topk(min(K, both[0].shape[1]), dim=1)
                found = cosines, both[1].gather(1, order)
            best = found
        return best[1]

    def run():
        with torch.inference_mode():
            lots = vectors.unit(wanted).to(dtype).split(LOT)
            return torch.cat([of(some) for some in lots]).cpu().numpy()

    return run


def reading(x) -> Callable[[], object]:
    """Every byte of the rows once, as numbers of four bytes, which mean nothing."""
    import torch

    return lambda: x.view(torch.int32).amax()


def cpu_ways(folder: Path) -> dict[str, Callable[[], object]]:
    """For `cpu_path`: of the first shard alone, which the processor too can hold in its cache."""
    import numpy as np

    queries = np.load(folder / "queries.npy")
    return {
        ONE: verb(folder / "first", queries[:1]),
        FIRST: verb(folder / "first", queries[:SOME]),
    }


def true_cosines(x, queries, found):
    """In float64: the K-th best cosine of each query, (m,), and those of rows found, (m, any)."""
    import torch

    wanted = vectors.unit(torch.as_tensor(queries, device=x.device).double())
    best = torch.full((len(wanted), 0), 0.0, device=x.device, dtype=torch.float64)
    for at in range(0, len(x), vectors.BLOCK):
        cosines = wanted @ vectors.unit(x[at : at + vectors.BLOCK].double()).T
        best = torch.cat([best, cosines], dim=1)
        best = best.topk(min(K, best.shape[1]), dim=1).values
    rows = vectors.unit(x[torch.as_tensor(found, device=x.device).reshape(-1)].double())
    mine = torch.einsum("mkd,md->mk", rows.view(*found.shape, -1), wanted)
    return best[:, -1].cpu().numpy(), mine.cpu().numpy()


def wrong_rows(x, queries, found) -> int:
    """How many of the rows found are no nearest ones, ties to `NEAR` apart, of some queries.

    A row that was found twice is wrong, and so is one that is missing.
    """
    import numpy as np

    found = np.asarray(found)[:CHECKED]
    last, mine = true_cosines(x, queries[:CHECKED], found)
    below = (mine < last[:, None] - NEAR).sum()
    unlike = sum(min(K, len(x)) - len(np.unique(rows)) for rows in found)
    return int(below + unlike)


def measure(folder: Path, rows: int, shard: int, repeats: int, device: str) -> dict:
    """The runs of each task, and the wrong rows of each way."""
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
        FIRST: (folder / "first", first, queries[:SOME]),
    }
    runs, wrong = {}, {}
    for what, (place, mine, some) in tasks.items():
        ways = {
            HALF: by_torch(mine, some, torch.float16),
            NARROW: by_torch(mine, some, torch.bfloat16),
            VERB: verb(place, some),
        }
        if len(some) == 1:
            ways[READ] = reading(mine)
        runs[what] = in_turn(ways, device, repeats=min(repeats, 3) if what == ALL else repeats)
        wrong[what] = {
            name: wrong_rows(mine, some, each.result)
            for name, each in runs[what].items()
            if each.result is not None and name != READ
        }
    del x, first, tasks, mine, ways
    return {"runs": runs, "wrong": wrong, "cpu": cpu_path.measured("search", folder)}


def limits(rows: int, m: int, made: ceilings.Ceilings) -> tuple[float, float]:
    """The least seconds: to read the rows at the copy rate, and to multiply at the product's."""
    return rows * DIM * 2 / made.copy, 2 * rows * m * DIM / made.matmul


def lines(runs: dict[str, Runs], rows: int, m: int, wrong: dict, made) -> list[list[str]]:
    """A line of a table for each way."""
    read, multiply = limits(rows, m, made)
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


def targets(found: dict, rows: int, shard: int, made: ceilings.Ceilings) -> list[dict]:
    """What was asked, what was reached."""
    runs, cpu = found["runs"], found["cpu"]
    one, some = runs[ONE][VERB].median, runs[FIRST][VERB].median
    slow = Runs() if isinstance(cpu, str) else Runs(cpu[FIRST])
    wrong = [each.get(VERB) for each in found["wrong"].values()]
    return [
        target(
            "rows that are no nearest ones, none",
            float("nan") if None in wrong else sum(wrong),
            at_most=0,
        ),
        target(
            "one query: share of the copy rate, 0.7 or more",
            limits(rows, 1, made)[0] / one,
            at_least=0.7,
        ),
        target(
            f"{SOME:,} queries over {shard:,} rows: at most 3 x the bf16 product's time",
            some / limits(shard, SOME, made)[1],
            at_most=3.0,
        ),
        target(
            f"{SOME:,} queries over {shard:,} rows: not slower than {CPU}",
            ratio(some, slow.median),
            at_most=1.0,
        ),
    ]


def report(found: dict, rows: int, shard: int, made: ceilings.Ceilings) -> Report:
    """The tables, the targets, the wrong rows."""
    head = ["way", "ms", "first, ms", "queries/s", "of copy rate", "of bf16 product", "wrong"]
    sizes = {ONE: (rows, 1), ALL: (rows, MANY), FIRST: (shard, SOME)}
    tables = {
        f"{what} ({n:,})": table(head, lines(found["runs"][what], n, m, found["wrong"][what], made))
        for what, (n, m) in sizes.items()
    }
    cpu = found["cpu"]
    slow = cpu
    if not isinstance(cpu, str):
        took = {what.rpartition(", ")[0]: Runs(each).median for what, each in cpu.items()}
        slow = ", ".join(f"{what} {number(each * 1e3)} ms" for what, each in took.items())
    runs = {
        f"{each}: {what}": r for what, ways in found["runs"].items() for each, r in ways.items()
    }
    if not isinstance(cpu, str):
        runs |= {f"{CPU}, 1st shard: {what}": Runs(each) for what, each in cpu.items()}
    return Report(
        name="search",
        title=f"The {K} nearest of {rows:,} x {DIM} float16 on a card",
        about=card.about(),
        ceilings=made,
        tables=tables,
        targets=targets(found, rows, shard, made),
        notes=[
            "*First* is the run that does not count: of df.laion.search it has the way of the "
            f"embeddings to the card. *Wrong*: of the first {CHECKED} queries at most, rows whose "
            f"cosine in float64 is below that of the true last one by more than {NEAR}, and rows "
            "that are missing.",
            f"{CPU}, over the first shard alone ({shard:,} rows): {slow}.",
        ],
        runs=runs,
        figures={"rows": rows, "shard": shard, "wrong": found["wrong"]},
        wrong=any(each.get(VERB) for each in found["wrong"].values()),
    )


def main() -> int:
    """Measure, compare, report; 1 where a row is wrong."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, help="by default as many as fit, up to 16 million")
    args = parser.parse_args()
    card.require()
    rows = args.rows or rows_here(args.data)
    made = ceilings.measure("cuda")
    with scratch(args.data, rows * DIM * 2) as folder:
        found = measure(Path(folder), rows, min(rows, SHARD), args.repeats, "cuda")
    return report(found, rows, min(rows, SHARD), made).write(args.results)


if __name__ == "__main__":
    raise SystemExit(main())
