"""The data that a CLIP model is fine-tuned on: a .csv file, or a webdataset."""

from __future__ import annotations

import re
from pathlib import Path

from laion_dask.errors import OptionError


def most_workers(n_files: int | None, n_pairs: int | None, batch: int) -> int:
    """The largest number of workers that each get a file, and the pairs of a full batch.

    open_clip refuses more workers than files, and skips batches that are never full.

    Raises
    ------
    OptionError
    """
    if n_pairs is None:
        raise OptionError(
            "The data are a webdataset, whose size open_clip does not count. Give the number of "
            "pairs in an epoch as n_pairs."
        )
    if n_pairs < batch:
        raise OptionError(
            f"n_pairs is {n_pairs:,} and batch {batch:,}. Expected at least one full batch in an "
            f"epoch; lower batch to {n_pairs:,} or less."
        )
    return min(n_pairs // batch, n_files or n_pairs)


def source_of(data: str) -> tuple[str, str, int | None]:
    """The type of the data, their path for open_clip, and the number of files if it is known.

    Raises
    ------
    OptionError
        When the data do not exist; `check_files` looks for the files of a pattern.
    """
    path = Path(data)
    if path.is_dir():
        tars = sorted(str(file) for file in path.glob("*.tar"))
        if not tars:
            raise OptionError(f"The folder {data} has no .tar file. Expected a webdataset in it.")
        joined = tars[0] if len(tars) == 1 else "{" + ",".join(tars) + "}"
        return "webdataset", joined, len(tars)
    if data.endswith(".csv"):
        if not path.is_file():
            raise OptionError(f"The file {data} does not exist. Expected filepath and title in it.")
        return "csv", data, None
    if data.endswith(".tar"):  # a file, a pattern or an address
        if "{" not in data and "://" not in data and not path.is_file():
            raise OptionError(f"The file {data} does not exist. Expected a webdataset.")
        files = _files_of(data)
        return "webdataset", data, None if files is None else len(files)
    raise OptionError(
        f"data is {data!r}. Expected a .csv file, a folder of .tar files or a pattern."
    )


def check_files(data: str) -> None:
    """Raise unless every local file of a pattern exists.

    Raises
    ------
    OptionError
        Names the first that does not.
    """
    if "://" in data or "{" not in data:
        return
    files = _files_of(data) or []
    missing = [file for file in files if not Path(file).is_file()]
    if missing:
        raise OptionError(
            f"{len(missing):,} of the {len(files):,} files of {data} do not exist; the first is "
            f"{missing[0]}. Expected a webdataset in each; correct the range."
        )


def _files_of(pattern: str) -> list[str] | None:
    """The files of a pattern such as ``{00000..00041}.tar``; None if it has other braces."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if found is None:
        return None if "{" in pattern else [pattern]
    low, high = found.groups()
    files = []
    for number in range(int(low), int(high) + 1):
        rest = f"{pattern[: found.start()]}{number:0{len(low)}}{pattern[found.end() :]}"
        of_rest = _files_of(rest)
        if of_rest is None:
            return None
        files += of_rest
    return files or None
