"""Decode row groups of Parquet files on the GPU, using the reader behind `cudf.read_parquet`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence


class CudfDecoder:
    """Decodes row groups of a Parquet file as cuDF frames, for `scan_cudf`."""

    backend = "cudf"

    def read(self, path: str, columns: Sequence[str], groups: Sequence[int]):
        """The given columns of row groups of a local file; text is not checked to be valid UTF-8.

        Bypasses `cudf.read_parquet`, which always restores an index recorded by pandas, and also
        reads columns from folder names.
        """
        cudf = importlib.import_module("cudf")
        io, parquet = map(importlib.import_module, ("pylibcudf.io", "pylibcudf.io.parquet"))
        builder = parquet.ParquetReaderOptions.builder(io.SourceInfo([path]))
        options = builder.use_pandas_metadata(False).ignore_missing_columns(False).build()
        options.set_column_names(list(columns))
        options.set_row_groups([list(groups)])
        return cudf.DataFrame.from_pylibcudf(parquet.read_parquet(options))

    def text(self, series) -> tuple:
        """The bytes of a string column in GPU memory, (n_bytes,) uint8, and each start, int64.

        Raises
        ------
        MemoryError
            When there is not enough GPU memory.
        """
        import torch

        cupy = importlib.import_module("cupy")
        if not int(series.str.byte_count().sum() or 0):
            return torch.empty(0, dtype=torch.uint8), torch.empty(0, dtype=torch.int64)
        column, _ = series.to_pylibcudf()
        chars = column.data()
        if chars is None or column.child(0).data() is None:  # cuDF spilled it in the meantime
            raise MemoryError("a column of text was spilled to host memory while it was checked")
        memory = cupy.cuda.UnownedMemory(chars.ptr, chars.size, column)
        pointer = cupy.cuda.MemoryPointer(memory, 0)
        flat = cupy.ndarray((chars.size,), cupy.uint8, pointer)
        starts = type(series).from_pylibcudf(column.child(0)).values[:-1].astype(cupy.int64)
        return torch.from_dlpack(flat), torch.from_dlpack(starts)
