"""Which files make one sample.

In an archive, as webdataset has it: the key is a file's name up to the first dot of its last part,
what follows is a field (``seg.png`` of ``1.seg.png``), and a sample has one picture.

1. Its picture is ``key.jpg``, ``key.png`` and so on, by the order of ``PREFERRED`` where there are
   several. Every other picture of the key, such as ``1.seg.png``, is a counted reject, and no row.
2. A key may itself have dots, which webdataset does not know. A picture is a sample of its own,
   with its name up to the last dot as key, where what stands between is no name of a field
   (``22.05.jpg``); or where there is no ``key.jpg``, and a text or JSON has the same stem
   (``www.a.com_1.jpg``, ``www.a.com_1.json``). So is one with a file named after it
   (``1.png.json``). It takes no other file.
3. Without ``key.jpg``, one picture with the name of a field is the sample's (``s0.input.jpg``,
   with ``s0.outputs.txt``). Several are a sample each where no text or JSON is beside them; else
   all are rejects, since whose the text is cannot be known.

In a folder, as trainers have it: the stem of a file ends at its last dot, each picture is a sample,
and all of one stem share what lies beside them.

A text or JSON that no picture takes is a reject. No two samples have one key, unless a name occurs
twice in an archive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from laion_dask.io.storage.member_names import IMAGE_KINDS, JSON_KINDS, TEXT_KINDS, Member

#: Files of one key that are held, and fields of one sample's JSON; more is a rejected row.
MAX_FIELDS = 256

#: Keys that are open at a time, so that a file between those of a sample does not cut it in two.
OPEN_KEYS = 16

#: Kinds of pictures, the one that open_clip takes of a sample's first: ``jpg;png;jpeg;webp``.
PREFERRED = tuple(dict.fromkeys(("jpg", "png", "jpeg", "webp", *IMAGE_KINDS)))

_APART = (
    "its image lies elsewhere in the archive, or a name occurs twice. The files of a sample must "
    "lie side by side, each name once: write the archive anew with tar --sort=name"
)


@dataclass(frozen=True)
class SampleFiles:
    """The files of one sample.

    Attributes
    ----------
    key : str
    first : Member
        Its picture; another file where it has none.
    beside : tuple of Member
    reason : str or None
        Why it is no sample, where its names tell.
    """

    key: str
    first: Member
    beside: tuple[Member, ...] = ()
    reason: str | None = None


def by_sample(members: Iterable[Member]) -> Iterator[SampleFiles]:
    """The files of each sample, where fewer than ``OPEN_KEYS`` other keys lie between two."""
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


def _closed(files: list[Member], with_image: set[str]) -> Iterator[SampleFiles]:
    """The samples among the files of one key, which then is one of those with an image."""
    key = files[0].group
    images = [m for m in files if m.is_image]
    beside = [m for m in files if not m.is_image]
    if not images:
        yield _alone(beside, _APART if key in with_image else None)
        return
    with_image.add(key)
    found = _in_folder(images, beside) if files[0].in_folder else _in_archive(images, beside)
    taken = {member.name for sample in found for member in sample.beside}
    yield from found
    left = [m for m in beside if _is_said(m) and m.name not in taken]
    for stem in dict.fromkeys(m.stem for m in left):
        yield _alone([m for m in left if m.stem == stem], None)


def _alone(files: list[Member], reason: str | None) -> SampleFiles:
    """Files without an image."""
    first = files[0]
    return SampleFiles(_key(first, not first.names_a_field), first, tuple(files[1:]), reason)


def _in_folder(images: list[Member], beside: list[Member]) -> list[SampleFiles]:
    return [
        SampleFiles(
            image.text if number else image.stem,
            image,
            _of_stems(beside, (image.text, image.stem)),
        )
        for number, image in enumerate(images)
    ]


def _in_archive(images: list[Member], beside: list[Member]) -> list[SampleFiles]:
    key = images[0].group
    whole = sorted((m for m in images if m.stem == key), key=lambda m: PREFERRED.index(m.kind))
    main = whole[0] if whole else None
    apart = [m for m in images if m is not main and _is_apart(m, beside, whole)]
    others = [m for m in images if m is not main and m not in apart]
    has_fields = main is not None or not any(_has_own(m, beside) for m in apart)
    if main is None and len(others) == 1 and has_fields and "." not in others[0].between:
        (main,), others = others, []
    stems = {name for image in apart for name in (image.text, image.stem)}
    fields = [m for m in beside if has_fields and m.names_a_field and m.stem not in stems - {key}]
    reason = _no_picture(main, others, fields)
    found = []
    for image in images:
        if image is main:
            close = _of_stems(beside, (image.text, image.stem, key))
            rest = tuple(m for m in fields if m not in close)
            found.append(SampleFiles(key, image, close + rest))
        elif image in apart or reason is None:
            own = _of_stems(
                beside, (image.text, image.stem) if image.stem != key else (image.text,)
            )
            found.append(SampleFiles(_key(image, image.stem != key), image, own))
        else:
            found.append(SampleFiles(key, image, () if main else tuple(fields), reason))
    return found


def _no_picture(main: Member | None, others: list[Member], fields: list[Member]) -> str | None:
    """Why pictures that are no sample of their own are not the picture of their sample either."""
    if main is not None:
        return f"sample {main.group!r} has one picture, {main.text}; this is another field of it"
    if len(others) > 1 and any(map(_is_said, fields)):
        key = others[0].group
        return (
            f"sample {key!r} has {len(others)} pictures and none is named {key}.jpg, so whose "
            f"{next(filter(_is_said, fields)).text} is cannot be known: name one of them so"
        )
    return None


def _key(member: Member, dotted: bool) -> str:
    if not dotted:
        return member.text if member.is_image and member.stem == member.group else member.group
    return member.stem


def _is_apart(image: Member, beside: list[Member], whole: list[Member]) -> bool:
    """Whether a picture of an archive has a key of its own."""
    if any(_is_said(m) and m.stem == image.text for m in beside):
        return True
    return image.stem != image.group and (
        not image.names_a_field or (not whole and _has_own(image, beside))
    )


def _has_own(image: Member, beside: list[Member]) -> bool:
    """Whether a text or JSON is named as a picture whose stem has a dot."""
    return image.stem != image.group and any(_is_said(m) and m.stem == image.stem for m in beside)


def _is_said(member: Member) -> bool:
    """Whether a file holds a caption or fields."""
    return member.kind in (*TEXT_KINDS, *JSON_KINDS)


def _of_stems(beside: list[Member], stems: tuple[str, ...]) -> tuple[Member, ...]:
    """The files of some stems, those of the first stem first."""
    return tuple(m for stem in dict.fromkeys(stems) for m in beside if m.stem == stem)
