"""Perceived attributes from zero-shot prompts: counts of groups, never the label of a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.aggregations import perceived_kernel as kernels
from laion_dask.aggregations.engine.base import Partition, ReportOptions, Statistic
from laion_dask.aggregations.engine.statistics import bind, collect, report_options, to_table
from laion_dask.aggregations.grouping.base import (
    MAX_GROUPS,
    Grouping,
    grouping,
    rows_of_groups,
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

#: Minimum number of rows for which counts are reported.
MIN_N = 30
#: Part of every row of a result, in two columns, so that it triggers the caveat.
MARK = "model-assigned"
#: Label of the group of all rows if there is no grouping.
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
    min_n: int = MIN_N,
) -> Table:
    """Numbers of images per nearest prompt, according to a CLIP model. Eager.

    The result is perceived, model-assigned and aggregate only: counts of groups of at least
    ``min_n`` rows, with a caveat that stays with the table. The label of a row exists only while
    its block of embeddings is counted, and is never returned.

    An image gets the label with the highest probability, if that probability leads the next by
    ``margin``; otherwise it is counted as *not assigned*. Probabilities are the softmax of the
    cosines times the model's logit scale (Radford et al. 2021, section 3.1.4). Several prompts of a
    label are normalized, averaged and normalized again. The model picks a label for *every* image,
    with or without people: first drop other images, for instance with ``ld.heads.zero_shot`` and
    `where`. Counts are the same for any partitioning and number of workers, because every row is
    compared on its own, on the CPU, even for a cuDF frame.

    Parameters
    ----------
    frame : dask DataFrame
        Must have ``shard`` and ``row``.
    embeddings : Embeddings
        Embeddings of the frame's images.
    prompts : mapping
        Maps each attribute to its labels: ``{"gender": {"woman": "a photo of a woman", "man": "a
        photo of a man"}}``. A label has a prompt, a list of prompts, or vectors (dim,) or (m, dim).
        A mapping of labels alone, ``{"woman": …, "man": …}``, describes one unnamed attribute. At
        least two labels are needed.
    by : str or Grouping, optional
        Count these groups of rows separately: a column, or a grouping such as
        ``ld.terms("gender")``.
    margin : float
        Minimum lead, a difference of two probabilities in [0, 1), as in margin sampling (Scheffer
        et al. 2001). The default of 0.2 is a convention of this package: with two labels, the first
        has at least 60 %. A tie is never assigned.
    level : float
        Coverage of the intervals.
    min_n : int
        At least 30: smaller groups are suppressed and counted. Counts of two frames or groups that
        differ in one row still reveal that row's label, and a group whose rows all have one label
        reveals it for each of them; publish neither.

    Returns
    -------
    Table
        One row per attribute and label, and one for ``not assigned``: ``term`` is, for example,
        ``perceived gender (model-assigned)``, and ``group`` is the label. With ``by``, one row per
        group as well: ``term`` is, for example, ``woman: perceived gender (model-assigned)``, and
        ``axis`` and ``group`` identify the rows. ``n`` rows have an embedding, ``k`` of them have
        the label; ``rate`` has the Wilson interval ``lo``, ``hi``; ``unscored`` counts the other
        rows of the group, whose embedding is NaN, infinite or zero. ``attrs`` has ``rows``,
        ``suppressed``, ``caveats``.

    Raises
    ------
    OptionError
        If prompts do not have this form, or an option is out of range.
    ColumnError
        If ``by`` names an unknown column.
    ModelMismatchError
        If vectors are known to come from a different model than the embeddings.
    PairingError, ProvenanceError
        If the embeddings do not belong to the frame's shards. All of these are raised immediately.
    ProvenanceError
        If a row occurs in the frame more than once.
    WeightsError
        If prompts are texts, and the model's weights are not available locally.

    References
    ----------
    Radford, A. et al. (2021). Learning transferable visual models from natural language
    supervision. ICML. Scheffer, T., Decomain, C., Wrobel, S. (2001). Active hidden Markov models
    for information extraction. IDA. On the effect of such labels on the people they are applied to:
    Scheuerman, M. K., Paul, J. M., Brubaker, J. R. (2019). How computers see gender. CSCW.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> prompts = {"color": {"red": "a red shape", "blue": "a blue shape"}}
    >>> table = frame.laion.perceived(images, prompts)
    >>> list(table["group"])
    ['red', 'blue', 'not assigned']
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
    """Numbers of rows per nearest label; see `perceived`.

    Attributes
    ----------
    embeddings : Embeddings
        Embeddings of the frame's shards.
    axes : tuple of Axis
    scale : float
        Factor applied to the cosines before the softmax.
    margin : float
        Minimum lead of the highest probability over the next.
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
        "Each image gets the label whose prompt is nearest by the softmax of cosines times the "
        "model's logit scale (Radford et al. 2021, section 3.1.4), if its probability leads by the "
        "margin (Scheffer, Decomain and Wrobel 2001); else it is not assigned. Shares are of the "
        "images with an embedding, with Wilson's interval.",
    )

    @property
    def cost(self) -> Cost:
        n_labels = sum(len(axis.labels) for axis in self.axes)
        return Cost(("perceived",), reads=EMBEDDINGS, flop=2.0 * n_labels * self.embeddings.dim)

    def bind(self, column_types: Mapping[str, str]) -> Self:
        return self if self.by is None else replace(self, by=self.by.bind(column_types))

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*PROVENANCE, *(self.by.reads if self.by is not None else ())]))

    def chunk(self, partition: Partition) -> tuple[dict[str, np.ndarray], ...]:
        """Counts by group, one (len(labels) + 2,) int64 array each, for every axis.

        Counts the rows of each label, then rows not assigned, then rows without a direction.
        """
        rows = partition.table.select(list(PROVENANCE)).to_pandas()
        codes = kernels.label_codes(rows, self.embeddings, self.axes, self.scale, self.margin)
        groups = [(ALL, np.arange(len(partition)))]
        if self.by is not None:
            groups = rows_of_groups(partition, self.by)
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
                columns = {"term": term, "group": label}
            else:
                columns = {"term": f"{label}: {term}", "axis": self.by.axis, "group": group}
            yield {
                **columns,
                "n": n,
                "k": k,
                "rate": k / n if n else float("nan"),
                "lo": lo,
                "hi": hi,
                "unscored": unscored,
                "method": f"zero-shot, logit scale {self.scale:.4g}, margin {self.margin:g}; "
                "Wilson",
            }


def _sums(states: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    total: dict[str, np.ndarray] = {}
    for state in states:
        for label, counts in state.items():
            total[label] = total[label] + counts if label in total else counts
    if len(total) > MAX_GROUPS:
        raise too_many_groups("by", len(total))
    return total


def _options(level: float, min_n: int) -> ReportOptions:
    options = report_options(level, min_n)
    if min_n < MIN_N:
        raise OptionError(
            f"min_n is {min_n}. Perceived attributes are reported for groups of {MIN_N} rows or "
            "more, so that no row's label can be inferred; leave min_n out, or raise it."
        )
    return options


def _check_margin(margin) -> None:
    is_number = isinstance(margin, (int, float, np.number)) and not isinstance(margin, bool)
    if not is_number or not 0 <= margin < 1:
        raise OptionError(f"margin is {margin!r}. Expected 0 <= margin < 1.")


def perceived_cost(
    frame: PlannedFrame, prompts: Mapping | None = None, by: str | Grouping | None = None
) -> Cost:
    """Cost of `perceived`; by default with two labels and without groups.

    Raises
    ------
    OptionError, ColumnError
        If ``prompts`` is not a mapping, or ``by`` names an unknown column.
    """
    must_be(
        "prompts",
        prompts,
        (Mapping, type(None)),
        "a mapping of labels to prompts, as for ld.perceived",
    )
    each = (prompts or {"one": "", "other": ""}).values()
    n = sum(len(labels) if isinstance(labels, Mapping) else 1 for labels in each)
    notes = () if n == 2 else (f"perceived: it has {n} labels, but the rate was measured with 2",)
    axis = None if by is None else grouping(by).bind(frame.column_types)
    grouped = Cost(()) if axis is None else axis.cost
    return Cost(
        ("perceived", *grouped.rates, *grouped.shared),
        reads=EMBEDDINGS,
        columns=() if axis is None else axis.reads,
        flop=2.0 * n * frame.embeddings_for("perceived").dim,
        notes=notes,
    )
