"""The registered domain or the top-level domain of each URL of a column, as text."""

from __future__ import annotations

import pyarrow as pa

from laion_dask.text.domains import hosts, labels_of
from laion_dask.text.host_names import NULL


def site_labels(urls: pa.ChunkedArray, level: str) -> pa.Array:
    """The label of each URL's host at one of `laion_dask.text.domains.LEVELS`; null for none.

    Parameters
    ----------
    urls : (n,) chunked array of text
    level : str

    Returns
    -------
    (n,) large_string array
        Lower-case ASCII (``xn--…``), as `laion_dask.domains` and `laion_dask.tlds` group by.
    """
    coded = labels_of(hosts(urls), level)
    codes = coded.codes
    return coded.labels.take(pa.array(codes, mask=codes == NULL))
