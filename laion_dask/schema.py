"""The canonical columns, and the dialects in which the published sets name them.

A dialect is recognised by its columns alone, and says which of them is which canonical column. A
column that no dialect knows passes through under its own name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from laion_dask.errors import SchemaError, argument, one_of


@dataclass(frozen=True)
class Column:
    """A canonical column: what it holds, in which unit, in which range, and who says so."""

    name: str
    kind: str  # "string", "int32", "int64", "float" or "key" (an identifier: string or integer)
    about: str
    unit: str = ""
    range: str = ""
    source: str = "LAION-5B (Schuhmann et al. 2022)"


CANONICAL: dict[str, Column] = {
    c.name: c
    for c in (
        Column("url", "string", "address of the image on the web; never fetched unasked"),
        Column("text", "string", "caption: the image's alt text"),
        Column(
            "width",
            "int32",
            "width of the image; of img2dataset's output, as it was stored",
            "pixel",
            ">= 0",
        ),
        Column("height", "int32", "height of the original image", "pixel", ">= 0"),
        Column(
            "similarity",
            "float",
            "cosine of the CLIP image and text embeddings as published (ViT-B/32; multilingual "
            "CLIP ViT-B/32 for captions that are not English)",
            "cosine",
            "[-1, 1]",
        ),
        Column("language", "string", "language of the caption as published", "ISO 639-1 code"),
        Column("hash", "int64", "murmurhash3 of url and text; never passes through a float"),
        Column(
            "punsafe",
            "float",
            "probability that the image is not safe for work (CLIP-based-NSFW-Detector)",
            "probability",
            "[0, 1]",
        ),
        Column(
            "pwatermark",
            "float",
            "probability that the image has a watermark (LAION-5B-WatermarkDetection)",
            "probability",
            "[0, 1]",
        ),
        Column(
            "aesthetic",
            "float",
            "predicted mean rating of how much people like the image",
            "rating",
            "about [0, 10]",
            "LAION-Aesthetics (Schuhmann 2022)",
        ),
        Column(
            "uid",
            "key",
            "identifier of a sample; never passes through a float",
            source="DataComp (Gadre et al. 2023)",
        ),
    )
}

#: Added by the reader to every frame: which file, and which row of it.
PROVENANCE = ("shard", "row")


@dataclass(frozen=True)
class Dialect:
    """How one family of published files names its columns.

    ``requires`` must all be there for the dialect to be recognised; ``rename`` leads from the
    file's name to the canonical one. Names are compared exactly. ``carried`` does the same for
    columns that a tool carries over from the set it is run on, and for LAION's names in capitals,
    which folders such as ``LANGUAGE=en`` have beside any dialect, where no other column has the
    name.
    ``is_derived`` says that such files are what a tool made of another set: of the same rows.
    """

    name: str
    about: str
    requires: frozenset[str]
    rename: dict[str, str] = field(hash=False)
    carried: dict[str, str] = field(default_factory=dict, hash=False)
    is_derived: bool = False


_LAION = {
    "URL": "url",
    "TEXT": "text",
    "WIDTH": "width",
    "HEIGHT": "height",
    "LANGUAGE": "language",
}


def _dialect(
    name: str, about: str, requires: str, carried: dict[str, str] | None = None, **rename: str
) -> Dialect:
    return Dialect(name, about, frozenset(requires.split()), rename, {**(carried or {}), **_LAION})


def _derived(name: str, about: str, requires: str, carried: dict[str, str]) -> Dialect:
    """The files of a tool, which calls a caption just that."""
    needed = frozenset(requires.split())
    return Dialect(name, about, needed, {"caption": "text"}, carried, is_derived=True)


#: How published sets name their scores, where img2dataset or clip-retrieval carries them over.
_CARRIED = {
    "alt_txt": "text",
    "clip_similarity_vitb32": "similarity",
    "clip_b32_similarity_score": "similarity",
    "watermark_score": "pwatermark",
    "aesthetic_score_laion_v2": "aesthetic",
    "AESTHETIC_SCORE": "aesthetic",
    **_LAION,
}

#: In order: the first whose required columns are all there is the one. Later ones ask for less.
DIALECTS: tuple[Dialect, ...] = (
    _dialect(
        "coyo-700m",
        "COYO-700M (Byeon et al. 2022); similarity is the ViT-B/32 one, as in LAION",
        "url text image_phash clip_similarity_vitb32",
        clip_similarity_vitb32="similarity",
        watermark_score="pwatermark",
        aesthetic_score_laion_v2="aesthetic",
    ),
    _dialect(
        "datacomp",
        "DataComp metadata (Gadre et al. 2023); similarity is the ViT-B/32 one, as in LAION",
        "uid url text clip_b32_similarity_score",
        original_width="width",
        original_height="height",
        clip_b32_similarity_score="similarity",
    ),
    _derived(
        "img2dataset",
        "output of img2dataset: one row a download, with its status",
        "key status error_message",
        _CARRIED,
    ),
    _dialect("laion-coco", "LAION-COCO: synthetic captions", "top_caption all_captions", **_LAION),
    _dialect(
        "laion-aesthetics",
        "laion-art and LAION-Aesthetics",
        "URL TEXT aesthetic",
        **_LAION,
    ),
    _dialect(
        "laion-aesthetics",
        "LAION-Aesthetics v2 as first released",
        "URL TEXT AESTHETIC_SCORE",
        AESTHETIC_SCORE="aesthetic",
        **_LAION,
    ),
    _dialect(
        "laion-400m",
        "LAION-400M (Schuhmann et al. 2021)",
        "SAMPLE_ID URL TEXT LICENSE NSFW",
        **_LAION,
    ),
    _dialect(
        "laion-5b",
        "LAION-5B and Re-LAION-5B, plain or joined with punsafe and pwatermark",
        "URL TEXT similarity",
        **_LAION,
    ),
    _dialect("laion-pop", "LAION-POP", "url alt_txt", {"alt_txt": "text"}),
    _dialect(
        "re-laion",
        "Re-LAION-5B with lower-case names",
        "url text similarity hash",
    ),
    _derived(
        "clip-retrieval",
        "metadata beside the embeddings of clip-retrieval",
        "caption url",
        _CARRIED,
    ),
    _derived(
        "clip-retrieval",
        "metadata beside the embeddings of clip-retrieval, images from files",
        "caption image_path",
        _CARRIED,
    ),
    _dialect("url-text", "a bare list of addresses and captions", "URL TEXT", **_LAION),
    _dialect("plain", "no published dialect: columns keep their names", "", **_LAION),
)


def recognise(columns: Iterable[str], dialect: str = "auto") -> Dialect:
    """The dialect of a set of columns.

    Parameters
    ----------
    columns : iterable of str
        The union of the columns of all shards, as the files name them.
    dialect : str
        ``"auto"``, or the name of a dialect that the columns must have.

    Raises
    ------
    OptionError
        When there is no dialect of that name.
    SchemaError
        When the named dialect's required columns are not all there.
    """
    have = set(columns)
    if dialect == "auto":
        return next(d for d in DIALECTS if d.requires <= have)
    named = [d for d in DIALECTS if d.name == dialect]
    if not named:
        raise one_of("dialect", dialect, ["auto", *(d.name for d in DIALECTS)])
    for candidate in named:
        if candidate.requires <= have:
            return candidate
    missing = ", ".join(sorted(named[0].requires - have))
    raise SchemaError(
        f"These shards have no column {missing}, which dialect {dialect!r} has. They were read as "
        f"having: {', '.join(sorted(have))}. Leave {argument('dialect', 'auto')} to have it "
        "recognised "
        f"(here: {recognise(have).name!r})."
    )


def canonical_names(
    columns: Iterable[str],
    dialect: Dialect,
    *,
    swap_width_height: bool = False,
    rename: Mapping[str, str] | None = None,
    needed: Collection[str] | None = None,
) -> dict[str, str]:
    """The frame's name for each of a file's columns.

    Provenance columns of an earlier export (``shard``, ``row``) become ``source_shard`` and
    ``source_row``; where a file already has those, the older pair is kept and the newer left out
    (the recipe beside the file still names it).

    Parameters
    ----------
    columns : iterable of str
    dialect : Dialect
    swap_width_height : bool
    rename : mapping of str to str, optional
        Names that go before the dialect's.
    needed : collection of str, optional
        The frame's columns that are asked for. Where two columns would be read under one name, or
        under names that differ in their case only, those that are not asked for are left out.

    Raises
    ------
    SchemaError
        When two columns that are asked for would get the same name.
    """
    columns, rename = list(columns), rename or {}
    out: dict[str, str] = {}
    for name in columns:
        new = rename.get(name) or _dialect_name(name, columns, dialect, rename)
        if name in PROVENANCE and name not in rename:
            new = f"source_{name}"
            if new in columns:
                continue
        if swap_width_height:
            new = {"width": "height", "height": "width"}.get(new, new)
        out[name] = new
    return _told_apart(columns, out, needed)


def _dialect_name(
    name: str, columns: Sequence[str], dialect: Dialect, rename: Mapping[str, str]
) -> str:
    """The dialect's name of a column; its own where another differs from it in case alone."""
    columns = [other for other in columns if other == name or other not in rename]
    new = dialect.rename.get(name) or _carried(name, columns, dialect)
    return name if new in columns and new.lower() == name.lower() else new


