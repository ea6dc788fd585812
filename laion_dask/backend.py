"""The backend of a frame, pandas or cuDF: detection and conversion."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from laion_dask.dtypes import pandas_type
from laion_dask.errors import BackendWarning, MissingExtraError, SchemaError, argument, one_of
from laion_dask.extras import installation
from laion_dask.schema import PROVENANCE

BACKENDS = ("pandas", "cudf")
#: A frame or a column of either backend. cuDF has no annotations of its own; its objects are used
#: through what they share with pandas.
Frame: TypeAlias = pd.DataFrame
Column: TypeAlias = pd.Series
#: Reasons why a process cannot create cuDF frames.
NO_GPU = "no CUDA device is visible"
NO_CUDF = "cuDF is not installed"
GPU_WITHOUT_CUDF = "a CUDA device is visible but cuDF is not installed"


@cache
def gpu_count() -> int:
    """The number of CUDA devices visible to this process; 0 without torch or a driver."""
    if importlib.util.find_spec("torch") is None or not _has_cuda_driver():
        return 0
    import torch  # takes a second and 400 MB

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _has_cuda_driver() -> bool:
    """Whether the library of NVIDIA's driver, which torch needs, can be loaded."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def why_no_cudf() -> str:
    """The reason why this process cannot create cuDF frames; empty if it can.

    Fast if cuDF is not installed: torch is only queried if a GPU device file exists.
    """
    if importlib.util.find_spec("cudf") is not None:
        return "" if gpu_count() else NO_GPU
    files = [*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("dxg")]  # Linux, WSL
    return GPU_WITHOUT_CUDF if files and gpu_count() else NO_CUDF


def resolve_backend(backend: str) -> str:
    """Resolve the requested backend to ``"pandas"`` or ``"cudf"`` for this process.

    ``"auto"`` selects cuDF if a CUDA device is visible and cuDF is installed, else pandas.
    `laion_dask.runtime.worker_backends.choose_backend` also queries the workers of a cluster.

    Raises
    ------
    OptionError
        For an unknown name.
    MissingExtraError
        When cuDF is explicitly requested but unavailable; there is no silent fallback to pandas.

    Warns
    -----
    BackendWarning
        When ``"auto"`` selects pandas although a GPU is visible.
    """
    if backend not in ("auto", *BACKENDS):
        raise one_of("backend", backend, ["auto", *BACKENDS])
    lacks = why_no_cudf() if backend != "pandas" else ""
    if backend == "auto":
        if lacks == GPU_WITHOUT_CUDF:
            warn_of_pandas(f"Here {lacks}. {installation('gpu')}", depth=5)
        return "pandas" if lacks else "cudf"
    if lacks:
        raise MissingExtraError(
            f"{argument('backend', 'cudf')} was requested, but {lacks}. "
            f"{installation('gpu')} on a machine with an NVIDIA GPU, or use "
            f"{argument('backend', 'pandas')}."
        )
    return backend


def warn_of_pandas(why: str, depth: int = 4) -> None:
    """Warn the caller, ``depth`` calls up, that a frame uses pandas, with the reason."""
    warnings.warn(
        f"Falling back to pandas, on the CPU. {why}, or pass {argument('backend', 'pandas')} to "
        "silence this warning.",
        BackendWarning,
        stacklevel=depth,
    )


def gpu_memory_bytes() -> int:
    """Memory of the smallest GPU visible to this process, in bytes."""
    import torch

    gpus = range(gpu_count())
    return min(torch.cuda.get_device_properties(gpu).total_memory for gpu in gpus)


def frame_from_arrow(table: pa.Table, backend: str) -> Frame:
    """Convert an Arrow table to a frame of the given backend.

    In pandas, integers and booleans are nullable, floats are NumPy floats with NaN for null,
    strings are Arrow-backed, and all other types stay Arrow types. ``shard`` and ``row`` are never
    null and are plain NumPy integers.
    """
    if backend == "cudf":
        table = table.replace_schema_metadata(None)  # drop the index recorded by pandas
        return importlib.import_module("cudf").DataFrame.from_arrow(table)
    frame = table.to_pandas(types_mapper=pandas_type, use_threads=False)  # tasks are parallel
    for name in PROVENANCE:
        if name in frame:
            frame[name] = frame[name].to_numpy(dtype=str(table.schema.field(name).type))
    return frame


def frame_to_arrow(frame: Frame) -> pa.Table:
    """Convert a frame of either backend to an Arrow table; a named index becomes a column.

    Raises
    ------
    SchemaError
        When an object column holds values of several types.
    """
    if frame.index.name is not None:  # set_index(…, drop=False) keeps the column as well
        frame = frame.reset_index(drop=frame.index.name in frame.columns)
    if isinstance(frame, pd.DataFrame):
        try:
            return pa.Table.from_pandas(frame, preserve_index=False)
        except pa.ArrowException as error:
            raise SchemaError(
                f"{' '.join(map(str, error.args))!r}: a column holds values of several types. "
                "Convert it to one type, for example with astype(str), or drop it."
            ) from error
    return frame.to_arrow(preserve_index=False)


def check_names(frame: Frame) -> None:
    """Raise if a name of a column is not text.

    Raises
    ------
    SchemaError
    """
    for name in frame.columns:
        if not isinstance(name, str):
            raise SchemaError(
                f"The name of a column is {name!r}, of type {type(name).__name__}. Expected text. "
                f"Give the column another name: frame.rename(columns={{{name!r}: 'other'}})."
            )


def to_pandas(frame: Frame) -> pd.DataFrame:
    """Convert a frame of either backend to pandas, with the same dtypes as `frame_from_arrow`."""
    if not is_cudf(frame):
        return frame
    result = frame_from_arrow(frame_to_arrow(frame), "pandas")
    result.attrs = dict(frame.attrs)
    return result


def is_cudf(frame: object) -> bool:
    """Whether a frame or series is a cuDF object."""
    return type(frame).__module__.split(".")[0] == "cudf"


def to_numpy(series: Column) -> np.ndarray:
    """Convert a numeric column of either backend, without nulls, to a NumPy array."""
    return series.to_numpy()


def device_of(frame: object) -> str:
    """The torch device of a frame's columns: ``"cuda"`` for cuDF, else ``"cpu"``."""
    return "cuda" if is_cudf(frame) else "cpu"


def column_like(values: npt.ArrayLike, frame: Frame) -> Column:
    """Convert numbers to a series with the frame's backend and index.

    Parameters
    ----------
    values : (n,) NumPy array or torch tensor
        A tensor must be on the frame's device; it is shared through DLPack without a copy.
    frame : DataFrame of n rows
    """
    if is_cudf(frame):
        if not isinstance(values, np.ndarray):
            values = importlib.import_module("cupy").from_dlpack(values)
        cudf = importlib.import_module("cudf")
        return cudf.Series(values, index=frame.index, nan_as_null=False)
    return pd.Series(np.asarray(values), index=frame.index)


def frame_like(columns: Mapping[str, np.ndarray], frame: Frame) -> Frame:
    """Convert numeric columns to a frame with the backend of another frame."""
    if is_cudf(frame):
        return importlib.import_module("cudf").DataFrame(dict(columns))
    return pd.DataFrame(dict(columns), copy=False)
