"""LAION-shaped rows, generated in blocks from the statistics that LAION published.

A block of 25,000 rows depends only on (seed, subset, block number). `synthetic` slices the endless
sequence of blocks into shards; its docstring says what is published and what is modeled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from statistics import NormalDist

import numpy as np
import pyarrow as pa

from laion_dask.demo import zipf_text

SUBSETS = ("laion2B-en", "laion2B-multi", "laion1B-nolang")

SCHEMA = pa.schema(
    [
        ("URL", pa.string()),
        ("TEXT", pa.string()),
        ("WIDTH", pa.int32()),
        ("HEIGHT", pa.int32()),
        ("similarity", pa.float64()),
        ("LANGUAGE", pa.string()),
        ("hash", pa.int64()),
        ("punsafe", pa.float32()),
        ("pwatermark", pa.float32()),
        ("LICENSE", pa.string()),
    ]
)
"""LAION-5B's joined schema, plus the ``LICENSE`` column of LAION-400M."""

UNKNOWN = 0.001
"""Share of null WIDTH, null HEIGHT, null punsafe and NaN similarity, independently."""

N_TOPICS = 64
"""Embeddings of rows with equal ``hash % 64`` are close to each other."""

BLOCK = 25_000
_NORMAL = NormalDist()
_MIN_TEXT, _MAX_TEXT = 5, 4_000  # under 5 characters: dropped by LAION (Schuhmann et al. 2022)
_MIN_SIDE, _MAX_SIDE, _SIDE_TAIL = 64, 20_000, 3.0
_RHO = 0.88  # correlation of width and height, fitted to the published counts of large images
# Thresholds of the collection, from Schuhmann et al. 2022, "LAION-5B" (arXiv 2210.08402).
_SIMILARITY = {"laion2B-en": 0.28, "laion2B-multi": 0.26, "laion1B-nolang": 0.26}
_OTHER_LANGUAGES = (  # noqa: SIM905
    "tr sv cs da id ro fi hu vi ar uk el ko th fa he bg hr sk sl lt ca et lv sr"
).split()
_LICENSES = np.array(["?", "cc-by", "cc-by-sa", "cc-by-nc-nd", "publicdomain"])
_LICENSE_SHARES = np.array([0.97, 0.01, 0.01, 0.005, 0.005])


def published(subset: str) -> dict:
    """The published statistics of one subset: a section of ``published.json``. Eager."""
    return _published()[subset]


@cache
def _published() -> dict:
    text = resources.files("laion_dask.demo").joinpath("published.json").read_text("utf-8")
    return json.loads(text)


def _generator(seed: int, subset: str, block: int, purpose: int) -> np.random.Generator:
    entropy = (seed, SUBSETS.index(subset), block, purpose)
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(entropy)))


def _hashes(seed: int, subset: str, block: int) -> np.ndarray:
    info = np.iinfo(np.int64)
    rng = _generator(seed, subset, block, 0)
    return rng.integers(info.min, info.max, size=BLOCK, endpoint=True)


