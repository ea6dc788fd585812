"""The rows of the whole frame that are not selected, to compare the selection with."""

from __future__ import annotations

from collections.abc import Sequence

import dask.dataframe as dd
import numpy as np

from laion_dask.backend import Frame, to_pandas
from laion_dask.curation.in_region import Region as RegionOfRows
from laion_dask.curation.in_region import decisions, region_of
from laion_dask.curation.smallest import KEEP, decided
from laion_dask.curation.tagged import Chosen
from laion_dask.explorer.chain import required
from laion_dask.explorer.embedding_filters import Region, Score, query_of
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.filters import Filter
from laion_dask.explorer.tag_filter import TaggedRows
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.selection import select_rows
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.predicate import Predicate, certain_and_possible, parse
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE
from laion_dask.scoring import embedding_kernel

_SCORE = "score"


def rest_frame(exploration: Exploration) -> dd.DataFrame:
    """The rows of the frame that are not selected, also those without a value. Lazy.

    Every row is in `selected_frame` or here; without a filter, none is here.

    Raises
    ------
    OptionError
        When a filter needs embeddings and the explorer was opened without them.
    """
    frame, filters = exploration.frame, exploration.selection.filters
    tests = [_test_of(one, exploration) for one in filters]
    predicates = [test for test in tests if isinstance(test, Predicate)]
    others = [test for test in tests if not isinstance(test, Predicate)]
    reads = dict.fromkeys(name for test in predicates for name in test.columns)
    reads |= dict.fromkeys(PROVENANCE)
    embeddings = None
    if any(isinstance(one, (Region, Score)) for one in filters):
        given = required(exploration.embeddings)
        embeddings = graph.share(given.paired_with(Provenance.of(frame).shards))
    meta = decided(frame._meta, np.empty(0, bool), np.empty(0, bool))
    shared = graph.share(tuple(others))
    keep = graph.map_columns(
        frame, _not_selected, tuple(predicates), shared, embeddings, reads=list(reads), meta=meta
    )[KEEP]
    return select_rows(frame, keep, f"not selected ({', '.join(one.label for one in filters)})")


def _test_of(one: Filter, exploration: Exploration) -> object:
    """A filter as its condition, or as what a task needs of it."""
    if one.where is not None:
        return parse(one.where, exploration.sample.types)
    if isinstance(one, Region):
        return region_of(one.polygon, one.projection)
    if isinstance(one, Score):
        query = query_of(list(one.vector), required(exploration.embeddings))
        return query, one.predicate(_SCORE)
    if isinstance(one, TaggedRows):
        return Chosen(one.tags.keys(Provenance.of(exploration.frame)), (one.tags.record,))
    return one


def _not_selected(
    part: Frame,
    predicates: Sequence[Predicate],
    others: Sequence[object],
    embeddings: Embeddings | None,
) -> Frame:
    selected = np.ones(len(part), bool)
    for predicate in predicates:
        selected &= _as_mask(certain_and_possible(predicate, part)[0])
    for test in others:
        selected &= _mask(part, test, embeddings)
    return decided(part, ~selected, np.zeros(len(part), bool))


def _mask(part: Frame, test: object, embeddings: Embeddings | None) -> np.ndarray:
    if isinstance(test, Chosen):
        return test.mask(part)[0]
    assert embeddings is not None
    if isinstance(test, tuple):
        query, predicate = test
        scores = embedding_kernel.similarity(part, embeddings, query, _SCORE)
        return _as_mask(certain_and_possible(predicate, scores)[0])
    assert isinstance(test, RegionOfRows)
    found = decisions(part, embeddings, test)
    return _as_mask(to_pandas(found)[KEEP].fillna(False))


def _as_mask(series) -> np.ndarray:
    mask: np.ndarray = to_pandas(series.to_frame()).iloc[:, 0].to_numpy(dtype=bool)
    return mask
