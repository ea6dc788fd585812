"""Scores of one partition from its captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.backend import frame_to_arrow
from laion_dask.io.embeddings.row_ids import BLOCK
from laion_dask.runtime import cancellation
from laion_dask.scoring.embedding_kernel import score_columns

if TYPE_CHECKING:
    from laion_dask.models.heads import Head


def captions(partition, column: str, specs: Sequence[Head]):
    """One column per head; each caption is converted to a Python string once.

    Returns
    -------
    DataFrame of float32
        NaN where the caption is null.
    """
    texts = frame_to_arrow(partition[[column]])[column]
    out = [np.full(len(partition), np.nan, dtype=np.float32) for _ in specs]
    for at in range(0, len(partition), BLOCK):
        cancellation.check()
        block = texts.slice(at, BLOCK).to_pylist()
        for values, head in zip(out, specs, strict=True):
            values[at : at + BLOCK] = head.predict(block)
    return score_columns(partition, [head.name for head in specs], out)
