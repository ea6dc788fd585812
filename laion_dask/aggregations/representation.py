"""Representation at the top of a search result, against a reference distribution."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.aggregations.audit import default_axes
from laion_dask.aggregations.engine.base import Partition
from laion_dask.aggregations.engine.statistics import bind, collect, pass_cost
from laion_dask.aggregations.exclusion import Exclusion
from laion_dask.aggregations.grouping.base import Grouping, grouping, members
from laion_dask.backend import frame_to_arrow, is_cudf, to_numpy
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.dtypes import column_type
from laion_dask.errors import OptionError, must_be
from laion_dask.frame.provenance import Provenance
from laion_dask.stats.exclusion_inputs import distribution
from laion_dask.stats.intervals import wilson
from laion_dask.stats.representation import max_skew, min_skew, ndkl, skew
from laion_dask.stats.table import Table, table

_SUMMED = {"min_skew": min_skew, "max_skew": max_skew, "ndkl": ndkl}


def representation(
    hits: pd.DataFrame,
    reference: Mapping | dd.DataFrame,
    *,
    by: str | Grouping,
    k: int | Sequence[int] | None = None,
    level: float = 0.95,
) -> Table:
    """Skew@k, MinSkew, MaxSkew and NDKL of a search result, for each query. Eager.

    Parameters
    ----------
    hits : pandas.DataFrame, or cuDF's
        A result of `search`: grouped by ``query`` (a single query if there is no such column) and
        ordered by ``rank`` (row order if there is no such column), with the columns that ``by``
        reads.
    reference : mapping of group to number, or dask DataFrame
        Expected share of each group; or a frame, such as the searched one, whose shares are counted
        in one pass. Groups that only occur in the reference count as well.
    by : str or Grouping
        A column name, or a grouping such as ``ld.terms("gender")``. A hit in several groups counts
        once in each, and a hit in no group does not count; the same applies to the rows of a frame.
    k : int or sequence of int, optional
        Number of top results to consider; several are reported one after the other. Defaults to
        all.
    level : float
        Coverage of the intervals, between 0 and 1.

    Returns
    -------
    Table
        ``query``, ``top`` (the requested k) and ``statistic``. ``skew`` has one row per group of
        the reference: ``k`` of the ``n`` memberships belong to the group, a share of ``rate``
        (``lo, hi`` is Wilson's interval); ``reference`` is the expected share, ``value`` the skew.
        ``min_skew``, ``max_skew`` and ``ndkl`` have one row each. For missing groups see
        `laion_dask.stats.skew`. Nothing is suppressed, because a ranking is not a sample.

    Raises
    ------
    OptionError, ColumnError
        Immediately; also if a hit's group is not in the reference.

    References
    ----------
    Geyik, S. C., Ambler, S., Kenthapadi, K. (2019). Fairness-aware ranking in search and
    recommendation systems with application to LinkedIn talent search. KDD.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> hits = frame.laion.search(images, "a gardener at work", k=100)
    >>> table = ld.representation(hits, frame, by=ld.terms("gender"))
    >>> list(table["statistic"])
    ['skew', 'skew', 'skew', 'min_skew', 'max_skew', 'ndkl']
    """
    if not is_cudf(hits):
        must_be("hits", hits, pd.DataFrame, "a computed frame, as search returns")
    axis = grouping(by)
    bound = axis.bind({str(name): column_type(dtype) for name, dtype in hits.dtypes.items()})
    depths = _depths(k)
    expected = _shares(reference, axis)
    memberships = members(
        Partition(frame_to_arrow(hits[list(bound.reads)].reset_index(drop=True))), bound
    )
    groups: list[list[str]] = [[] for _ in range(memberships.n_rows)]
    for row, code in zip(memberships.rows.tolist(), memberships.codes.tolist(), strict=True):
        groups[row].append(memberships.labels[code])
    rows = []
    for query, ranked in _rankings(hits):
        ranking = [groups[row] for row in ranked]
        for top in depths:
            keys = {"axis": axis.axis, "query": query, "top": len(ranking) if top is None else top}
            rows += [{**keys, **row} for row in _to_rows(ranking[:top], expected, level)]
    return table(pd.DataFrame(rows, columns=None if rows else ["statistic", "axis", "value"]))


def _depths(k) -> list[int | None]:
    depths = list(k) if isinstance(k, (list, tuple, range, np.ndarray)) else [k]
    for depth in depths:
        is_integer = isinstance(depth, (int, np.integer)) and not isinstance(depth, bool)
        if depth is not None and (not is_integer or depth < 1):
            raise OptionError(f"k is {depth!r}. Expected a positive number of hits.")
    if not depths:
        raise OptionError("k is empty. Expected one or several positive integers.")
    return depths


def _shares(reference, axis: Grouping) -> dict[Hashable, float]:
    """The expected share of each group."""
    if not isinstance(reference, dd.DataFrame):
        return {str(label): share for label, share in distribution(reference).items()}
    provenance = Provenance.of(reference)
    ((counted,), _) = collect(provenance, bind(provenance, [Exclusion(None, (axis,))]))
    (groups,) = counted.groups
    order = sorted(groups, key=lambda label: (-groups[label][0], label))
    if not any(groups[label][0] for label in order):
        raise OptionError(f"No row of the reference is in a group of {axis.axis!r}.")
    return distribution({label: groups[label][0] for label in order})


def _rankings(hits) -> Iterator[tuple[int, np.ndarray]]:
    """Each query with the positions of its hits in order of rank."""
    n = len(hits)
    query = to_numpy(hits["query"]) if "query" in hits else np.zeros(n, np.int64)
    rank = to_numpy(hits["rank"]) if "rank" in hits else np.arange(n)
    order = np.lexsort((rank, query))
    for number in np.unique(query):
        yield number.item(), order[query[order] == number]


def _to_rows(
    ranking: list[list[str]], expected: dict[Hashable, float], level: float
) -> Iterator[dict]:
    skews = skew(ranking, expected)
    counts: dict[Hashable, int] = dict.fromkeys(expected, 0)
    for item in ranking:
        for label in item:
            counts[label] += 1
    n = sum(counts.values())
    for group, value in skews.items():
        k = counts[group]
        lo, hi = wilson(k, n, level)
        rate = k / n if n else float("nan")
        common = {"group": group, "n": n, "k": k, "rate": rate, "lo": lo, "hi": hi}
        values = {"value": value, "reference": expected[group], "method": "Wilson, of the share"}
        yield {"statistic": "skew", **common, **values}
    for name, measure in _SUMMED.items():
        yield {"statistic": name, "n": n, "value": measure(ranking, expected)}


def representation_cost(frame: PlannedFrame, by: str | Grouping | None = None) -> Cost:
    """Cost of `representation` with the frame as reference: its groups, counted in one pass.

    Raises
    ------
    OptionError, ColumnError
        As for `representation`.
    """
    note = "representation: counts the groups of the reference frame; hits are already in memory"
    groupings = default_axes(frame.frame) if by is None else (grouping(by),)
    cost = pass_cost(frame, [Exclusion(None, groupings)], label="representation")
    return replace(cost, notes=(note,))
