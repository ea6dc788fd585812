"""The files that a folder or a pattern refers to, with the same rules locally and in every store.

- A file that is named explicitly is always included. In a list of several files, such as a shell
  expands from a pattern, files without rows are skipped: ``_SUCCESS``, ``_metadata``, and names
  with the suffix of another format. A brace pattern without wildcards, ``{00000..00127}.parquet``,
  names each of its files explicitly, so a missing one is an error.
- A folder refers to all files below it, at any depth, with a shard suffix in upper or lower case. A
  pattern refers to the matching files with such a suffix, and to every matching folder; ``**``
  matches any number of folders. If no match has such a suffix, all matches are included.
- Files and folders whose names start with ``.`` or ``_`` are skipped, unless the pattern contains
  that character, as in ``_old/*.parquet``.
- Links are followed. A file is counted once, however many links lead to it; loops are detected.
- A name that exists literally is not treated as a pattern, whatever characters it contains.

Skipped files that may be shards are listed in one `DiscoveryWarning`.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import DiscoveryWarning, OptionError, ShardError, warn_caller
from laion_dask.io.storage.braces import expand_braces
from laion_dask.io.storage.member_names import IMAGE_KINDS
from laion_dask.io.storage.real_files import RealFiles

#: Suffixes of Parquet files.
PARQUET = (".parquet", ".parq", ".pq")
#: Tables in other formats, which the user may also have meant.
_TABLES = re.compile(
    r"\.(csv|tsv|jsonl|ndjson|arrow|feather|ipc|orc|avro)(\.(gz|zst|bz2|xz|lz4))?$"
)
#: Suffixes of sidecars, which describe other files.
SIDECAR = re.compile(r"\.(crc|md5|sha\d*|idx|index|json|txt|log|yaml|yml|html|png)$")
#: Suffixes of image archives and of images.
PICTURED = (".tar", *(f".{kind}" for kind in IMAGE_KINDS))
_SHOWN = 3


@dataclass
class SkippedFiles:
    """What a search found beside the files: possible shards that were skipped, by reason, the
    folders that were searched, and the identities of the files.
    """

    names: dict[str, dict[str, None]] = field(default_factory=dict)
    searched: list[str] = field(default_factory=list)
    found: RealFiles = field(default_factory=RealFiles)

    def add(self, reason: str, names: Iterable[str]) -> None:
        for name in names:
            self.names.setdefault(reason, {})[name] = None

    def warn(self, used: Iterable[str] = ()) -> None:
        """Warn once about the recorded files that are not in ``used``."""
        used, parts = set(used), []
        for reason, recorded in self.names.items():
            names = [name for name in recorded if name not in used]
            if not names:
                continue
            shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
            parts.append(f"{len(names):,} {reason} ({shown})")
        if parts:
            text = f"Left out: {'; '.join(parts)}. Name a file explicitly to have it read."
            warn_caller(text, DiscoveryWarning)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a folder, or a file that a pattern matches.

    Attributes
    ----------
    path : str
    hidden : bool
        Whether a path component starts with a ``.`` or ``_`` that the pattern does not contain.
    """

    path: str
    hidden: bool

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]


def is_hidden(relative: str, pattern: Sequence[str] = ()) -> bool:
    """Whether a path in a folder is skipped because a name starts with ``.`` or ``_``."""
    return any(
        part.startswith((".", "_"))
        and not any(p[:1] == part[0] and fnmatch.fnmatchcase(part, p) for p in pattern)
        for part in relative.split("/")
    )


def files_below(fs, folder: str, left_out: SkippedFiles) -> list[Entry]:
    """Every file below a folder, including hidden ones; each local file is listed once."""
    if not isinstance(fs, LocalFileSystem):
        infos = fs.find(folder, detail=True)
        left_out.found.note(infos)
        return [Entry(path, is_hidden(path[len(folder) + 1 :])) for path in infos]
    files, start = [], len(folder.rstrip("/")) + 1
    for directory, entries in _folders(folder):
        prefix = f"{directory.rstrip('/')}/"
        is_below_hidden = is_hidden(prefix[start:-1])
        for entry in entries:
            if _is_file(entry, left_out):
                hidden = is_below_hidden or entry.name.startswith((".", "_"))
                files.append(Entry(prefix + entry.name, hidden))
    return files


def alternatives(fs, path: str) -> list[str]:
    """The patterns that a path with braces expands to; braces in existing names are literal."""
    base, tail = _literal_part(path.split("/")) if isinstance(fs, LocalFileSystem) else ("", [path])
    start = f"{base.rstrip('/')}/" if base else ""
    return [f"{start}{end}" for end in expand_braces("/".join(tail))]


def match(fs, pattern: str, left_out: SkippedFiles) -> tuple[list[Entry], list[Entry]]:
    """The files and folders that a pattern matches, including hidden ones.

    Raises
    ------
    OptionError
        When ``**`` is only part of a name.
    """
    parts = pattern.split("/")
    if any("**" in part and part != "**" for part in parts):
        raise OptionError(
            f"{pattern} combines '**' with other characters. Put it alone between slashes, where "
            "it matches any number of folders, as in folder/**/*.parquet."
        )
    if isinstance(fs, LocalFileSystem):
        base, tail = _literal_part(parts)
        matches = _matching(base, tail, left_out)
    else:
        at = next((i for i, part in enumerate(parts) if has_magic(part)), len(parts))
        base, tail = "/".join(parts[:at]), parts[at:]
        fs.invalidate_cache()  # a listing may be old, and with it the marks of the files
        details = fs.glob(pattern, detail=True)
        left_out.found.note(details)
        matches = [
            (path.rstrip("/"), info["type"] == "directory") for path, info in details.items()
        ]
    start = len(base.rstrip("/")) + 1 if base else 0
    entries = [(Entry(path, is_hidden(path[start:], tail)), folder) for path, folder in matches]
    return [e for e, folder in entries if not folder], [e for e, folder in entries if folder]


