"""Parquet files with image bytes: read row group by row group, never a whole file in memory.

A file is hostile until shown otherwise: its footer is read by ``io.footer``, rows come a few at a
time, and what cannot be read costs the rows of its row group, each of them a counted reject.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, islice

import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.errors import ImageError, OptionError, ShardError, argument, did_you_mean, parameter
from laion_dask.io.images.decoding import MAX_IMAGE_BYTES
from laion_dask.io.images.image_index import ImageIndex
from laion_dask.io.images.sample_groups import MAX_FIELDS
from laion_dask.io.images.sample_text import constant
from laion_dask.io.images.samples import (
    CAPTION_FIELDS,
    MAX_TEXT_BYTES,
    URL_FIELDS,
    Sample,
    first_text,
    invalid_text_error,
)
from laion_dask.io.images.shards import Survey
from laion_dask.io.parquet.footer import ARROW_ERRORS, Footer, read_footer
from laion_dask.io.storage.member_names import clean_text
from laion_dask.io.storage.paths import filesystem
from laion_dask.io.storage.remote_file import StoreFile, unreadable

#: Rows of one file; the metadata of a shard is in memory until it is written.
MAX_ROWS = 1_000_000

#: Rows that are in memory at a time, images included: with ``MAX_IMAGE_BYTES``, at most 1 GiB.
ROWS = 16

#: Bytes that are read of a column at a time.
BUFFER = 2**20

#: Columns that can hold the key of a row, the first one present wins.
KEY_FIELDS = ("key", "__key__")


@dataclass(frozen=True)
class _Layout:
    """Which column is what.

    Attributes
    ----------
    image : str
        The column of image bytes.
    path : str
        Its bytes in the file: the column itself, or the field ``bytes`` of it.
    key : str or None
    fields : tuple of str
        What becomes metadata.
    """

    image: str
    path: str
    key: str | None
    fields: tuple[str, ...]


@dataclass(frozen=True)
class ParquetShard:
    """One Parquet file with a column of image files.

    The column is of binary values, or of structs with a binary field ``bytes``, as Hugging Face's
    ``datasets`` writes them. All other columns without bytes become metadata, null where a cell
    holds a date that Python cannot, such as one beyond the year 9999.

    Attributes
    ----------
    path : str
    image : str or None
        The column, where the file has several that could be it.
    label : str or None
        Its path below the root of its source; by default its own name.
    invalid_text : {"reject", "raise"}
        What a row with text that is no UTF-8 makes.
    """

    path: str
    image: str | None = None
    label: str | None = field(default=None, compare=False)
    invalid_text: str = field(default="reject", compare=False)

    @property
    def name(self) -> str:
        return self.label or self.path.rpartition("/")[2]

    def n_bytes(self) -> int:
        fs, inner = filesystem(self.path)
        return int(fs.size(inner))

    def samples(self) -> Iterator[Sample]:
        """Its rows in order, with image bytes, a few in memory at a time."""
        footer = self._footer()
        layout = self._layout(footer.schema)
        yield from self._rows(footer, layout, [layout.path, *layout.fields])

    def survey(self) -> Survey:
        """A first look: the footer and all columns but the images'."""
        footer = self._footer()
        layout = self._layout(footer.schema)
        survey = Survey()
        for sample in self._rows(footer, layout, list(layout.fields)):
            survey.add(sample)
        identity = f"{footer.sha256} {layout.path}".encode()
        survey.listing_sha256 = hashlib.sha256(identity).hexdigest()
        return survey

    def holds_images(self) -> bool:
        """True, or an error that says which columns there are instead."""
        self._layout(self._footer().schema)
        return True

    def index(self) -> ImageIndex:
        """The row of each image."""
        footer = self._footer()
        layout = self._layout(footer.schema)
        found = ImageIndex()
        columns = [layout.key] if layout.key else []
        for row, sample in enumerate(self._rows(footer, layout, columns)):
            found.add(str(row), [sample.key], row)
        return found

    def fetch(self, place: int) -> bytes | None:
        footer = self._footer()
        layout = self._layout(footer.schema)
        cells = self._row(footer, place, [layout.path])
        data = _bytes_of(cells[layout.image]) if cells else None
        return None if data is None or len(data) > MAX_IMAGE_BYTES else data

    def url(self, place: int) -> str | None:
        footer = self._footer()
        names = [name for name in URL_FIELDS if name in footer.schema.names]
        cells = (self._row(footer, place, names) if names else None) or {}
        try:
            return first_text({name: cell.as_py() for name, cell in cells.items()}, names)
        except ARROW_ERRORS:  # no UTF-8
            return None

    def _row(self, footer: Footer, place: int, columns: list[str]) -> dict[str, pa.Scalar] | None:
        """Some cells of one row; ``None`` where its row group is damaged or has fewer rows."""
        ends = list(accumulate(footer.row_groups))
        group = next(n for n, end in enumerate(ends) if place < end)
        row = place - (ends[group] - footer.row_groups[group])
        try:
            with self._opened() as file:
                for batch in _batches(StoreFile(file, self.path), group, columns):
                    if row < batch.num_rows:
                        return next(islice(_by_row(batch), row, None))
                    row -= batch.num_rows
        except ShardError:  # the store's; damage is an error of pyarrow's own
            raise
        except ARROW_ERRORS:
            return None
        return None

    def _opened(self):
        """The file.

        Raises
        ------
        ShardError
            When its store fails.
        """
        try:
            fs, inner = filesystem(self.path)
            return fs.open(inner, "rb")
        except OSError as error:
            raise unreadable(self.path, error) from error

    def _footer(self) -> Footer:
        footer = read_footer(self.path)
        if footer.n_rows > MAX_ROWS:
            raise ImageError(
                f"{self.path} has {footer.n_rows:,} rows, over the limit of {MAX_ROWS:,} for one "
                "file of images. Split it."
            )
        return footer

    def _layout(self, schema: pa.Schema) -> _Layout:
        if len(schema) > MAX_FIELDS or len(set(schema.names)) < len(schema):
            raise ImageError(
                f"{self.path} has {len(schema)} columns of {len(set(schema.names))} names. "
                f"Expected at most {MAX_FIELDS}, each with its own name; write the file anew."
            )
        image = self._image_column(schema)
        whole = _is_bytes(schema.field(image).type)
        fields = tuple(f.name for f in schema if f.name != image and not _has_bytes(f.type))
        keys = [n for n in KEY_FIELDS if n in fields and _can_be_key(schema.field(n).type)]
        return _Layout(image, image if whole else f"{image}.bytes", next(iter(keys), None), fields)

    def _image_column(self, schema: pa.Schema) -> str:
        found = [f.name for f in schema if _holds_image(f.type)]
        if self.image is not None:
            if self.image not in found:
                raise OptionError(
                    f"{parameter('image')} is {self.image!r}, which is no column of bytes in "
                    f"{self.path}."
                    f"{did_you_mean(self.image, found)}"
                )
            return self.image
        if not found:
            raise ImageError(
                f"{self.path} has no column of image bytes. Expected a binary column, or a struct "
                f"with a binary field 'bytes'; available: {', '.join(schema.names)}."
            )
        if len(found) > 1:
            raise OptionError(
                f"{self.path} has {len(found)} columns of bytes: {', '.join(found)}. Say which "
                f"holds the images, with {argument('image', found[0])}."
            )
        return found[0]

    def _rows(self, footer: Footer, layout: _Layout, columns: list[str]) -> Iterator[Sample]:
        """A sample a row; without image bytes where their column is not among the columns."""
        at = 0
        with self._opened() as file:
            store = StoreFile(file, self.path)
            for group, n_rows in enumerate(footer.row_groups):
                yield from self._group(store, group, range(at, at + n_rows), layout, columns)
                at += n_rows

    def _group(self, file, group: int, rows: range, layout: _Layout, columns) -> Iterator[Sample]:
        at, why = 0, "it has fewer rows than its file says"
        if not columns:
            yield from (Sample(str(row), f"{self.name}/{row}") for row in rows)
            return
        try:
            for batch in _batches(file, group, columns):
                for values in _by_row(batch):
                    if at == len(rows):
                        return
                    at += 1
                    yield self._sample(rows[at - 1], values, layout, layout.path in columns)
        except ShardError:  # the store's; damage is an error of pyarrow's own
            raise
        except ARROW_ERRORS as error:
            why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        for row in rows[at:]:
            yield self._reject(row, f"row group {group} is damaged: {why}")

    def _sample(self, row: int, values: dict, layout: _Layout, with_image: bool) -> Sample:
        sample = Sample(str(row), f"{self.name}/{row}")
        try:
            _fill(sample, values, layout, with_image)
        except ARROW_ERRORS as error:
            if isinstance(error, UnicodeError) and self.invalid_text == "raise":
                raise invalid_text_error(sample.image_path) from error
            return self._reject(row, str(error), sample.key)
        return sample

    def _reject(self, row: int, reason: str, key: str | None = None) -> Sample:
        return Sample(key or str(row), f"{self.name}/{row}", reason=reason)


