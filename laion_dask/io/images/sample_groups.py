"""Group files into samples.

In an archive, the rules of webdataset apply: the key is a file's name up to the first dot of its
last path component, the rest is a field name (``seg.png`` in ``1.seg.png``), and a sample has one
image.

1. The image is ``key.jpg``, ``key.png`` and so on; if there are several, the first in the order of
   ``PREFERRED``. All other images with the key, such as ``1.seg.png``, are rejected and counted.
2. Unlike in webdataset, a key may contain dots. An image is a separate sample, with its name up to
   the last dot as key, if the text in between is not a field name (``22.05.jpg``), or if there is
   no ``key.jpg`` and a text or JSON file has the same stem (``www.a.com_1.jpg``,
   ``www.a.com_1.json``). The same applies to an image that another file is named after
   (``1.png.json``). Such a sample has no other files.
3. Without ``key.jpg``, a single image with a field name belongs to the sample (``s0.input.jpg``
   with ``s0.outputs.txt``). Several such images are separate samples if there is no text or JSON
   beside them; otherwise all are rejected, because it is unknown which one the text describes.

In a folder, the conventions of training tools apply: a file's stem ends at its last dot, each image
is a sample, and images with the same stem share the files beside them.

A text or JSON file without an image is rejected. Keys are unique, unless a name occurs twice in an
archive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from laion_dask.io.storage.member_names import IMAGE_KINDS, JSON_KINDS, TEXT_KINDS, Member

#: Maximum files per key, and fields in one sample's JSON; the row is rejected if there are more.
MAX_FIELDS = 256

#: Number of keys kept open, so files of other samples may be interleaved.
OPEN_KEYS = 16

#: Kinds of images in open_clip's order of preference: ``jpg;png;jpeg;webp``.
PREFERRED = tuple(dict.fromkeys(("jpg", "png", "jpeg", "webp", *IMAGE_KINDS)))

_APART = (
    "its image is elsewhere in the archive, or a name occurs twice. The files of a sample must be "
    "adjacent, with unique names: rewrite the archive with tar --sort=name"
)


@dataclass(frozen=True)
class SampleFiles:
    """The files of one sample.

    Attributes
    ----------
    key : str
    first : Member
        The image, or another file if there is none.
    companions : tuple of Member
    reason : str or None
        The reason why the sample is invalid, judging by the names alone.
    """

    key: str
    first: Member
    companions: tuple[Member, ...] = ()
    reason: str | None = None


def by_sample(members: Iterable[Member]) -> Iterator[SampleFiles]:
    """The files of each sample; at most ``OPEN_KEYS`` other keys may come between two of them."""
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
    """The files of a key that a further file of the key belongs with; the others are complete."""
    if any(m.name == member.name for m in files):
        return []
    if len(files) < MAX_FIELDS:
        return files
    kept = [m for m in files if m.stem == member.stem]
    return kept if len(kept) < len(files) else []


def _closed(files: list[Member], with_image: set[str]) -> Iterator[SampleFiles]:
    """The samples among the files of one key; records the key if it has an image."""
    key = files[0].group
    images = [m for m in files if m.is_image]
    non_images = [m for m in files if not m.is_image]
    if not images:
        yield _alone(non_images, _APART if key in with_image else None)
        return
    with_image.add(key)
    samples = (
        _in_folder(images, non_images) if files[0].in_folder else _in_archive(images, non_images)
    )
    taken = {member.name for sample in samples for member in sample.companions}
    yield from samples
    remaining = [m for m in non_images if _has_text(m) and m.name not in taken]
    for stem in dict.fromkeys(m.stem for m in remaining):
        yield _alone([m for m in remaining if m.stem == stem], None)


def _alone(files: list[Member], reason: str | None) -> SampleFiles:
    """Files without an image."""
    first = files[0]
    return SampleFiles(_key(first, not first.names_a_field), first, tuple(files[1:]), reason)


def _in_folder(images: list[Member], non_images: list[Member]) -> list[SampleFiles]:
    return [
        SampleFiles(
            image.text if number else image.stem,
            image,
            _with_stems(non_images, (image.text, image.stem)),
        )
        for number, image in enumerate(images)
    ]


def _in_archive(images: list[Member], non_images: list[Member]) -> list[SampleFiles]:
    key = images[0].group
    named_by_key = sorted(
        (m for m in images if m.stem == key), key=lambda m: PREFERRED.index(m.kind)
    )
    main = named_by_key[0] if named_by_key else None
    separate = [m for m in images if m is not main and _is_separate(m, non_images, named_by_key)]
    others = [m for m in images if m is not main and m not in separate]
    has_fields = main is not None or not any(_has_own_text(m, non_images) for m in separate)
    if main is None and len(others) == 1 and has_fields and "." not in others[0].between:
        (main,), others = others, []
    stems = {name for image in separate for name in (image.text, image.stem)}
    fields = [
        m for m in non_images if has_fields and m.names_a_field and m.stem not in stems - {key}
    ]
    reason = _reject_reason(main, others, fields)
    samples = []
    for image in images:
        if image is main:
            close = _with_stems(non_images, (image.text, image.stem, key))
            further = tuple(m for m in fields if m not in close)
            samples.append(SampleFiles(key, image, close + further))
        elif image in separate or reason is None:
            companions = _with_stems(
                non_images, (image.text, image.stem) if image.stem != key else (image.text,)
            )
            samples.append(SampleFiles(_key(image, image.stem != key), image, companions))
        else:
            samples.append(SampleFiles(key, image, () if main else tuple(fields), reason))
    return samples


def _reject_reason(main: Member | None, others: list[Member], fields: list[Member]) -> str | None:
    """The reason why images that are not separate samples are not the image of their sample."""
    if main is not None:
        return f"sample {main.group!r} has the image {main.text}; this is another of its fields"
    if len(others) > 1 and any(map(_has_text, fields)):
        key = others[0].group
        return (
            f"sample {key!r} has {len(others)} images, none named {key}.jpg, so the owner of "
            f"{next(filter(_has_text, fields)).text} is unknown: give one of them that name"
        )
    return None


def _key(member: Member, dotted: bool) -> str:
    if not dotted:
        return member.text if member.is_image and member.stem == member.group else member.group
    return member.stem


def _is_separate(image: Member, non_images: list[Member], named_by_key: list[Member]) -> bool:
    """Whether an image in an archive is a separate sample with its own key."""
    if any(_has_text(m) and m.stem == image.text for m in non_images):
        return True
    return image.stem != image.group and (
        not image.names_a_field or (not named_by_key and _has_own_text(image, non_images))
    )


def _has_own_text(image: Member, non_images: list[Member]) -> bool:
    """Whether a text or JSON has the same dotted stem as an image."""
    return image.stem != image.group and any(
        _has_text(m) and m.stem == image.stem for m in non_images
    )


def _has_text(member: Member) -> bool:
    """Whether a file holds a caption or fields."""
    return member.kind in (*TEXT_KINDS, *JSON_KINDS)


def _with_stems(non_images: list[Member], stems: tuple[str, ...]) -> tuple[Member, ...]:
    """The files with the given stems, in the order of the stems."""
    return tuple(m for stem in dict.fromkeys(stems) for m in non_images if m.stem == stem)
