"""A self-contained, offline page about a summary or an export."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from laion_dask.aggregations.audit import default_axes
from laion_dask.aggregations.grouping.base import Grouping
from laion_dask.aggregations.summary import SHARES, Summary, readable
from laion_dask.errors import must_be
from laion_dask.exports.result import Export
from laion_dask.frame.own_inputs import refuse_file_of_inputs
from laion_dask.frame.provenance import Provenance
from laion_dask.reports.export_report import export_view
from laion_dask.reports.page import write_page
from laion_dask.reports.page_plots import picture, size_panel
from laion_dask.reports.page_tables import Cell, PageTable

#: Width in pixels of the bar of the largest share in a table.
_BAR = 90


def write_report(
    subject: Summary | Export,
    path: str | os.PathLike,
    *,
    title: str | None = None,
    by: str | Grouping | Sequence[str | Grouping] | None = None,
    reference: Mapping | None = None,
    level: float = 0.95,
    min_n: int = 30,
) -> Path:
    """Write a summary or an export report as one self-contained HTML page. Eager.

    The page is written atomically. Text from the data is escaped. The report of an export accounts
    for every row and audits whom the filters excluded, which reads the shards again.

    Parameters
    ----------
    subject : Summary or Export
        The result of ``summary`` or ``export``.
    path : str or path
        Path of the page, such as ``"report.html"``.
    title : str, optional
    by, reference, min_n : optional
        Arguments of the audit of an export, as for `laion_dask.audit`; the default axes are
        language and the groups of people that captions mention.
    level : float
        Coverage of the intervals of the audit, between 0 and 1.

    Raises
    ------
    OptionError, ColumnError
        When ``subject`` is neither, or ``by`` names a column that the frame does not have.
    ShardError, SchemaError
        When a shard has changed since the export.
    ExportError
        When the page cannot be written, or would replace a shard that was read.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/shards")
    >>> ld.write_report(frame.laion.summary(), "summary.html").name
    'summary.html'
    """
    must_be("The subject", subject, (Summary, Export), "what summary(...) or export(...) returns")
    if isinstance(subject, Export):
        refuse_file_of_inputs(path, Provenance.of(subject.frame))
        by = default_axes(subject.frame) if by is None else by
        audited = None
        if by:
            audited = subject.audit(by, reference=reference, level=level, min_n=min_n)
        title = title or "What was kept, and who was excluded"
        view = export_view(subject, audited, level)
        return write_page(path, "export_report", title=title, **view)
    counts = {"rows": subject.n_rows}
    if subject.rows is not None:
        counts = subject.rows.counts
    return write_page(
        path,
        "summary",
        title=title or "Contents of this frame",
        counts=counts,
        sizes=_sizes(subject),
        tables={heading: _table(table) for heading, table in subject.tables().items()},
    )


def _table(table: pd.DataFrame) -> PageTable:
    """A table of a summary, with a bar before each share."""
    bars = [0.0] * len(table)
    if "share" in table:
        bars = (_BAR * table["share"] / table["share"].max()).fillna(0.0).tolist()
    rows = []
    for (label, row), bar in zip(readable(table).iterrows(), bars, strict=True):
        cells = (Cell(value, bar=bar if name == "share" else 0.0) for name, value in row.items())
        rows.append((Cell(str(label), "text"), *cells))
    return PageTable((str(table.index.name or ""), *map(str, table.columns)), tuple(rows))


def _sizes(summary: Summary) -> str:
    """Quantiles of width, height and caption length in one plot."""
    table = summary.quantiles
    quantiles = {name: table.loc[name, list(SHARES)].astype(float) for name in table.index}
    return picture(size_panel(SHARES, quantiles))
