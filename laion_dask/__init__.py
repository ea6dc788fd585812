"""Understand, audit and carve web-scale image-text data sets with Dask.

A frame is a plain Dask DataFrame whose rows know where they came from (``shard``, ``row``). Verbs
are methods of its ``.laion`` accessor and functions of this package.

Importing the package imports nothing but the standard library: a name below is imported from its
module when it is first used. `__init__.pyi` says the same to type checkers and editors.
"""

from importlib import import_module

from laion_dask.accessor import register_with_dask

_MODULE_OF = {
    "ClipModel": "laion_dask.models",
    "DemoCorpus": "laion_dask.demo.job",
    "Distribution": "laion_dask.verbs.distribution",
    "EmbeddingSpace": "laion_dask.models",
    "Embeddings": "laion_dask.io.embeddings",
    "Export": "laion_dask.verbs.export",
    "Images": "laion_dask.io.images",
    "Index": "laion_dask.io.index",
    "LaionDaskError": "laion_dask.errors",
    "Mix": "laion_dask.verbs.queries",
    "Plan": "laion_dask.explore.plan.job",
    "Rerank": "laion_dask.verbs.search",
    "Rows": "laion_dask.verbs.rows",
    "Summary": "laion_dask.verbs.summary",
    "Vectors": "laion_dask.models",
    "association": "laion_dask.verbs.association",
    "audit": "laion_dask.verbs.audit",
    "build_index": "laion_dask.verbs.build_index",
    "concentration": "laion_dask.measures.concentration",
    "connect": "laion_dask.cluster",
    "cooccurrence": "laion_dask.measures.cooccurrence",
    "curve": "laion_dask.measures.curve",
    "demo_corpus": "laion_dask.demo.job",
    "describe": "laion_dask.measures.describe",
    "distributions": "laion_dask.verbs.distribution",
    "divergence": "laion_dask.measures.divergence",
    "domains": "laion_dask.measures.domains",
    "duplicate_share": "laion_dask.measures.duplicates",
    "embed": "laion_dask.verbs.embed",
    "excluded": "laion_dask.verbs.funnel",
    "export": "laion_dask.verbs.export",
    "gallery": "laion_dask.explore.gallery",
    "funnel": "laion_dask.verbs.funnel",
    "get_option": "laion_dask.options",
    "hate_content_rate": "laion_dask.measures.hate",
    "histogram": "laion_dask.explore.plots",
    "intersections": "laion_dask.measures.intersections",
    "join": "laion_dask.verbs.join",
    "language": "laion_dask.verbs.language",
    "language_class": "laion_dask.measures.languages",
    "mix": "laion_dask.verbs.queries",
    "open_embeddings": "laion_dask.io.embeddings",
    "open_images": "laion_dask.io.images",
    "open_index": "laion_dask.io.index",
    "perceived": "laion_dask.verbs.perceived",
    "plan": "laion_dask.explore.plan.job",
    "rates": "laion_dask.measures.rates",
    "read_shards": "laion_dask.io.shards",
    "report": "laion_dask.explore.datasheet",
    "representation": "laion_dask.verbs.representation",
    "rows": "laion_dask.verbs.rows",
    "scaling_plot": "laion_dask.explore.plan.plot",
    "score": "laion_dask.verbs.score",
    "score_captions": "laion_dask.verbs.score_captions",
    "score_plot": "laion_dask.explore.thresholds",
    "search": "laion_dask.verbs.search",
    "set_options": "laion_dask.options",
    "show": "laion_dask.explore.plots",
    "similarity": "laion_dask.verbs.score",
    "standard_statistics": "laion_dask.verbs.standard",
    "start_cluster": "laion_dask.cluster",
    "statistics": "laion_dask.verbs.statistics",
    "summary": "laion_dask.verbs.summary",
    "term_lists": "laion_dask.text",
    "terms": "laion_dask.text",
    "threshold_plot": "laion_dask.explore.thresholds",
    "tlds": "laion_dask.measures.domains",
    "verify": "laion_dask.verbs.verify",
    "where": "laion_dask.verbs.where",
    "write_report": "laion_dask.explore.report",
    "write_term_list": "laion_dask.text",
}
_SUBMODULES = ("accessor", "heads", "models", "predicate", "stats")

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
    return sorted({*globals(), *__all__})


register_with_dask()
