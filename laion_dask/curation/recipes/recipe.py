"""A recipe: how a subset is carved, as data, and the verbs that run it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import dask.dataframe as dd

from laion_dask.curation.recipes.carve import applied, carve, prepared
from laion_dask.curation.recipes.carve_plan import CarvePlan, plan_of
from laion_dask.curation.recipes.carve_result import Carve
from laion_dask.curation.recipes.definition import Definition
from laion_dask.curation.recipes.document import to_yaml
from laion_dask.curation.recipes.inputs import EmbeddingsArgument, Source
from laion_dask.display.overview import Displayed, Overview


@dataclass(frozen=True)
class Recipe(Displayed, Definition):
    """How a subset is carved: removal lists, steps in order, export and seed. Immutable.

    The same tree is written as YAML (`load`, `to_yaml`) or built in Python: each step is a method,
    which returns a new recipe with that step appended. A step has the name and the arguments of a
    verb: ``where``, ``dedup``, ``top``, ….

    Parameters
    ----------
    name : str
    steps : sequence of mapping
        Each with one step: ``{"where": "width > 256"}``, ``{"top": {"column": "similarity",
        "fraction": 0.3}}``.
    parameters : mapping of str to mapping
        Values that may be set, with ``default`` and ``description``; steps refer to them as
        ``$name``.
    removal_lists : sequence of str or mapping
        Arguments of `exclude`; applied first, and again before the export.
    source : mapping
        Arguments of `read_shards`.
    export : mapping
        Arguments of `laion_dask.export`.
    seed : int
        The seed of every step that draws.
    title, paper, url, description : str
    not_reproduced, not_applied, warnings : sequence of str
        What a user should know.

    Raises
    ------
    RecipeError
        When a step is unknown, or has arguments that its verb does not take.

    Examples
    --------
    >>> import laion_dask as ld
    >>> recipe = ld.Recipe("mine").where("width >= 256").dedup(by="url")
    >>> print(recipe.to_yaml())
    name: mine
    steps:
    - where: width >= 256
    - dedup: url
    <BLANKLINE>
    """

    def apply(self, frame: dd.DataFrame, embeddings: EmbeddingsArgument = None) -> dd.DataFrame:
        """The rows of a frame that the recipe keeps. Lazy, except for steps that need a pass.

        Parameters
        ----------
        frame : dask DataFrame
            From `read_shards`.
        embeddings : Embeddings or mapping of str to Embeddings, optional
            The image embeddings; or several by name, such as ``{"image": …, "text": …}``.

        Raises
        ------
        RecipeError
            When a step lacks an input, or raises; names the step.
        """

        return applied(self, frame, embeddings)

    def plan(
        self,
        source: Source | None = None,
        embeddings: EmbeddingsArgument = None,
        *,
        model: Any = None,
        **options: Any,
    ) -> CarvePlan:
        """What a run would read, compute and need, before anything runs. Lazy.

        Parameters
        ----------
        source : str, path, several of them, or dask DataFrame
        embeddings, model
            As for `run`.
        **options
            As for `laion_dask.plan`: ``workers``, ``device``, ``memory_limit``, ``storage``,
            ``rates``.

        Raises
        ------
        RecipeError
        """

        return plan_of(self, source, embeddings, model=model, **options)

    def run(
        self,
        source: Source | None,
        out: str | os.PathLike[str],
        embeddings: EmbeddingsArgument = None,
        *,
        model: Any = None,
        by: Any = None,
        **export: Any,
    ) -> Carve:
        """Carve a subset: apply the steps, and export the rows they keep. Eager.

        The manifest of the export holds the recipe with its parameters, the funnel (rows after
        each step) and the exclusion audit, which is ``_audit.csv`` too; `replay` makes the same
        rows again.

        Each pass over the rows is taken once, and each score computed once, for all three. Until
        the end of the run, their results are in Dask's ``temporary_directory``, which workers on
        several machines need to share: about 12 bytes a row and score.

        Parameters
        ----------
        source : str, path, several of them, or dask DataFrame
            Shards, or a frame from `read_shards`; None if the recipe names them.
        out : str or path
            The folder of the export.
        embeddings : Embeddings, path, or mapping of str to these, optional
            The image embeddings; or several by name, such as ``{"image": …, "text": …}``.
        model : str, ClipModel or EmbeddingSpace, optional
            The model of embeddings that are given as paths.
        by : str, Grouping, or several, optional
            The groups of the exclusion audit; by default those of the export's ``audit``, or else
            languages, and the people whom captions mention.
        **export
            Arguments of `laion_dask.export`, such as ``format``; they override the recipe's.

        Returns
        -------
        Carve
            Prints the funnel and the audit.

        Raises
        ------
        RecipeError
            When a step lacks an input, or raises; names the step and its line.
        ExportError
            As `laion_dask.export`.

        Examples
        --------
        >>> import laion_dask as ld
        >>> recipe = ld.recipe("laion-high-resolution", side=256)
        >>> carve = recipe.run("demo-corpus/embedded/metadata", "large-images")
        >>> carve.rows.kept == len(ld.read_shards("large-images"))
        True
        """

        return carve(prepared(self, source, embeddings, model, export, by), out)

    def _overview(self) -> Overview:
        """The name, the source and the steps."""
        about = {"title": self.title, "paper": self.paper, "url": self.url}
        shown = {"parameters": self.parameters, "values": self.values, "steps": self.steps}
        steps = to_yaml({key: self.tree[key] for key, one in shown.items() if one})
        return Overview(self.name, {key: text or None for key, text in about.items()}, code=steps)


def recipe(name: str, /, **parameters: Any) -> Recipe:
    """A shipped recipe, with parameters set. Eager.

    Parameters
    ----------
    name : str
        See `recipes`.
    **parameters
        Values for the parameters of the recipe.

    Raises
    ------
    RecipeError
        When there is no such recipe or parameter, or a value has the wrong type.

    Examples
    --------
    >>> import laion_dask as ld
    >>> ld.recipe("laion-aesthetics-v2", minimum=6.25).values
    {'minimum': 6.25}
    """
    return Recipe.load(name).with_parameters(**parameters)
