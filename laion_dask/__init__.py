"""Understand, audit and carve web-scale image-text data sets with Dask.

A frame is a plain Dask DataFrame whose rows know where they came from (``shard``, ``row``). Verbs
are methods of its ``.laion`` accessor and functions of this package.

Importing the package imports only the standard library: each name below is imported from its module
on first use. `__init__.pyi` declares the same names for type checkers and editors; it is generated
by `.ci/write_stub.py`.
"""

from importlib import import_module

from laion_dask._version import __version__ as __version__
from laion_dask.accessor import register_with_dask
from laion_dask.verbs import VERBS

#: Public names other than verbs: models, specs, statistics, results, settings.
_OTHERS = {
    "ClipModel": "laion_dask.models",
    "Clusters": "laion_dask.curation.clusters.kmeans",
    "DemoCorpus": "laion_dask.demo.job",
    "Distribution": "laion_dask.aggregations.distribution",
    "EmbeddingSpace": "laion_dask.models",
    "Embeddings": "laion_dask.io.embeddings.embeddings",
    "Explorer": "laion_dask.explorer.app.explorer",
    "Export": "laion_dask.exports.result",
    "Images": "laion_dask.io.images.images",
    "Index": "laion_dask.retrieval.index.index",
    "LaionDaskError": "laion_dask.errors",
    "Mix": "laion_dask.scoring.queries",
    "Plan": "laion_dask.planning.plan",
    "Projection": "laion_dask.projections.projection",
    "Recipe": "laion_dask.curation.recipes.recipe",
    "Rerank": "laion_dask.retrieval.rerank",
    "Rows": "laion_dask.frame.accounting",
    "Summary": "laion_dask.aggregations.summary",
    "Tags": "laion_dask.curation.tags",
    "Vectors": "laion_dask.models",
    "complexity_plot": "laion_dask.plots.complexity",
    "concentration": "laion_dask.aggregations.concentration",
    "connect": "laion_dask.cluster",
    "cooccurrence": "laion_dask.aggregations.cooccurrence",
    "curve": "laion_dask.aggregations.curve",
    "demo_corpus": "laion_dask.demo.job",
    "describe": "laion_dask.aggregations.describe",
    "divergence": "laion_dask.aggregations.divergence",
    "domains": "laion_dask.aggregations.grouping.domains",
    "duplicate_share": "laion_dask.aggregations.duplicates",
    "fine_tune_arguments": "laion_dask.training.fine_tune",
    "fit_projection": "laion_dask.projections.fit",
    "get_option": "laion_dask.options",
    "hate_content_rate": "laion_dask.aggregations.hate",
    "histogram": "laion_dask.plots.histogram",
    "intersections": "laion_dask.aggregations.intersections",
    "language_class": "laion_dask.aggregations.grouping.languages",
    "load_filter": "laion_dask.models.heads.filter_network",
    "notebook": "laion_dask.explorer.extension",
    "open_embeddings": "laion_dask.frame.embeddings",
    "open_images": "laion_dask.io.images.images",
    "open_index": "laion_dask.retrieval.index.index",
    "open_projection": "laion_dask.projections.projection",
    "plan": "laion_dask.planning.plan",
    "rates": "laion_dask.aggregations.rates",
    "read_shards": "laion_dask.io.parquet.read_shards",
    "scaling_plot": "laion_dask.planning.scaling_plot",
    "read_tags": "laion_dask.curation.tags_file",
    "recipe": "laion_dask.curation.recipes.recipe",
    "replay": "laion_dask.curation.recipes.replay",
    "recipes": "laion_dask.curation.recipes.recipe_table",
    "save_plot": "laion_dask.plots.save",
    "score_plot": "laion_dask.plots.thresholds",
    "set_options": "laion_dask.options",
    "show": "laion_dask.plots.histogram",
    "standard_statistics": "laion_dask.aggregations.default_set",
    "start_cluster": "laion_dask.cluster",
    "term_lists": "laion_dask.text",
    "terms": "laion_dask.aggregations.grouping.terms",
    "threshold_plot": "laion_dask.plots.thresholds",
    "tlds": "laion_dask.aggregations.grouping.domains",
    "write_tags": "laion_dask.curation.tags_file",
    "write_term_list": "laion_dask.text",
}
#: The module of every public name.
_MODULE_OF = _OTHERS | {
    verb.name: f"laion_dask.{verb.module}" for verb in VERBS.values() if not verb.namespace
}
_SUBMODULES = ("heads", "models", "predicate", "stats")

__all__ = sorted([*_MODULE_OF, *_SUBMODULES])


def __getattr__(name: str):
    if name in _SUBMODULES:
        return import_module(f"laion_dask.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(
            f"module 'laion_dask' has no attribute {name!r}", name=name, obj=import_module(__name__)
        )
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


register_with_dask()
