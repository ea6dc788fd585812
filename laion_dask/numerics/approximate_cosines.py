"""Approximate cosines in one product, with an error bound."""

from __future__ import annotations

import numpy as np

from laion_dask.numerics.row_checks import check_rows_and_vector, check_same_dtype


def approximate_cosines(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The approximate cosine of every row with a vector, for a first selection. Eager.

    Parameters
    ----------
    x : (n, dim) NumPy array or memmap
        float16 or float32; n may be 0.
    w : (dim,) NumPy array
        Finite and not zero, of the same dtype.

    Returns
    -------
    (n,) float32
        At most 1, with an error of at most `approximation_error`. Exactly 0 for a zero row. NaN for
        a row with a NaN; NaN, 1 or infinite for a row with an infinity.

    Raises
    ------
    EmbeddingsError
        When a shape or a dtype is wrong.
    """
    import numkong

    x, w = check_rows_and_vector(x, w)
    check_same_dtype(x, w)
    if not len(x):
        return np.empty(0, np.float32)
    # One call for all rows: after each call a thread waits for the GIL.
    distances = np.asarray(numkong.angular(np.require(x, requirements=["A", "C"]), w))
    return (1.0 - distances).astype(np.float32)


def approximation_error(dim: int) -> float:
    """The largest error of `approximate_cosines`.

    Each of the three sums of ``dim`` products in float32 has a relative error of at most ``g = dim
    * u / (1 - dim * u)``, ``u = 2**-24``, in any order of summation (Higham 2002, Accuracy and
    Stability of Numerical Algorithms, 2nd ed., section 3.1); for the product, by Cauchy-Schwarz,
    relative to the two lengths. So the error of the cosine is ``2 g`` plus that of the reciprocal
    roots. The CPU's estimates of these are good to 2**-11 each before they are refined, and the
    rounding in the last steps is far smaller. The sum of the three is doubled to cover second-order
    terms.
    """
    u = 2.0**-24
    g = dim * u / (1 - dim * u)
    return 2 * (2 * g + 2 * 2.0**-11)
