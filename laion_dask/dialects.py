"""Dialects: the names of the canonical columns in each published release.

A dialect is one entry of `DIALECTS`, recognized by its column names, which it maps to canonical
names. Columns that are not part of the dialect keep their names.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from laion_dask.errors import SchemaError, argument, one_of
from laion_dask.schema import PROVENANCE


@dataclass(frozen=True)
class Dialect:
    """The column names of one family of published files. Names are case-sensitive.

    Attributes
    ----------
    name, about : str
    requires : frozenset of str
        The columns that identify the dialect; all must be present.
    rename : dict of str to str
        Maps column names in the files to canonical names.
    carried : dict of str to str
        Additional names, applied only if no other column has the canonical name: columns that a
        tool copies from its input, and LAION's upper-case names, which folders such as
        ``LANGUAGE=en`` can add to any dialect.
    is_derived : bool
        Whether a tool produced these files from another data set, so that both have the same rows.
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
    name: str,
    about: str,
    requires: str,
    rename: Mapping[str, str] = MappingProxyType({}),
    carried: Mapping[str, str] = MappingProxyType({}),
) -> Dialect:
    needed = frozenset(requires.split())
    return Dialect(name, about, needed, dict(rename), {**carried, **_LAION})


def _derived(name: str, about: str, requires: str, carried: dict[str, str]) -> Dialect:
    """The dialect of a tool's output, where the caption column is named ``caption``."""
    needed = frozenset(requires.split())
    return Dialect(name, about, needed, {"caption": "text"}, carried, is_derived=True)


#: Names of published scores in files to which img2dataset or clip-retrieval copied them.
_CARRIED = {
    "alt_txt": "text",
    "clip_similarity_vitb32": "similarity",
    "clip_b32_similarity_score": "similarity",
    "watermark_score": "pwatermark",
    "aesthetic_score_laion_v2": "aesthetic",
    "AESTHETIC_SCORE": "aesthetic",
    **_LAION,
}

#: The first dialect whose required columns are all present wins; later entries are less specific.
DIALECTS: tuple[Dialect, ...] = (
    _dialect(
        "coyo-700m",
        "COYO-700M (Byeon et al. 2022); similarity is computed with ViT-B/32, as in LAION",
        "url text image_phash clip_similarity_vitb32",
        {
            "clip_similarity_vitb32": "similarity",
            "watermark_score": "pwatermark",
            "aesthetic_score_laion_v2": "aesthetic",
        },
    ),
    _dialect(
        "datacomp",
        "DataComp metadata (Gadre et al. 2023); similarity is computed with ViT-B/32, as in LAION",
        "uid url text clip_b32_similarity_score",
        {
            "original_width": "width",
            "original_height": "height",
            "clip_b32_similarity_score": "similarity",
        },
    ),
    _derived(
        "img2dataset",
        "output of img2dataset: one row per download, with its status",
        "key status error_message",
        _CARRIED,
    ),
    _dialect("laion-coco", "LAION-COCO: synthetic captions", "top_caption all_captions", _LAION),
    _dialect(
        "laion-aesthetics",
        "laion-art and LAION-Aesthetics",
        "URL TEXT aesthetic",
        _LAION,
    ),
    _dialect(
        "laion-aesthetics",
        "LAION-Aesthetics v2 as first released",
        "URL TEXT AESTHETIC_SCORE",
        {"AESTHETIC_SCORE": "aesthetic", **_LAION},
    ),
    _dialect(
        "laion-400m",
        "LAION-400M (Schuhmann et al. 2021)",
        "SAMPLE_ID URL TEXT LICENSE NSFW",
        _LAION,
    ),
    _dialect(
        "laion-5b",
        "LAION-5B and Re-LAION-5B, plain or joined with punsafe and pwatermark",
        "URL TEXT similarity",
        _LAION,
    ),
    _dialect("laion-pop", "LAION-POP", "url alt_txt", carried={"alt_txt": "text"}),
    _dialect(
        "re-laion",
        "Re-LAION-5B with lower-case names",
        "url text similarity hash",
    ),
    _derived(
        "clip-retrieval",
        "metadata beside the embeddings of clip-retrieval",
        "caption image_path",
        _CARRIED,
    ),
    _derived(
        "url-caption",
        "addresses and captions, of no known release; some tools also write these names",
        "caption url",
        _CARRIED,
    ),
    _derived(
        "clip-retrieval",
        "metadata beside the embeddings of clip-retrieval",
        "caption url",
        _CARRIED,
    ),  # only if it is named
    _dialect("url-text", "a bare list of addresses and captions", "URL TEXT", _LAION),
    _dialect("plain", "no published dialect: columns keep their names", "", _LAION),
)


