"""Small LAION-like shards and their embeddings."""

import json
import math
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.models import ClipModel


def refuse(*args, **kwargs):
    """A Dask scheduler that raises on any computation."""
    raise AssertionError("something was computed")


def laion_table(n: int, seed: int = 0, *, odd: bool = True) -> pa.Table:
    """Rows in LAION-5B's own columns; with ``odd``, a tenth of most columns is null or NaN."""
    draw = np.random.default_rng(seed)
    words = np.array(
        ["a bird", "ein Haus", "", "un chien\u200d", "\u5c71\u306e\u5199\u771f", "red car"]
    )
    hosts = np.array(
        ["https://a.example.com/x", "http://b.example.com:80/y?z", "http://shop.co.uk/1", "bare"]
    )
    columns = {
        "URL": pa.array(draw.choice(hosts, n)),
        "TEXT": pa.array(draw.choice(words, n)),
        "WIDTH": pa.array(draw.integers(1, 2000, n), pa.int32()),
        "HEIGHT": pa.array(draw.integers(1, 2000, n), pa.int32()),
        "similarity": pa.array(draw.uniform(0.1, 0.5, n)),
        "LANGUAGE": pa.array(draw.choice(["en", "de", "fr"], n)),
        "hash": pa.array(draw.integers(-(2**62), 2**62, n), pa.int64()),
        "punsafe": pa.array(draw.uniform(0, 1, n).astype(np.float32)),
        "pwatermark": pa.array(draw.uniform(0, 1, n).astype(np.float32)),
    }
    if odd:
        for name in ("TEXT", "WIDTH", "similarity", "LANGUAGE", "punsafe"):
            values = columns[name].to_pylist()
            for i in np.flatnonzero(draw.uniform(size=n) < 0.1):
                floats = name in ("similarity", "punsafe")
                values[i] = math.nan if floats and i % 2 else None
            columns[name] = pa.array(values, columns[name].type)
    return pa.table(columns)


def write_shard(path, table: pa.Table, row_group: int = 10) -> str:
    """Write a Parquet file of several row groups; return its path."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group)
    return str(path)


def write_files(folder, n: int) -> list[str]:
    """Write shards of 20, 21, … rows; return their names."""
    names = [f"{i:02d}.parquet" for i in range(n)]
    for i, name in enumerate(names):
        write_shard(folder / name, laion_table(20 + i, i))
    return names


def space(folder, dim: int = 8, name: str = "space") -> ClipModel:
    """The spec of a CLIP model with embeddings of this width, without weights."""
    config = {
        "embed_dim": dim,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 99, "width": 16, "heads": 1, "layers": 1},
        "custom_text": False,
        "about": name,
    }
    path = Path(folder) / f"{name}.json"
    path.write_text(json.dumps(config))
    return ClipModel(path)


def vectors(n: int, dim: int = 8, dtype="float32", seed: int = 0) -> np.ndarray:
    """Random embeddings."""
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(dtype)


def npy(path, array) -> str:
    """Write an .npy file; return its path."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        np.save(file, array)
    return str(path)


def collection(
    folder, sizes=(40, 0, 25), dim: int = 8, dtype="float32", odd: bool = True
) -> SimpleNamespace:
    """Write shards to ``metadata`` and their embeddings to ``img_emb`` and ``text_emb``.

    Returns
    -------
    namespace
        ``metadata``, ``img_emb``, ``text_emb`` (folders), ``tables``, ``images``, ``texts`` (lists
        over the shards), ``model``.
    """
    folder = Path(folder)
    tables = [laion_table(n, seed, odd=odd) for seed, n in enumerate(sizes)]
    images = [vectors(n, dim, dtype, 100 + i) for i, n in enumerate(sizes)]
    texts = [vectors(n, dim, dtype, 200 + i) for i, n in enumerate(sizes)]
    for i, (table, image, text) in enumerate(zip(tables, images, texts, strict=True)):
        write_shard(folder / "metadata" / f"metadata_{i:04d}.parquet", table)
        npy(folder / "img_emb" / f"img_emb_{i}.npy", image)
        npy(folder / "text_emb" / f"text_emb_{i}.npy", text)
    return SimpleNamespace(
        metadata=str(folder / "metadata"),
        img_emb=str(folder / "img_emb"),
        text_emb=str(folder / "text_emb"),
        tables=tables,
        images=images,
        texts=texts,
        model=space(folder, dim),
    )


def cosine(a, b) -> float:
    """The cosine by its definition, entry by entry, in float64; NaN if undefined."""
    dot = one = two = 0.0
    for x, y in zip(np.asarray(a).tolist(), np.asarray(b).tolist(), strict=True):
        dot, one, two = dot + x * y, one + x * x, two + y * y
    lengths = math.sqrt(one) * math.sqrt(two)
    return dot / lengths if math.isfinite(lengths) and lengths > 0 else math.nan


def quantiles(values, shares) -> list[float]:
    """By the definition: the smallest value that at least a share of the values do not exceed.

    numpy.quantile's "inverted_cdf", except when float64 rounds share * n past an integer.
    """
    ordered = sorted(np.asarray(values, float).tolist())
    ranks = [max(1, math.ceil(Fraction(str(share)) * len(ordered))) for share in shares]
    return [ordered[rank - 1] for rank in ranks]
