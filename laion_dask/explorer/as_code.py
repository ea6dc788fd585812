"""The selection as Python, as a recipe, and as lazy frames of the whole data set."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

import dask.dataframe as dd

from laion_dask.curation.recipes.expression_text import with_files
from laion_dask.curation.recipes.parameters import escaped
from laion_dask.curation.recipes.recipe import Recipe
from laion_dask.dialects import canonical_names, recognize
from laion_dask.errors import ExportError, LaionDaskError, SchemaError
from laion_dask.explorer.chain import EMBEDDINGS, Call, applied, calls_of, required, unused
from laion_dask.explorer.embedding_filters import Score
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.recipe_description import description
from laion_dask.explorer.source_text import (
    SourceText,
    is_bits,
    text_of_embeddings,
    text_of_frame,
    variables,
)
from laion_dask.explorer.tag_filter import TaggedRows, TagSets
from laion_dask.explorer.unsafe_rows import SAFE, WHY
from laion_dask.frame.filters import is_filter, predicate_of
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.scans import is_scan
from laion_dask.io.storage.user_cache import not_kept
from laion_dask.projections.projection import Projection
from laion_dask.projections.stored import keep
from laion_dask.runtime.dask_expressions import Projection as Columns

#: The variable that the code assigns, and its replacement if the explored frame has that name.
_NAMES = ("selected", "selected_rows")
_IMPORT = "import laion_dask as ld"


def selected_frame(exploration: Exploration) -> dd.DataFrame:
    """The selected rows of the whole frame. Lazy.

    A query adds its column of scores.
    """
    frame = exploration.frame
    calls = _calls(exploration)
    return applied(frame, calls, exploration.embeddings)


def as_python(exploration: Exploration) -> str:
    """Python text that assigns the selected rows, lazily, and prints how many there are.

    It is meant to run in the notebook in which the frame was explored: variables that hold the
    frame or the embeddings are used by name. Only variables assigned by earlier generated code are
    overwritten.
    """
    names = variables()
    text = _Text(exploration, names)
    calls = _calls(exploration)
    chained = [text.call(call) for call in calls]
    target = _NAMES[0] if text.frame != _NAMES[0] else _NAMES[1]
    if chained:
        lines = [f"{target} = (", f"    {text.frame}", *(f"    {one}" for one in chained), ")"]
    else:
        lines = [f"{target} = {text.frame}"]
    return "\n".join([*text.before, *lines, f'print(f"{{len({target}):,}} rows")', target, ""])


def _calls(exploration: Exploration) -> list[Call]:
    """The verbs that select the rows; first reads changed lists again, so that the page agrees."""
    exploration.selection.read_again()
    return calls_of(exploration.selection.filters, list(exploration.frame.columns))


class _Text:
    """Writes calls as Python code, with the lines that have to come before them.

    Attributes
    ----------
    frame : str
        The frame.
    before : list of str
        Lines before the chain of calls.
    """

    def __init__(self, exploration: Exploration, names: dict[str, Any]) -> None:
        self._exploration, self._names = exploration, names
        self._taken = set(names) | {*_NAMES}
        self.before: list[str] = []
        self.frame = self._assigned(text_of_frame(exploration.frame, names), "shards")
        self._embeddings = ""

    def _assigned(self, source: SourceText, name: str) -> str:
        """The expression, or a variable that holds it, assigned on an earlier line."""
        if source.comment:
            self.before.append(f"# {source.comment}")
        if not source.is_call:
            return source.expression
        self._import()
        return self._variable(name, source.expression)

    def _variable(self, name: str, expression: str, comment: str = "") -> str:
        name = unused(name, self._taken)
        self._taken.add(name)
        self.before += [f"# {comment}"] if comment else []
        self.before.append(f"{name} = {expression}")
        return name

    def _import(self) -> None:
        package = sys.modules["laion_dask"]
        if self._names.get("ld") is not package and _IMPORT not in self.before:
            self.before.insert(0, _IMPORT)

    def call(self, call: Call) -> str:
        """``.laion.where("…")``."""
        written = []
        for at, (name, value) in enumerate(call.arguments.items()):
            text = self._argument(name, value, call)
            written.append(text if at < call.positional else f"{name}={text}")
        return f".laion.{call.verb}({', '.join(written)})"

    def _argument(self, name: str, value: Any, call: Call) -> str:
        if value is EMBEDDINGS:
            return self._text_of_embeddings()
        if isinstance(value, Projection):
            return repr(_file_of(value))
        if isinstance(call.filter, TaggedRows):
            return repr(str(self._exploration.tag_sets.file_of(call.filter)))
        if name == "polygon":
            return self._variable("region", repr(value))
        if isinstance(call.filter, Score) and isinstance(value, tuple):
            return self._query(call.filter)
        return repr(value)

    def _text_of_embeddings(self) -> str:
        if not self._embeddings:
            embeddings = required(self._exploration.embeddings)
            frame = self._exploration.frame
            source = text_of_embeddings(embeddings, frame, self.frame, self._names)
            self._embeddings = self._assigned(source, "images")
        return self._embeddings

    def _query(self, score: Score) -> str:
        """Code that reads the row's embedding if it is the same vector; else the numbers."""
        if score.row is not None:
            shard, row = score.row
            with suppress(LaionDaskError, OSError):
                found = required(self._exploration.embeddings).read(shard, [row])[0]
                if is_bits(score.vector, found):
                    return f"{self._text_of_embeddings()}.read({shard}, [{row}])[0]"
        comment = f"query: {score.question}"
        return self._variable("query", repr(list(score.vector)), comment)


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
        raise not_kept("The projection", error) from error


