"""Validate rows and vectors before they are multiplied."""

from __future__ import annotations

import numpy as np

from laion_dask.errors import EmbeddingsError


def check_rows(x: np.ndarray) -> np.ndarray:
    """The rows as an array (n, dim) of float16 or float32, or raise an `EmbeddingsError`."""
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] == 0 or x.dtype not in (np.float16, np.float32):
        raise EmbeddingsError(
            f"Rows were given as {x.dtype} of shape {x.shape}. Expected (n, dim) of float16 or "
            "float32; convert them first."
        )
    return x


def check_rows_and_vector(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows, and a contiguous vector (dim,) of their dtype or float32, or raise."""
    x, w = check_rows(x), np.ascontiguousarray(w)
    if w.shape != (x.shape[1],) or w.dtype not in (x.dtype, np.float32):
        raise EmbeddingsError(
            f"The vector is {w.dtype} of shape {w.shape}. Expected ({x.shape[1]},) float32."
        )
    return x, w


def check_same_dtype(x: np.ndarray, w: np.ndarray) -> None:
    """Raise an `EmbeddingsError` when rows and vector differ in dtype."""
    if x.dtype != w.dtype:
        raise EmbeddingsError(
            f"Rows of {x.dtype} were given with a vector of {w.dtype}. Round the vector first."
        )
