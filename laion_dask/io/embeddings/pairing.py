"""Pair embedding files with shards by key, never by position, and compare their row counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from laion_dask.errors import PairingError
from laion_dask.formatting import counted
from laion_dask.io.embeddings.export_sources import Source, Trace, trace
from laion_dask.io.embeddings.exported import ExportedEmbeddings, SourceFiles, exported_embeddings
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.embeddings.shard_keys import embedding_key, shard_key, stem
from laion_dask.io.parquet.shard import Shard
from laion_dask.io.storage.export_manifest import is_part_name

File = EmbeddingFile | ExportedEmbeddings
Key = tuple[str, str]
Keys = Callable[[str], Key]


def pair_files(shards: Sequence[Shard], files: Sequence[File]) -> tuple[File, ...]:
    """One file for each shard, paired by key; row counts are compared.

    A part of an export pairs with an embedding file of the same name, or else with the files of the
    shards that its rows came from; see `laion_dask.io.embeddings.exported`.

    Raises
    ------
    PairingError
        When a shard has no file, a file has no shard, or counts differ.
    """
    sources = [Source(shard.path, shard.n_rows, shard.footer_sha256) for shard in shards]
    traced = trace(sources, {stem(file.path) for file in files}, [file.path for file in files])
    names = {stem(source.path) for source in traced.own}
    own_files = [file for file in files if stem(file.path) in names]
    other_files = [file for file in files if stem(file.path) not in names]
    # Parts have their own numbering: embeddings with that number belong to another shard's rows.
    pairs = _one_to_one(traced.own, own_files, [(_stem, _stem)])
    if traced.levels:
        pairs |= _pair_sources(traced, other_files, set(sources))
    else:
        pairs |= _one_to_one(traced.shards, other_files, _SPELLINGS)
    for level in reversed(traced.levels):
        pairs |= _through(level, pairs, files[0])
    return tuple(pairs[source] for source in sources)


def _through(level: dict, pairs: dict[Source, File], like: File) -> dict[Source, File]:
    """The embeddings of parts, given those of the files that their rows came from."""
    by_recipe: dict[str, SourceFiles] = {}
    embeddings: dict[Source, File] = {}
    for part, origin in level.items():
        if origin.recipe not in by_recipe:
            by_number = {n: pairs[s] for n, s in origin.inputs.items() if s in pairs}
            by_recipe[origin.recipe] = SourceFiles.of(by_number)
        sources = by_recipe[origin.recipe]
        embeddings[part] = exported_embeddings(
            part.path, part.footer_sha256, part.n_rows, sources, like
        )
    return embeddings


def _one_to_one(shards: Sequence[Source], files: Sequence[File], spellings) -> dict[Source, File]:
    """The file of each shard, with no file left over."""
    file_keys, shard_keys, _ = _keys(files, shards, spellings)
    by_key = dict(zip(file_keys, files, strict=True))
    _check_unique(file_keys, [f.path for f in files])
    _check_unique(shard_keys, [s.path for s in shards])
    pairs = {}
    for shard, key in zip(shards, shard_keys, strict=True):
        file = by_key.pop(key, None)
        if file is None:
            raise _without_file(shard, f"no file among the {len(files)} has the key {_shown(key)}")
        _check_count(shard, file)
        pairs[shard] = file
    if by_key:
        extra = next(iter(by_key.values()))
        raise PairingError(
            f"{extra.path} ({extra.n_rows:,} rows) pairs with no shard of the frame; of "
            f"{counted(len(files), 'file')}, {len(by_key):,} pair with none. Open only the "
            "embeddings of the shards that are read."
        )
    return pairs


def _pair_sources(
    traced: Trace, files: Sequence[File], requested: set[Source]
) -> dict[Source, File]:
    """The file of each shard that parts have rows from, and of the shards given among the parts.

    An export rarely has rows of every shard of a data set, so unpaired files are allowed, unless
    files pair only by their numbers.
    """
    listed = [shard.path for shard in traced.listed()]
    file_keys, keys, bare = _keys(files, traced.shards, _SPELLINGS, listed=listed)
    shard_keys = set(keys)
    matching = [
        (key, file) for key, file in zip(file_keys, files, strict=True) if key in shard_keys
    ]
    _check_unique([key for key, _ in matching], [file.path for _, file in matching])
    by_key, pairs = dict(matching), {}
    before: dict[Key, Source] = {}
    for shard, key in zip(traced.shards, keys, strict=True):
        other = before.setdefault(key, shard)
        if other.footer_sha256 != shard.footer_sha256:
            _check_unique([key, key], [other.path, shard.path])
        if key in by_key:
            _check_count(shard, by_key[key])
            pairs[shard] = by_key[key]
        else:
            why = f"no file among the {len(files)} has the key {_shown(key)}"
            if shard in requested:
                raise _without_file(shard, why)
            _check_unneeded(shard, traced, why)
    listed_folders = {shard_key(path)[1] for path in listed}
    for key, file in zip(file_keys, files, strict=True):
        if bare and key not in shard_keys and key[1] not in listed_folders:
            raise PairingError(
                f"{file.path} ({file.n_rows:,} rows) pairs with no shard that the rows of the "
                "frame came from, and its folder does not show that it belongs to the same data "
                "set. Open only the embeddings of the shards that the export was made from."
            )
    for shard, part in traced.rewritten([s for s in pairs if s not in requested]):
        raise PairingError(
            f"{shard.path} was rewritten after its rows were exported as {part.path}, so its "
            "embeddings may belong to other rows now. Export again, or embed the subset itself."
        )
    return pairs


def _check_unneeded(shard: Source, traced: Trace, why: str) -> None:
    part = traced.part_with(shard)
    if part is not None:
        raise PairingError(
            f"{part.path} has rows of {shard.path}, which has no embeddings: {why}. Add them, or "
            "name the embeddings of a part as the part."
        )


def _without_file(shard: Source, why: str) -> PairingError:
    return PairingError(
        f"{shard.path} has {shard.n_rows:,} rows but no embeddings: {why}. Add them, or leave the "
        "shard out."
    )


def _check_count(shard: Source, file: File) -> None:
    if file.n_rows != shard.n_rows:
        raise PairingError(
            f"{file.path} has {file.n_rows:,} rows, but {shard.path} has {shard.n_rows:,}. "
            "Rows that do not pair one to one cannot be scored. Open the shards whose images were "
            "embedded (embed writes them beside the embeddings, as metadata), or fetch both again. "
            "A subset written by export pairs with the embeddings of its source."
        )


def _keys(
    files: Sequence[File],
    shards: Sequence[Source],
    spellings,
    *,
    listed: Sequence[str] | None = None,
) -> tuple[list[Key], list[Key], bool]:
    """The keys of both sides, in the first spelling that gives each shard exactly one partner.

    Collections are distinguished if both sides share one; otherwise folder names carry no
    information, which the third value shows. If no spelling pairs all shards, the keys are those of
    `shard_key`, for the error message. With ``listed``, files may be left unpaired.
    """
    spelled, may_be_partial = [], listed is not None
    for file_key, key in spellings:
        sides = [file_key(f.path) for f in files], [key(s.path) for s in shards]
        numbers = [{name for _, name in side} for side in sides]
        # One shard may have two paths, as the source of two exports.
        alike = {(name, s.footer_sha256) for (_, name), s in zip(sides[1], shards, strict=True)}
        expected = [len(files), len(alike) if may_be_partial else len(shards)]
        folders = {c for c, _ in (*sides[1], *map(key, listed or ()))}
        bare = folders.isdisjoint(c for c, _ in sides[0])
        bare = bare and [*map(len, numbers)] == expected
        if bare:
            sides = [("", name) for _, name in sides[0]], [("", name) for _, name in sides[1]]
        one, other = map(set, sides)
        if len(one) == len(files) and (other <= one if may_be_partial else other == one):
            return *sides, bare
        spelled.append((*sides, bare))
    return spelled[0]


def _stem(path: str) -> Key:
    return shard_key(path)[0], stem(path)


def _file_key(path: str) -> Key:
    """The key of an embedding file; a part of an export has no shard number."""
    return _stem(path) if is_part_name(path.rpartition("/")[2]) else embedding_key(path)


_SPELLINGS: list[tuple[Keys, Keys]] = [(_file_key, shard_key), (_stem, _stem)]


def _shown(key: Key) -> str:
    return repr("/".join(filter(None, key)))


def _check_unique(keys: Sequence[Key], paths: Sequence[str]) -> None:
    path_of: dict[Key, str] = {}
    for key, path in zip(keys, paths, strict=True):
        if key in path_of:
            raise PairingError(
                f"{path_of[key]} and {path} have the same key {_shown(key)}, so the pairing is "
                "ambiguous. Open them separately."
            )
        path_of[key] = path
