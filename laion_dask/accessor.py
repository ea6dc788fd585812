"""The ``.laion`` accessor: every verb, as a method of a Dask DataFrame. It holds no state."""

from __future__ import annotations

import functools

from dask.dataframe.extensions import register_dataframe_accessor

from laion_dask.explore.datasheet import report
from laion_dask.verbs.audit import audit
from laion_dask.verbs.distribution import distributions
from laion_dask.verbs.export import export
from laion_dask.verbs.language import language
from laion_dask.verbs.perceived import perceived
from laion_dask.verbs.rows import rows
from laion_dask.verbs.score import score, similarity
from laion_dask.verbs.score_captions import score_captions
from laion_dask.verbs.search import search
from laion_dask.verbs.statistics import statistics
from laion_dask.verbs.summary import summary
from laion_dask.verbs.where import where


def _method(verb):
    @functools.wraps(verb)
    def method(self, *args, **kwargs):
        return verb(self._frame, *args, **kwargs)

    return method


@register_dataframe_accessor("laion")
class Laion:
    """Verbs on a frame of ``read_shards``; each is a free function of the package too."""

    def __init__(self, frame):
        self._frame = frame

    where = _method(where)
    rows = _method(rows)
    similarity = _method(similarity)
    score = _method(score)
    score_captions = _method(score_captions)
    search = _method(search)
    stats = _method(statistics)
    perceived = _method(perceived)
    summary = _method(summary)
    distributions = _method(distributions)
    export = _method(export)
    audit = _method(audit)
    language = _method(language)
    report = _method(report)
