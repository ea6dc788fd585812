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
        The function that says what the verb costs on a frame, for `laion_dask.plan`, as
        ``module:name``; see `laion_dask.cost`. Empty where the verb is no work on a frame.
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

    def load(self):
        """The function itself; imports its module."""
        return _load(f"{self.module}:{self.name}")

    def load_cost(self):
        """The function that says what a call costs on a frame; imports its module."""
        return _load(self.cost)


def _load(path: str):
    module, _, name = path.partition(":")
    return getattr(import_module(f"laion_dask.{module}"), name)


def _verb(name: str, module: str, *, cost: str = "", **options) -> Verb:
    """A row whose cost is the function ``<name>_cost`` beside the verb, unless another is named."""
    return Verb(name, module, cost=cost or f"{module}:{name}_cost", **options)


def _lazy(name: str, module: str, cost: str = "") -> Verb:
    return _verb(name, module, cost=cost, is_lazy=True, is_method=True)


def _eager(name: str, module: str, cost: str = "") -> Verb:
    return _verb(name, module, cost=cost, is_method=True)


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
    _eager(
        "statistics", "aggregations.engine.statistics", "aggregations.default_set:statistics_cost"
    ),
    _eager("audit", "aggregations.audit"),
    _eager("perceived", "aggregations.perceived"),
    _eager("datasheet", "reports.datasheet"),
    _eager("export", "exports.export"),
    _verb("representation", "aggregations.representation"),
    _verb("train", "training.train", namespace="heads"),
    _verb("embed", "inference.embed"),
    _verb("build_index", "retrieval.index.build"),
    Verb(
        "association",
        "aggregations.association",
        instead="it compares some texts or images of your own in a model's space, in seconds. Call "
        "ld.association(...) itself.",
    ),
    Verb(
        "gallery",
        "reports.gallery",
        instead="it shows some rows that were found. Plan what finds them, such as 'search'.",
    ),
    Verb(
        "verify",
        "exports.verify",
        instead="it reads the folder of an export. Plan the export itself: 'export'.",
    ),
    Verb(
        "write_report",
        "reports.report",
        instead="it writes the result of another verb. Plan that one: 'summary', or 'export' and "
        "'audit'.",
    ),
)
#: Every verb by its name.
VERBS: dict[str, Verb] = {verb.name: verb for verb in _VERBS}
