"""The table of verbs: names, modules and properties that are known without importing them.

A verb works on a frame, on embeddings or images, or on the result of another verb. The accessor,
the names of the package, `laion_dask.plan`, the stub for type checkers and the laziness tests all
read this table; adding a verb takes its own file and one row here, under its task.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path


@dataclass(frozen=True)
class Verb:
    """One row of the table.

    Attributes
    ----------
    name : str
        The name of the function, and of the method if there is one.
    module : str
        The module that defines it, without the prefix ``laion_dask.``.
    is_lazy : bool
        Whether a call only builds a graph.
    is_method : bool
        Whether it is a method of the ``.laion`` accessor; its first argument is then the frame.
    cost : str
        The function that returns the cost of the verb on a frame, for `laion_dask.plan`, as
        ``module:name``; see `laion_dask.cost`. Empty if the verb does no work on a frame.
    instead : str
        If ``cost`` is empty, a sentence that says what to plan or call instead.
    namespace : str
        The public module that exposes it, such as ``heads``; empty for ``laion_dask`` itself.
    """

    name: str
    module: str
    is_lazy: bool = False
    is_method: bool = False
    cost: str = ""
    instead: str = ""
    namespace: str = ""

    @cached_property
    def does(self) -> str:
        """The first line of its docstring, from the source: importing all verbs takes a second."""
        path = Path(__file__).parent.joinpath(*self.module.split("."))
        files = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
        source = files[0].read_text("utf-8") if files else ""
        found = re.search(rf'^def {self.name}\(.*?"""(.*?)$', source, re.M | re.S)
        line = found[1] if found else (self.load().__doc__ or "").splitlines()[0]
        return line.removesuffix('"""').strip()

    def load(self):
        """Import and return the function."""
        return _load(f"{self.module}:{self.name}")

    def load_cost(self):
        """Import and return the function that computes the cost of a call on a frame."""
        return _load(self.cost)


def _load(path: str):
    module, _, name = path.partition(":")
    return getattr(import_module(f"laion_dask.{module}"), name)


def _verb(name: str, module: str, *, cost: str = "", **options) -> Verb:
    """A row whose cost function is ``<name>_cost`` in the same module, unless another is named."""
    return Verb(name, module, cost=cost or f"{module}:{name}_cost", **options)


def _lazy(name: str, module: str, cost: str = "") -> Verb:
    return _verb(name, module, cost=cost, is_lazy=True, is_method=True)


def _eager(name: str, module: str, cost: str = "") -> Verb:
    return _verb(name, module, cost=cost, is_method=True)


#: The verbs by task, in the order in which a user meets the tasks.
TASKS: dict[str, tuple[Verb, ...]] = {
    "look": (
        _eager("summary", "aggregations.summary"),
        _eager("distributions", "aggregations.distribution"),
        _eager("rows", "frame.rows"),
        _eager("funnel", "frame.funnel"),
        _lazy("excluded", "frame.funnel"),
        Verb(
            "gallery",
            "reports.gallery",
            instead="it shows rows that another verb returned. Plan that verb, such as 'search'.",
        ),
    ),
    "filter": (
        _lazy("where", "frame.where"),
        _lazy("in_region", "curation.in_region"),
        _lazy("top", "curation.top"),
        _lazy("sample", "curation.sample"),
        _lazy("exclude", "curation.exclude"),
        _lazy("tagged", "curation.tagged"),
        _lazy("decontaminate", "curation.duplicates.decontaminate"),
        _lazy("against_relaion", "curation.duplicates.members"),
    ),
    "score": (
        _lazy("similarity", "scoring.score"),
        _lazy("score", "scoring.score"),
        _lazy("norm_sim", "scoring.norm_sim"),
        _lazy("neg_clip_loss", "curation.neg_clip_loss"),
        _lazy("mix", "scoring.mixture"),
        _lazy("soft_cap", "curation.soft_cap"),
        _lazy("score_captions", "scoring.score_captions"),
        _lazy("language", "scoring.language"),
        _lazy("join", "joins.join"),
        _verb("embed", "inference.embed"),
        _verb("train", "training.train", namespace="heads"),
        _verb("train_filter", "training.train_filter"),
        _eager("fit_mix", "training.fit_mix"),
        Verb(
            "fine_tune_clip",
            "training.fine_tune",
            instead="it runs open_clip's own training, whose log says how long a step takes.",
        ),
    ),
    "search": (
        _eager("search", "retrieval.search"),
        _verb("build_index", "retrieval.index.build"),
        _lazy("nearest_centroid", "curation.clusters.nearest_centroid"),
        _lazy("near_targets", "curation.clusters.near_targets"),
        _eager("kmeans", "curation.clusters.kmeans"),
    ),
    "curate": (
        _lazy("dedup", "curation.duplicates.dedup"),
        _eager("duplicates", "curation.duplicates.groups"),
        _lazy("drop_frequent", "curation.duplicates.drop_frequent"),
        _lazy("phash", "curation.phash"),
        Verb(
            "diff",
            "curation.duplicates.diff",
            instead="it compares two frames, each read once. Plan 'dedup' by the same key: each "
            "side costs less.",
        ),
        _eager("complexity", "curation.clusters.prune"),
        _eager("prune", "curation.clusters.prune"),
        _eager("concepts", "curation.balancing.concepts"),
        _lazy("balance", "curation.balancing.balance"),
        _lazy("mentions_synset", "curation.mentions_synset"),
        _lazy("choose_caption", "curation.choose_caption"),
        _lazy("explode_captions", "curation.explode_captions"),
    ),
    "statistics": (
        _eager(
            "statistics",
            "aggregations.engine.statistics",
            "aggregations.default_set:statistics_cost",
        ),
        _eager("audit", "aggregations.audit"),
        _eager("perceived", "aggregations.perceived"),
        Verb(
            "explore",
            "explorer.app.explore",
            is_method=True,
            instead="it draws a sample of the rows. Plan 'sample', which reads as much.",
        ),
        _verb("representation", "aggregations.representation"),
        Verb(
            "association",
            "aggregations.association",
            instead="it compares a few texts or images of your own in a model's space, in seconds. "
            "Call ld.association(...) directly.",
        ),
    ),
    "export": (
        _eager("export", "exports.export"),
        Verb(
            "verify",
            "exports.verify",
            instead="it reads the folder of an export. Plan the export itself: 'export'.",
        ),
        _eager("datasheet", "reports.datasheet"),
        Verb(
            "write_report",
            "reports.report",
            instead="it writes the result of another verb. Plan that one: 'summary', or 'export' "
            "and 'audit'.",
        ),
    ),
}
#: All verbs by name.
VERBS: dict[str, Verb] = {verb.name: verb for verbs in TASKS.values() for verb in verbs}
