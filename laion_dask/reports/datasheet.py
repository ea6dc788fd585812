"""The datasheet of a data set: one page with tables, intervals, methods and caveats. No network."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import dask.dataframe as dd

from laion_dask.aggregations.default_set import standard_statistics
from laion_dask.aggregations.engine.statistics import statistics_of
from laion_dask.aggregations.grouping.terms import terms
from laion_dask.dialects import recognize
from laion_dask.errors import ProvenanceError
from laion_dask.formatting import counted, megabytes, share_text
from laion_dask.frame.own_inputs import refuse_file_of_inputs
from laion_dask.frame.provenance import Provenance
from laion_dask.reports.datasheet_sections import SECTIONS
from laion_dask.reports.html import (
    boxes,
    caveat,
    check_place,
    code,
    facts,
    note,
    notes,
    results,
    section,
    text,
    write_page,
)
from laion_dask.reports.methods import CAVEATS, METHODS
from laion_dask.stats.table import Table
from laion_dask.text import term_lists


def datasheet(
    frame: dd.DataFrame,
    path: str | os.PathLike,
    *,
    title: str = "Datasheet",
    level: float = 0.95,
    min_n: int = 30,
) -> Path:
    """Write the datasheet of a frame: what is in it, who is mentioned, how sure we are. Eager.

    One pass over the captions and metadata, by `standard_statistics`; one page that refers to
    nothing outside itself and appears in one step. Text from the data stays text.

    Parameters
    ----------
    frame : dask DataFrame
    path : str or path
        Of the page, such as ``"datasheet.html"``.
    title : str
    level : float
        Coverage of the intervals.
    min_n : int
        Results that rest on fewer rows are left out, and counted.

    Raises
    ------
    OptionError
        At once.
    ShardError, SchemaError
        When a shard turns out damaged while it is read.
    ExportError
        When the page cannot be written there, or would replace a shard that the frame reads.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> print(frame[["width", "height", "shard", "row"]].laion.datasheet("datasheet.html"))
    datasheet.html
    """
    check_place(path)
    provenance = Provenance.of(frame)
    refuse_file_of_inputs(path, provenance)
    told = statistics_of(provenance, standard_statistics(frame), level=level, min_n=min_n)
    return datasheet_page(told, path, title=title, origin=_origin(provenance), level=level)


def datasheet_page(
    told: Table,
    path: str | os.PathLike,
    *,
    title: str = "Datasheet",
    origin: dict[str, str] | None = None,
    level: float = 0.95,
) -> Path:
    """Write results of `standard_statistics`, or some of them, as a page. Eager.

    Parameters
    ----------
    told : Table
    path : str or path
    title : str
    origin : mapping of str to str, optional
        What was read, as names and ready HTML.
    level : float
        The coverage that is named.
    """
    have = list(dict.fromkeys(told["statistic"])) if "statistic" in told else []
    others = [name for name in have if name not in SECTIONS]
    sections = [
        section("What was read", _account(told), facts(origin or {})),
        caveat(CAVEATS[0]),
        *(make(_alone(told, name)) for name, make in SECTIONS.items() if name in have),
        *(section(name, results(_alone(told, name))) for name in others),
        section("How to read this", note(f"Intervals cover {share_text(level)}.")),
        *(notes(METHODS[name]) for name in METHODS if name in have),
        section("Term lists", notes(_lists(told))) if "axis" in told else "",
        section("Caveats", notes(CAVEATS)),
    ]
    return write_page(path, title, sections)


def _alone(told: Table, name: str) -> Table:
    """The results of one statistic; what was suppressed in all of them is reported once."""
    found = told.of(name)
    found.attrs = {}
    return found


def _origin(provenance: Provenance) -> dict[str, str]:
    try:
        shards, sources = provenance.shards, provenance.sources
    except ProvenanceError:
        return {}
    dialect = recognize(old for shard in shards for old, _, _ in shard.columns)
    size = sum(shard.size for shard in shards)
    found = {
        "dialect": text(dialect.name),
        "shards": text(f"{counted(len(shards), 'shard')}, {megabytes(size)}"),
        "columns": text(", ".join(map(str, provenance.frame.columns)), 400),
    }
    for scan, _ in sources:
        if scan.where is not None:
            found["filter"] = code(scan.where.text)
    for recipe in provenance.recipes:
        said = ", ".join(f"{name}: {value}" for name, value in recipe.items() if name != "name")
        found[f"column {recipe.get('name', '')}"] = text(said, 400)
    return found


def _lists(told: Table) -> Iterable[str]:
    """Version and sources of the packaged lists that the results are grouped by."""
    axes = {
        str(axis) for name in ("axis", "axis_2") if name in told for axis in told[name].dropna()
    }
    if "cooccurrence" in set(told["statistic"]):
        axes.add("occupations")
    for name in term_lists()["name"]:
        if name in axes:
            found = terms(name)
            yield f"{name}, version {found.version}: {found.source}"


def _account(told: Table) -> str:
    few = told.n_suppressed
    left = f"{counted(few, 'result')} on fewer than {told.attrs.get('min_n', 0):,} rows left out."
    return boxes(told.attrs.get("rows", {})) + (note(left) if few else "")
