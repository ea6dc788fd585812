"""pandas or cuDF, NumPy or CuPy, and the torch device: the only importer of the GPU libraries."""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.dtypes import pandas_type
from laion_dask.errors import BackendWarning, MissingExtraError, SchemaError, argument, one_of
from laion_dask.schema import PROVENANCE

BACKENDS = ("pandas", "cudf")
#: Why a process cannot make cuDF frames.
NO_CARD = "no CUDA device is visible"
NO_CUDF = "cuDF is not installed"
CARD_WITHOUT_CUDF = "a CUDA device is visible but cuDF is not installed"


@cache
def gpu_count() -> int:
    """How many CUDA devices this process sees; 0 where the driver is missing."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def has_bfloat16(device: str) -> bool:
    """Whether a torch device multiplies bfloat16 in hardware (AVX512-BF16, AMX, or the card's)."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.cpu.get_capabilities() if device == "cpu" else {}
    return any(features.get(name) for name in ("avx512_bf16", "amx_bf16"))


def lacks_for_cudf() -> str:
    """Why this process cannot make cuDF frames; the empty string where it can.

    Cheap where cuDF is not installed: torch is then asked for a card only if the machine has the
    device file of one.
    """
    if importlib.util.find_spec("cudf") is not None:
        return "" if gpu_count() else NO_CARD
    files = [*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("dxg")]  # Linux, WSL
    return CARD_WITHOUT_CUDF if files and gpu_count() else NO_CUDF


def resolve_backend(backend: str) -> str:
    """``"pandas"`` or ``"cudf"`` for this process, from what was asked for.

    ``"auto"`` is cuDF where a CUDA device is visible and cuDF is installed, else pandas.
    `laion_dask.runtime.workers.choose_backend` asks the workers of a cluster as well.

    Raises
    ------
    OptionError
        For an unknown name.
    MissingExtraError
        When cuDF is asked for by name and cannot be had; never a silent fall-back to pandas.

    Warns
    -----
    BackendWarning
        When ``"auto"`` is pandas although a card is visible.
    """
    if backend not in ("auto", *BACKENDS):
        raise one_of("backend", backend, ["auto", *BACKENDS])
    lacks = lacks_for_cudf() if backend != "pandas" else ""
    if backend == "auto":
        if lacks == CARD_WITHOUT_CUDF:
            warn_of_pandas(f"Here {lacks}. Install the extra 'laion_dask[gpu]'", depth=5)
        return "pandas" if lacks else "cudf"
    if lacks:
        raise MissingExtraError(
            f"{argument('backend', 'cudf')} was asked for, but {lacks}. Install the extra "
            "'laion_dask[gpu]' on a "
            f"machine with an NVIDIA card, or use {argument('backend', 'pandas')}."
        )
    return backend


def warn_of_pandas(why: str, depth: int = 4) -> None:
    """Say that a frame is pandas', and why, to the caller some calls up."""
    warnings.warn(
        f"The frame is of pandas, on the processor. {why}, or say "
        f"{argument('backend', 'pandas')} to have it so.",
        BackendWarning,
        stacklevel=depth,
    )


def card_bytes() -> int:
    """Memory of the smallest card that this process sees, in bytes."""
    import torch

    cards = range(gpu_count())
    return min(torch.cuda.get_device_properties(card).total_memory for card in cards)


def require_dask_cuda():
    """The ``dask_cuda`` module.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    """
    try:
        return importlib.import_module("dask_cuda")
    except ImportError as error:
        raise MissingExtraError(
            "A GPU is visible but dask-cuda is not installed. Install the extra "
            "'laion_dask[gpu]', or ask for CPU workers with start_cluster(gpu=False)."
        ) from error


def require_ucx() -> None:
    """Refuse UCX where the package that brings it to Dask is missing.

    Raises
    ------
    MissingExtraError
        When distributed-ucxx is not installed.
    """
    if importlib.util.find_spec("distributed_ucxx") is None:
        raise MissingExtraError(
            "The protocol 'ucx' needs distributed-ucxx, which is not installed. Install "
            "distributed-ucxx-cu13 (distributed-ucxx from conda-forge), or leave protocol out."
        )


def require_cuvs():
    """The module ``cuvs.neighbors.ivf_pq``.

    Raises
    ------
    MissingExtraError
        When it is not installed, or no CUDA device is visible.
    """
    if not gpu_count():
        raise MissingExtraError(
            f"{argument('device', 'cuda')} was asked for, but no CUDA device is visible. Leave "
            "it out to build on "
            "the processor."
        )
    try:
        return importlib.import_module("cuvs.neighbors.ivf_pq")
    except ImportError as error:
        raise MissingExtraError(
            f"{argument('device', 'cuda')} needs cuVS, which is not installed. Install the extra "
            "'laion_dask[index-gpu]', or leave device out to build on the processor."
        ) from error


@cache
def kvikio():
    """The ``kvikio`` module, which reads files straight to the card, or None without it.

    It reads on 8 threads, unless ``KVIKIO_NTHREADS`` says otherwise; its own default is 1.
    """
    try:
        module = importlib.import_module("kvikio")
        defaults = importlib.import_module("kvikio.defaults")
    except (ImportError, OSError):  # not installed, or a library that it loads is not there
        return None
    if not {"KVIKIO_NTHREADS", "KVIKIO_NUM_THREADS"} & os.environ.keys():
        defaults.set("num_threads", max(8, defaults.get("num_threads")))
    return module


def frame_from_arrow(table: pa.Table, backend: str):
    """An Arrow table as a frame of the backend.

    In pandas, integers and booleans are nullable, floats are NumPy's with NaN for null, strings
    are Arrow-backed, and everything else keeps its Arrow type; ``shard`` and ``row`` are never
    null and NumPy's.
    """
    if backend == "cudf":
        table = table.replace_schema_metadata(None)  # no index of pandas'
        return importlib.import_module("cudf").DataFrame.from_arrow(table)
    frame = table.to_pandas(types_mapper=pandas_type)
    for name in PROVENANCE:
        if name in frame:
            frame[name] = frame[name].to_numpy(dtype=str(table.schema.field(name).type))
    return frame


class CudfDecoder:
    """Row groups of a Parquet file as frames of cuDF; see ``io.group_scan``."""

    backend = "cudf"

    def read(self, path: str, columns: Sequence[str], groups: Sequence[int]):
        """The columns of some row groups of a local file; text may be no UTF-8.

        By the reader under `cudf.read_parquet`, which would make an index of what pandas wrote
        about one, whatever it is told, and look for columns in the names of folders.
        """
        cudf = importlib.import_module("cudf")
        io, parquet = map(importlib.import_module, ("pylibcudf.io", "pylibcudf.io.parquet"))
        wanted = parquet.ParquetReaderOptions.builder(io.SourceInfo([path]))
        options = wanted.use_pandas_metadata(False).ignore_missing_columns(False).build()
        options.set_column_names(list(columns))
        options.set_row_groups([list(groups)])
        return cudf.DataFrame.from_pylibcudf(parquet.read_parquet(options))

    def text(self, series) -> tuple:
        """A column of strings as it lies on the card: (bytes,) uint8, and where each starts.

        Raises
        ------
        MemoryError
            When the card has no room for it beside what else is looked at.
        """
        import torch

        cupy = importlib.import_module("cupy")
        if not int(series.str.byte_count().sum() or 0):
            return torch.empty(0, dtype=torch.uint8), torch.empty(0, dtype=torch.int64)
        column, _ = series.to_pylibcudf()
        chars = column.data()
        if chars is None or column.child(0).data() is None:  # cuDF has spilled it meanwhile
            raise MemoryError("a column of text went to host memory while it was looked at")
        memory = cupy.cuda.UnownedMemory(chars.ptr, chars.size, column)
        pointer = cupy.cuda.MemoryPointer(memory, 0)
        flat = cupy.ndarray((chars.size,), cupy.uint8, pointer)
        starts = type(series).from_pylibcudf(column.child(0)).values[:-1].astype(cupy.int64)
        return torch.from_dlpack(flat), torch.from_dlpack(starts)


def frame_to_arrow(frame) -> pa.Table:
    """A frame of either backend as an Arrow table; an index that has a name is a column.

    Raises
    ------
    SchemaError
        When a column of Python objects holds values of several types.
    """
    if frame.index.name is not None:  # set_index(…, drop=False) left the column where it was
        frame = frame.reset_index(drop=frame.index.name in frame.columns)
    if isinstance(frame, pd.DataFrame):
        try:
            return pa.Table.from_pandas(frame, preserve_index=False)
        except pa.ArrowException as error:
            raise SchemaError(
                f"{' '.join(map(str, error.args))!r}: a column holds values of several types. "
                "Make them one, for instance with astype(str), or drop the column."
            ) from error
    return frame.to_arrow(preserve_index=False)


def to_pandas(frame) -> pd.DataFrame:
    """A frame of either backend in pandas, its columns typed as `frame_from_arrow` does."""
    if not is_cudf(frame):
        return frame
    made = frame_from_arrow(frame_to_arrow(frame), "pandas")
    made.attrs = dict(frame.attrs)
    return made


def is_cudf(frame) -> bool:
    """Whether a frame or series is cuDF's."""
    return type(frame).__module__.split(".")[0] == "cudf"


def to_numpy(series) -> np.ndarray:
    """A numeric column without nulls as a NumPy array, from either backend."""
    return series.to_numpy()


def device_of(frame) -> str:
    """The torch device that a frame's columns lie on: ``"cuda"`` for cuDF's, else ``"cpu"``."""
    return "cuda" if is_cudf(frame) else "cpu"


def column_like(values, frame):
    """Numbers as a series of the frame's own kind, with its index.

    Parameters
    ----------
    values : (n,) NumPy array or torch tensor
        A tensor must be on the frame's device; it is shared by DLPack, not copied.
    frame : DataFrame of n rows
    """
    if is_cudf(frame):
        if not isinstance(values, np.ndarray):
            values = importlib.import_module("cupy").from_dlpack(values)
        cudf = importlib.import_module("cudf")
        return cudf.Series(values, index=frame.index, nan_as_null=False)
    return pd.Series(np.asarray(values), index=frame.index)


def frame_like(columns: Mapping[str, np.ndarray], frame):
    """Columns of numbers as a frame of another frame's kind."""
    if is_cudf(frame):
        return importlib.import_module("cudf").DataFrame(dict(columns))
    return pd.DataFrame(dict(columns), copy=False)
