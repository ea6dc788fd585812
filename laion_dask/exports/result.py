"""The result of `export`: row counts, manifest, and an audit of the filters."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.dataframe as dd
import pandas as pd

from laion_dask.display.overview import Displayed, Overview
from laion_dask.formatting import counted, in_bytes
from laion_dask.frame import filter_text
from laion_dask.frame.accounting import Rows
from laion_dask.frame.funnel import funnel_of
from laion_dask.frame.provenance import Provenance

if TYPE_CHECKING:
    from laion_dask.aggregations.grouping.base import Grouping
    from laion_dask.stats.table import Table


@dataclass(frozen=True)
class Export(Displayed):
    """A finished export.

    Attributes
    ----------
    path : str
    rows : Rows
        The number of rows per outcome.
    manifest : dict
        The content of ``_recipe.json``.
    frame : dask DataFrame
        The exported frame, still lazy.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> export = frame.laion.where("width >= 256").laion.export("wide-images")
    >>> export.rows.kept == len(export.frame)
    True
    """

    path: str
    rows: Rows
    manifest: dict[str, Any]
    frame: dd.DataFrame = dataclasses.field(repr=False, compare=False)

    def __str__(self) -> str:
        parts = len(self.manifest["parts"])
        size = sum(part["bytes"] for part in self.manifest["parts"])
        lines = [str(self.rows), *map(_join_line, self.manifest["joins"])]
        if "funnel" in self.manifest and not self.rows.kept:
            lines.append(_funnel_lines(self.manifest["funnel"]))
        pandas_steps = (filter_text.MASK, filter_text.STEP)
        unnamed = [text for text in self.manifest["where"] if text.startswith(pandas_steps)]
        if unnamed:
            lines.append(f"Rows were also dropped by: {'; '.join(unnamed)}")
        counts = self.manifest.get("file_counts", {})
        lines += [", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items())]
        if "draws" in self.manifest:
            lines.append(f"{self.manifest['draws']:,} draws (the sum of the column repeats)")
        lines = [line for line in lines if line]
        written = f"{counted(parts, 'part')}, {in_bytes(size)}"
        return "\n".join([*lines, f"{written}, and _recipe.json in {self.path}"])

    __repr__ = __str__

    def _overview(self) -> Overview:
        first, *others, last = str(self).split("\n")
        facts = {"rows": first, "also": "; ".join(others) or None, "written": last}
        return Overview("Export", facts)

    def funnel(self) -> pd.DataFrame:
        """The number of rows that each clause excluded; see `laion_dask.funnel`. Eager.

        Raises
        ------
        ProvenanceError
            When a step other than a `where` filter drops or reorders rows.
        """
        return funnel_of(Provenance.of(self.frame), self.rows)

    def audit(
        self,
        by: str | Grouping | Sequence[str | Grouping] | None = None,
        *,
        reference: Mapping[Hashable, float] | None = None,
        level: float = 0.95,
        min_n: int = 30,
    ) -> Table:
        """Audit which groups the filters of the export excluded; see `laion_dask.audit`. Eager.

        Compares the export with the frame before every filter, sample and removal of nulls or
        duplicates. Rows that other steps dropped, such as an inner merge, are not included;
        ``attrs["rows_before"]`` of the result is the number of rows compared.

        Reads the required columns of the shards again; `export` itself does not run the audit.

        Parameters
        ----------
        by : str, Grouping, or several, optional
            By default the languages and the people that captions mention, see `default_axes`.
        reference, level, min_n
            As for `audit`.

        Raises
        ------
        OptionError, ColumnError
            When the frame lacks a column that a grouping needs.
        ShardError, SchemaError
            When a shard has changed since the export, or is damaged.
        """
        from laion_dask.aggregations.audit import audit, default_axes  # 0.1 s, and 10 MB

        before = Provenance.of(self.frame).unfiltered
        by = default_axes(before) if by is None else by
        return audit(before, self.frame, by, reference=reference, level=level, min_n=min_n)


def _funnel_lines(funnel: list[dict[str, Any]]) -> str:
    """One line per clause, with the number of rows it excluded."""
    named = [(one.get("clause", one.get("rule")), one) for one in funnel]  # a recipe has rules
    lines = [
        f"  {rule}: {one['dropped']:,} dropped, {one['unscored']:,} unscored, "
        f"{one.get('after', one.get('kept')):,} left{_undecided_text(one['undecided'])}"
        for rule, one in named
    ]
    return "\n".join(
        ["No row was kept. Rows excluded, in order:", *lines] if lines else ["No row was kept."]
    )


def _undecided_text(n: int) -> str:
    return f" ({n:,} of them undecided)" if n else ""


def _join_line(join: dict[str, Any]) -> str:
    """A line with the joined table, its key, and the number of omitted duplicates."""
    rows = sum(one["rows"] for one in join["inputs"])
    left_out = join["duplicates_left_out"]
    duplicates = f", {counted(left_out, 'duplicate')} of a key omitted" if left_out else ""
    inputs = counted(len(join["inputs"]), "shard")
    return f"joined on {', '.join(join['join'])} with {rows:,} rows of {inputs}{duplicates}"
