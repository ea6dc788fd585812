"""Derive one Arrow schema for the metadata of all shards from a survey of the shards."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pyarrow as pa

from laion_dask.errors import ImageError, OptionError
from laion_dask.io.images.samples import CAPTION_FIELDS, Sample
from laion_dask.io.storage.member_names import clean_text

#: Maximum number of distinct JSON fields over all shards.
MAX_COLUMNS = 1024

#: Columns that embed itself writes, whatever a sample's JSON contains.
OURS = ("key", "image_path", "image_sha256")

#: Key in the schema metadata for the number of images scaled from 16 bits to 8.
RESCALED = "laion_dask.rescaled_16_bit"

_ARROW = {
    "string": pa.string(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "float": pa.float32(),
}


def plan_columns(
    surveys: Iterable, embed_columns: Iterable[str], heads: Iterable[str]
) -> list[list[str]]:
    """The columns of the metadata as [name, Arrow type], derived from the surveys.

    The order is ``key``, ``image_path`` and ``image_sha256``, the caption, the JSON fields under
    their own names, embed's own scores, and one column per head. The caption's column has its name
    in the JSON (``caption``, ``TEXT`` or ``text``), if any. A field keeps its type if all shards
    agree; integers mixed with floats become double if that is exact; anything else becomes text.

    Parameters
    ----------
    surveys : iterable of Survey
    embed_columns, heads : iterable of str
        The columns added by ``embed`` itself and by the heads.

    Raises
    ------
    ImageError
        When there are more than ``MAX_COLUMNS`` fields.
    OptionError
        When the name of an added column is already in use.
    """
    value_types: dict[str, set[str]] = {}
    captions = 0
    for survey in surveys:
        captions += survey.n_captions
        for name, types in survey.value_types.items():
            value_types.setdefault(name, set()).update(types)
    if len(value_types) > MAX_COLUMNS:
        raise ImageError(
            f"The JSON of the samples has {len(value_types)} different fields, over the limit of "
            f"{MAX_COLUMNS}. Expected the same few fields in every sample."
        )
    caption = next((n for n in CAPTION_FIELDS if n in value_types), "caption" if captions else None)
    columns = [[name, "string"] for name in (*OURS, caption) if name]
    taken = {name for name, _ in columns}
    columns += [[name, _type_of(value_types[name])] for name in value_types if name not in taken]
    taken |= set(value_types)
    rename = [(name, "embed writes", "clip_score='…' in the call") for name in embed_columns]
    rename += [(name, "The head writes", "head.to('…')") for name in heads]
    for name, who, how in rename:
        if name in taken:
            raise OptionError(
                f"{who} the column {name!r}, which the samples already have. Rename it with {how}."
            )
        taken.add(name)
        columns.append([name, "float"])
    return columns


def _type_of(value_types: set[str]) -> str:
    value_types = value_types - {"null"}
    if value_types == {"bool"}:
        return "bool"
    if value_types and value_types <= {"int", "wide"}:
        return "int64"
    if value_types and value_types <= {"int", "float"}:
        return "double"
    return "string"


def caption_column(columns: list[list[str]]) -> str | None:
    """The name of the caption's column, or None."""
    return next((name for name, _ in columns[len(OURS) :][:1] if name in CAPTION_FIELDS), None)


def metadata_table(kept: list[Sample], columns: list[list[str]], scores: dict) -> pa.Table:
    """The metadata of a shard, one row per kept sample.

    Parameters
    ----------
    kept : list of Sample
    columns : list of [name, type]
        From ``plan_columns``.
    scores : dict of str to (n,) float32 array
        The added columns.
    """
    caption = caption_column(columns)
    arrays = []
    for name, type_ in columns:
        if name in scores:
            values = scores[name]
        elif name in OURS:
            values = [getattr(sample, name) for sample in kept]
        elif name == caption:
            values = [_caption(sample, name) for sample in kept]
        else:
            values = [_value(sample.fields.get(name), type_) for sample in kept]
        arrays.append(pa.array(values, _ARROW[type_]))
    rescaled = sum(sample.rescaled for sample in kept)
    schema_metadata = {RESCALED: str(rescaled)} if rescaled else None
    fields = [(name, _ARROW[type_]) for name, type_ in columns]
    return pa.table(arrays, schema=pa.schema(fields, metadata=schema_metadata))


def rejects_table(rejected: list[Sample]) -> pa.Table:
    """The rejects of a shard: ``key``, ``image_path`` and ``reason``."""
    names = ("key", "image_path", "reason")
    columns = [[clean_text(getattr(s, name) or "") for s in rejected] for name in names]
    return pa.table([pa.array(c, pa.string()) for c in columns], names=list(names))


def _caption(sample: Sample, name: str) -> str | None:
    # The embedded caption. A field that is not text is kept, but was not embedded.
    text = sample.caption if sample.caption is not None else sample.fields.get(name)
    return _value(text, "string")


def _value(value, type_: str):
    if value is None or (type_ == "string" and value != value):  # NaN is not text
        return None
    if type_ == "string":
        return clean_text(value if isinstance(value, str) else json.dumps(value))
    return float(value) if type_ == "double" else value
