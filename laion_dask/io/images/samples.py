"""Read a sample, files that share a key (``key.jpg key.txt key.json``), as one row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from laion_dask.errors import ShardError
from laion_dask.io.images.decoding import MAX_IMAGE_BYTES
from laion_dask.io.images.sample_groups import MAX_FIELDS, SampleFiles, by_sample
from laion_dask.io.images.sample_text import decode_text, read_json
from laion_dask.io.storage.member_names import IMAGE_KINDS, JSON_KINDS, TEXT_KINDS, Member

#: Maximum bytes of a caption or a sample's JSON; the row is rejected if there are more.
MAX_TEXT_BYTES = 2**20

#: JSON fields that may contain the caption; the first available one is used.
CAPTION_FIELDS = ("caption", "TEXT", "text")

#: Fields that may contain the url of the image; the first available one is used.
URL_FIELDS = ("url", "URL")


class SupportsGet(Protocol):
    """A row by column name: a mapping or a pandas Series."""

    def get(self, key: str, /) -> Any: ...


@dataclass
class Sample:
    """A future row: an image with its caption and fields, or the reason for its rejection.

    Attributes
    ----------
    key : str
        The stem shared by its files.
    image_path : str
        The image file, as ``archive.tar/member`` or relative to the folder; unique within a
        source.
    image_sha256 : str or None
        The SHA-256 of the image file in hexadecimal, once it is embedded.
    image : bytes or None
        ``None`` if the image was not requested or is rejected.
    caption : str or None
    fields : dict
        The sample's JSON.
    reason : str or None
        The reason why the sample is rejected; ``None`` if it is valid.
    rescaled : bool
        Whether 16-bit pixels were scaled to 8 bits, unlike in open_clip's own loading.
    """

    key: str
    image_path: str = ""
    image_sha256: str | None = None
    image: bytes | None = None
    caption: str | None = None
    fields: dict = field(default_factory=dict)
    reason: str | None = None
    rescaled: bool = False


def group(
    members: Iterable[Member], prefix: str, *, with_image: bool, invalid_text: str = "reject"
) -> Iterator[Sample]:
    """Group consecutive files into samples.

    `laion_dask.io.images.sample_groups` defines which files belong together. Every image becomes
    a sample or a reject, so all images are counted.

    Parameters
    ----------
    members : iterable of Member
    prefix : str
        Prefix of the member's name in ``image_path``.
    with_image : bool
        Whether to read image bytes; otherwise only captions and JSON are read.
    invalid_text : {"reject", "raise"}
        What to do if a caption or JSON is not UTF-8: reject the sample, or raise.

    Raises
    ------
    ShardError
        When the store fails, or for the first such text with ``"raise"``.
    """
    for files in by_sample(members):
        yield _sample(files, prefix, with_image, invalid_text)


def _sample(files: SampleFiles, prefix: str, with_image: bool, invalid_text: str) -> Sample:
    image, companions = files.first, list(files.companions)
    sample = Sample(files.key, prefix + image.path)
    try:
        if flaw := next((m.flaw for m in (image, *companions) if m.flaw), files.reason):
            raise ValueError(flaw)
        _fill(sample, image, companions, with_image)
    except UnicodeDecodeError as error:
        if invalid_text == "raise":
            raise invalid_text_error(sample.image_path) from error
        sample.reason = f"its caption or JSON is not UTF-8: {error.reason} at byte {error.start}"
    except ValueError as error:  # the text is invalid; a failing store raises a different type
        sample.reason = str(error)
    if sample.reason:
        sample.image, sample.caption, sample.fields = None, None, {}
    return sample


def invalid_text_error(image_path: str) -> ShardError:
    """The error for text that is not UTF-8, used if such samples are not rejected."""
    return ShardError(
        f"Text of {image_path} is not valid UTF-8. Correct the file, or have such rows "
        "counted as rejected with ld.set_options(invalid_text='reject') around embed (laion-dask "
        "--invalid-text reject …)."
    )


def _fill(sample: Sample, image: Member, companions: list[Member], with_image: bool) -> None:
    if not image.is_image:
        kinds = ", ".join(sorted({m.kind or "none" for m in (image, *companions)})[:5])
        raise ValueError(f"no image of a known kind ({', '.join(IMAGE_KINDS)}), but: {kinds}")
    if image.n_bytes > MAX_IMAGE_BYTES:
        raise ValueError(
            f"image file of {image.n_bytes} bytes, over the limit of {MAX_IMAGE_BYTES}"
        )
    for member in companions:
        if member.kind in (*TEXT_KINDS, *JSON_KINDS) and member.n_bytes > MAX_TEXT_BYTES:
            raise ValueError(f".{member.kind} of {member.n_bytes} bytes, over {MAX_TEXT_BYTES}")
    sample.fields = _fields(image, [m for m in companions if m.kind in JSON_KINDS])
    sample.caption = _caption(image, [m for m in companions if m.kind in TEXT_KINDS], sample.fields)
    if with_image:
        sample.image = image.read()


def _fields(image: Member, files: list[Member]) -> dict:
    """The fields of an image's JSON; each further JSON file becomes one field, by name."""
    main, others = _main(image, files)
    fields = read_json(main.read(), MAX_FIELDS) if main else {}
    for member in others:
        fields.setdefault(member.field, read_json(member.read(), MAX_FIELDS))
    return fields


def fields_file(sample: SampleFiles) -> Member | None:
    """The readable JSON file of a sample, or None."""
    files = [m for m in sample.companions if m.kind in JSON_KINDS]
    main = _main(sample.first, files)[0]
    return main if main and not main.flaw and main.n_bytes <= MAX_TEXT_BYTES else None


def url_in(data: bytes | None) -> str | None:
    """The url in the bytes of a sample's JSON; None if it is missing or invalid."""
    try:
        return first_text(read_json(data, MAX_FIELDS), URL_FIELDS) if data else None
    except ValueError:
        return None


def first_text(values: SupportsGet, names: Iterable[str]) -> str | None:
    """The first value that is a nonblank string, with white space stripped."""
    candidates = (values.get(name) for name in names)
    return next((v.strip() for v in candidates if isinstance(v, str) and v.strip()), None)


def _caption(image: Member, files: list[Member], fields: dict) -> str | None:
    """The caption. Further texts become fields, as do all texts if none is clearly the caption."""
    main, others = _main(image, files)
    for member in others:
        fields.setdefault(member.field, decode_text(member.read()).strip() or None)
    text = decode_text(main.read()).strip() if main else ""
    candidates = (fields.get(name) for name in CAPTION_FIELDS)
    return text or next((text for text in candidates if isinstance(text, str) and text), None)


def _main(image: Member, files: list[Member]) -> tuple[Member | None, list[Member]]:
    """Among several files of one kind, the one that belongs to an image, and the other files.

    It is the file with the image's stem or key, or the only file if the image has a field name.
    """
    close = [m for m in files if m.stem in (image.text, image.stem, image.group)]
    only = files if len(files) == 1 and image.stem != image.group else []
    main = next(iter(close or only), None)
    return main, [m for m in files if m is not main]
