"""Perceived attributes by zero-shot prompts: counts of groups, and never a label of a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.aggregations import perceived_kernel as kernels
from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.engine.statistics import bind, collect, report_options, to_table
from laion_dask.aggregations.grouping.base import (
    MOST_GROUPS,
    Grouping,
    grouping,
    members,
    too_many_groups,
)
from laion_dask.aggregations.perceived_prompts import NOT_ASSIGNED, axes_of
from laion_dask.caveats import CAVEATS
from laion_dask.cost import EMBEDDINGS, Cost, PlannedFrame
from laion_dask.errors import OptionError, must_be
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.schema import PROVENANCE
from laion_dask.stats.intervals import wilson
from laion_dask.stats.table import Table

#: The fewest rows for which counts are reported.
LEAST_N = 30
#: Stands in every row of a result, in two columns, and brings the caveat with it.
MARK = "model-assigned"
#: The group of all rows where there is no grouping.
ALL = ""
_COLUMNS = ("term", "group", "n", "k", "rate", "lo", "hi", "unscored", "method")


def perceived(
    frame: dd.DataFrame,
    embeddings: Embeddings,
    prompts: Mapping,
    *,
    by: str | Grouping | None = None,
    margin: float = 0.2,
    level: float = 0.95,
    min_n: int = LEAST_N,
) -> Table:
    """How many pictures a CLIP model finds nearest to which of some prompts. Eager.

    What comes back is perceived, model-assigned, and aggregate only: counts of groups of
    ``min_n`` rows or more, with a caveat that stays with them. The label of a row exists while its
    block of embeddings is counted, and is returned nowhere.

    A picture gets the label whose probability is highest, if it is ahead of the next by
    ``margin``; else it is *not assigned*, and counted as such. Probabilities are the softmax of
    the cosines times the model's logit scale (Radford et al. 2021, section 3.1.4); several prompts
    of a label are averaged at length one, and brought to length one. The model picks one of
    the labels for *every* picture, of people or not: leave out others first, for instance with
    ``ld.heads.zero_shot`` and `where`. Counts are the same for any partitioning and number of
    workers: every row is compared by itself, on the processor, also where the frame is cuDF's.

    Parameters
    ----------
    frame : dask DataFrame
        With ``shard`` and ``row``.
    embeddings : Embeddings
        Of the frame's images.
    prompts : mapping
        Of an attribute to its labels: ``{"gender": {"woman": "a photo of a woman", "man": "a photo
        of a man"}}``. A label has a prompt, a list of prompts, or vectors (dim,) or (m, dim).
        Labels alone, ``{"woman": …, "man": …}``, are of an attribute that has no name. Two labels
        or more.
    by : str or Grouping, optional
        Groups of rows that are counted apart: a column, or a grouping such as
        ``ld.terms("gender")``.
    margin : float
        In [0, 1), a difference of two probabilities, as in margin sampling (Scheffer et al. 2001).
        0.2 is a convention of this package: of two labels, the first has 60 % at least. Two labels
        that are level are never assigned.
    level : float
        Coverage of the intervals.
    min_n : int
        30 at least: smaller groups are suppressed and counted. Counts of two frames,
        or of two groups, that differ in one row still reveal that row's label, and a group whose
        rows all have one label reveals it for each of them; publish neither.

    Returns
    -------
    Table
        One row an attribute and label, and one for ``not assigned``: ``term`` is such as
        ``perceived gender (model-assigned)``, ``group`` the label. With ``by``, one row a group as
        well: ``term`` is such as ``woman: perceived gender (model-assigned)``, ``axis`` and
        ``group`` say among which rows. ``n`` rows that have an embedding, ``k`` of them with the
        label, ``rate`` with its Wilson interval ``lo``, ``hi``; ``unscored`` further rows of the
        group, whose embedding is NaN, infinite or zero. ``attrs`` has ``rows``, ``suppressed``,
        ``caveats``.

    Raises
    ------
    OptionError
        If prompts are not of that form, or an option is out of its range.
    ColumnError
        If ``by`` names no column.
    ModelMismatchError
        If vectors are known to come from another model than the embeddings.
    PairingError, ProvenanceError
        If the embeddings are not those of the frame's shards. All are raised at once.
    ProvenanceError
        If a row stands in the frame more than once.
    WeightsError
        If prompts are texts, and the model's weights are not on this machine.

    References
    ----------
    Radford, A. et al. (2021). Learning transferable visual models from natural language
    supervision. ICML. Scheffer, T., Decomain, C., Wrobel, S. (2001). Active hidden Markov models
    for information extraction. IDA. On what such labels do to the people they are put on:
    Scheuerman, M. K., Paul, J. M., Brubaker, J. R. (2019). How computers see gender. CSCW.
    """
    provenance = Provenance.of(frame)
    must_be("embeddings", embeddings, Embeddings, "what ld.open_embeddings(...) returns")
    provenance.check_identity_columns()
    provenance.check_branches()
    options = _options(level, min_n)
    _check_margin(margin)
    by = None if by is None else grouping(by)
    axes, scale = axes_of(prompts, embeddings.model)
    statistic = Perceived(embeddings.paired_with(provenance.shards), axes, scale, float(margin), by)
    bound = bind(provenance, [statistic])
    states, rows = collect(provenance, bound, label="perceived attributes")
    return to_table(bound, states, options, rows)


@dataclass(frozen=True, eq=False)
class Perceived(Statistic):
    """How many rows are nearest to which label; see `perceived`.

    Attributes
    ----------
    embeddings : Embeddings
        Of the frame's shards.
    axes : tuple of Axis
    scale : float
        What cosines are multiplied by before the softmax.
    margin : float
        How far the highest probability must be above the next.
    by : Grouping or None
    """

    embeddings: Embeddings
    axes: tuple[kernels.Axis, ...]
    scale: float
    margin: float
    by: Grouping | None = None
    name = f"perceived, {MARK}"
    caveats = (CAVEATS[MARK],)
    is_shared = True
    verb = "perceived"
    method = (
        "Each picture gets the label whose prompt is nearest by the softmax of cosines times the "
        "model's logit scale (Radford et al. 2021, section 3.1.4), if its probability leads by the "
        "margin (Scheffer, Decomain and Wrobel 2001); else it is not assigned. Shares are of the "
        "pictures with an embedding, with Wilson's interval.",
    )

    @property
    def cost(self) -> Cost:
        n_labels = sum(len(axis.labels) for axis in self.axes)
        return Cost(("perceived",), reads=EMBEDDINGS, flop=2.0 * n_labels * self.embeddings.dim)

    def bind(self, kinds: Mapping[str, str]) -> Statistic:
        return self if self.by is None else replace(self, by=self.by.bind(kinds))

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*PROVENANCE, *(self.by.reads if self.by is not None else ())]))

    def chunk(self, partition: Partition) -> tuple[dict[str, np.ndarray], ...]:
        """Counts by group, (len(labels) + 2,) int64 each, for every axis.

        The rows of each label, then those not assigned, then those without a direction.
        """
        rows = partition.table.select(list(PROVENANCE)).to_pandas()
        codes = kernels.label_codes(rows, self.embeddings, self.axes, self.scale, self.margin)
        groups = _groups(partition, self.by)
        return tuple(
            {
                group: np.bincount(column[positions], minlength=len(axis.labels) + 2)
                for group, positions in groups
            }
            for axis, column in zip(self.axes, codes, strict=True)
        )

    def combine(self, states: Sequence[tuple]) -> tuple[dict[str, np.ndarray], ...]:
        return tuple(_sums(of_axis) for of_axis in zip(*states, strict=True))

    def finalize(self, state: tuple, options: ReportOptions) -> pd.DataFrame:
        rows = [
            row
            for axis, counts in zip(self.axes, state, strict=True)
            for group in sorted(counts)
            for row in self._group_rows(axis, group, counts[group], options)
        ]
        return pd.DataFrame(rows, columns=None if rows else list(_COLUMNS))

    def _group_rows(
        self, axis: kernels.Axis, group: str, counts: np.ndarray, options: ReportOptions
    ) -> Iterator[dict]:
        *assigned, unscored = counts.tolist()
        n = sum(assigned)
        term = f"perceived {axis.name} ({MARK})"
        for label, k in zip((*axis.labels, NOT_ASSIGNED), assigned, strict=True):
            lo, hi = wilson(k, n, options.level)
            if self.by is None:
                among = {"term": term, "group": label}
            else:
                among = {"term": f"{label}: {term}", "axis": self.by.axis, "group": group}
            yield {
                **among,
                "n": n,
                "k": k,
                "rate": k / n if n else float("nan"),
                "lo": lo,
                "hi": hi,
                "unscored": unscored,
                "method": f"zero-shot, logit scale {self.scale:.4g}, margin {self.margin:g}; "
                "Wilson",
            }


def _groups(partition: Partition, by: Grouping | None) -> list[tuple[str, np.ndarray]]:
    """Each group of a partition, with the positions of its rows."""
    if by is None:
        return [(ALL, np.arange(len(partition)))]
    found = members(partition, by)
    order = np.argsort(found.codes, kind="stable")
    ends = np.cumsum(found.counts())
    of_each = np.split(found.rows[order], ends[:-1]) if len(ends) else []
    groups = dict(zip(found.labels, of_each, strict=True))
    outside = np.flatnonzero(~found.in_any())
    groups[by.no_group] = np.concatenate([groups.get(by.no_group, outside[:0]), outside])
    return [(label, rows) for label, rows in groups.items() if len(rows)]


def _sums(states: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    total: dict[str, np.ndarray] = {}
    for state in states:
        for label, counts in state.items():
            total[label] = total[label] + counts if label in total else counts
    if len(total) > MOST_GROUPS:
        raise too_many_groups("by", len(total))
    return total


def _options(level: float, min_n: int) -> ReportOptions:
    options = report_options(level, min_n)
    if min_n < LEAST_N:
        raise OptionError(
            f"min_n is {min_n}. Perceived attributes are reported for groups of {LEAST_N} rows or "
            "more, so that no row's label can be inferred; leave min_n out, or raise it."
        )
    return options


def _check_margin(margin) -> None:
    is_number = isinstance(margin, (int, float, np.number)) and not isinstance(margin, bool)
    if not is_number or not 0 <= margin < 1:
        raise OptionError(f"margin is {margin!r}. Expected a number from 0 to less than 1.")


def perceived_cost(
    frame: PlannedFrame, prompts: Mapping | None = None, by: str | Grouping | None = None
) -> Cost:
    """The cost of `perceived`; by default of two labels, without groups.

    Raises
    ------
    OptionError, ColumnError
        If ``prompts`` is not a mapping, or ``by`` names no column.
    """
    must_be("prompts", prompts, (Mapping, type(None)), "a mapping, as ld.perceived takes it")
    each = (prompts or {"one": "", "other": ""}).values()
    n = sum(len(labels) if isinstance(labels, Mapping) else 1 for labels in each)
    notes = () if n == 2 else (f"perceived: of {n} labels, and the rate was measured with 2",)
    axis = None if by is None else grouping(by).bind(frame.kinds)
    grouped = Cost(()) if axis is None else axis.cost
    return Cost(
        ("perceived", *grouped.rates, *grouped.shared),
        reads=EMBEDDINGS,
        columns=() if axis is None else axis.reads,
        flop=2.0 * n * frame.embeddings_for("perceived").dim,
        notes=notes,
    )
