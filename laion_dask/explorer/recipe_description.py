"""The description of a recipe that the explorer writes."""

from __future__ import annotations

import os
import shlex

import dask.dataframe as dd

from laion_dask.errors import OptionError, ProvenanceError
from laion_dask.explorer.chain import EMBEDDINGS, Call
from laion_dask.explorer.exploration import Exploration
from laion_dask.frame.provenance import Provenance
from laion_dask.models import ClipModel, EmbeddingSpace


def description(exploration: Exploration, calls: list[Call], own: list[str]) -> str:
    """Where the selection was made, and what else a run needs.

    Parameters
    ----------
    exploration : Exploration
    calls : list of Call
        The verbs that select the rows.
    own : list of str
        The filters that the frame had before it was explored.
    """
    sample, place = exploration.sample, _place(exploration.frame)
    rows = (
        f"all {sample.n:,} rows" if sample.is_whole else f"{sample.n:,} of {sample.n_rows:,} rows"
    )
    sentences = [f"Selected in the explorer, among {rows}{place}."]
    texts = [*own, *(str(call.arguments.get("expression", "")) for call in calls)]
    has_files = any(call.verb in ("in_region", "tagged") for call in calls)
    if has_files or any("file(" in text for text in texts):
        sentences.append("To move it, also move the files that its steps name.")
    if exploration.embeddings is not None and any(
        EMBEDDINGS in call.arguments.values() for call in calls
    ):
        model, command = exploration.embeddings.model, ""
        if _is_known_by_name(model):
            options = f"--embeddings FOLDER --model {shlex.quote(model.name)}"
            command = f", or laion-dask carve with {options}"
        run = "recipe.run(frame, out, embeddings)"
        sentences.append(f"A run needs the image embeddings: {run}{command}.")
    return " ".join(sentences)


def _is_known_by_name(model: ClipModel | EmbeddingSpace) -> bool:
    """Whether ``--model`` can name a model: a CLIP model that is not in files of the user."""
    if not isinstance(model, ClipModel):
        return False
    try:
        named = ClipModel(model.name)
    except OptionError:
        return False
    return (named.arch, named.pretrained) == (model.arch, model.pretrained)


def _place(frame: dd.DataFrame) -> str:
    """The shards that were explored, with the folder that has them, for the description."""
    try:
        paths = [shard.path for shard in Provenance.of(frame).shards]
    except ProvenanceError:
        return ""
    if len(paths) < 2:
        return f" of {paths[0]}" if paths else ""
    folders = {os.path.dirname(path) for path in paths}
    if len(folders) > 1 and any("://" in path for path in paths):
        return f" of {len(paths):,} shards, of which {paths[0]} is one"
    folder = folders.pop() if len(folders) == 1 else os.path.commonpath(folders)
    return f" of the {len(paths):,} shards in {folder}"
