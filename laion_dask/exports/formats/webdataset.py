"""webdataset: tars of images with their captions and columns, ``00000.tar``, ``00001.tar``, …

A sample has the files ``KEY.jpg`` (or png, webp, …: the image file as it was opened), ``KEY.txt``
(the caption) and ``KEY.json`` (all columns). Keys are the part and the position in it, as in
img2dataset's output, since a row's own key may hold dots or occur twice. A row that is drawn
several times, as its column ``repeats`` says, has as many samples, which follow each other: the
keys of all but the first end in ``-1``, ``-2``, …; a row with 0 has none. Samples are in the order
of the rows; times and owners are 0, so a second run writes the same bytes. A row whose image is
missing or broken is in no tar: the manifest and the printed result count such rows. A sample
without a caption has no ``.txt``. Where only the name of an image can be compared, and rows of
several shards of the frame share it, whichever tars they are in, none of them gets the image.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import pyarrow as pa

from laion_dask.errors import ColumnError, ImageError, must_be
from laion_dask.exports.formats.base import Part, PartWriter, WrittenPart
from laion_dask.exports.formats.cells import as_json
from laion_dask.exports.formats.columns import need_text
from laion_dask.exports.formats.image_claims import claim_of, withheld_rows, write_claims
from laion_dask.exports.formats.repeats import check_repeats, repeats_of
from laion_dask.exports.formats.staged_files import StagedFile, StagedSink, StagingFolder
from laion_dask.io.images.decoding import read_picture
from laion_dask.io.images.images import NAMES, Images, open_images
from laion_dask.io.images.row_match import RowImage
from laion_dask.io.storage.local_file import file_system
from laion_dask.runtime import cancellation

#: Samples of a tar, as in img2dataset's output.
_SAMPLES = 10_000
#: Rows whose images are in memory at a time.
_BLOCK = 64
_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}
_SUFFIXES |= {"TIFF": "tiff", "AVIF": "avif"}


@dataclass(frozen=True)
class TarWriter(PartWriter):
    staging: StagingFolder
    images: Images
    caption: str | None
    decode: bool

    rows_per_part = _SAMPLES

    def write(self, part: Part) -> list[StagedFile]:
        counts = {"samples": 0, "missing_images": 0, "broken_images": 0, "missing_captions": 0}
        claims = []
        with self.staging.create(f"{part.stem}.tar") as sink:
            repeats = repeats_of(part.table)
            for position, (row, found) in enumerate(self._rows(part.table)):
                cancellation.check()
                outcome, suffix = self._outcome(found)
                n = 1 if repeats is None else int(repeats[position])
                counts[outcome] += n if outcome == "samples" else 1
                if outcome == "samples" and found.data is not None:
                    claims.append(claim_of(row, found, position))
                    caption = row.get(self.caption) if self.caption else None
                    counts["missing_captions"] += n * (caption is None)
                    for key in _keys(part.number, position, n):
                        _add(sink, f"{key}.{suffix}", found.data)
                        if caption is not None:
                            _add(sink, f"{key}.txt", caption.encode())
                        _add(sink, f"{key}.json", as_json(row).encode())
            _end(sink)
        made = [claim for claim in claims if claim is not None]
        beside = [write_claims(self.staging, part.stem, made)] if made else []
        return [_counted(sink.staged, counts), *beside]

    def merge(self, parts: Sequence[WrittenPart]) -> list[WrittenPart]:
        """The parts without the images that rows of several shards name."""
        claims = {part.number: part.files[1] for part in parts if len(part.files) > 1}
        withheld = withheld_rows(self.staging, claims)
        tars = {
            part.number: self._without(part, withheld[part.number].tolist())
            if part.number in withheld
            else part.files[0]
            for part in parts
        }
        kept = {file.staged for file in tars.values()}
        written = (file.staged for part in parts for file in part.files)
        self.staging.remove([name for name in written if name not in kept])
        return [replace(part, files=(tars[part.number],)) for part in parts]

    def _without(self, part: WrittenPart, positions: Sequence[int]) -> StagedFile:
        """The tar of a part without the samples of some rows, which count as missing."""
        removed = {key for position in positions for key in _keys(part.number, position, 1)}
        captioned = samples = 0
        fs, path = file_system(self.staging.locate(part.files[0].staged))
        with fs.open(path, "rb") as file, self.staging.create(f"{part.number:08d}.tar") as sink:
            with tarfile.open(fileobj=file, mode="r|") as tar:
                for member in tar:
                    cancellation.check()
                    key, _, suffix = member.name.partition(".")
                    if "-".join(key.split("-")[:2]) in removed:
                        captioned += suffix == "txt"
                        samples += suffix == "json"
                    elif (content := tar.extractfile(member)) is not None:
                        _add(sink, member.name, content.read())
            _end(sink)
        counts = {"missing_captions": 0, **part.files[0].counts}
        counts["samples"] -= samples
        counts["missing_images"] += len(removed)
        counts["missing_captions"] -= samples - captioned
        return _counted(sink.staged, counts)

    def _rows(self, table: pa.Table) -> Iterator[tuple[dict[str, Any], RowImage]]:
        for start in range(0, len(table), _BLOCK):
            block = table.slice(start, _BLOCK)
            found = self.images.find_rows(_as_pandas(block))
            yield from zip(block.to_pylist(), found, strict=True)

    def _outcome(self, found: RowImage) -> tuple[str, str]:
        """What becomes of a row, as it is counted, and the suffix of its image."""
        if found.data is None:
            return "missing_images", ""
        kind = _kind(found.data, self.decode)
        return ("broken_images", "") if kind is None else ("samples", kind)

    def final_names(self, part: WrittenPart, n_parts: int) -> Sequence[str]:
        return [f"{part.number:05d}.tar"]


def open(
    staging: StagingFolder,
    schema: pa.Schema,
    *,
    images: Images | str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    caption: str = "text",
    decode: bool = True,
) -> TarWriter:
    """A writer of tars of images.

    Parameters
    ----------
    staging : StagingFolder
    schema : pyarrow.Schema
    images : Images, or paths
        As `laion_dask.open_images` returns them, or its argument.
    caption : str
        The column of captions. A frame need not have ``text``.
    decode : bool
        Whether to decode each image, to find the broken ones. If not, only its header is read.

    Raises
    ------
    ColumnError
        When the frame has no column that names images, or not the column of captions.
    SchemaError
        When ``repeats`` are not integers.
    ShardNotFoundError, ImageError
        When there are no images.
    """
    check_repeats(schema)
    must_be("decode", decode, bool, "True or False")
    must_be("caption", caption, str, "the name of a column")
    if not {*NAMES} & {*schema.names}:
        raise ColumnError(
            f"The frame has no column {' or '.join(map(repr, NAMES))}, which name the images: "
            "img2dataset and ld.embed write them. Read the Parquet files beside the tars."
        )
    if caption in schema.names or caption != "text":
        need_text(schema, caption, "webdataset")
    opened = images if isinstance(images, Images) else open_images(images)
    return TarWriter(staging, opened, caption if caption in schema.names else None, decode)


def _as_pandas(block: pa.Table) -> pd.DataFrame:
    """The columns that tell a row's image, with nulls as None."""
    frame: pd.DataFrame = block.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def _keys(part: int, position: int, n: int) -> Iterator[str]:
    """The keys of the ``n`` samples of a row."""
    key = f"{part:05d}-{position:05d}"
    return (f"{key}-{again}" if again else key for again in range(n))


def _counted(staged: StagedFile, counts: Mapping[str, int]) -> StagedFile:
    """A tar with its counts; those of what is rare are left out if they are 0."""
    always = ("samples", "missing_images")
    return staged.counted(**{name: n for name, n in counts.items() if n or name in always})


def _end(sink: StagedSink) -> None:
    """Write the end of a tar: zeros up to a whole number of records, at least one block."""
    sink.write(bytes(-sink.tell() % tarfile.RECORDSIZE or tarfile.RECORDSIZE))


def _kind(data: bytes, decode: bool) -> str | None:
    """The suffix of an image file; None if it is broken."""
    from PIL import Image

    try:
        if decode:
            read_picture(data)
        with Image.open(io.BytesIO(data)) as picture:
            return _SUFFIXES.get(picture.format or "")
    except (ImageError, OSError, SyntaxError, ValueError):
        return None


def _add(sink: StagedSink, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    sink.write(entry.tobuf(tarfile.USTAR_FORMAT))
    sink.write(content)
    sink.write(bytes(-len(content) % tarfile.BLOCKSIZE))
