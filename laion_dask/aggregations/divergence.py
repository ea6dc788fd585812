"""Divergence of a distribution, such as that of languages, between the groups of a frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Self

import pandas as pd

from laion_dask.aggregations.contingency import (
    ContingencyTable,
    by_size,
    contingency_table,
    merge_tables,
)
from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.grouping.base import Grouping, grouping
from laion_dask.errors import OptionError
from laion_dask.reserved_labels import group_label
from laion_dask.stats.divergence import compared

#: With more groups than this, each is only compared with the rest.
MAX_PAIRED = 10
#: Label of the rows outside a group, which each group is compared with.
REST = "(rest)"
_COLUMNS = ("group", "group_2", "n", "n_group", "n_group_2", "value", "expected", "method")


@dataclass(frozen=True)
class Divergence(Statistic):
    """See `divergence`."""

    of: Grouping
    by: Grouping
    name = "divergence"
    method = (
        "The Jensen-Shannon divergence of the shares P and Q of two groups, H((P + Q) / 2) - "
        "(H(P) + H(Q)) / 2 with Shannon's entropy H, in bits: 0 if they are equal, 1 if they "
        "have no label in common (Lin 1991). Expected is the approximate value for two samples "
        "of one distribution.",
    )

    def bind(self, column_types: Mapping[str, str]) -> Self:
        return replace(self, of=self.of.bind(column_types), by=self.by.bind(column_types))

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.of.reads, *self.by.reads)))

    def chunk(self, partition: Partition) -> ContingencyTable:
        return contingency_table(partition, self.of, self.by)

    def combine(self, states: Sequence[ContingencyTable]) -> ContingencyTable:
        return merge_tables(states, self.of, self.by)

    def finalize(self, state: ContingencyTable, options: ReportOptions) -> pd.DataFrame:
        results = pd.DataFrame(list(_to_rows(state)), columns=list(_COLUMNS))
        return results.assign(term=self.of.axis, axis=self.by.axis, undecided=state.undecided)


def divergence(of: str | Grouping, *, by: str | Grouping) -> Divergence:
    """Jensen-Shannon divergence of a distribution between groups, and of each from the rest.

    For example, how much the distribution of languages or registered domains differs between
    captions that mention women and men: 0 if all labels have equal shares, 1 if no label occurs in
    both. To compare two data sets see `laion_dask.stats.Table.divergence`.

    Parameters
    ----------
    of : str or Grouping
        The distribution: a column name, or a grouping such as ``ld.domains()``. A row with several
        labels counts once for each; a row without a label does not count.
    by : str or Grouping
        The groups to compare.

    Returns
    -------
    Divergence
        For `laion_dask.statistics`, which reports, for each ``group`` against the rows outside it
        (``group_2`` ``(rest)``), and for each pair of groups if there are at most 10: ``term``, the
        distribution; ``value`` in bits, in [0, 1]; ``expected``, the approximate value for two
        samples of one distribution, for comparison; ``n_group`` and ``n_group_2``, the labels
        counted in each; and ``n``, the smaller of the two. A row with a null in a column that is
        read is ``undecided`` and not counted elsewhere.

    Raises
    ------
    OptionError
        If an argument has the wrong type, or the two are equal.

    References
    ----------
    Lin (1991), see `laion_dask.stats.jensen_shannon`.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> apart = ld.divergence("language", by=ld.terms("gender"))
    >>> bool((ld.statistics(frame, apart, min_n=0)["value"].dropna() <= 1).all())
    True
    """
    of, by = grouping(of), grouping(by)
    if of == by:
        raise OptionError(
            f"of and by are both {by.axis!r}. Expected two groupings, such as 'language' and "
            "ld.terms('gender')."
        )
    return Divergence(of, by)


def _to_rows(contingency: ContingencyTable) -> Iterator[dict]:
    labels, groups = by_size(contingency.first), by_size(contingency.second)
    overall, by_group = (
        contingency.first.ordered(labels),
        contingency.both.ordered(labels, groups).T,
    )
    counts = [pd.Series(rows, index=labels) for rows in by_group]
    names = {group: group_label(group) for group in groups}
    for group, rows in zip(groups, counts, strict=True):
        yield {"group": names[group], "group_2": REST, **compared(rows, rows.rsub(overall))}
    if len(groups) <= MAX_PAIRED:
        for i, j in combinations(range(len(groups)), 2):
            yield {
                "group": names[groups[i]],
                "group_2": names[groups[j]],
                **compared(counts[i], counts[j]),
            }