def _batches(file, group: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
    file.seek(0)
    parquet = pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
    yield from parquet.iter_batches(ROWS, row_groups=[group], columns=columns, use_threads=False)


def _by_row(batch: pa.RecordBatch) -> Iterator[dict[str, pa.Scalar]]:
    for at in range(batch.num_rows):
        yield {name: column[at] for name, column in zip(batch.schema.names, batch, strict=True)}


def _fill(sample: Sample, values: dict[str, pa.Scalar], layout: _Layout, with_image: bool) -> None:
    if layout.key in values and values[layout.key].is_valid:
        sample.key = clean_text(str(values[layout.key].as_py()))
    fields = {}
    for name in layout.fields:
        if name in values:
            fields[clean_text(name)] = _plain(name, _value_of(values[name]))
    if with_image:
        data = _bytes_of(values[layout.image])
        if data is None:
            raise ValueError("its image cell is null")
        if len(data) > MAX_IMAGE_BYTES:
            raise ValueError(
                f"image file of {len(data)} bytes, over the limit of {MAX_IMAGE_BYTES}"
            )
        sample.image = data
    found = (fields.get(name) for name in CAPTION_FIELDS)
    sample.caption = next((text for text in found if isinstance(text, str) and text), None)
    sample.fields = fields


def _value_of(cell: pa.Scalar):
    try:
        return cell.as_py()
    except UnicodeError:
        raise
    except (OverflowError, ValueError):  # only dates and times have such values
        return None


def _plain(name: str, value):
    """A cell as JSON would give it; dates and decimals as text."""
    if not isinstance(value, (str, bool, int, float, type(None))):
        value = json.loads(json.dumps(value, default=str), parse_constant=constant)
    size = len(value) if isinstance(value, str) else len(json.dumps(value))
    if size > MAX_TEXT_BYTES:
        raise ValueError(f"{name} of {size} characters, over {MAX_TEXT_BYTES}")
    return value


def _bytes_of(cell: pa.Scalar) -> bytes | None:
    value = cell.as_py()
    return value.get("bytes") if isinstance(value, dict) else value


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
    whole = _is_bytes(type_) or pa.types.is_fixed_size_binary(type_)
    return whole or any(_has_bytes(t) for t in inner)


def _can_be_key(type_: pa.DataType) -> bool:
    t = pa.types
    return t.is_integer(type_) or t.is_string(type_) or t.is_large_string(type_)