def taken(entries: Sequence[Entry], suffixes: tuple[str, ...], left_out: SkippedFiles) -> list[str]:
    """The entries with a shard suffix; possible shards among the others are recorded."""
    visible = [entry for entry in entries if not entry.hidden]
    note_hidden((entry.path for entry in entries if entry.hidden), suffixes, left_out)
    files = [entry.path for entry in visible if entry.path.lower().endswith(suffixes)]
    logs = [e.folder for e in entries if "/_delta_log/" in e.path]
    logs = [folder for folder in dict.fromkeys(logs) if folder.endswith("/_delta_log")]
    left_out.add("log of a Delta table, whose removed files are read as rows", logs)
    if files and len(files) < len(visible):
        stems = {file.rpartition(".")[0] for file in files}  # names that a table was converted to
        others = [e for e in visible if not e.name.lower().endswith(suffixes)]
        others = [e for e in others if _TABLES.sub("", e.path) not in stems]
        left_out.add(
            f"not named {' or '.join(suffixes)}",
            (e.path for e in others if _may_be_meant(e.name.lower(), suffixes)),
        )
    return files


def note_hidden(paths: Iterable[str], suffixes: tuple[str, ...], left_out: SkippedFiles) -> None:
    """Record the hidden files that may be shards."""
    shards = (path for path in paths if path.lower().endswith(suffixes))
    left_out.add("hidden, because a name starts with '.' or '_'", shards)


def distinct_files(files: Sequence[str], left_out: SkippedFiles) -> list[str]:
    """Each real file once; names that are not links are preferred."""
    real = left_out.found.identities(files)
    if len(set(map(real.__getitem__, files))) == len(files):
        return list(files)
    first: dict[object, str] = {}
    for path in sorted(files, key=lambda path: (real[path] != path, path.count("/"))):
        first.setdefault(real[path], path)
    kept = set(first.values())
    left_out.add("already included under another name", (f for f in files if f not in kept))
    return [file for file in files if file in kept]


def has_magic(path: str) -> bool:
    """Whether a path is a glob pattern."""
    return any(c in path for c in "*?[")


def _may_be_meant(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a file with another suffix may contain rows, or be a shard under another name."""
    table = set(suffixes) & set(PARQUET) and _TABLES.search(name)
    return bool(table or (any(s in name for s in suffixes) and not SIDECAR.search(name)))


def _literal_part(parts: list[str]) -> tuple[str, list[str]]:
    """The longest prefix of a local pattern that exists literally, and the rest."""
    base = ""
    for i, part in enumerate(parts):
        if part and not os.path.lexists(f"{base}/{part}"):
            return base or "/", parts[i:]
        base = f"{base}/{part}" if part else base
    return base or "/", []


def _matching(base: str, tail: Sequence[str], left_out: SkippedFiles) -> list[tuple[str, bool]]:
    """Matching local paths, including hidden ones, and which are folders; links are followed."""
    paths, are_folders = [base.rstrip("/")], dict[str, bool]()
    for number, part in enumerate(tail):
        last = number == len(tail) - 1
        if part == "**":
            if not last:  # a final ** adds nothing
                paths = [folder.rstrip("/") for path in paths for folder, _ in _folders(path)]
        elif has_magic(part):
            fits, matches = _pattern(part), []
            for path in paths:
                entries = _entries(path) if os.path.isdir(path) else []
                for entry in entries:
                    is_folder = entry.is_dir()
                    if fits(entry.name) and (is_folder or (last and _is_file(entry, left_out))):
                        matches.append(f"{path}/{entry.name}")
                        are_folders[matches[-1]] = is_folder
            paths = matches
        else:
            paths = [p for path in paths if os.path.exists(p := f"{path}/{part}")]
    return [
        (path, are_folders[path] if path in are_folders else os.path.isdir(path))
        for path in dict.fromkeys(paths)
    ]


@lru_cache(maxsize=64)
def _pattern(part: str):
    return re.compile(fnmatch.translate(part)).match


def _folders(top: str) -> Iterator[tuple[str, list[os.DirEntry]]]:
    """A folder and its subfolders with their entries, each real folder once.

    Folders reached without links come first and hidden ones last, so each file is found under the
    name that a user would expect.
    """
    visited: set[str] = set()
    direct: deque[str] = deque([top])
    linked: deque[str] = deque()
    hidden: deque[str] = deque()
    while direct or linked or hidden:
        folder = (direct or linked or hidden).popleft()
        real = os.path.realpath(folder)
        if real in visited:
            continue
        visited.add(real)
        entries = _entries(folder)
        yield folder, entries
        for entry in entries:
            if entry.is_dir():
                path = f"{folder.rstrip('/')}/{entry.name}"
                is_hidden_here = is_hidden(path[len(top.rstrip("/")) + 1 :])
                later = linked if entry.is_symlink() else direct
                (hidden if is_hidden_here else later).append(path)


def _entries(folder: str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ShardError(
            f"Folder {folder} cannot be listed: {error.strerror}, so its files would be missing. "
            "Select the files to read with a pattern."
        ) from error


def _is_file(entry: os.DirEntry, left_out: SkippedFiles) -> bool:
    """Whether an entry is a file; a broken link is recorded."""
    if entry.is_file():
        return True
    if entry.is_symlink() and not os.path.exists(entry.path):
        left_out.add("a broken link", [entry.path])
    return False
