"""Parquet files with image bytes, read a few rows at a time.

Files are untrusted: the footer is read by `laion_dask.io.parquet.footer`, and if a row group is
damaged, each of its remaining rows is rejected and counted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, islice

import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.errors import ImageError, ShardError
from laion_dask.io.images.decoding import MAX_IMAGE_BYTES
from laion_dask.io.images.image_index import ImageIndex
from laion_dask.io.images.parquet_layout import Layout, layout_of
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

#: Maximum rows in one file; the metadata of a shard stays in memory until it is written.
MAX_ROWS = 1_000_000

#: Rows in memory at a time, including images: with ``MAX_IMAGE_BYTES``, at most 1 GiB.
ROWS = 16

#: Bytes of a column read at a time.
BUFFER = 2**20


@dataclass(frozen=True)
class ParquetShard:
    """One Parquet file with a column of image files.

    The column contains binary values, or structs with a binary field ``bytes``, as written by
    Hugging Face's ``datasets``. All columns without bytes become metadata; dates that Python cannot
    represent, such as those after the year 9999, become null.

    Attributes
    ----------
    path : str
    image : str or None
        The image column, if the file has several candidates.
    label : str or None
        Its path below the root of the source; by default its file name.
    invalid_text : {"reject", "raise"}
        What to do about a row with text that is not UTF-8.
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
        """Iterate over its rows in order, with image bytes, keeping only a few in memory."""
        footer = self._footer()
        layout = self._layout(footer)
        yield from self._rows(footer, layout, [layout.path, *layout.fields])

    def survey(self) -> Survey:
        """Read the footer and all columns except the images."""
        footer = self._footer()
        layout = self._layout(footer)
        survey = Survey()
        for sample in self._rows(footer, layout, list(layout.fields)):
            survey.add(sample)
        identity = f"{footer.sha256} {layout.path}".encode()
        survey.listing_sha256 = hashlib.sha256(identity).hexdigest()
        return survey

    def holds_images(self) -> bool:
        """Always True; a file without images raises an error that lists its columns."""
        self._layout(self._footer())
        return True

    def index(self) -> ImageIndex:
        """The row of each image."""
        footer = self._footer()
        layout = self._layout(footer)
        index = ImageIndex()
        columns = [layout.key] if layout.key else []
        for row, sample in enumerate(self._rows(footer, layout, columns)):
            index.add(str(row), [sample.key], row)
        return index

    def fetch(self, location: int) -> bytes | None:
        footer = self._footer()
        layout = self._layout(footer)
        cells = self._row(footer, location, [layout.path])
        data = _bytes_of(cells[layout.image]) if cells else None
        return None if data is None or len(data) > MAX_IMAGE_BYTES else data

    def url(self, location: int) -> str | None:
        footer = self._footer()
        names = [name for name in URL_FIELDS if name in footer.schema.names]
        cells = (self._row(footer, location, names) if names else None) or {}
        try:
            return first_text({name: cell.as_py() for name, cell in cells.items()}, names)
        except ARROW_ERRORS:  # not UTF-8
            return None

    def _row(
        self, footer: Footer, location: int, columns: list[str]
    ) -> dict[str, pa.Scalar] | None:
        """Cells of one row; ``None`` if its row group is damaged or has fewer rows."""
        ends = list(accumulate(footer.row_groups))
        group = next(n for n, end in enumerate(ends) if location < end)
        row = location - (ends[group] - footer.row_groups[group])
        try:
            with self._opened() as file:
                for batch in _batches(StoreFile(file, self.path), group, columns):
                    if row < batch.num_rows:
                        return next(islice(_by_row(batch), row, None))
                    row -= batch.num_rows
        except ShardError:  # the store failed; damage raises pyarrow's own errors
            raise
        except ARROW_ERRORS:
            return None
        return None

    def _opened(self):
        """Open the file.

        Raises
        ------
        ShardError
            When the store fails.
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

    def _layout(self, footer: Footer) -> Layout:
        return layout_of(footer.schema, self.path, self.image)

    def _rows(self, footer: Footer, layout: Layout, columns: list[str]) -> Iterator[Sample]:
        """One sample per row; with image bytes only if `columns` includes their column."""
        at = 0
        with self._opened() as file:
            store = StoreFile(file, self.path)
            for group, n_rows in enumerate(footer.row_groups):
                yield from self._group(store, group, range(at, at + n_rows), layout, columns)
                at += n_rows

    def _group(self, file, group: int, rows: range, layout: Layout, columns) -> Iterator[Sample]:
        n_read, reason = 0, "it has fewer rows than the footer says"
        if not columns:
            yield from (Sample(str(row), f"{self.name}/{row}") for row in rows)
            return
        try:
            for batch in _batches(file, group, columns):
                for values in _by_row(batch):
                    if n_read == len(rows):
                        return
                    n_read += 1
                    yield self._sample(rows[n_read - 1], values, layout, layout.path in columns)
        except ShardError:  # the store failed; damage raises pyarrow's own errors
            raise
        except ARROW_ERRORS as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        for row in rows[n_read:]:
            yield self._reject(row, f"row group {group} is damaged: {reason}")

    def _sample(self, row: int, values: dict, layout: Layout, with_image: bool) -> Sample:
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


def _fill(sample: Sample, values: dict[str, pa.Scalar], layout: Layout, with_image: bool) -> None:
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
    captions = (fields.get(name) for name in CAPTION_FIELDS)
    sample.caption = next((text for text in captions if isinstance(text, str) and text), None)
    sample.fields = fields


def _value_of(cell: pa.Scalar):
    try:
        return cell.as_py()
    except UnicodeError:
        raise
    except (OverflowError, ValueError):  # only dates and times raise these
        return None


def _plain(name: str, value):
    """A cell as JSON would represent it; dates and decimals become text."""
    if not isinstance(value, (str, bool, int, float, type(None))):
        value = json.loads(json.dumps(value, default=str), parse_constant=constant)
    size = len(value) if isinstance(value, str) else len(json.dumps(value))
    if size > MAX_TEXT_BYTES:
        raise ValueError(f"{name} of {size} characters, over {MAX_TEXT_BYTES}")
    return value


def _bytes_of(cell: pa.Scalar) -> bytes | None:
    value = cell.as_py()
    return value.get("bytes") if isinstance(value, dict) else value
