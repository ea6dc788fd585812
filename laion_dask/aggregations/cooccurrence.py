"""Association of words with groups: nPMI, its gap between two groups, and PMI bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Self

import numpy as np
import pandas as pd

from laion_dask.aggregations.contingency import (
    ContingencyTable,
    by_size,
    contingency_table,
    known_rows,
    merge_tables,
    pairs_to_rows,
    select_rows,
)
from laion_dask.aggregations.counts import Counts, merge_counts
from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.grouping.base import Grouping, Members, grouping, members
from laion_dask.errors import OptionError, did_you_mean
from laion_dask.stats import benjamini_hochberg, two_proportions
from laion_dask.stats.cooccurrence import npmi, npmi_gap, pmi, pmi_bias
from laion_dask.stats.joint import npmi_gap_interval, npmi_interval

#: With more groups than this, only the requested pairs are compared.
MAX_PAIRED = 10


@dataclass(frozen=True, eq=False)
class CooccurrenceCounts:
    """Captions by word and group, by pair of groups, and by word and pair of groups."""

    contingency_table: ContingencyTable
    pairs: Counts
    words_and_pairs: Counts


@dataclass(frozen=True)
class Cooccurrence(Statistic):
    """See `cooccurrence`."""

    words: Grouping
    by: Grouping
    pairs: tuple[tuple[str, str], ...] | None
    name = "cooccurrence"
    section_position = 5
    method = (
        "nPMI(w, g) = ln[p(w,g) / (p(w) p(g))] / -ln p(w,g), p being shares of captions that "
        "mention them (Bouma 2009). The PMI bias of w is PMI(w, a) - PMI(w, b), with the interval "
        "of the log odds ratio (Valentini et al. 2021). A term that is in both lists, such as "
        "actress, is associated with its group by definition.",
    )

    def bind(self, column_types: Mapping[str, str]) -> Self:
        by = self.by.bind(column_types)
        labels = by.labels  # those of a column are only known after reading
        for group in sum(self.pairs or (), ()):
            if labels and group not in labels:
                raise OptionError(
                    f"pairs has {group!r}, which is not a group of {by.axis!r}."
                    f"{did_you_mean(group, labels)}"
                )
        return replace(self, words=self.words.bind(column_types), by=by)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.words.reads, *self.by.reads)))

    def chunk(self, partition: Partition) -> CooccurrenceCounts:
        contingency = contingency_table(partition, self.words, self.by)
        is_known = known_rows(partition, self.words, self.by)
        words, groups = (
            select_rows(members(partition, g), is_known) for g in (self.words, self.by)
        )
        twice = _members_of_pairs(groups, self.pairs)
        return CooccurrenceCounts(
            contingency,
            Counts((twice.labels,), twice.counts()),
            Counts((words.labels, twice.labels), words.intersections(twice)),
        )

    def combine(self, states: Sequence[CooccurrenceCounts]) -> CooccurrenceCounts:
        return CooccurrenceCounts(
            merge_tables([s.contingency_table for s in states], self.words, self.by),
            merge_counts([s.pairs for s in states]),
            merge_counts([s.words_and_pairs for s in states]),
        )

    def finalize(self, state: CooccurrenceCounts, options: ReportOptions) -> pd.DataFrame:
        contingency, groups = state.contingency_table, by_size(state.contingency_table.second)
        pairs = self.pairs
        if pairs is None:
            pairs = tuple(combinations(groups, 2)) if len(groups) <= MAX_PAIRED else ()
        results = [
            _npmi_rows(contingency, options),
            *(_pair_rows(state, *pair, options) for pair in pairs),
        ]
        combined = pd.concat(
            [rows for rows in results if len(rows)] or results[:1], ignore_index=True
        )
        combined.insert(1, "axis", self.by.axis)
        return combined


def cooccurrence(
    words: str | Grouping,
    *,
    by: str | Grouping,
    pairs: Sequence[tuple[str, str]] | None = None,
) -> Cooccurrence:
    """Words that co-occur with groups more or less often than expected by chance.

    Counts documents: captions that contain a word, or a group, at least once. A row with a null in
    a column that either grouping reads is not a document.

    Parameters
    ----------
    words : str or Grouping
        Such as ``ld.terms("occupations")``.
    by : str or Grouping
        Such as ``ld.terms("gender")``.
    pairs : sequence of pairs of str, optional
        The groups of ``by`` to compare, such as ``[("woman", "man")]``. By default every pair, the
        larger group first, if there are at most 10 groups; otherwise none.

    Returns
    -------
    Cooccurrence
        For `laion_dask.statistics`, which reports by ``measure``:

        ``nPMI`` of word ``term`` and group ``group``
            ``value`` is ln[p(w,g) / (p(w) p(g))] / -ln p(w,g), in [-1, 1], with its MOVER interval
            ``lo``, ``hi``; ``pmi`` is the value before normalization; ``p`` tests independence.
        ``nPMI gap`` of the word between ``group`` and ``group_2``
            ``value`` is the nPMI with the first group minus that with the second, with its
            interval.
        ``PMI bias`` of the word between ``group`` and ``group_2``
            ``value`` is the PMI with the first group minus that with the second, which is
            ln[p(w|g) / p(w|g_2)], with the interval of a log odds ratio; ``p`` tests whether the
            two shares are equal.

        In all rows, ``k`` documents have the word and the group, out of ``n_word``, ``n_group`` and
        ``n_rows`` (``k_2`` and ``n_group_2`` for the second group); ``expected`` is k under
        independence; ``q`` is p adjusted for all words shown with the group or pair. ``n`` is the
        smallest of the document counts of the word and the groups. It is compared with ``min_n``,
        so that rare words are suppressed.

        A term in both lists is associated with its group by definition: "actress" is an occupation
        and a word for a woman. A document in both groups of a pair counts for both, which makes the
        interval of the bias slightly too wide. Intervals and p assume independent documents;
        documents of one shard may not be, and copies of a caption are not.

    Raises
    ------
    OptionError
        If an argument has the wrong type, or the two groupings are equal; when bound, if a pair
        names an unknown group of a term list.

    References
    ----------
    nPMI: Bouma (2009), see `laion_dask.stats.npmi`; the gap: Aka et al. (2021), see `npmi_gap`;
    PMI bias: Valentini et al. (2021), see `pmi_bias`; the intervals of the first two:
    `laion_dask.stats.joint`.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> pairs = ld.cooccurrence(ld.terms("occupations"), by=ld.terms("gender"))
    >>> set(ld.statistics(frame, pairs, min_n=0)["statistic"])
    {'cooccurrence'}
    """
    words, by = grouping(words), grouping(by)
    if words == by:
        raise OptionError(
            f"words and by are both {by.axis!r}. Expected two groupings, such as "
            "ld.terms('occupations') and ld.terms('gender')."
        )
    return Cooccurrence(words, by, None if pairs is None else _pairs(pairs))


def _pairs(pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    checked = []
    for pair in [pairs] if isinstance(pairs, str) else pairs:
        two = tuple(pair) if isinstance(pair, (list, tuple)) else ()
        if len(two) != 2 or not all(isinstance(g, str) for g in two) or two[0] == two[1]:
            raise OptionError(
                f"pairs has {pair!r}. Expected two different groups, such as ('woman', 'man')."
            )
        checked.append(two)
    return tuple(dict.fromkeys(checked))


def _members_of_pairs(groups: Members, pairs: tuple[tuple[str, str], ...] | None) -> Members:
    """The rows in two groups at once, labeled by the sorted pair of groups."""
    if pairs is not None:
        paired = {label for pair in pairs for label in pair}
        numbers = [i for i, label in enumerate(groups.labels) if label in paired]
        kept = np.isin(groups.codes, numbers)
        groups = Members(groups.labels, groups.rows[kept], groups.codes[kept], groups.n_rows)
    elif len(groups.labels) > MAX_PAIRED:
        return Members((), groups.rows[:0], groups.codes[:0], groups.n_rows)
    rank_of = np.empty(len(groups.labels), np.int64)
    rank_of[np.argsort(np.array(groups.labels, dtype=object), kind="stable")] = np.arange(
        len(rank_of)
    )
    ordered, ranks = sorted(groups.labels), rank_of[groups.codes]
    rows, keys = [groups.rows[:0]], [ranks[:0]]
    for step in range(1, len(ranks)):
        same = groups.rows[step:] == groups.rows[:-step]
        if not same.any():
            break
        one, other = ranks[:-step][same], ranks[step:][same]
        rows.append(groups.rows[step:][same])
        keys.append(np.minimum(one, other) * len(ordered) + np.maximum(one, other))
    distinct, codes = np.unique(np.concatenate(keys), return_inverse=True)
    labels = tuple(
        (ordered[k // len(ordered)], ordered[k % len(ordered)]) for k in distinct.tolist()
    )
    return Members(labels, np.concatenate(rows), codes.astype(np.int32), groups.n_rows)


def _npmi_rows(contingency: ContingencyTable, options: ReportOptions) -> pd.DataFrame:
    results = pairs_to_rows(contingency, options)
    columns = results[["k", "n_first", "n_second", "n_rows"]].to_numpy(np.int64)
    counts = k, n_first, n_second, n_rows = tuple(columns.T)
    lo, hi = npmi_interval(k, n_first, n_second, n_rows, options.level)
    q, p, shown = (
        np.full(len(results), np.nan),
        results["p"].to_numpy(),
        results["n"] >= options.min_n,
    )
    for positions in results.groupby("second", sort=False).indices.values():
        family = positions[shown.to_numpy()[positions]]
        q[family] = benjamini_hochberg(p[family])
    names = {"first": "term", "second": "group", "n_first": "n_word", "n_second": "n_group"}
    return results.rename(columns=names).assign(
        measure="nPMI",
        value=npmi(*counts),
        lo=lo,
        hi=hi,
        pmi=pmi(*counts),
        q=q,
        method="MOVER; p: Fisher or z; q: Benjamini-Hochberg",
    )


def _pair_rows(state: CooccurrenceCounts, a: str, b: str, options: ReportOptions) -> pd.DataFrame:
    """Gap and bias of every word between two groups."""
    contingency, two = state.contingency_table, tuple(sorted((a, b)))
    words = by_size(contingency.first)
    n_w = contingency.first.ordered(words)
    n_wa, n_wb = contingency.both.ordered(words, (a, b)).T
    n_a, n_b = contingency.second.ordered((a, b))
    n_wab = state.words_and_pairs.ordered(words, [two])[:, 0]
    n_ab = state.pairs.ordered([two])[0]
    ends = ((n_wa, n_a), (n_wb, n_b), (n_wab, n_ab), n_w, contingency.n, options.level)
    common = pd.DataFrame(
        {
            "term": pd.Series(words, dtype=object),
            "group": a,
            "group_2": b,
            "n": np.minimum(n_w, min(n_a, n_b)),
            "k": n_wa,
            "k_2": n_wb,
            "n_word": n_w,
            "n_group": n_a,
            "n_group_2": n_b,
            "n_rows": np.int64(contingency.n),
            "undecided": np.int64(contingency.undecided),
        }
    )
    lo, hi = npmi_gap_interval(*ends)
    gap = npmi_gap(n_wa, n_a, n_wb, n_b, n_w, contingency.n)
    gap = common.assign(measure="nPMI gap", value=gap, lo=lo, hi=hi, method="MOVER, delta method")
    value, lo, hi = pmi_bias(n_wa, n_a, n_wb, n_b, options.level)
    p, q = two_proportions(n_wa, n_a, n_wb, n_b), np.full(len(words), np.nan)
    shown = (common["n"] >= options.min_n).to_numpy()
    q[shown] = benjamini_hochberg(p[shown])
    results = {"measure": "PMI bias", "value": value, "lo": lo, "hi": hi, "p": p, "q": q}
    bias = common.assign(**results, method="log odds; p: Fisher or z; q: Benjamini-Hochberg")
    return pd.concat([gap, bias], ignore_index=True)
