"""The canonical columns, and the dialects in which the published sets name them.

A dialect is recognised by its columns alone, and says which of them is which canonical column. A
column that no dialect knows passes through under its own name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from laion_dask.errors import SchemaError, one_of


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
    file's name to the canonical one. Names are compared exactly.
    """

    name: str
    about: str
    requires: frozenset[str]
    rename: dict[str, str] = field(hash=False)


def _dialect(name: str, about: str, requires: str, **rename: str) -> Dialect:
    return Dialect(name, about, frozenset(requires.split()), rename)


_LAION = {
    "URL": "url",
    "TEXT": "text",
    "WIDTH": "width",
    "HEIGHT": "height",
    "LANGUAGE": "language",
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
    _dialect(
        "img2dataset",
        "output of img2dataset: one row a download, with its status",
        "key status error_message",
        caption="text",
        **_LAION,
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
    _dialect(
        "re-laion",
        "Re-LAION-5B with lower-case names",
        "url text similarity hash",
    ),
    _dialect(
        "clip-retrieval",
        "metadata beside the embeddings of clip-retrieval",
        "caption url",
        caption="text",
    ),
    _dialect(
        "clip-retrieval",
        "metadata beside the embeddings of clip-retrieval, images from files",
        "caption image_path",
        caption="text",
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
        f"having: {', '.join(sorted(have))}. Leave dialect='auto' to have it recognised "
        f"(here: {recognise(have).name!r})."
    )


def canonical_names(
    columns: Iterable[str], dialect: Dialect, *, swap_width_height: bool = False
) -> dict[str, str]:
    """The frame's name for each of a file's columns.

    Provenance columns of an earlier export (``shard``, ``row``) become ``source_shard`` and
    ``source_row``; where a file already has those, the older pair is kept and the newer left out
    (the recipe beside the file still names it).

    Raises
    ------
    SchemaError
        When two columns of one file would get the same name.
    """
    columns = list(columns)
    out: dict[str, str] = {}
    for name in columns:
        new = dialect.rename.get(name, name)
        if name in PROVENANCE:
            new = f"source_{name}"
            if new in columns:
                continue
        if swap_width_height:
            new = {"width": "height", "height": "width"}.get(new, new)
        if new in out.values():
            twin = next(old for old, taken in out.items() if taken == new)
            raise SchemaError(
                f"Columns {twin!r} and {name!r} would both be read as {new!r} under dialect "
                f"{dialect.name!r}. Rename or drop one of them in the file."
            )
        out[name] = new
    return out
