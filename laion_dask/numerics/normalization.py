"""Normalize rows to length one."""

from __future__ import annotations

import numpy as np


def unit(x: np.ndarray) -> np.ndarray:
    """Rows scaled to length one, in float32; NaN where a row has no direction.

    A row has no direction if its length is zero, infinite or NaN. The length is computed in
    float64, so that a long or short float32 row does not over- or underflow.
    """
    x_f64 = np.asarray(x, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        norm = np.sqrt(np.einsum("ij,ij->i", x_f64, x_f64))
        norm[~(np.isfinite(norm) & (norm > 0))] = np.nan
        return (x_f64 / norm[:, None]).astype(np.float32)
