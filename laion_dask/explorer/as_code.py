"""The selection as Python, as a recipe, and as lazy frames of the whole data set."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import dask.dataframe as dd
import numpy as np

from laion_dask.curation.recipes.parameters import escaped
from laion_dask.curation.recipes.recipe import Recipe
from laion_dask.errors import ExportError, LaionDaskError, ProvenanceError
from laion_dask.explorer.chain import EMBEDDINGS, Call, applied, calls_of, required
from laion_dask.explorer.embedding_filters import Score
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.source_text import (
    SourceText,
    is_bits,
    name_of,
    text_of_embeddings,
    text_of_frame,
    variables,
)
from laion_dask.frame.filters import is_filter, predicate_of
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.scans import is_scan
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.projections.projection import Projection
from laion_dask.projections.stored import keep
from laion_dask.runtime.dask_expressions import Projection as Columns

#: The variable that the text assigns, and another if it is the explored frame's.
_NAMES = ("selected", "selected_rows")
#: Lines that are longer are not made by putting arguments one after another.
_WIDTH = 100


def selected_frame(exploration: Exploration) -> dd.DataFrame:
    """The selected rows of the whole frame. Lazy.

    A query adds its column of scores.
    """
    frame = exploration.frame
    calls = calls_of(exploration.selection.filters, list(frame.columns))
    return applied(frame, calls, exploration.embeddings)


def as_python(exploration: Exploration) -> str:
    """Python text that assigns the selected rows, lazily, and prints how many there are.

    To run in a cell of the notebook in which the frame was explored. A variable of the notebook
    that has the frame, or the embeddings, is used by its name.
    """
    frame, names = exploration.frame, variables()
    calls = calls_of(exploration.selection.filters, list(frame.columns))
    source = text_of_frame(frame, names)
    sources, lines = [source], []
    embeddings = None
    if any(EMBEDDINGS in call.arguments.values() for call in calls):
        needed = required(exploration.embeddings)
        embeddings = text_of_embeddings(needed, frame, source.expression, names)
        sources.append(embeddings)
    text = _Text(exploration.embeddings, embeddings)
    chained = [text.call(call) for call in calls]
    if any(one.is_call for one in sources) or text.uses_package:
        package = _package(names)
        if package is None:
            lines.append("import laion_dask as ld")
        elif package != "ld":
            lines.append(f"ld = {package}")
    lines += [f"# {one.comment}" for one in sources if one.comment]
    target = _NAMES[0] if source.expression != _NAMES[0] else _NAMES[1]
    if chained:
        lines += [f"{target} = (", f"    {source.expression}"]
        lines += [f"    {call}" for call in chained]
        lines.append(")")
    else:
        lines.append(f"{target} = {source.expression}")
    return "\n".join([*lines, f'print(f"{{len({target}):,}} rows")', target, ""])


def _package(names: dict[str, Any]) -> str | None:
    import laion_dask

    return name_of(laion_dask, names)


class _Text:
    """Writes calls as text."""

    def __init__(self, embeddings: Embeddings | None, source: SourceText | None) -> None:
        self._embeddings, self._source = embeddings, source
        self.uses_package = False

    def call(self, call: Call) -> str:
        """``.laion.where("…")``."""
        written = []
        for at, (name, value) in enumerate(call.arguments.items()):
            text = self._argument(value, call)
            written.append(text if at < call.positional else f"{name}={text}")
        return f".laion.{call.verb}({', '.join(written)})"

    def _argument(self, value: object, call: Call) -> str:
        if value is EMBEDDINGS:
            assert self._source is not None  # the embeddings have been asked for
            return self._source.expression
        if isinstance(value, Projection):
            return repr(_file_of(value))
        if isinstance(value, tuple) and isinstance(call.filter, Score):
            return self._query(call.filter)
        return repr(value)

    def _query(self, score: Score) -> str:
        """A row's embedding or a text, if that is the same vector; else its numbers."""
        if self._embeddings is None or self._source is None:
            return repr(list(score.vector))
        with suppress(LaionDaskError, OSError):
            if score.row is not None:
                shard, row = score.row
                if is_bits(score.vector, self._embeddings.read(shard, [row])[0]):
                    return f"{self._source.expression}.read({shard}, [{row}])[0]"
        return repr(list(score.vector))


def _file_of(projection: Projection) -> str:
    """The file of a projection in the user's cache folder.

    Raises
    ------
    ExportError
        When it cannot be written.
    """
    try:
        return str(keep(projection))
    except OSError as error:
        if isinstance(error, ExportError):
            raise
        raise ExportError(
            f"The projection cannot be kept: {error.strerror or error}. Expected a folder that can "
            "be written. Name one with the environment variable XDG_CACHE_HOME."
        ) from error


def as_recipe(exploration: Exploration, name: str = "explored-selection") -> str:
    """The selection as the YAML of a recipe, which `recipe` loads and runs.

    The filters of the frame that was explored are its first steps. Other steps of that frame, such
    as a join, are not in the recipe; it then says that it must be run on that frame.
    """
    frame = exploration.frame
    calls = calls_of(exploration.selection.filters, list(frame.columns))
    own, warnings = _own_filters(frame)
    steps = [{"where": escaped(text)} for text in own]
    steps += [{call.verb: escaped(_plain(call))} for call in calls]
    if not steps:  # a recipe has at least one step
        steps = [{"where": "row >= 0"}]
    paths = _paths(frame)
    about = f"Selected by hand among {exploration.sample.n:,} of {exploration.sample.n_rows:,} rows"
    recipe = Recipe(
        name,
        steps=steps,
        description=f"{about}{f' of {paths}' if paths else ''}.",
        warnings=warnings,
    )
    return recipe.to_yaml()


def _plain(call: Call) -> Any:
    """The arguments of a step as plain values; a condition alone."""
    if call.verb == "where":
        return call.arguments["expression"]
    arguments = {}
    for name, value in call.arguments.items():
        if value is EMBEDDINGS:
            continue  # the recipe's default, image
        if isinstance(value, Projection):
            value = _file_of(value)
        arguments[name] = list(value) if isinstance(value, tuple) else value
    return arguments


def _own_filters(frame: dd.DataFrame) -> tuple[list[str], list[str]]:
    """The filters of the explored frame, and a warning if it has steps that a recipe cannot have.

    """
    found = []
    for step, selected in reversed(Provenance.of(frame).steps):
        predicate = predicate_of(step) if is_filter(step) else None
        is_known = is_scan(step) or isinstance(step, Columns) or predicate is not None
        names = [] if predicate is None else predicate.columns
        if not is_known or selected is not None or not set(names) <= set(frame.columns):
            return [], [_WARNING]
        if predicate is not None:
            if predicate.text.count("file("):
                return [], [_WARNING]
            found.append(predicate.text)
    return found, []


_WARNING = (
    "The frame that was explored has steps that are not in this recipe. Run it on that frame: "
    "recipe.run(frame, 'folder')."
)


def _paths(frame: dd.DataFrame) -> str:
    """The folder or the number of shards, for the description."""
    try:
        shards = Provenance.of(frame).shards
    except ProvenanceError:
        return ""
    return shards[0].path if len(shards) == 1 else f"{len(shards):,} shards, from {shards[0].path}"
