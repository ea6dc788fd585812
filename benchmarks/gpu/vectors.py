"""Embeddings for the benchmarks: drawn on the GPU, written in clip-retrieval's layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

DIM, SEED = 768, 7
#: Number of clusters, and the distance of a row from its center, as in `benchmarks/search_data.py`.
CLUSTERS, SPREAD = 1000, 0.8
#: Rows drawn at a time.
BLOCK = 1 << 18


class Clustered:
    """Float16 unit vectors around centers, on a device; the same seed gives the same rows there."""

    def __init__(self, device, seed: int = SEED) -> None:
        import torch

        self._draw = torch.Generator(device).manual_seed(seed)
        self._device = device
        self._centres = unit(self._normal(CLUSTERS))

    def __call__(self, n: int):
        """The next n rows, (n, 768)."""
        import torch

        which = torch.randint(CLUSTERS, (n,), generator=self._draw, device=self._device)
        return unit(self._centres[which] + self._normal(n) * (SPREAD / DIM**0.5)).half()

    def _normal(self, n: int):
        import torch

        return torch.randn((n, DIM), generator=self._draw, device=self._device)


def unit(x):
    """Rows scaled to length one."""
    return x / x.norm(dim=1, keepdim=True)


def fill(draw: Callable[[int], object], n: int, device):
    """One tensor of n drawn rows on the device, (n, 768) float16."""
    import torch

    out = torch.empty((n, DIM), dtype=torch.float16, device=device)
    for at in range(0, n, BLOCK):
        block = out[at : at + BLOCK]
        block.copy_(draw(len(block)))
    return out


def write_shards(folder: Path, sizes: Sequence[int], draw: Callable[[int], object]) -> None:
    """Write ``img_emb/img_emb_0000.npy``, ``metadata/metadata_0000.parquet``, …, one per size."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    header = {"descr": "<f2", "fortran_order": False}
    start = 0
    for i, size in enumerate(sizes):
        with open(folder / "img_emb" / f"img_emb_{i:04d}.npy", "wb") as file:
            np.lib.format.write_array_header_1_0(file, {**header, "shape": (size, DIM)})
            for at in range(0, size, BLOCK):
                file.write(draw(min(BLOCK, size - at)).cpu().numpy())
        numbers = pa.array(range(start, start + size), pa.int64())
        columns = {"URL": pc.cast(numbers, pa.string()), "hash": numbers}
        pq.write_table(pa.table(columns), folder / "metadata" / f"metadata_{i:04d}.parquet")
        start += size


def mapped(folder: Path) -> list:
    """The shards as memory-mapped arrays, copy-on-write because torch requires writable memory."""
    import numpy as np

    return [np.load(path, mmap_mode="c") for path in sorted((folder / "img_emb").glob("*.npy"))]
