"""``url.domain()`` and ``url.tld()``, which need the list of public suffixes.

DuckDB cannot compute them. The filter is `split`: DuckDB applies the rest, and these parts are
evaluated on the batches that it returns. Calling a Python function from SQL takes twice as long,
because DuckDB passes it 2,048 rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.backend import Column, is_cudf
from laion_dask.predicate.extremes import as_arrow
from laion_dask.predicate.nodes import SITE_VALUES, And, Condition, Name, Predicate, nodes_of
from laion_dask.text.site_labels import site_labels


@lru_cache(maxsize=64)
def split(predicate: Predicate) -> tuple[Predicate | None, Predicate | None]:
    """The parts of a conjunction that DuckDB can evaluate, and the parts that need hosts of URLs.

    A row passes the predicate if it passes both, also in three-valued logic; None for no part.
    """
    parts = list(_conjuncts(predicate.root))
    with_sites = [part for part in parts if has_site(part)]
    if not with_sites:
        return predicate, None
    return _predicate([part for part in parts if part not in with_sites]), _predicate(with_sites)


def has_site(condition: Condition) -> bool:
    """Whether the domain or the top-level domain of a URL occurs in a condition."""
    return any(getattr(node, "op", None) in SITE_VALUES for node in nodes_of(condition))


def _conjuncts(condition: Condition) -> Iterator[Condition]:
    if isinstance(condition, And):
        for part in condition.parts:
            yield from _conjuncts(part)
    else:
        yield condition


def _predicate(parts: list[Condition]) -> Predicate | None:
    if not parts:
        return None
    root = parts[0] if len(parts) == 1 else And(tuple(parts))
    names = (node.name for node in nodes_of(root) if isinstance(node, Name))
    return Predicate("", root, tuple(dict.fromkeys(names)))


def site_values(urls: Column, level: str) -> Column:
    """The registered domain or the top-level domain of a series of URLs; null for no host.

    cuDF has no list of public suffixes: its columns are processed on the host.
    """
    labels = site_labels(pa.chunked_array([as_arrow(urls)]), level)
    if is_cudf(urls):
        made: Column = type(urls)(labels, index=urls.index)
        return made
    dtype = pd.StringDtype(na_value=np.nan)
    return pd.Series(pd.array(labels, dtype), index=urls.index)
