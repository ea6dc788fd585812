"""A sample: files that share a key (``key.jpg key.txt key.json``), read into one row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from laion_dask.errors import ShardError
from laion_dask.io.members import IMAGE_KINDS, JSON_KINDS, TEXT_KINDS, Member
from laion_dask.io.sample_text import decode_text, read_json
from laion_dask.models.pictures import MAX_IMAGE_BYTES

#: Bytes of a caption or of a sample's JSON; more is a rejected row.
MAX_TEXT_BYTES = 2**20

#: Files of one key that are held, and fields of one sample's JSON; more is a rejected row.
MAX_FIELDS = 256

#: Keys that are open at a time, so that a file between those of a sample does not cut it in two.
OPEN_KEYS = 16

#: JSON fields that can hold the caption, the first one present wins.
CAPTION_FIELDS = ("caption", "TEXT", "text")

_APART = (
    "its image lies elsewhere in the archive, or a name occurs twice. The files of a sample must "
    "lie side by side, each name once: write the archive anew with tar --sort=name"
)


@dataclass
class Sample:
    """One row to be: an image with its caption and fields, or the reason why it is none.

    Attributes
    ----------
    key : str
        The stem that its files share.
    image_path : str
        The image file, as ``archive.tar/member`` or relative to the folder. No two images of a
        source have the same.
    image : bytes or None
        ``None`` where it was not asked for or is rejected.
    caption : str or None
    fields : dict
        The sample's JSON.
    reason : str or None
        Why the sample is rejected; ``None`` for a good one.
    rescaled : bool
        Whether its pixels of 16 bits were scaled to 8, which open_clip's own loading does not do.
    """

    key: str
    image_path: str = ""
    image: bytes | None = None
    caption: str | None = None
    fields: dict = field(default_factory=dict)
    reason: str | None = None
    rescaled: bool = False


def group(
    members: Iterable[Member], prefix: str, *, with_image: bool, invalid_text: str = "reject"
) -> Iterator[Sample]:
    """Samples from files in order.

    Files of one webdataset key belong together, where fewer than ``OPEN_KEYS`` others were seen
    since the last of them. Each image is a sample of its own, so that none goes uncounted. It takes
    the files of its own stem (``22.05.jpg``, ``22.05.json``), then those of the key alone, which
    all images of the key share, then, as in webdataset, those that name another field
    (``s0.input.jpg``, ``s0.outputs.txt``). A caption or a JSON that no image takes is a reject.

    Parameters
    ----------
    members : iterable of Member
    prefix : str
        What precedes the member's name in ``image_path``.
    with_image : bool
        Whether image bytes are read; without, only captions and JSON are.
    invalid_text : {"reject", "raise"}
        What a caption or JSON that is no UTF-8 makes: a rejected sample, or an error.

    Raises
    ------
    ShardError
        When the store fails, or with ``"raise"`` for the first such text.
    """
    for files, reason in by_sample(members):
        yield _sample(files, prefix, reason, with_image, invalid_text)


def by_sample(members: Iterable[Member]) -> Iterator[tuple[list[Member], str | None]]:
    """The files of each sample, its image first, and why it is none where that is known."""
    opened: dict[str, list[Member]] = {}
    with_image: set[str] = set()
    for member in members:
        files = opened.pop(member.group, [])
        kept = _kept_open(files, member)
        if len(kept) < len(files):
            if any(m.is_image for m in files):  # rows are in the order of the archive
                yield from (sample for f in opened.values() for sample in _closed(f, with_image))
                opened.clear()
            yield from _closed([m for m in files if m not in kept], with_image)
        opened[member.group] = [*kept, member]
        if len(opened) > OPEN_KEYS:
            yield from _closed(opened.pop(next(iter(opened))), with_image)
    for files in opened.values():
        yield from _closed(files, with_image)


def _kept_open(files: list[Member], member: Member) -> list[Member]:
    """The files of a key that one more of that key is put to; the others are whole."""
    if any(m.name == member.name for m in files):
        return []
    if len(files) < MAX_FIELDS:
        return files
    kept = [m for m in files if m.stem == member.stem]
    return kept if len(kept) < len(files) else []


def _closed(files: list[Member], with_image: set[str]) -> Iterator[tuple[list[Member], str | None]]:
    """The samples among the files of one key, which then is one of those with an image."""
    key = files[0].group
    images = [m for m in files if m.is_image]
    beside = [m for m in files if not m.is_image]
    if not images:
        yield beside, _APART if key in with_image else None
        return
    with_image.add(key)
    has_fields = not any(_has_own(image, beside) for image in images)
    stems = {name for image in images for name in (image.stem, image.text, key)}
    fields = [m for m in beside if has_fields and m.names_a_field and m.stem not in stems]
    left = {m.name: m for m in beside if m.kind in (*TEXT_KINDS, *JSON_KINDS)}
    for image in images:
        mine = [m for stem in _stems(image) for m in beside if m.stem == stem]
        mine += fields if image.names_a_field else []
        for member in mine:
            left.pop(member.name, None)
        yield [image, *mine], None
    for stem in dict.fromkeys(m.stem for m in left.values()):
        yield [m for m in left.values() if m.stem == stem], None


def _stems(image: Member) -> dict[str, None]:
    """Stems of the files that say something of an image, the closest first."""
    return dict.fromkeys((image.text, image.stem, image.group))


def _has_own(image: Member, beside: list[Member]) -> bool:
    """Whether an image's key has a dot in it, since other files share it."""
    return image.stem != image.group and any(m.stem == image.stem for m in beside)


