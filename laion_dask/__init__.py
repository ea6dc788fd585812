"""Understand, audit and carve web-scale image-text data sets with Dask.

A frame is a plain Dask DataFrame whose rows know where they came from (``shard``, ``row``). Verbs
are methods of its ``.laion`` accessor and functions of this package.
"""

from laion_dask import accessor, heads, models, stats
from laion_dask import predicate as predicate
from laion_dask.cluster import connect, start_cluster
from laion_dask.demo.job import DemoCorpus, demo_corpus
from laion_dask.errors import LaionDaskError
from laion_dask.explore.datasheet import report
from laion_dask.explore.gallery import gallery
from laion_dask.explore.plan.job import Plan, plan
from laion_dask.explore.plan.plot import scaling_plot
from laion_dask.explore.plots import histogram, show
from laion_dask.explore.report import write_report
from laion_dask.explore.thresholds import score_plot, threshold_plot
from laion_dask.io.embeddings import Embeddings, open_embeddings
from laion_dask.io.images import Images, open_images
from laion_dask.io.index import Index, open_index
from laion_dask.io.shards import read_shards
from laion_dask.measures.concentration import concentration
from laion_dask.measures.cooccurrence import cooccurrence
from laion_dask.measures.curve import curve
from laion_dask.measures.describe import describe
from laion_dask.measures.domains import domains, tlds
from laion_dask.measures.hate import hate_content_rate
from laion_dask.measures.intersections import intersections
from laion_dask.measures.languages import language_class
from laion_dask.measures.rates import rates
from laion_dask.models import ClipModel, Vectors
from laion_dask.options import get_option, set_options
from laion_dask.terms import term_lists, terms, write_term_list
from laion_dask.verbs.association import association
from laion_dask.verbs.audit import audit
from laion_dask.verbs.build_index import build_index
from laion_dask.verbs.distribution import Distribution, distributions
from laion_dask.verbs.embed import embed
from laion_dask.verbs.export import Export, export
from laion_dask.verbs.language import language
from laion_dask.verbs.perceived import perceived
from laion_dask.verbs.queries import Mix, mix
from laion_dask.verbs.representation import representation
from laion_dask.verbs.rows import Rows, rows
from laion_dask.verbs.score import score, similarity
from laion_dask.verbs.score_captions import score_captions
from laion_dask.verbs.search import Rerank, search
from laion_dask.verbs.standard import standard_statistics
from laion_dask.verbs.statistics import statistics
from laion_dask.verbs.summary import Summary, summary
from laion_dask.verbs.where import where

__all__ = [
    "ClipModel",
    "DemoCorpus",
    "Distribution",
    "Embeddings",
    "Export",
    "Images",
    "Index",
    "LaionDaskError",
    "Mix",
    "Plan",
    "Rerank",
    "Rows",
    "Summary",
    "Vectors",
    "accessor",
    "association",
    "audit",
    "build_index",
    "concentration",
    "connect",
    "cooccurrence",
    "curve",
    "demo_corpus",
    "describe",
    "distributions",
    "domains",
    "embed",
    "export",
    "gallery",
    "get_option",
    "hate_content_rate",
    "heads",
    "histogram",
    "intersections",
    "language",
    "language_class",
    "mix",
    "models",
    "open_embeddings",
    "open_images",
    "open_index",
    "perceived",
    "plan",
    "rates",
    "read_shards",
    "report",
    "representation",
    "rows",
    "scaling_plot",
    "score",
    "score_captions",
    "score_plot",
    "search",
    "set_options",
    "show",
    "similarity",
    "standard_statistics",
    "start_cluster",
    "statistics",
    "stats",
    "summary",
    "term_lists",
    "terms",
    "threshold_plot",
    "tlds",
    "where",
    "write_report",
    "write_term_list",
]