def draw_block(seed: int, subset: str, block: int) -> pa.Table:
    """Generate the 25,000 rows from row ``25,000 * block`` of a corpus, as `SCHEMA`. Eager."""
    rng = _generator(seed, subset, block, 1)
    n, figures = BLOCK, published(subset)
    normal = rng.standard_normal((3, n))
    side = _RHO * normal[0] + np.sqrt(1 - _RHO**2) * normal[1]
    similarity = _SIMILARITY[subset] + 0.05 * np.abs(rng.standard_normal(n))
    similarity[_unknown(rng)] = np.nan
    lengths = np.rint(np.interp(normal[2], *_text_knots(subset))).astype(np.int64)
    columns = [
        zipf_text.urls(rng, n),
        zipf_text.captions(rng, lengths),
        _pixels(normal[0], figures["width_quantiles"], _unknown(rng)),
        _pixels(side, figures["height_quantiles"], _unknown(rng)),
        pa.array(similarity),
        _languages(rng, subset),
        pa.array(_hashes(seed, subset, block)),
        pa.array(_scores(rng, 0.5, figures["unsafe"]), mask=_unknown(rng)),
        pa.array(_scores(rng, 0.8, figures["watermark"])),
        _words(rng, _LICENSES, _LICENSE_SHARES),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _unknown(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, round(1 / UNKNOWN), size=BLOCK, dtype=np.uint16) == 0


def _knots(
    quantiles: Sequence[float] | np.ndarray, low: float, high: float, exponent: float
) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores and values of an inverse distribution: published body and power-law tail."""
    body = np.arange(1, 20) / 20
    halvings = np.arange(1, 13)
    p = np.concatenate([[1e-6], body, 1 - 0.05 * 0.5**halvings])
    tail = np.minimum(quantiles[-1] * 2 ** (halvings / exponent), high)
    return np.array([_NORMAL.inv_cdf(x) for x in p]), np.concatenate([[low], quantiles, tail])


@cache
def _text_knots(subset: str) -> tuple[np.ndarray, np.ndarray]:
    """Knots of the text length; the exponent of the tail is chosen to match the published mean."""
    figures = published(subset)
    q = np.array(figures["text_length_quantiles"], dtype=float)
    body = 0.05 * ((q[1:] + q[:-1]).sum() / 2 + (q[0] + _MIN_TEXT) / 2)
    tail = (figures["mean_text_length"] - body) / 0.05
    return _knots(q, _MIN_TEXT, _MAX_TEXT, tail / (tail - q[-1]))


def _pixels(normal: np.ndarray, quantiles: list[float], unknown: np.ndarray) -> pa.Array:
    sides = np.interp(normal, *_knots(quantiles, _MIN_SIDE, _MAX_SIDE, _SIDE_TAIL))
    return pa.array(np.rint(sides).astype(np.int32), mask=unknown)


def _scores(rng: np.random.Generator, threshold: float, share: float) -> np.ndarray:
    """float32 scores in [0, 1], mostly near 0, with ``share`` of them above ``threshold``."""
    p = [0, 0.5, 0.8, 0.93, 1 - share, 1 - share / 3, 1]
    values = [0, 1e-3, 0.02, 0.15, threshold, 1 - (1 - threshold) / 4, 1]
    return np.interp(rng.random(BLOCK), p, values).astype(np.float32)


def _languages(rng: np.random.Generator, subset: str) -> pa.Array:
    if subset == "laion2B-en":
        return pa.repeat("en", BLOCK)
    if subset == "laion1B-nolang":
        return pa.nulls(BLOCK, pa.string())
    top = published(subset)["top_languages"]
    other_share = (1 - sum(top.values())) / len(_OTHER_LANGUAGES)
    shares = np.array([*top.values(), *[other_share] * len(_OTHER_LANGUAGES)])
    return _words(rng, np.array([*top, *_OTHER_LANGUAGES]), shares)


def _words(rng: np.random.Generator, words: np.ndarray, shares: np.ndarray) -> pa.Array:
    cuts = np.cumsum(shares)[:-1]
    picks = np.searchsorted(cuts, rng.random(BLOCK), side="right").astype(np.int32)
    return pa.array(words, pa.string()).take(pa.array(picks))


def draw_embeddings(seed: int, subset: str, block: int, dim: int) -> np.ndarray:
    """(25,000, dim) float16 of unit norm: a common cone as in CLIP, a topic, and noise. Eager."""
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, dim))))
    centres = rng.standard_normal((N_TOPICS + 1, dim), dtype=np.float32)
    rows = _generator(seed, subset, block, 2).standard_normal((BLOCK, dim), dtype=np.float32)
    rows += centres[_hashes(seed, subset, block) % N_TOPICS]
    rows += centres[N_TOPICS]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16)
