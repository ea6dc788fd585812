"""The table of verbs: names, modules, and what else is known of them without an import.

A verb works on a frame, on embeddings, images, or the result of another verb. The accessor, the
package's own names, `laion_dask.plan`, the stub for type checkers and the test of laziness all read
this table; a new verb is its own file and one row here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Verb:
    """One row of the table.

    Attributes
    ----------
    name : str
        The name of the function, and of the method where there is one.
    module : str
        The module that defines it, without ``laion_dask.``.
    is_lazy : bool
        Whether a call only builds a graph.
    is_method : bool
        Whether the ``.laion`` accessor has it; its first argument is then the frame.
    cost : str
        The function of the module that says what the verb costs on a frame, for `laion_dask.plan`;
        see `laion_dask.cost`. Empty where the verb is no work on a frame.
    instead : str
        What to plan or to do where ``cost`` is empty, as a sentence.
    namespace : str
        The public module that has it where it is not ``laion_dask`` itself, such as ``heads``.
    """

    name: str
    module: str
    is_lazy: bool = False
    is_method: bool = False
    cost: str = ""
    instead: str = ""
    namespace: str = ""

    def load(self, attribute: str = ""):
        """The function itself, or another attribute of its module; imports the module."""
        return getattr(import_module(f"laion_dask.{self.module}"), attribute or self.name)


def _lazy(name: str, module: str, cost: str = "") -> Verb:
    return Verb(name, module, is_lazy=True, is_method=True, cost=cost)


def _eager(name: str, module: str, cost: str = "") -> Verb:
    return Verb(name, module, is_method=True, cost=cost)


_VERBS = (
    _lazy("where", "frame.where"),
    _lazy("join", "joins.join"),
    _lazy("similarity", "scoring.score"),
    _lazy("score", "scoring.score"),
    _lazy("score_captions", "scoring.score_captions"),
    _lazy("language", "scoring.language"),
    _lazy("excluded", "frame.funnel"),
    _eager("rows", "frame.rows"),
    _eager("funnel", "frame.funnel"),
    _eager("search", "retrieval.search"),
    _eager("summary", "aggregations.summary"),
    _eager("distributions", "aggregations.distribution"),
    _eager("statistics", "aggregations.engine.statistics"),
    _eager("audit", "aggregations.audit"),
    _eager("perceived", "aggregations.perceived"),
    _eager("datasheet", "reports.datasheet"),
    _eager("export", "exports.export"),
    Verb("representation", "aggregations.representation"),
    Verb("association", "aggregations.association"),
    Verb("train", "training.train", namespace="heads"),
    Verb("embed", "inference.embed"),
    Verb("build_index", "retrieval.index.build"),
    Verb("gallery", "reports.gallery"),
    Verb("verify", "exports.verify"),
    Verb("write_report", "reports.report"),
)
#: Every verb by its name.
VERBS: dict[str, Verb] = {verb.name: verb for verb in _VERBS}
