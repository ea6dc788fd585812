"""The authorities of a partition's URLs: the text between ``//`` and the next slash."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from laion_dask.text.host_names import OTHER, TEXT, names_of_thread


class Authorities:
    """The authority of each web URL, as a position among the distinct ones.

    URLs may be added in batches; what is found does not depend on how they are divided.

    Attributes
    ----------
    names : Names
        The distinct authorities of these and of other URLs.
    """

    def __init__(self) -> None:
        self.names = names_of_thread()
        self._codes: list[np.ndarray] = []
        self._others: list[pa.Array] = []

    def add(self, column: pa.ChunkedArray) -> None:
        """Add the next URLs. Releases the GIL."""
        for chunk in column.chunks:
            if len(chunk):
                urls = chunk if pa.types.is_large_string(chunk.type) else chunk.cast(TEXT)
                codes = self.names.encode(urls)
                self._codes.append(codes)
                others = np.flatnonzero(codes == OTHER)
                if len(others):
                    self._others.append(urls.take(pa.array(others)))

    def codes(self) -> np.ndarray:
        """Position in `names` of each row, (n,) int32; `NULL`, or `OTHER`.

        `OTHER` is for a URL that does not start with ``http://`` or ``https://``, or whose
        authority does not determine its host.
        """
        return np.concatenate([np.empty(0, np.int32), *self._codes])

    def others(self) -> pa.Array:
        """The URLs of the rows with the code `OTHER`, in order; large_string."""
        return pa.concat_arrays([pa.array([], TEXT), *self._others])
