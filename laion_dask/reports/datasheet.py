"""The datasheet of a data set: one offline page with tables, intervals, methods and caveats."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from math import inf
from pathlib import Path

import dask.dataframe as dd

from laion_dask.aggregations.default_set import standard_statistics, statistics_cost
from laion_dask.aggregations.engine.statistics import statistics_of
from laion_dask.aggregations.grouping.terms import terms
from laion_dask.aggregations.methods import methods, section_positions
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.dialects import recognize
from laion_dask.errors import ProvenanceError
from laion_dask.exports.model_names import model_name
from laion_dask.formatting import counted, in_bytes, share_text
from laion_dask.frame.own_inputs import refuse_file_of_inputs
from laion_dask.frame.provenance import Provenance
from laion_dask.reports.datasheet_sections import section_markup
from laion_dask.reports.page import check_place, write_page
from laion_dask.reports.page_tables import Fact
from laion_dask.stats.table import Table
from laion_dask.text import term_lists

#: Caveats of every datasheet; the first is shown at the top.
CAVEATS = (
    "A group is the set of captions that mention certain words, from versioned English lists; it "
    "says nothing about who is in an image, or about anybody's identity.",
    "The image of a caption that mentions nobody may still show a person; words have more than one "
    "meaning; captions in other languages match only if they share the word.",
    "Scores are the output of published models, which are wrong in known ways, and not equally "
    "for all groups.",
    "A share of all rows is shown even if few rows have it, since it is based on all of them; a "
    "rate within a group is suppressed if the group has too few rows.",
    "Intervals treat rows as independent, unless they are named bootstrap; rows of one crawl are "
    "not quite independent.",
    "Captions, domains and labels are shown as they were found.",
)
#: Maximum characters of a list of columns, or of a recipe.
_FACT = 400


def datasheet(
    frame: dd.DataFrame,
    path: str | os.PathLike,
    *,
    title: str = "Datasheet",
    level: float = 0.95,
    min_n: int = 30,
) -> Path:
    """Write the datasheet of a frame: its content, who is mentioned, and the uncertainty. Eager.

    Runs `standard_statistics` in one pass over the captions and metadata, and writes one
    self-contained page atomically. Text from the data is escaped.

    Parameters
    ----------
    frame : dask DataFrame
    path : str or path
        Path of the page, such as ``"datasheet.html"``.
    title : str
    level : float
        Coverage of the intervals.
    min_n : int
        Results based on fewer rows are suppressed and counted.

    Raises
    ------
    OptionError
        Immediately, before any data is read.
    ShardError, SchemaError
        When a shard turns out to be damaged while it is read.
    ExportError
        When the page cannot be written, or would replace a shard that the frame reads.

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
    results = statistics_of(provenance, standard_statistics(frame), level=level, min_n=min_n)
    return datasheet_page(results, path, title=title, origin=_origin(provenance), level=level)


def datasheet_page(
    results: Table,
    path: str | os.PathLike,
    *,
    title: str = "Datasheet",
    origin: Iterable[Fact] = (),
    level: float = 0.95,
) -> Path:
    """Write the results of `standard_statistics`, or of other statistics, as a page. Eager.

    Parameters
    ----------
    results : Table
    path : str or path
    title : str
    origin : iterable of Fact
        A description of what was read.
    level : float
        The coverage stated on the page.
    """
    names = list(dict.fromkeys(results["statistic"])) if "statistic" in results else []
    n_suppressed = results.n_suppressed
    min_n = results.attrs.get("min_n", 0)
    return write_page(
        path,
        "datasheet",
        title=title,
        counts=results.attrs.get("rows", {}),
        left_out=f"{counted(n_suppressed, 'result')} based on fewer than {min_n:,} rows suppressed."
        if n_suppressed
        else "",
        origin=tuple(origin),
        sections=[section_markup(name, _results_of(results, name)) for name in _in_order(names)],
        level=share_text(level),
        methods=[method for name, method in methods().items() if name in names],
        lists=list(_lists(results)) if "axis" in results else None,
        caveats=CAVEATS,
    )


def _in_order(names: Iterable[str]) -> list[str]:
    """Sort statistics into page order; those without a place come last, in their own order."""
    position = section_positions()
    return sorted(names, key=lambda name: position.get(name, inf))


def _results_of(results: Table, name: str) -> Table:
    """The results of one statistic; suppressed results are reported once for all statistics."""
    statistic = results.of(name)
    statistic.attrs = {}
    return statistic


def _origin(provenance: Provenance) -> list[Fact]:
    """The shards and filters of a frame, and the models of its columns."""
    try:
        shards, sources = provenance.shards, provenance.sources
    except ProvenanceError:
        return []
    dialect = recognize(old for shard in shards for old, _, _ in shard.columns)
    size = sum(shard.size for shard in shards)
    facts = [
        Fact("dialect", (dialect.name,)),
        Fact("shards", (f"{counted(len(shards), 'shard')}, {in_bytes(size)}",)),
        Fact("columns", (_cut(", ".join(map(str, provenance.frame.columns))),)),
    ]
    filters = dict.fromkeys(scan.where.text for scan, _ in sources if scan.where is not None)
    if filters:
        facts.append(Fact("filter", tuple(filters), is_code=True, one_a_line=True))
    vectors = (recipe for recipe in provenance.recipes if "embeddings" in recipe)
    embeddings = dict.fromkeys(model_name(recipe.get("model") or {}) for recipe in vectors)
    if embeddings:
        facts.append(Fact("embeddings by", tuple(embeddings), is_code=True))
    for recipe in provenance.recipes:
        if "embeddings" in recipe:
            continue
        parts = ", ".join(f"{name}: {value}" for name, value in recipe.items() if name != "name")
        facts.append(Fact(f"column {recipe.get('name', '')}", (_cut(parts),)))
    return facts


def _cut(text: str) -> str:
    return text if len(text) <= _FACT else text[:_FACT] + "…"


def _lists(results: Table) -> Iterable[str]:
    """The versions and sources of the packaged lists that the results are grouped by."""
    axes = {
        str(axis)
        for name in ("axis", "axis_2")
        if name in results
        for axis in results[name].dropna()
    }
    if "cooccurrence" in set(results["statistic"]):
        axes.add("occupations")
    for name in term_lists()["name"]:
        if name in axes:
            grouping = terms(name)
            yield f"{name}, version {grouping.version}: {grouping.source}"


def datasheet_cost(frame: PlannedFrame) -> Cost:
    """The cost of `datasheet`, which is that of its statistics; the page itself takes seconds."""
    return replace(statistics_cost(frame), label="datasheet")
