"""One self-contained page that describes a frame, or what an export kept of it. No network."""

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
from laion_dask.plots.static import render
from laion_dask.reports.export_report import export_parts
from laion_dask.reports.html import bar, boxes, grid, note, plots, section, text, write_page
from laion_dask.reports.page_plots import size_panel

_COUNTS = ("read", "kept", "dropped", "unscored", "rejected")
_NOTES = (
    "Unsafe means punsafe above 0.5, watermarked means pwatermark above 0.8, as in LAION's own "
    "figures; rows without a score are counted apart and never as safe. Intervals are Wilson's at "
    "95 % and take rows as independent, which rows of one crawl are not quite. Quantiles carry a "
    "relative error of at most 0.0005. Captions and domains are shown as they were found; they say "
    "what is in the data, not what is true of anyone."
)


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
    """Write a summary, or what an export kept, as one HTML page with nothing outside it. Eager.

    The page appears in one step. Text from the data is escaped. The page of an export says what
    became of every row, and audits whom the filters left out; for that the shards are read again.

    Parameters
    ----------
    subject : Summary or Export
        What ``summary`` or ``export`` returned.
    path : str or path
        Of the page, such as ``"report.html"``.
    title : str, optional
    by, reference, min_n : optional
        Of the audit of an export, as `laion_dask.audit` takes them; by default it is by language
        and by the people that captions mention.
    level : float
        Coverage of the audit's intervals, between 0 and 1.

    Raises
    ------
    OptionError, ColumnError
        When ``subject`` is neither, or ``by`` names a column that the frame does not have.
    ShardError, SchemaError
        When a shard has changed since the export.
    ExportError
        When the page cannot be written there, or would replace a shard that was read.
    """
    must_be("The subject", subject, (Summary, Export), "what summary(...) or export(...) returns")
    if isinstance(subject, Export):
        refuse_file_of_inputs(path, Provenance.of(subject.frame))
        by = default_axes(subject.frame) if by is None else by
        options = {"reference": reference, "level": level, "min_n": min_n}
        audited = subject.audit(by, **options) if by else None
        made = list(export_parts(subject, audited, level))
        return write_page(path, title or "What was kept, and whom it left out", made)
    tables = [section(heading, _table(table)) for heading, table in subject.tables().items()]
    parts = [_counts(subject), _curves(subject), *tables]
    parts.append(section("How to read this", note(_NOTES)))
    return write_page(path, title or "What is in this frame", parts)


def _counts(summary: Summary) -> str:
    counts = {"rows": summary.n_rows}
    if summary.rows is not None:
        counts = {name: getattr(summary.rows, name) for name in _COUNTS}
    return boxes(counts)


def _table(table: pd.DataFrame) -> str:
    shares = 90 * table["share"] / table["share"].max() if "share" in table else None
    rows = []
    for i, (label, row) in enumerate(readable(table).iterrows()):
        cells = (
            f"{bar(shares.iloc[i]) if name == 'share' else ''}{told}" for name, told in row.items()
        )
        rows.append([f"<bdi>{text(label, 80)}</bdi>", *cells])
    return grid([table.index.name or "", *map(str, table.columns)], rows)


def _curves(summary: Summary) -> str:
    """Quantiles of width, height and caption length as one plot, on a logarithmic scale."""
    found = summary.quantiles
    quantiles = {name: found.loc[name, list(SHARES)].astype(float) for name in found.index}
    drawn = render(size_panel(SHARES, quantiles))
    return section("Size and caption length", plots(drawn)) if drawn else ""
