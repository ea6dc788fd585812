"""Numbers that sort like the values of a column, whatever its type."""

from __future__ import annotations

from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.backend import Frame, frame_to_arrow
from laion_dask.errors import OptionError, no_column

_TOP = np.uint64(1 << 63)


@dataclass(frozen=True)
class Ranking:
    """The order of a column's values.

    Attributes
    ----------
    column : str
    kind : {"float", "signed", "unsigned"}
        The type in which values are compared.
    """

    column: str
    kind: str

    @classmethod
    def of(cls, frame: dd.DataFrame, column: str) -> Ranking:
        """The order of a frame's column.

        Raises
        ------
        ColumnError, OptionError
            Immediately, when the frame has no such column, or it does not hold numbers.
        """
        if column not in frame.columns:
            raise no_column(str(column), frame.columns)
        type_ = frame_to_arrow(frame._meta[[column]].reset_index(drop=True)).schema.field(0).type
        if pa.types.is_floating(type_):
            return cls(column, "float")
        if pa.types.is_unsigned_integer(type_):
            return cls(column, "unsigned")
        if pa.types.is_integer(type_) or pa.types.is_boolean(type_):
            return cls(column, "signed")
        raise OptionError(
            f"The column {column!r} holds {type_}. Expected a column of numbers, such as a score."
        )

    def ranks(self, part: Frame) -> tuple[np.ndarray, np.ndarray]:
        """A number for each row, (n,) uint64, and a mask of the rows whose value is null or NaN.

        Numbers compare like the values, exactly; those of missing values mean nothing.
        """
        column = frame_to_arrow(part[[self.column]].reset_index(drop=True))[self.column]
        if self.kind == "float":
            values = column.cast(pa.float64()).to_numpy() + 0.0  # -0.0 equals 0.0; null is NaN
            bits = values.view(np.uint64)
            return np.where(bits & _TOP, ~bits, bits | _TOP), np.isnan(values)
        missing = column.is_null().to_numpy()
        wide = pa.uint64() if self.kind == "unsigned" else pa.int64()
        filled = pc.fill_null(column.cast(wide), 0).to_numpy()
        return (filled if self.kind == "unsigned" else filled.view(np.uint64) ^ _TOP), missing

    def values(self, part: Frame) -> tuple[np.ndarray, np.ndarray]:
        """The values as float64, (n,), and a mask of those that are null or NaN."""
        column = frame_to_arrow(part[[self.column]].reset_index(drop=True))[self.column]
        values = column.cast(pa.uint8() if pa.types.is_boolean(column.type) else column.type)
        numbers = values.cast(pa.float64(), safe=False).to_numpy()
        return numbers, np.isnan(numbers)