def as_recipe(
    exploration: Exploration, name: str = "explored-selection", *, without_unsafe: bool = False
) -> str:
    """The selection as the YAML of a recipe, which `recipe` loads and runs.

    With ``without_unsafe``, its last step leaves out the rows that are not known to be safe.

    The filters of the frame that was explored are its first steps. Other steps of that frame, such
    as a join, are not in the recipe; it then says that it must be run on that frame.
    """
    frame = exploration.frame
    calls = _calls(exploration)
    own, warnings = _own_filters(frame)
    if _has_other_names(frame):
        warnings.append(_OTHER_NAMES)
    steps = [{"where": with_files(escaped(text), _absolute)} for text in own]
    steps += [_step(call, exploration.tag_sets) for call in calls]
    if without_unsafe:
        steps.append({"where": SAFE, "why": WHY})
    if not steps:  # a recipe has at least one step
        steps = [{"where": "row >= 0"}]
    about = description(exploration, calls, own)
    return Recipe(name, steps=steps, description=about, warnings=warnings).to_yaml()


def _step(call: Call, sets: TagSets) -> dict[str, Any]:
    """A step in recipe form, with absolute paths for lists in conditions.

    What was asked comes before the numbers that it became.
    """
    plain = escaped(_plain(call, sets))
    if call.verb == "where":
        return {"where": with_files(plain, _absolute)}
    if isinstance(call.filter, Score):
        return {"why": escaped(f"The query is {call.filter.question}."), call.verb: plain}
    return {call.verb: plain}


def _absolute(written: str) -> str:
    """The absolute path of a list, since the recipe may run in another folder."""
    path = os.path.expanduser(written.replace("$$", "$"))
    return written if "://" in written else escaped(os.path.abspath(path))


def _plain(call: Call, sets: TagSets) -> Any:
    """The arguments of a step as plain values; for a condition, just its text."""
    if call.verb == "where":
        return call.arguments["expression"]
    arguments = {}
    for name, value in call.arguments.items():
        if value is EMBEDDINGS:
            continue  # the recipe's default, image
        if isinstance(value, Projection):
            value = _file_of(value)
        if isinstance(call.filter, TaggedRows):
            value = str(sets.file_of(call.filter))
        arguments[name] = list(value) if isinstance(value, tuple) else value
    return arguments


def _own_filters(frame: dd.DataFrame) -> tuple[list[str], list[str]]:
    """The filters of the explored frame; if it has other steps, no filters and a warning."""
    found = []
    for step, selected in reversed(list(Provenance.of(frame).steps)):
        predicate = predicate_of(step) if is_filter(step) else None
        is_known = is_scan(step) or isinstance(step, Columns) or predicate is not None
        names = [] if predicate is None else predicate.columns
        if not is_known or selected is not None or not set(names) <= set(frame.columns):
            return [], [_WARNING]
        if predicate is not None:
            found.append(predicate.text)
    return found, []


def _has_other_names(frame: dd.DataFrame) -> bool:
    """Whether the column names differ from those that `read_shards` gives by default."""
    stored: dict[str, str] = {}
    for shard in Provenance.of(frame).shards:
        stored |= {old: new for old, new, _ in shard.columns}
    try:
        usual = canonical_names(list(stored), recognize(stored))
    except SchemaError:  # names that differ only in case, of which the user renamed some
        return True
    return any(usual.get(old, new) != new for old, new in stored.items())


_OTHER_NAMES = (
    "The frame that was explored was read with other names of columns (rename, swap_width_height "
    "or dialect). Run the recipe on a frame that is read in the same way: recipe.run(frame, "
    "'folder')."
)
_WARNING = (
    "The frame that was explored has steps that are not in this recipe. Run it on that frame: "
    "recipe.run(frame, 'folder')."
)
