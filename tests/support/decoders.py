"""A stand-in for cuDF's decoder: pyarrow decodes row groups into pandas."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from laion_dask.backend import frame_from_arrow


class PandasDecoder:
    """Stand in for `CudfDecoder` on the CPU; ``read`` records the row groups."""

    backend = "pandas"

    def __init__(self):
        self.groups = []

    def read(self, path, columns, groups):
        self.groups += groups
        table = pq.ParquetFile(path).read_row_groups(list(groups), columns=list(columns))
        plain = [(f.name, getattr(f.type, "value_type", f.type)) for f in table.schema]
        return frame_from_arrow(table.cast(pa.schema(plain)), "pandas")  # cuDF has no dictionaries

    def text(self, series):
        column = pa.array(series.array._pa_array.combine_chunks(), pa.large_string())
        _, offsets, chars = column.buffers()
        starts = np.frombuffer(offsets, np.int64)[: len(column) + 1]
        chars = np.frombuffer(chars or b"", np.uint8)[: starts[-1]].copy()
        return torch.from_numpy(chars), torch.from_numpy(starts[:-1].copy())
