"""Read the training sample of an index, and train its centroids and codebooks."""

from __future__ import annotations

from typing import Any

import numpy as np
from dask.system import CPU_COUNT

from laion_dask.errors import EmbeddingsError
from laion_dask.retrieval.index import cuvs_train, ivf_pq
from laion_dask.retrieval.index.fill import Stretch, rows_at
from laion_dask.retrieval.index.parameters import groups
from laion_dask.runtime.tasks import Run, run_each, verb_bar


def sampled_rows(files: list, drawn: np.ndarray, chosen: dict, progress: bool | None) -> np.ndarray:
    """The rows of the sample that have a direction."""
    all_groups = groups(files, chosen)
    by_group = np.split(drawn, np.searchsorted(drawn, [parts[0].start for parts in all_groups[1:]]))
    rows = np.concatenate(
        run_each(
            _sample_group,
            list(zip(all_groups, by_group, strict=True)),
            sizes=[len(ids) for ids in by_group],
            label="sample",
            unit="row",
            progress=progress,
        )
    )
    if not len(rows):
        raise EmbeddingsError(
            f"None of the {len(drawn):,} sampled rows has a direction: all are zero, NaN "
            "or infinite. Check the program that wrote the embeddings."
        )
    return rows


def _sample_group(run: Run, parts: list[Stretch], ids: np.ndarray) -> np.ndarray:
    with run:
        return rows_at(parts, ids, run.advance)[0]


def train(sample: np.ndarray, chosen: dict, progress: bool | None) -> Any:
    """The centroids and codebooks, trained on the CPU or on a CUDA device."""
    if chosen["device"] == "cuda":
        return cuvs_train.train(sample, chosen["nlist"], chosen["pq_m"], chosen["device"])
    with verb_bar("train", ivf_pq.STEPS, progress) as bar:
        size = chosen["nlist"], chosen["pq_m"], chosen["seed"]
        return ivf_pq.train(sample, *size, bar.update, CPU_COUNT)
