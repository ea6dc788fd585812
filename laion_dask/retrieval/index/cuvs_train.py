"""Centroids and codebooks trained by cuVS on an NVIDIA GPU.

NEVER RUN: written from the sources of cuvs 26.10 without access to a GPU. It returns a faiss index
like that of `ivf_pq.train`, so no other module depends on it. It fails closed: shapes are checked,
and codes that reconstruct the sample no better than the centroids alone are rejected.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from laion_dask.errors import OptionError, argument, parameter
from laion_dask.gpu_packages import require_cuvs
from laion_dask.retrieval.index.ivf_pq import MIN_POINTS, STEPS, assemble

#: Rows of the sample on which the result is checked.
_CHECKED = 1000


def train(sample: np.ndarray, nlist: int, m: int, device: str) -> Any:
    """As `ivf_pq.train`, on a CUDA device of torch.

    cuVS takes no seed for IVF-PQ, so two builds may differ.

    Raises
    ------
    MissingExtraError
        When cuVS is not installed.
    OptionError
        When the sample is too small for 8-bit codes, or cuVS returns a result of an unexpected
        form.
    """
    import torch

    cuvs = require_cuvs()
    min_rows = MIN_POINTS * max(nlist, 256)
    if len(sample) < min_rows:
        raise OptionError(
            f"The sample has {len(sample):,} rows; {nlist:,} lists and 8-bit codes need "
            f"{min_rows:,}. Lower {parameter('nlist')}, raise {parameter('sample')}, or build with "
            f"{argument('device', 'cpu')}."
        )
    params = cuvs.IndexParams(
        n_lists=nlist,
        metric="inner_product",
        kmeans_n_iters=STEPS,
        kmeans_trainset_fraction=1.0,
        pq_bits=8,
        pq_dim=m,
        add_data_on_build=False,
    )
    trained = cuvs.build(params, torch.from_numpy(sample).to(device))
    centroids = torch.as_tensor(trained.centers, device=device).cpu().numpy()
    codebook = torch.as_tensor(trained.pq_centers, device=device).cpu().numpy()
    dim = sample.shape[1]
    _check(centroids.shape == (nlist, dim), f"centers of shape {centroids.shape}")
    _check(codebook.shape == (m, dim // m, 256), f"pq_centers of shape {codebook.shape}")
    empty = assemble(centroids, codebook.transpose(0, 2, 1))
    points = np.ascontiguousarray(sample[:_CHECKED])
    near = empty.quantizer.search(points, 1)[1][:, 0]
    without_codes = np.square(points - centroids[near]).sum()
    with_codes = np.square(points - empty.sa_decode(empty.sa_encode(points))).sum()
    _check(with_codes < without_codes, "codebooks that do not fit the residuals")
    return empty


def _check(fine: bool, result: str) -> None:
    if not fine:
        raise OptionError(
            f"cuVS trained {result}, which this version of laion_dask does not support. Build with "
            f"{argument('device', 'cpu')}, and report this."
        )
