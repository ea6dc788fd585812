"""The default statistics of an audit of captions and metadata."""

from __future__ import annotations

from dataclasses import replace

import dask.dataframe as dd

from laion_dask.aggregations.concentration import concentration
from laion_dask.aggregations.cooccurrence import cooccurrence
from laion_dask.aggregations.curve import curve
from laion_dask.aggregations.describe import THRESHOLDS, describe
from laion_dask.aggregations.duplicates import duplicate_share
from laion_dask.aggregations.engine.base import Statistic
from laion_dask.aggregations.engine.statistics import pass_cost
from laion_dask.aggregations.grouping.languages import DetectedLanguage
from laion_dask.aggregations.grouping.terms import terms
from laion_dask.aggregations.intersections import intersections
from laion_dask.aggregations.rates import rates
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.dtypes import column_type
from laion_dask.text.language_detection import Detector

#: Packaged term lists that group captions; occupations are the words counted within the groups.
LISTS = (
    "gender", "age", "religion", "nationality", "ethnicity", "orientation", "disability",
)  # fmt: skip


def standard_statistics(frame: dd.DataFrame) -> tuple[Statistic, ...]:
    """Statistics computable from captions and metadata, for `statistics`. Lazy.

    Includes all that the columns allow: a description of the frame (`describe`); the concentration
    of domains and top-level domains (`concentration`); the share of repeated URLs and captions
    (`duplicate_share`); languages and the people mentioned (`rates`); the shares of unsafe and
    watermarked rows at LAION's thresholds and at every threshold; the occupations mentioned
    together with each gender; and mentions that occur together. If the frame has no column
    ``language``, the languages are detected in its captions as by `language`, at about 50,000
    captions per second and core.

    Parameters
    ----------
    frame : dask DataFrame

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> [statistic.name for statistic in ld.standard_statistics(frame)][:3]
    ['describe', 'concentration', 'concentration']
    """
    column_types = {name: column_type(dtype) for name, dtype in frame.dtypes.items()}
    words = column_types.get("text") == "string"
    groups: list = ["language"] if column_types.get("language") == "string" else []
    if words and not groups:
        groups = [DetectedLanguage(Detector())]
    groups += [terms(name) for name in LISTS] if words else []
    scores = {n: t for n, t in THRESHOLDS.items() if column_types.get(n) in ("float32", "float64")}
    statistics: list[Statistic] = [describe()]
    if column_types.get("url") == "string":
        statistics += [concentration("domain"), concentration("tld")]
    statistics += [
        duplicate_share(name) for name in ("url", "text") if column_types.get(name) == "string"
    ]
    if groups:
        statistics.append(rates(None, by=groups))
        statistics += [
            rates(f"{name} > {threshold}", by=groups) for name, threshold in scores.items()
        ]
    if words:
        statistics += [curve(name, by=terms("gender")) for name in scores]
        statistics.append(cooccurrence(terms("occupations"), by=terms("gender")))
        statistics.append(intersections(terms("gender"), terms("age"), terms("ethnicity")))
    return tuple(statistics)


def statistics_cost(frame: PlannedFrame, *measures: Statistic) -> Cost:
    """Cost of `statistics`; without arguments, of `standard_statistics`.

    Raises
    ------
    OptionError, ColumnError, PredicateError
        As for `statistics`.
    """
    if measures:
        return pass_cost(frame, measures)
    note = "statistics: as ld.standard_statistics(frame)"
    return replace(pass_cost(frame, standard_statistics(frame.frame)), notes=(note,))
