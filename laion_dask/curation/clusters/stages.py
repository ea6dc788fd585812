"""The files that passes over embeddings leave for later passes: arrays, by stage and number."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from laion_dask.errors import OptionError, SpillError, must_be
from laion_dask.io.storage.spill import SpillFolder
from laion_dask.runtime.disk_shuffle import spill_folder

#: The file of a kept folder that says what its stages were computed from.
_PLAN = "plan.json"


class KeptFolder(SpillFolder):
    """A folder of a stage that is not removed, so that an interrupted run can be continued."""

    def __init__(self, path: str):  # not that of SpillFolder, which would remove it
        self.path = path


@dataclass(frozen=True)
class Workspace:
    """Where the stages of a run write their files.

    Attributes
    ----------
    path : str or None
        A folder that is kept; None for temporary folders, in Dask's ``temporary_directory``.
    """

    path: str | None = None

    @classmethod
    def of(cls, folder: str | os.PathLike | None, plan: dict) -> Workspace:
        """Temporary, or a folder whose finished files are used again if its plan is the same.

        Raises
        ------
        OptionError
            When the folder holds the files of another run, or others.
        """
        path = check_folder(folder)
        if path is None:
            return cls()
        text = json.dumps(plan, sort_keys=True, default=str)
        digest = {"format": 2, "plan_sha256": hashlib.sha256(text.encode()).hexdigest()}
        file = path / _PLAN
        if file.is_file():
            if json.loads(file.read_text()) != digest:
                raise OptionError(
                    f"{path} holds the files of a run with other rows, embeddings or arguments. "
                    "Name another folder, or remove this one."
                )
        else:
            path.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_name(f"{_PLAN}.{secrets.token_hex(4)}")
            unfinished.write_text(json.dumps(digest))
            os.replace(unfinished, file)
        return cls(str(path))

    @property
    def is_kept(self) -> bool:
        """Whether files are kept."""
        return self.path is not None

    def stage(self, name: str) -> SpillFolder:
        """The folder of a stage."""
        return spill_folder() if self.path is None else KeptFolder(os.path.join(self.path, name))


def check_folder(folder: str | os.PathLike | None) -> Path | None:
    """The path of a folder for the files of a run: that of an earlier run, an empty or a new one.

    None if no folder is given.

    Raises
    ------
    OptionError
        When the folder holds other files.
    """
    if folder is None:
        return None
    must_be("folder", folder, (str, os.PathLike), "the path of a folder for files of the run")
    path = Path(os.fspath(folder)).absolute()
    is_ours = path.is_dir() and (path / _PLAN).is_file()
    if path.exists() and not is_ours and not _is_empty(path):
        raise OptionError(
            f"{path} is not empty, and no run of this kind has made it. Name a new folder."
        )
    return path


def _is_empty(path: Path) -> bool:
    """Whether a folder has no files, except for a plan that was not finished."""
    return path.is_dir() and all(each.name.startswith(_PLAN) for each in path.iterdir())


def is_written(folder: SpillFolder, number: int) -> bool:
    """Whether a file is complete."""
    return os.path.exists(_path(folder, number))


def write_arrays(folder: SpillFolder, number: int, arrays: Sequence[np.ndarray]) -> None:
    """Write arrays, one after the other, to a file that appears when it is complete.

    Raises
    ------
    SpillError
        When the disk is full or not writable.
    """
    with folder.file(number, "wb") as file:
        for array in arrays:
            np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def read_arrays(folder: SpillFolder, number: int) -> list[np.ndarray]:
    """The arrays of a file, as read-only memory maps.

    Raises
    ------
    SpillError
        When the file is missing or truncated.
    """
    path = _path(folder, number)
    arrays: list[np.ndarray] = []
    try:
        with open(path, "rb") as file:
            end = os.fstat(file.fileno()).st_size
            while file.tell() < end:
                version = np.lib.format.read_magic(file)
                read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
                shape, _, dtype = read(file)
                start, size = file.tell(), int(np.prod(shape)) * dtype.itemsize
                if size:
                    arrays.append(np.memmap(path, dtype, "r", start, shape))
                else:
                    arrays.append(np.empty(shape, dtype))
                file.seek(start + size)
    except (OSError, ValueError) as error:
        raise SpillError(
            f"{path} cannot be read: {error}. Expected a file that an earlier step has written. "
            "Every worker must see the same temporary folder: set "
            "dask.config.set(temporary_directory=...) to one that they share, and run again."
        ) from error
    return arrays


def _path(folder: SpillFolder, number: int) -> str:
    return os.path.join(folder.path, f"{number}.arrow")
