"""Records of finished tasks: an export that was killed is resumed from them alone.

A task writes its file under a name of its own, checks it, and then creates the record of its
partition or part exclusively, in the staging folder. If it ran twice, the first record counts; the
file of the other run is removed.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from laion_dask.exports.formats.base import WrittenPart
from laion_dask.exports.formats.staged_files import StagedFile, StagingFolder
from laion_dask.exports.fragment import Fragment, Slice, is_whole, remove_fragments
from laion_dask.exports.state import names_in
from laion_dask.frame.map_with_accounting import Counted
from laion_dask.io.storage.atomic_file import write_error
from laion_dask.io.storage.create_once import create_once
from laion_dask.io.storage.local_file import failures, file_system

#: The folder of records in the staging folder.
RECORDS = "records"
_THREADS = 16


@dataclass(frozen=True)
class Records:
    """The records of one export. Picklable.

    Attributes
    ----------
    staging : StagingFolder
    """

    staging: StagingFolder

    @property
    def _url(self) -> str:
        return f"{self.staging.url}/{RECORDS}"

    def fragments(self, number: int, counted: Counted[list[Fragment]]) -> Counted[list[Fragment]]:
        """Record the rows of a partition; what an earlier run of the task recorded comes back.

        Raises
        ------
        ExportError
            When the record cannot be written.
        """
        content = {
            "number": number,
            "counts": [counted.rows, counted.unscored, counted.rejected],
            "fragments": [_fragment_entry(fragment) for fragment in counted.value],
        }
        first = _counted(self._create(f"partition-{number:08d}.json", content))
        if first is None or first.value == counted.value:
            return counted
        remove_fragments([fragment.name for fragment in counted.value], self.staging)
        return first

    def part(self, part: WrittenPart, slices: Sequence[Slice]) -> WrittenPart:
        """Record a part; what an earlier run of the task recorded comes back.

        Raises
        ------
        ExportError
            When the record cannot be written.
        """
        content = {
            "number": part.number,
            "rows": part.rows,
            "cut": _cut(slices),
            "files": [asdict(file) for file in part.files],
            "rights": part.rights,
            "draws": part.draws,
        }
        first = _written(self._create(f"part-{part.number:08d}.json", content))
        if first is None or first[0] == part:
            return part
        self.staging.remove([file.staged for file in part.files])
        return first[0]

    def _create(self, name: str, content: Mapping[str, Any]) -> bytes:
        fs, folder = file_system(self._url)
        try:
            return create_once(fs, f"{folder}/{name}", json.dumps(content).encode())
        except failures(fs) as error:
            raise write_error(f"{self._url}/{name}", error) from error

    # -- what an earlier, killed export recorded ---------------------------------------------------

    def recorded_partitions(self) -> dict[int, Counted[list[Fragment]]]:
        """The recorded partitions, by number; damaged records are removed."""
        found = self._read("partition-", _counted)
        return {int(name.partition("-")[2][:8]): counted for name, counted in found}

    def recorded_parts(self, cut: Sequence[Sequence[Slice]]) -> dict[int, WrittenPart]:
        """The recorded parts whose files are as recorded, by number; other records are removed."""
        found = list(self._read("part-", _written))
        with ThreadPoolExecutor(_THREADS) as pool:
            whole = list(pool.map(lambda one: self._is_whole(one[1], cut), found))
        lost = [name for (name, _), good in zip(found, whole, strict=True) if not good]
        self._remove(lost)
        return {w.number: w for (_, (w, _)), good in zip(found, whole, strict=True) if good}

    def lost(self, fragments: Iterable[Fragment]) -> list[int]:
        """The partitions whose fragments are not as recorded."""
        every = list(fragments)
        with ThreadPoolExecutor(_THREADS) as pool:
            whole = pool.map(lambda fragment: is_whole(fragment, self.staging), every)
        return [one.number for one, good in zip(every, whole, strict=True) if not good]

    def forget_partitions(self, numbers: Sequence[int]) -> None:
        """Remove the records of partitions whose rows have to be read again."""
        self._remove([f"partition-{number:08d}.json" for number in numbers])

    def _is_whole(self, found: tuple[WrittenPart, str], cut: Sequence[Sequence[Slice]]) -> bool:
        part, rows = found
        if part.number >= len(cut) or rows != _cut(cut[part.number]):
            return False
        return all(self.staging.holds(file) for file in part.files)

    def _read(self, prefix: str, parse: Callable[[bytes], Any]) -> Iterator[tuple[str, Any]]:
        fs, folder = file_system(self._url)
        fs.invalidate_cache()
        names = [n for n in names_in(fs, folder) if n.startswith(prefix) and n.endswith(".json")]
        with ThreadPoolExecutor(_THREADS) as pool:
            parsed = list(pool.map(lambda n: parse(fs.cat_file(f"{folder}/{n}")), names))
        self._remove([name for name, one in zip(names, parsed, strict=True) if one is None])
        return ((n, one) for n, one in zip(names, parsed, strict=True) if one is not None)

    def _remove(self, names: Sequence[str]) -> None:
        fs, folder = file_system(self._url)
        for name in names:
            with suppress(FileNotFoundError):
                fs.rm_file(f"{folder}/{name}")

    def final_names(self) -> dict[str, str]:
        """The staged names of the files of recorded parts, by their names once visible."""
        parts = [part for _, (part, _) in self._read("part-", _written)]
        return {
            name: file.staged
            for part in parts
            for name, file in zip(part.final_names, part.files, strict=True)
        }

    def make_folder(self) -> None:
        """Make the folder of records, where file systems need that."""
        fs, folder = file_system(self._url)
        if isinstance(fs, LocalFileSystem):
            os.makedirs(folder, exist_ok=True)


def _cut(slices: Sequence[Slice]) -> str:
    """The rows of a part, by partitions: names of fragments differ between attempts."""
    rows = [f"{s.name.split('-')[1]}:{s.start}-{s.stop}" for s in slices]
    return f"{len(rows)} {rows[0]} {rows[-1]}" if rows else ""


def _fragment_entry(one: Fragment) -> dict[str, Any]:
    schema = base64.b64encode(one.schema.serialize().to_pybytes()).decode()
    values = {"name": one.name, "rows": one.rows, "bytes": one.bytes}
    return {**values, "content_bytes": one.content_bytes, "schema": schema}


def _fragment(entry: Mapping[str, Any]) -> Fragment:
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(entry["schema"])))
    return Fragment(**{**entry, "schema": schema})


def _counted(content: bytes) -> Counted[list[Fragment]] | None:
    try:
        record = json.loads(content)
        return Counted([_fragment(one) for one in record["fragments"]], *record["counts"])
    except (ValueError, LookupError, TypeError, pa.ArrowException):
        return None


def _written(content: bytes) -> tuple[WrittenPart, str] | None:
    try:
        record = json.loads(content)
        files = tuple(StagedFile(**file) for file in record["files"])
        own = (record["number"], record["rows"], files, record["rights"], record["draws"])
        return WrittenPart(*own), record["cut"]
    except (ValueError, LookupError, TypeError):
        return None
