"""Classify the files of samples by name: members of an archive or files of a folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

IMAGE_KINDS = ("jpg", "jpeg", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")

#: Suffixes of caption files: those that webdataset decodes, and ``.caption``, used by training
#: tools.
TEXT_KINDS = ("txt", "text", "transcript", "caption")

#: Suffixes of files with JSON fields, as webdataset decodes them.
JSON_KINDS = ("json", "jsn")

#: Start of a path on a Windows drive; any other colon is part of a name.
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")

#: The text between the key and the suffix if it names a field, as in ``key.input.jpg``.
_FIELD = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*")


def _name_only() -> bytes:
    raise ValueError("only the name of this file is known, not its content")


@dataclass(frozen=True)
class Member:
    """A file of a sample that has not been read yet.

    Attributes
    ----------
    name : str
        The name in its archive or folder.
    n_bytes : int
        The declared size.
    read : callable
        () → bytes. Raises ``ImageError`` if there are fewer bytes than declared, and
        ``ShardError`` if the store fails; ``ValueError`` if only the name is known.
    flaw : str or None
        The reason why the file must not be read, or None.
    offset : int
        The position of its first byte in an archive.
    in_folder : bool
        Whether the file is in a folder, where a stem ends at the last dot of the name; in an
        archive, a sample's stem ends at the first dot.
    number : int
        The number of earlier members with the same name in its archive.
    """

    name: str
    n_bytes: int = 0
    read: Callable[[], bytes] = _name_only
    flaw: str | None = None
    offset: int = 0
    in_folder: bool = False
    number: int = 0

    @cached_property
    def text(self) -> str:
        """Its name as text."""
        return clean_name(self.name)

    @property
    def path(self) -> str:
        """Its name, unique among the images of its archive: a second one has the suffix ``#2``."""
        return f"{self.text}#{self.number + 1}" if self.number else self.text

    @cached_property
    def group(self) -> str:
        """The common part of the names of a sample's files.

        In an archive, the name up to the first dot of its last path component, as in webdataset. In
        a folder, the name up to the last dot; ``key.jpg.json`` belongs to ``key.jpg``.
        """
        if not self.in_folder:
            folder, slash, last = self.text.rpartition("/")
            return folder + slash + last.partition(".")[0]
        is_sidecar = not self.is_image and _cut(self.stem)[1].lower() in IMAGE_KINDS
        return _cut(self.stem)[0] if is_sidecar else self.stem

    @cached_property
    def stem(self) -> str:
        """The name up to the last dot of its last path component."""
        return _cut(self.text)[0]

    @cached_property
    def kind(self) -> str:
        """The text after the last dot in lower case; empty without a dot."""
        return _cut(self.text)[1].lower()

    @property
    def field(self) -> str:
        """The text after the group in lower case: ``outputs.txt`` of ``key.outputs.txt``."""
        return self.text[len(self.group) + 1 :].lower()

    @property
    def is_image(self) -> bool:
        return self.kind in IMAGE_KINDS

    @property
    def between(self) -> str:
        """The text between the group and the suffix: ``seg`` of ``key.seg.png``."""
        return self.stem[len(self.group) + 1 :]

    @cached_property
    def names_a_field(self) -> bool:
        """Whether the text between group and suffix is empty or an identifier such as ``input``."""
        return not self.between or _FIELD.fullmatch(self.between) is not None


def _cut(name: str) -> tuple[str, str]:
    """Split a name at the last dot of its last path component; a leading dot does not count."""
    folder, slash, last = name.rpartition("/")
    stem, dot, ending = last.rpartition(".")
    return (f"{folder}{slash}{stem}", ending) if dot and stem else (name, "")


def clean_text(text: str) -> str:
    """Replace lone surrogates with question marks, so that the text can be encoded as UTF-8."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def clean_name(name: str) -> str:
    """A file name as text; bytes that are not UTF-8 are escaped, so that names remain distinct."""
    return name.encode("utf-8", errors="backslashreplace").decode("utf-8")


def unsafe_name(name: str) -> str | None:
    """The reason why a member's name is unsafe as a path, or ``None`` if it is safe."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or name.startswith(("/", "\\")) or ".." in parts or _DRIVE.match(name):
        return "its name points outside the archive"
    if any(ord(c) < 32 for c in name):
        return "its name has control characters"
    return None


def is_no_sample_file(name: str) -> bool:
    """Whether a member of an archive is skipped, as system files and webdataset's own files are.

    These are names that start with a dot (macOS's ``._x.jpg``), the folder ``__MACOSX``, and
    webdataset's ``__name__``; webdataset skips them too.
    """
    parts = name.split("/")
    if parts[0] == "__MACOSX" or re.match(r"__[^/]*__($|/)", name):
        return True
    return any(part.startswith(".") and part not in (".", "..") for part in parts)