def _carried(name: str, columns: Sequence[str], dialect: Dialect) -> str:
    """The name of a column that a tool carried over from the set it was run on."""
    new = dialect.carried.get(name, name)
    if new == name or new in columns:
        return name
    taken = {dialect.rename.get(other) for other in columns}
    earlier = columns[: columns.index(name)]
    return name if new in taken or new in map(dialect.carried.get, earlier) else new


def _told_apart(
    columns: Sequence[str], names: dict[str, str], needed: Collection[str] | None
) -> dict[str, str]:
    """The names without those of columns that cannot be told apart and are not asked for."""
    alike: dict[object, list[str]] = {}
    for name in columns:
        if name in names:
            new = names[name]
            for key in (new, (name.lower(), new.lower())):
                alike.setdefault(key, []).append(name)
    for twins in alike.values():
        twins = [name for name in twins if name in names]
        if len(twins) < 2:
            continue
        frames = [names[name] for name in twins]
        wanted = frames if needed is None else [new for new in frames if new in needed]
        if len(set(wanted)) < len(wanted) or (wanted and needed is None):
            raise _alike(twins, frames)
        for name in twins:
            if names.get(name) not in wanted:
                names.pop(name, None)
    return names


def _alike(twins: Sequence[str], frames: Sequence[str]) -> SchemaError:
    shown = " and ".join(map(repr, twins))
    if len(set(twins)) < len(twins):
        return SchemaError(
            f"The column {twins[0]!r} is there more than once, and which is meant cannot be said. "
            f"Rename one of them in the file, or leave it out with {argument('columns')}."
        )
    what = "differ only in case"
    if len({name.lower() for name in twins}) > 1:
        what = f"would both be read as {frames[0]!r}"
    other = argument("rename", {twins[0]: "other"})
    name_one = f"leave {frames[0]!r} out with {argument('columns')}"
    if len(set(frames)) == len(frames):
        pairs = zip(twins, frames, strict=True)
        each = (f"{argument('columns', [new])} reads {old!r}" for old, new in pairs)
        name_one = f"name the one that is meant: {', '.join(each)}"
    return SchemaError(
        f"Columns {shown} {what}. Give one of them another name with {other}, or {name_one}."
    )
