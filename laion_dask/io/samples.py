"""A sample: files that share a stem (``key.jpg key.txt key.json``), read into one row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from laion_dask.models.pictures import MAX_IMAGE_BYTES

IMAGE_KINDS = ("jpg", "jpeg", "png", "webp", "gif")

#: Bytes of a caption or of a sample's JSON; more is a rejected row.
MAX_TEXT_BYTES = 2**20

#: Fields of one sample's JSON; more is a rejected row.
MAX_FIELDS = 256

#: JSON fields that can hold the caption, the first one present wins.
CAPTION_FIELDS = ("caption", "TEXT", "text")

#: How a path begins that leads to a drive of Windows; any other colon is part of a name.
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


@dataclass
class Sample:
    """One row to be: an image with its caption and fields, or the reason why it is none.

    Attributes
    ----------
    key : str
        The stem that its files share.
    image_path : str
        The image file, as ``archive.tar/member`` or relative to the folder.
    image : bytes or None
        ``None`` where it was not asked for or is rejected.
    caption : str or None
    fields : dict
        The sample's JSON.
    reason : str or None
        Why the sample is rejected; ``None`` for a good one.
    """

    key: str
    image_path: str = ""
    image: bytes | None = None
    caption: str | None = None
    fields: dict = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True)
class Member:
    """A file of a sample before it is read.

    Attributes
    ----------
    name : str
        As its archive or folder gives it.
    n_bytes : int
        As declared.
    read : callable
        () → bytes. Raises ``ImageError`` when fewer bytes are there than declared, ``ShardError``
        when the store fails.
    flaw : str or None
        Why it must not be read.
    offset : int
        Where its bytes begin in an archive.
    in_folder : bool
        Whether it is a file of a folder, whose stem ends at the last dot of its name; in an
        archive a stem ends at the first.
    """

    name: str
    n_bytes: int
    read: object
    flaw: str | None = None
    offset: int = 0
    in_folder: bool = False

    @property
    def key(self) -> str:
        """The stem: in an archive up to the first dot of the last part, as webdataset cuts it."""
        folder, slash, last = self.name.rpartition("/")
        stem = last.rpartition(".")[0] or last if self.in_folder else last.partition(".")[0]
        return clean_text(folder + slash + stem)

    @property
    def kind(self) -> str:
        """What follows that dot, in lower case; ``jpg`` for ``key.thumb.jpg`` too."""
        last = self.name.rpartition("/")[2].lower()
        suffix = last.rpartition(".")[2] if "." in last else ""
        return suffix if self.in_folder or suffix in IMAGE_KINDS else last.partition(".")[2]


def clean_text(text: str) -> str:
    """Text that can be written as UTF-8: lone surrogates become question marks."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def unsafe_name(name: str) -> str | None:
    """Why a member's name must not be used as a path, or ``None``."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or name.startswith(("/", "\\")) or ".." in parts or _DRIVE.match(name):
        return "its name leads out of the archive"
    if any(ord(c) < 32 for c in name):
        return "its name has control characters"
    return None


def group(members: Iterable[Member], prefix: str, *, with_image: bool) -> Iterator[Sample]:
    """Samples from files in order: neighbours with one stem belong together.

    Each image under one stem is a sample of its own, so that none goes uncounted; they share the
    caption and the fields.

    Parameters
    ----------
    members : iterable of Member
    prefix : str
        What precedes the member's name in ``image_path``.
    with_image : bool
        Whether image bytes are read; without, only captions and JSON are.
    """
    held: list[Member] = []
    for member in members:
        is_image = member.kind in IMAGE_KINDS
        if held and (member.key != held[0].key or (is_image and len(held) >= MAX_FIELDS)):
            yield from _samples(held, prefix, with_image)
            held = []
        if is_image or len(held) < MAX_FIELDS:
            held.append(member)
    if held:
        yield from _samples(held, prefix, with_image)


def _samples(members: list[Member], prefix: str, with_image: bool) -> Iterator[Sample]:
    images = [m for m in members if m.kind in IMAGE_KINDS]
    # The last of a kind, as when an archive is unpacked: each image has one caption and one JSON.
    beside = list({m.kind: m for m in members if m.kind not in IMAGE_KINDS}.values())
    for image in images or [None]:
        yield _sample([image, *beside] if image else beside, prefix, with_image)


def _sample(members: list[Member], prefix: str, with_image: bool) -> Sample:
    sample = Sample(members[0].key)
    try:
        _fill(sample, members, prefix, with_image)
    except ValueError as error:  # what the file holds; a store that fails ends the task
        sample.reason = str(error)
    if sample.reason:
        sample.image, sample.caption, sample.fields = None, None, {}
    return sample


def _fill(sample: Sample, members: list[Member], prefix: str, with_image: bool) -> None:
    image = next((m for m in members if m.kind in IMAGE_KINDS), None)
    sample.image_path = prefix + clean_text((image or members[0]).name)
    if flaw := next((m.flaw for m in members if m.flaw), None):
        raise ValueError(flaw)
    if image is None:
        kinds = ", ".join(sorted({m.kind or "none" for m in members})[:5])
        raise ValueError(f"no image of a known kind ({', '.join(IMAGE_KINDS)}), but: {kinds}")
    if image.n_bytes > MAX_IMAGE_BYTES:
        raise ValueError(
            f"image file of {image.n_bytes} bytes, over the limit of {MAX_IMAGE_BYTES}"
        )
    for member in members:
        if member.kind in ("txt", "json") and member.n_bytes > MAX_TEXT_BYTES:
            raise ValueError(f".{member.kind} of {member.n_bytes} bytes, over {MAX_TEXT_BYTES}")
        if member.kind == "json":
            sample.fields = _read_json(member.read())
        elif member.kind == "txt":
            sample.caption = member.read().decode("utf-8", errors="replace").strip() or None
    if sample.caption is None:
        found = (sample.fields.get(name) for name in CAPTION_FIELDS)
        sample.caption = next((text for text in found if isinstance(text, str) and text), None)
    if with_image:
        sample.image = image.read()


def _read_json(data: bytes) -> dict:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its .json cannot be read: {type(error).__name__}") from None
    if not isinstance(fields, dict) or len(fields) > MAX_FIELDS:
        raise ValueError(f"its .json is no object of at most {MAX_FIELDS} fields")
    return {clean_text(name): value for name, value in fields.items()}
