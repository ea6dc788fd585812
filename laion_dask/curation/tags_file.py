"""The file of a set of rows: JSON, with a line for each row, so that versions can be compared."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, TypeGuard

import dask.dataframe as dd
import numpy as np

from laion_dask.curation.row_pairs import MAX_ROWS
from laion_dask.curation.shard_names import ShardName
from laion_dask.curation.tags import Content, TaggedShard, Tags, check_name
from laion_dask.errors import OptionError, must_be, warn_caller
from laion_dask.io.parquet.content_digest import MAX_BLOCKS
from laion_dask.io.storage.atomic_file import committed
from laion_dask.io.storage.local_file import failures, file_system

FORMAT, VERSION = "laion_dask tags", 1
_EXPECTED = "Expected a file that ld.write_tags wrote."


def write_tags(path: str | os.PathLike[str], frame: dd.DataFrame, rows: Any, *, name: str) -> Tags:
    """Write a named set of rows to a file that people can read. Eager.

    The file is JSON with a line for each row. It has the path of each shard relative to the data
    set, its number, the digest of its footer and that of its bytes (of at most 16 MB, so that a
    shard that is written again is noticed), and no caption, URL or other value of a row.

    Parameters
    ----------
    path : str or path
        A local file. One that this function wrote before is replaced.
    frame : dask DataFrame
        A frame of the data set, from `read_shards`; may be filtered.
    rows : pandas.DataFrame, or (n, 2) array of integers
        The shard and the row of each row, in columns of these names; other columns are ignored.
        Repeated rows count once; at most 10 million.
    name : str
        The name of the set, such as ``"blurred"``.

    Returns
    -------
    Tags

    Raises
    ------
    OptionError, ColumnError
        When the rows are not rows of the frame's shards, or the file exists and is another one.
    ProvenanceError
        When the frame does not lead back to `read_shards`.
    ExportError
        When the file cannot be written.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> ld.write_tags("birds.json", frame, [[0, 3], [0, 17]], name="birds")
    Tags('birds', 2 rows of 1 shard, 'birds.json')
    >>> len(frame.laion.tagged("birds.json"))
    2
    """
    must_be("path", path, (str, os.PathLike), "the file to write, such as 'birds.json'")
    return save_tags(Tags.of(frame, rows, name), path, frame)


def save_tags(tags: Tags, path: str | os.PathLike[str], frame: dd.DataFrame | None) -> Tags:
    """Write a set of rows; returns it with its path. Eager. Raises as `write_tags`.

    With the frame that the rows are of, the file has the digests of its shards' bytes.
    """
    target = os.fspath(path)
    if "://" in target:
        raise OptionError(f"path is {target!r}. Expected a local file.")
    if os.path.isfile(target) and os.path.getsize(target):
        with open(target, "rb") as file:
            start = file.read(200)
        if f'"format": "{FORMAT}"'.encode() not in start:
            raise OptionError(
                f"path is {target!r}, which exists and is not a file of tags. Name another."
            )
    tags = tags if frame is None else tags.with_content(frame)
    content = _content(tags)
    with committed(Path(target)) as file:
        file.write(content)
    return tags.at(target, hashlib.sha256(content).hexdigest())


def is_written(tags: Tags) -> bool:
    """Whether the file of a set of rows has its content."""
    if not tags.path or not os.path.isfile(tags.path):
        return False
    return hashlib.sha256(Path(tags.path).read_bytes()).hexdigest() == tags.sha256


def read_tags(path: str | os.PathLike[str]) -> Tags:
    """A set of rows from its file. Eager.

    Warns if the file is of a version that did not write digests of the shards' bytes.

    Raises
    ------
    OptionError
        When the file cannot be read, or is not one that `write_tags` wrote; names the line.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> written = ld.write_tags("no-bird.json", frame, [[0, 5]], name="no bird")
    >>> ld.read_tags("no-bird.json").name
    'no bird'
    """
    must_be("path", path, (str, os.PathLike), "the file of a set of rows")
    source = os.fspath(path)
    try:
        fs, inner = file_system(source)
    except (ValueError, ImportError) as error:
        raise OptionError(f"{source!r} cannot be read: {error}. {_EXPECTED}") from error
    try:
        with fs.open(inner, "rb") as file:
            data = file.read()
    except failures(fs) as error:
        raise OptionError(
            f"The set of rows {source!r} cannot be read: {error}. {_EXPECTED}"
        ) from error
    tags = _parsed(data, source)
    if not tags.is_verified:
        warn_caller(
            f"{source!r} has no digests of its shards' bytes, so a shard that was written again "
            "may not be noticed. Write the set again with ld.write_tags.",
            UserWarning,
        )
    return tags.at(source, hashlib.sha256(data).hexdigest())


def _content(tags: Tags) -> bytes:
    """The text of the file: a line a row, in order."""
    head = {"format": FORMAT, "version": VERSION, "name": tags.name, "tagged": len(tags)}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    shards = ",\n".join(map(_shard_text, tags.shards))
    inside = f"[\n{shards}\n  ]" if shards else "[]"
    return "\n".join(["{", *lines, f'  "shards": {inside}', "}", ""]).encode()


def _shard_text(one: TaggedShard) -> str:
    fields = {"shard": one.shard.name, "number": one.number, "rows_in_shard": one.n_rows}
    fields |= {"footer_sha256": one.shard.footer_sha256, "footer_is_unique": one.shard.is_unique}
    if one.content:
        fields |= {"content_sha256": one.content.sha256, "content_blocks": one.content.n_blocks}
    lines = [f"      {json.dumps(key)}: {json.dumps(value)}," for key, value in fields.items()]
    rows = ",\n".join(f"        {row}" for row in one.rows.tolist())
    return "\n".join(["    {", *lines, f'      "rows": [\n{rows}\n      ]', "    }"])


def _parsed(data: bytes, source: str) -> Tags:
    """The set of rows of a file; raises an `OptionError` that says what is wrong."""
    try:
        content = json.loads(data)
    except ValueError as error:  # also for bytes that are not UTF-8
        raise _wrong(source, f"is not JSON: {error}") from None
    except RecursionError:
        raise _wrong(source, "is nested too deeply") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _wrong(source, "is not a file of tags")
    if content.get("version") != VERSION:
        raise _wrong(
            source, f"has version {content.get('version')!r}, and this package reads {VERSION}"
        )
    shards = content.get("shards")
    if not isinstance(shards, list):
        raise _wrong(source, "has no list of shards")
    try:
        check_name(content.get("name"))
    except OptionError as error:
        raise _wrong(source, f"has no name: {error}") from None
    tagged = [_shard(one, at, source) for at, one in enumerate(shards)]
    tags = Tags.ordered(content["name"], tagged)
    for one, other in zip(tags.shards, tags.shards[1:], strict=False):
        if one.shard.name == other.shard.name:
            raise _wrong(source, f"has the shard {one.shard.name!r} twice")
    if len(tags) > MAX_ROWS:
        raise _wrong(source, f"has {len(tags):,} rows, more than {MAX_ROWS:,}")
    return tags


def _shard(value: Any, at: int, source: str) -> TaggedShard:
    where = f"in shard {at} of its list"
    if not isinstance(value, dict):
        raise _wrong(source, f"has {value!r:.100} {where}")
    name, digest, rows = (value.get(key) for key in ("shard", "footer_sha256", "rows"))
    number, n_rows = (value.get(key) for key in ("number", "rows_in_shard"))
    is_unique = value.get("footer_is_unique", True)
    if not isinstance(name, str) or not name:
        raise _wrong(source, f"has no name of a shard {where}")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise _wrong(source, f"has no sha256 of a footer {where}, {name!r}")
    if not isinstance(is_unique, bool) or not _is_count(number) or not _is_count(n_rows):
        raise _wrong(source, f"has no number, or number of rows, {where}, {name!r}")
    if not isinstance(rows, list) or any(type(row) is not int for row in rows):
        raise _wrong(source, f"has no list of row numbers {where}, {name!r}")
    outside = [row for row in rows if not 0 <= row < n_rows]
    if outside:
        raise _wrong(source, f"has row {outside[0]} {where}, {name!r}, which has {n_rows:,} rows")
    chosen = np.unique(np.array(rows, np.int64))
    return TaggedShard(
        ShardName(name, digest, is_unique),
        number,
        n_rows,
        chosen,
        _content_of(value, where, source),
    )


def _content_of(value: dict[str, Any], where: str, source: str) -> Content | None:
    """The digest of a shard's bytes; None in files of before it was written."""
    digest, n_blocks = value.get("content_sha256"), value.get("content_blocks")
    if digest is None and n_blocks is None:
        return None
    if not isinstance(digest, str) or type(n_blocks) is not int or not 0 < n_blocks <= MAX_BLOCKS:
        raise _wrong(source, f"has no sha256 of the content of a shard {where}")
    return Content(digest, n_blocks)


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 2**40


def _wrong(source: str, why: str) -> OptionError:
    return OptionError(f"The set of rows {source!r} {why}. {_EXPECTED}")