def recognize(columns: Iterable[str], dialect: str = "auto") -> Dialect:
    """The dialect of a set of columns.

    Parameters
    ----------
    columns : iterable of str
        The union of the columns of all shards, as named in the files.
    dialect : str
        ``"auto"``, or the name of a dialect that the columns must match.

    Raises
    ------
    OptionError
        When no dialect has that name.
    SchemaError
        When a required column of the named dialect is missing.
    """
    names = set(columns)
    if dialect == "auto":
        return next(d for d in DIALECTS if d.requires <= names)
    candidates = [d for d in DIALECTS if d.name == dialect]
    if not candidates:
        raise one_of("dialect", dialect, ["auto", *(d.name for d in DIALECTS)])
    for candidate in candidates:
        if candidate.requires <= names:
            return candidate
    missing = ", ".join(sorted(candidates[0].requires - names))
    raise SchemaError(
        f"These shards have no column {missing}, which dialect {dialect!r} requires. Their columns "
        f"are: {', '.join(sorted(names))}. Use {argument('dialect', 'auto')} to have the dialect "
        f"recognized (here: {recognize(names).name!r})."
    )


def canonical_names(
    columns: Iterable[str],
    dialect: Dialect,
    *,
    swap_width_height: bool = False,
    rename: Mapping[str, str] | None = None,
    needed: Collection[str] | None = None,
) -> dict[str, str]:
    """The frame's name for each column of a file.

    Provenance columns of an earlier export (``shard``, ``row``) become ``source_shard`` and
    ``source_row``. If a file already has those, the older pair is kept and the newer one dropped;
    the manifest beside the file still records it.

    Parameters
    ----------
    columns : iterable of str
    dialect : Dialect
    swap_width_height : bool
    rename : mapping of str to str, optional
        Names that override those of the dialect.
    needed : collection of str, optional
        The frame columns that were requested. If two columns map to the same name, or to names
        that differ only in case, those that were not requested are dropped.

    Raises
    ------
    SchemaError
        When two requested columns map to the same name.
    """
    columns, rename = list(columns), rename or {}
    stored = set(columns)
    others = dict.fromkeys(name for name in columns if name not in rename)
    out: dict[str, str] = {}
    for name in columns:
        new = rename.get(name) or _dialect_name(name, others, dialect)
        if name in PROVENANCE and name not in rename:
            new = f"source_{name}"
            if new in stored:
                continue
        if swap_width_height:
            new = {"width": "height", "height": "width"}.get(new, new)
        out[name] = new
    return _without_ambiguous(columns, out, needed)


def _dialect_name(name: str, columns: Mapping[str, None], dialect: Dialect) -> str:
    """The dialect's name for a column; its own name if another column differs only in case.

    ``columns`` are the file's columns, in order, that are not renamed by the user.
    """
    new = dialect.rename.get(name) or _carried(name, columns, dialect)
    return name if new in columns and new.lower() == name.lower() else new


def _carried(name: str, columns: Mapping[str, None], dialect: Dialect) -> str:
    """The canonical name of a column that a tool copied from its input."""
    new = dialect.carried.get(name, name)
    if new == name or new in columns:
        return name
    taken = {dialect.rename.get(other) for other in columns}
    earlier = itertools.takewhile(lambda other: other != name, columns)
    return name if new in taken or new in map(dialect.carried.get, earlier) else new


def _without_ambiguous(
    columns: Sequence[str], names: dict[str, str], needed: Collection[str] | None
) -> dict[str, str]:
    """Drop the names that are ambiguous and were not requested."""
    by_name: dict[object, list[str]] = {}
    for name in columns:
        if name in names:
            new = names[name]
            for key in (new, (name.lower(), new.lower())):
                by_name.setdefault(key, []).append(name)
    for twins in by_name.values():
        twins = [name for name in twins if name in names]
        if len(twins) < 2:
            continue
        frames = [names[name] for name in twins]
        requested = frames if needed is None else [new for new in frames if new in needed]
        if len(set(requested)) < len(requested) or (requested and needed is None):
            raise _ambiguity_error(twins, frames)
        for name in twins:
            if names.get(name) not in requested:
                names.pop(name, None)
    return names


def _ambiguity_error(twins: Sequence[str], frames: Sequence[str]) -> SchemaError:
    shown = " and ".join(map(repr, twins))
    if len(set(twins)) < len(twins):
        return SchemaError(
            f"The file has more than one column {twins[0]!r}, so the name is ambiguous. Rename one "
            f"of them in the file, or leave it out with {argument('columns')}."
        )
    problem = "differ only in case"
    if len({name.lower() for name in twins}) > 1:
        problem = f"would both be read as {frames[0]!r}"
    other = argument("rename", {twins[0]: "other"})
    advice = f"leave {frames[0]!r} out with {argument('columns')}"
    if len(set(frames)) == len(frames):
        pairs = zip(twins, frames, strict=True)
        choices = (f"{argument('columns', [new])} reads {old!r}" for old, new in pairs)
        advice = f"request the one that you mean: {', '.join(choices)}"
    return SchemaError(
        f"Columns {shown} {problem}. Give one of them another name with {other}, or {advice}."
    )
