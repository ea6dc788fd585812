"""Trace parts of exports back to the shards that their rows came from, by their recipes."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from laion_dask.errors import PairingError, ShardError
from laion_dask.io.embeddings.row_origins import origins_of, shard_range
from laion_dask.io.embeddings.shard_keys import stem
from laion_dask.io.parquet.footer import check_unchanged
from laion_dask.io.storage.export_manifest import Manifest, is_part_name, listed_parts
from laion_dask.io.storage.local_file import file_system

#: The greatest depth of nested exports that is traced.
_DEPTH = 64
_THREADS = 16


@dataclass(frozen=True)
class Source:
    """A file of rows: a shard of a data set, or a part of an export."""

    path: str
    n_rows: int
    footer_sha256: str

    @property
    def is_part(self) -> bool:
        """Whether the file has the name of a part of an export."""
        return is_part_name(self.path.rpartition("/")[2])


@dataclass(frozen=True)
class Origin:
    """The origin of the rows of a part.

    Attributes
    ----------
    recipe : str
        The path of the recipe that lists the part.
    inputs : dict of int to Source
        All inputs of the recipe, by the number in the part's column ``shard``.
    low, high : int
        The smallest and the greatest number in the part.
    """

    recipe: str
    inputs: Mapping[int, Source]
    low: int
    high: int


@dataclass(frozen=True)
class Trace:
    """The result of tracing files of rows to their sources.

    Attributes
    ----------
    own : list of Source
        Parts that have their own embeddings.
    levels : list of dict of Source to Origin
        Parts without embeddings: the given ones, the parts that these came from, and so on.
    shards : list of Source
        Files that are not parts: the given shards, and those that parts came from.
    """

    own: list[Source]
    levels: list[dict[Source, Origin]]
    shards: list[Source]

    def listed(self) -> set[Source]:
        """Every input of every recipe, whether or not a part has rows from it."""
        recipes = {o.recipe: o.inputs for level in self.levels for o in level.values()}
        return {source for inputs in recipes.values() for source in inputs.values()}

    def part_with(self, shard: Source) -> Source | None:
        """A part that has rows from a shard, or None. Eager: reads columns of parts."""
        numbers: dict[str, set[int]] = {}
        for part, origin in ((p, o) for level in self.levels for p, o in level.items()):
            if origin.recipe not in numbers:
                numbers[origin.recipe] = {n for n, s in origin.inputs.items() if s == shard}
            candidates = {n for n in numbers[origin.recipe] if origin.low <= n <= origin.high}
            if (
                candidates
                and np.isin(origins_of(part.path, part.footer_sha256).shards, [*candidates]).any()
            ):
                return part
        return None

    def rewritten(self, shards: Sequence[Source]) -> Iterator[tuple[Source, Source]]:
        """Shards that were rewritten since some of their rows were exported, each with a part.

        Their embeddings may have changed rows since. Deleted shards are not included. Eager: reads
        footers, and columns of parts.
        """
        if shards:
            with ThreadPoolExecutor(min(_THREADS, len(shards))) as pool:
                others = list(pool.map(_is_another_file, shards))
            for shard in itertools.compress(shards, others):
                part = self.part_with(shard)
                if part is not None:
                    yield shard, part


def trace(sources: Sequence[Source], stems: Collection[str], addresses: Sequence[str]) -> Trace:
    """Trace files of rows to their sources. Eager; reads recipes, and footers of parts.

    Parameters
    ----------
    sources : sequence of Source
    stems : collection of str
        Names of the embedding files: a part with such a name has its own embeddings.
    addresses : sequence of str
        Addresses of the embedding files. A recipe may only refer to their stores, the stores of
        ``sources``, and this machine.

    Raises
    ------
    PairingError
        When a part's recipe is missing or does not state where its rows came from.
    """
    schemes = {"", *map(_scheme, addresses), *(_scheme(source.path) for source in sources)}
    own_sources: dict[Source, None] = {}
    shards: dict[Source, None] = {}
    levels: list[dict[Source, Origin]] = []
    recipes: dict[str, dict] = {}
    pending = dict.fromkeys(sources)
    while pending:
        level = {}
        for source in pending:
            if not source.is_part:
                shards[source] = None
            elif stem(source.path) in stems:
                own_sources[source] = None
            elif _scheme(source.path) not in schemes:
                raise PairingError(
                    f"{source.path}, which the rows of an export came from, is in a store that "
                    "was not named. Score the frame before it is exported."
                )
            else:
                level[source] = _listed(source, recipes)
        if level:
            levels.append(_origins(level))
        if len(levels) > _DEPTH:
            raise PairingError(
                f"{next(iter(levels[-1])).path} is an export nested more than {_DEPTH} times, or "
                "an export of itself. Score the frame before it is exported."
            )
        pending = _reached(levels[-1]) if level else {}
    return Trace(list(own_sources), levels, list(shards))


def _is_another_file(shard: Source) -> bool:
    try:
        fs, inner = file_system(shard.path)
        if not fs.isfile(inner):  # missing, or a pipe, which would block
            return False
        check_unchanged(shard.path, shard.footer_sha256)
    except ShardError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _listed(part: Source, recipes: dict[str, dict]) -> tuple[str, dict[int, Source]]:
    """The recipe that lists a part, and its inputs; each folder is searched once."""
    folder = part.path.rpartition("/")[0]
    if folder not in recipes:
        by_recipe: dict[str, tuple] = {}
        recipes[folder] = {}
        for path, (_, manifest) in listed_parts(folder).items():
            if manifest.path not in by_recipe:
                by_recipe[manifest.path] = manifest.path, _inputs(part, manifest)
            recipes[folder][path] = by_recipe[manifest.path]
    if part.path not in recipes[folder]:
        raise PairingError(
            f"{part.path} has the name of a part of an export, but no recipe beside it lists it, "
            "so the origin of its rows is unknown. Copy the whole export with its _recipe.json, "
            "or name the embeddings of a part as the part."
        )
    return recipes[folder][part.path]


def _origins(level: Mapping[Source, tuple[str, dict[int, Source]]]) -> dict[Source, Origin]:
    """The origins of parts, by the recipes that list them."""
    with ThreadPoolExecutor(min(_THREADS, len(level))) as pool:
        ranges = list(pool.map(lambda part: shard_range(part.path, part.footer_sha256), level))
    origins = {}
    for (part, (recipe, listed)), (low, high) in zip(level.items(), ranges, strict=True):
        unknown = [n for n in (low, high) if low <= high and n not in listed]
        if unknown:
            raise PairingError(
                f"{part.path} has rows of shard {unknown[0]}, which {recipe} does not list. Copy "
                "the whole export again, or export again."
            )
        origins[part] = Origin(recipe, listed, low, high)
    return origins


def _reached(level: Mapping[Source, Origin]) -> dict[Source, None]:
    """The inputs that a part may have rows from."""
    ranges: dict[str, list[tuple[int, int]]] = {}
    inputs: dict[str, Mapping[int, Source]] = {}
    for origin in level.values():
        inputs[origin.recipe] = origin.inputs
        ranges.setdefault(origin.recipe, []).append((origin.low, origin.high))
    reached: dict[Source, None] = {}
    for recipe, listed in inputs.items():
        numbers = np.array(sorted(listed))
        lows, highs = np.array(ranges[recipe]).T
        begun = np.searchsorted(np.sort(lows), numbers, side="right")
        ended = np.searchsorted(np.sort(highs), numbers, side="left")
        reached |= dict.fromkeys(listed[n] for n in numbers[begun > ended].tolist())
    return reached


def _inputs(part: Source, recipe: Manifest) -> dict[int, Source]:
    """The inputs of an export, by the number in the column ``shard`` of its rows."""
    try:
        listed = recipe.content["inputs"]
        inputs = {one["shard"]: _input(one) for one in listed}
        if len(inputs) < len(listed):
            raise ValueError("two inputs have the same number")
    except (KeyError, TypeError, ValueError) as error:
        problem = f"an input has no {error}" if isinstance(error, KeyError) else error
        raise PairingError(
            f"{recipe.path} does not state which shards the rows of {part.path} came from: "
            f"{problem}. Export them again from their source, or name the embeddings of "
            "a part as the part."
        ) from None
    return inputs


def _input(entry: Mapping) -> Source:
    number, path = entry["shard"], entry["path"]
    n_rows, digest = entry["rows"], entry["footer_sha256"]
    are_counts = type(number) is int and type(n_rows) is int and number >= 0 and n_rows >= 0
    if not (are_counts and isinstance(path, str) and isinstance(digest, str)):
        raise ValueError(f"an input is listed as {entry!a:.200}")
    return Source(path, n_rows, digest)


def _scheme(path: str) -> str:
    return path.rpartition("://")[0]
