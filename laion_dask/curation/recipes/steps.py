"""The steps that a recipe may have: the verbs that select rows or add columns.

The arguments of a step are those of the verb. A table says what YAML cannot: which argument a
plain value is (``where: "width > 256"``), and which ones are embeddings or files.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from laion_dask.verbs import VERBS

#: The names of the embeddings of arguments that a step does not mention.
ROLES: Mapping[str, str] = {"embeddings": "image", "emb_image": "image", "emb_text": "text"}


@dataclass(frozen=True)
class StepKind:
    """A kind of step.

    Attributes
    ----------
    name : str
        The name of the verb.
    main : str
        The argument that a value stands for, if the step has no mapping of arguments.
    embeddings : tuple of str
        Arguments that name embeddings given to `Recipe.run`, such as ``image``; `ROLES` has the
        names of those that a step leaves out.
    files : tuple of str
        Arguments that are paths.
    frames : tuple of str
        Arguments that are frames; a recipe can name one, ``source``: the rows before any step.
    adds_columns : bool
        Whether the step adds columns, and drops no row.
    depends_on_rows : bool
        Whether the verb takes a pass over the rows first: a row's fate, or its score, depends on
        the others.
    is_stored : bool
        Whether a run stores what the step computes for each row, because it costs less than to read
        embeddings, images, captions or a joined table again.
    needs_embeddings : bool
        Whether the step cannot do without the first of ``embeddings``.
    """

    name: str
    main: str = ""
    embeddings: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    adds_columns: bool = False
    depends_on_rows: bool = False
    is_stored: bool = False
    needs_embeddings: bool = False

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters of the verb, without the frame."""
        return _parameters(self.name)

    @property
    def parameter_names(self) -> list[str]:
        return ["heads" if name == "*heads" else name for name in self.parameters]

    @property
    def required(self) -> list[str]:
        """The arguments that a step must have; embeddings have a default role."""
        empty = inspect.Parameter.empty
        return [
            name
            for name, one in self.parameters.items()
            if one.default is empty and name not in self.embeddings and name != "*heads"
        ]


@cache
def _parameters(name: str) -> dict[str, inspect.Parameter]:
    listed = list(inspect.signature(VERBS[name].load()).parameters.values())[1:]
    by_name = {}
    for one in listed:
        star = "*" if one.kind is inspect.Parameter.VAR_POSITIONAL else ""
        by_name[star + one.name] = one
    return by_name


_KINDS = (
    StepKind("where", main="expression"),
    StepKind("join", main="scores", files=("scores",), adds_columns=True, is_stored=True),
    StepKind("language", main="to", adds_columns=True, is_stored=True),
    StepKind(
        "similarity",
        main="query",
        embeddings=("embeddings", "query"),
        adds_columns=True,
        is_stored=True,
        needs_embeddings=True,
    ),
    StepKind(
        "score",
        main="heads",
        embeddings=("embeddings", "texts"),
        adds_columns=True,
        is_stored=True,
        needs_embeddings=True,
    ),
    StepKind("top", main="column", frames=("of",), depends_on_rows=True),
    StepKind("sample", main="fraction", depends_on_rows=True),
    StepKind("dedup", main="by", embeddings=("by",), depends_on_rows=True),
    StepKind(
        "prune",
        main="keep",
        embeddings=("embeddings",),
        needs_embeddings=True,
        depends_on_rows=True,
    ),
    StepKind(
        "nearest_centroid",
        main="centroids",
        embeddings=("embeddings",),
        files=("centroids",),
        adds_columns=True,
        is_stored=True,
        needs_embeddings=True,
    ),
    StepKind("choose_caption", main="columns", adds_columns=True),
    StepKind("explode_captions", main="columns"),
    StepKind("phash", main="images", files=("images",), adds_columns=True, is_stored=True),
    StepKind("drop_frequent", main="by", depends_on_rows=True),
    StepKind(
        "near_targets",
        main="targets",
        embeddings=("embeddings",),
        files=("centroids", "targets"),
        is_stored=True,
        needs_embeddings=True,
    ),
    StepKind(
        "in_region",
        embeddings=("embeddings",),
        files=("projection",),
        is_stored=True,
        needs_embeddings=True,
    ),
    StepKind("mentions_synset", main="synsets", files=("synsets", "wordnet"), is_stored=True),
    StepKind("mix", main="weights", adds_columns=True),
    StepKind(
        "neg_clip_loss",
        embeddings=("emb_image", "emb_text"),
        adds_columns=True,
        depends_on_rows=True,
        is_stored=True,
        needs_embeddings=True,
    ),
    StepKind("balance", main="entries", files=("entries",), depends_on_rows=True, is_stored=True),
    StepKind("exclude", main="list", files=("list",)),
    StepKind("tagged", main="rows", files=("rows",)),
    StepKind(
        "decontaminate",
        main="against",
        embeddings=("embeddings",),
        files=("against",),
        is_stored=True,
    ),
    StepKind("against_relaion", main="ref", files=("ref",), depends_on_rows=True),
    StepKind("soft_cap", main="column", depends_on_rows=True),
)
#: The kinds of steps by name.
STEPS: Mapping[str, StepKind] = {kind.name: kind for kind in _KINDS if kind.name in VERBS}


def arguments_of(kind: StepKind, value: Any) -> dict[str, Any]:
    """The arguments of a step: its mapping, or the main argument."""
    if isinstance(value, Mapping):
        return dict(value)
    return {} if value is None else {kind.main: value}
