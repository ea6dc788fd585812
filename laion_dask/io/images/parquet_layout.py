"""Find the columns of images, keys and metadata in a Parquet file."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from laion_dask.errors import ImageError, OptionError, argument, did_you_mean, parameter
from laion_dask.io.images.sample_groups import MAX_FIELDS

#: Columns that may contain the key of a row; the first available one is used.
KEY_FIELDS = ("key", "__key__")


@dataclass(frozen=True)
class Layout:
    """The roles of a file's columns.

    Attributes
    ----------
    image : str
        The column of image bytes.
    path : str
        The path of the bytes in the file: the column itself, or its field ``bytes``.
    key : str or None
    fields : tuple of str
        The columns that become metadata.
    """

    image: str
    path: str
    key: str | None
    fields: tuple[str, ...]


def layout_of(schema: pa.Schema, path: str, image: str | None) -> Layout:
    """The layout of a file.

    Parameters
    ----------
    schema : pyarrow.Schema
    path : str
        The file, for error messages.
    image : str or None
        The image column, if the user named it.

    Raises
    ------
    ImageError
        When no column contains bytes, or there are too many columns or duplicate names.
    OptionError
        When several columns contain bytes and none is given, or the given one does not.
    """
    if len(schema) > MAX_FIELDS or len(set(schema.names)) < len(schema):
        raise ImageError(
            f"{path} has {len(schema)} columns with {len(set(schema.names))} different names. "
            f"Expected at most {MAX_FIELDS} columns, all with different names; rewrite the file."
        )
    image = _image_column(schema, path, image)
    is_plain = _is_bytes(schema.field(image).type)
    fields = tuple(f.name for f in schema if f.name != image and not _has_bytes(f.type))
    keys = [n for n in KEY_FIELDS if n in fields and _can_be_key(schema.field(n).type)]
    return Layout(image, image if is_plain else f"{image}.bytes", next(iter(keys), None), fields)


def _image_column(schema: pa.Schema, path: str, image: str | None) -> str:
    candidates = [f.name for f in schema if _holds_image(f.type)]
    if image is not None:
        if image not in candidates:
            raise OptionError(
                f"{parameter('image')} is {image!r}, which is not a column of bytes in {path}."
                f"{did_you_mean(image, candidates)}"
            )
        return image
    if not candidates:
        raise ImageError(
            f"{path} has no column of image bytes. Expected a binary column, or a struct "
            f"with a binary field 'bytes'; available: {', '.join(schema.names)}."
        )
    if len(candidates) > 1:
        raise OptionError(
            f"{path} has {len(candidates)} columns of bytes: {', '.join(candidates)}. Name the "
            f"one that holds the images, with {argument('image', candidates[0])}."
        )
    return candidates[0]


def _is_bytes(type_: pa.DataType) -> bool:
    t = pa.types
    return t.is_binary(type_) or t.is_large_binary(type_) or t.is_binary_view(type_)


def _holds_image(type_: pa.DataType) -> bool:
    if not pa.types.is_struct(type_):
        return _is_bytes(type_)
    at = type_.get_field_index("bytes")
    return at >= 0 and _is_bytes(type_.field(at).type)


def _has_bytes(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        return _has_bytes(type_.value_type)
    inner = (type_.field(at).type for at in range(type_.num_fields))
    is_direct = _is_bytes(type_) or pa.types.is_fixed_size_binary(type_)
    return is_direct or any(_has_bytes(t) for t in inner)


def _can_be_key(type_: pa.DataType) -> bool:
    t = pa.types
    return t.is_integer(type_) or t.is_string(type_) or t.is_large_string(type_)
