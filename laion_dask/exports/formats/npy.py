"""Headers of ``.npy`` files, for arrays that are written piece by piece."""

from __future__ import annotations

import io

import numpy as np


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The header of a ``.npy`` file, version 1.0, in C order.

    Source: NEP 1, "A simple file format for NumPy arrays".
    """
    buffer = io.BytesIO()
    description = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()