def sample_key(files: list[Member]) -> str:
    """The key of a sample: webdataset's, or all before the last dot where that is no field."""
    first, *beside = files
    dotted = not first.names_a_field or (first.is_image and _has_own(first, beside))
    return first.stem if dotted else first.group


def _sample(
    files: list[Member], prefix: str, reason: str | None, with_image: bool, invalid_text: str
) -> Sample:
    sample = Sample(sample_key(files), prefix + files[0].path)
    try:
        if flaw := next((m.flaw for m in files if m.flaw), reason):
            raise ValueError(flaw)
        _fill(sample, files[0], files[1:], with_image)
    except UnicodeDecodeError as error:
        if invalid_text == "raise":
            raise invalid_text_error(sample.image_path) from error
        sample.reason = f"its caption or JSON is no UTF-8: {error.reason} at byte {error.start}"
    except ValueError as error:  # what the file holds; a store that fails ends the task
        sample.reason = str(error)
    if sample.reason:
        sample.image, sample.caption, sample.fields = None, None, {}
    return sample


def invalid_text_error(image_path: str) -> ShardError:
    """The error for a text that is no UTF-8, where it makes no reject."""
    return ShardError(
        f"A text of {image_path} is not valid UTF-8. Correct the file, or have such rows "
        "counted as rejected with ld.set_options(invalid_text='reject') around embed (laion-dask "
        "--invalid-text reject …)."
    )


def _fill(sample: Sample, image: Member, beside: list[Member], with_image: bool) -> None:
    if not image.is_image:
        kinds = ", ".join(sorted({m.kind or "none" for m in (image, *beside)})[:5])
        raise ValueError(f"no image of a known kind ({', '.join(IMAGE_KINDS)}), but: {kinds}")
    if image.n_bytes > MAX_IMAGE_BYTES:
        raise ValueError(
            f"image file of {image.n_bytes} bytes, over the limit of {MAX_IMAGE_BYTES}"
        )
    for member in beside:
        if member.kind in (*TEXT_KINDS, *JSON_KINDS) and member.n_bytes > MAX_TEXT_BYTES:
            raise ValueError(f".{member.kind} of {member.n_bytes} bytes, over {MAX_TEXT_BYTES}")
    sample.fields = _fields(image, [m for m in beside if m.kind in JSON_KINDS])
    sample.caption = _caption(image, [m for m in beside if m.kind in TEXT_KINDS], sample.fields)
    if with_image:
        sample.image = image.read()


def _fields(image: Member, files: list[Member]) -> dict:
    """The fields of an image's JSON; further JSON as one field each, under what its name says."""
    main, others = _main(image, files)
    fields = read_json(main.read(), MAX_FIELDS) if main else {}
    for member in others:
        fields.setdefault(member.field, read_json(member.read(), MAX_FIELDS))
    return fields


def _caption(image: Member, files: list[Member], fields: dict) -> str | None:
    """The caption; further texts, and several of which none is it, become fields."""
    main, others = _main(image, files)
    for member in others:
        fields.setdefault(member.field, decode_text(member.read()).strip() or None)
    text = decode_text(main.read()).strip() if main else ""
    found = (fields.get(name) for name in CAPTION_FIELDS)
    return text or next((text for text in found if isinstance(text, str) and text), None)


def _main(image: Member, files: list[Member]) -> tuple[Member | None, list[Member]]:
    """The file of an image among several of a kind, and the others.

    That of its own stem or of its key; else the only one.
    """
    close = [m for m in files if m.stem in _stems(image)]
    main = next(iter(close or (files if len(files) == 1 else [])), None)
    return main, [m for m in files if m is not main]
