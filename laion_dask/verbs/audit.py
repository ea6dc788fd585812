"""Whom a filter excludes: before it and after it, by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dask.dataframe as dd

from laion_dask import lineage
from laion_dask.errors import OptionError, must_be
from laion_dask.kernels.filter import passes
from laion_dask.kinds import measured_kind_of
from laion_dask.measures.exclusion import Counted, Exclusion, references, with_kept
from laion_dask.measures.groups import ByColumn, Grouping, axes
from laion_dask.stats.table import Table, suppressed, table
from laion_dask.text import terms
from laion_dask.verbs.rows import Rows
from laion_dask.verbs.standard import LISTS
from laion_dask.verbs.statistics import bind, collect, reporting


def default_axes(frame: dd.DataFrame) -> tuple[Grouping, ...]:
    """By what a report audits a frame: its languages, and the people its captions mention.

    Empty where it has neither a column ``language`` nor ``text``.
    """
    kinds = {name: measured_kind_of(dtype) for name, dtype in frame.dtypes.items()}
    found: list[Grouping] = []
    if kinds.get("language") == "string":
        found.append(ByColumn("language"))
    if kinds.get("text") == "string":
        found += [terms(name) for name in LISTS]
    return tuple(found)


def check_axes(frame: dd.DataFrame, by: str | Grouping | Sequence[str | Grouping]) -> None:
    """Refuse what `audit` would refuse to group the frame by.

    Raises
    ------
    OptionError, ColumnError
    """
    bind(frame, [Exclusion(None, axes(by))])


def audit(
    before: dd.DataFrame,
    after: dd.DataFrame | str,
    by: str | Grouping | Sequence[str | Grouping],
    *,
    reference: Mapping | None = None,
    level: float = 0.95,
    min_n: int = 30,
) -> Table:
    """The share of each group that a filter excludes, beside that of all rows. Eager.

    The exclusion rate is E_g = 1 - kept / n.

    One pass where ``after`` is an expression, or comes of ``before`` by `where` alone; otherwise
    one pass over each. The answer is the same to the last bit for any partitioning, order of
    shards and number of workers. A row that the filter cannot decide on (a null or NaN was
    compared) is not kept, so it counts as excluded; ``undecided`` says how many such there are.

    Parameters
    ----------
    before : dask DataFrame
    after : dask DataFrame, or str
        What is left of ``before``; or the filter, see `laion_dask.predicate`.
    by : str, Grouping, or several
        A column's name, or a grouping such as ``ld.terms("gender")``. A row may be in several
        groups of an axis, or in none.
    reference : mapping, optional
        How the groups would be shared out, to say who is under-represented before; by default
        equally. Group to number; with several axes, one such by the name of each.
    level : float
        Coverage of the intervals, between 0 and 1.
    min_n : int
        Groups with fewer rows before are left out, and counted.

    Returns
    -------
    Table
        For each axis a row of all rows, ``(all)``, then one a group, by size, then one of the rows
        in no group. Columns as `laion_dask.stats.exclusion` tells them; ratios are to all rows of
        ``before``, shares among the groups' rows, and ``q`` corrects for the groups of the axis
        that are told. ``undecided`` where one pass told them. ``attrs["rows"]`` is the account of
        all rows as ``after`` leaves them, ``attrs["rows_before"]`` as ``before`` does;
        ``attrs["groupings"]`` says where the groups of each axis come from.

    Raises
    ------
    OptionError, ColumnError, PredicateError
        At once.
    OptionError
        When ``after`` turns out to have rows of a group that ``before`` has not.
    ShardError, SchemaError
        When a shard turns out damaged while it is read.

    References
    ----------
    Hong, R., Agnew, W., Kohno, T., Morgenstern, J. (2024). Who's in and who's out? A case study of
    multimodal CLIP-filtering in DataComp. EAAMO.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> table = frame.laion.audit("similarity > 0.3", by="language")
    >>> table["group"][0]
    '(all)'
    """
    must_be("after", after, (dd.DataFrame, str), "a narrowed frame, or an expression")
    how, wanted = reporting(level, min_n), references(by, reference)
    where = after
    if isinstance(after, dd.DataFrame):
        must_be("before", before, dd.DataFrame, "a Dask DataFrame, as read_shards returns")
        where = lineage.narrowed(before, after, passes)
    (measure,) = bound = bind(before, [Exclusion(where, axes(by), wanted)])
    left = None if where is not None else bind(after, bound)
    (counted,), rows_before = collect(before, bound)
    if left is None:
        rows_after = _beyond(rows_before, counted)
    else:
        (kept,), rows_after = collect(after, left)
        _check_narrower(counted, kept)
        counted = with_kept(counted, kept)
    found = measure.finalize(counted, how).assign(statistic=measure.name)
    result = suppressed(table(found), how.min_n)
    if rows_after is not None:
        result.attrs["rows"] = vars(rows_after)
    result.attrs["groupings"] = {axis.axis: _source(axis) for axis in measure.by}
    if rows_before is not None:
        result.attrs["rows_before"] = vars(rows_before)
    return result


def _source(axis: Grouping) -> str:
    """Where the groups of an axis come from, as far as the axis says."""
    if isinstance(axis, ByColumn):
        return f"the column {axis.axis}"
    said = (getattr(axis, name, "") for name in ("version", "source"))
    version, source = map(str, said)
    column = f" in the column {', '.join(axis.reads)}" if axis.reads else ""
    return f"terms{column}" + f", version {version}" * bool(version) + f"; {source}" * bool(source)


def _beyond(before: Rows | None, counted: Counted) -> Rows | None:
    """The account of rows after one more filter."""
    if before is None:
        return None
    n, kept, unscored = counted.everyone
    dropped = before.dropped + n - kept - unscored
    return Rows(before.read, kept, dropped, before.unscored + unscored, before.rejected)


def _check_narrower(before: Counted, after: Counted) -> None:
    pairs = [(before.everyone[0], after.everyone[0])]
    for some, left in zip(before.groups, after.groups, strict=True):
        pairs += [(some[label][0] if label in some else 0, left[label][0]) for label in left]
    pairs += [(n, m) for (n, *_), (m, *_) in zip(before.none, after.none, strict=True)]
    if any(m > n for n, m in pairs):
        raise OptionError(
            f"after has {after.everyone[0]:,} rows and before {before.everyone[0]:,}, and not all "
            "of its groups have as many before. Expected after to be a narrowing of before: "
            "audit(frame, frame.laion.where(...), by=...)."
        )
