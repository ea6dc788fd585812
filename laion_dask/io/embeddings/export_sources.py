"""From the parts of exports back to the shards that their rows came from, by their recipes."""

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

#: Exports of exports that are followed.
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
        """Whether it is named as a part of an export."""
        return is_part_name(self.path.rpartition("/")[2])


@dataclass(frozen=True)
class Origin:
    """Where the rows of a part came from.

    Attributes
    ----------
    recipe : str
        The path of the recipe that says so.
    inputs : dict of int to Source
        All that the recipe lists, by the number in the part's column ``shard``.
    low, high : int
        The least and the greatest number that the part has.
    """

    recipe: str
    inputs: Mapping[int, Source]
    low: int
    high: int


@dataclass(frozen=True)
class Trace:
    """What some files of rows lead back to.

    Attributes
    ----------
    own : list of Source
        Parts that have embeddings of their own.
    levels : list of dict of Source to Origin
        Parts that have none: those given, the parts that these came from, and so on.
    shards : list of Source
        What is no part: the shards that were given, and those that parts came from.
    """

    own: list[Source]
    levels: list[dict[Source, Origin]]
    shards: list[Source]

    def listed(self) -> set[Source]:
        """Every input of every recipe, whether a part has rows of it or not."""
        recipes = {o.recipe: o.inputs for level in self.levels for o in level.values()}
        return {source for inputs in recipes.values() for source in inputs.values()}

    def part_with(self, shard: Source) -> Source | None:
        """A part that has rows of a shard, or None. Eager: reads columns of parts."""
        numbers: dict[str, set[int]] = {}
        for part, origin in ((p, o) for level in self.levels for p, o in level.items()):
            if origin.recipe not in numbers:
                numbers[origin.recipe] = {n for n, s in origin.inputs.items() if s == shard}
            here = {n for n in numbers[origin.recipe] if origin.low <= n <= origin.high}
            if here and np.isin(origins_of(part.path, part.footer_sha256).shards, [*here]).any():
                return part
        return None

    def rewritten(self, shards: Sequence[Source]) -> Iterator[tuple[Source, Source]]:
        """Shards that are another file now than when rows of theirs were exported, and a part each.

        Their embeddings may be of other rows since. Of shards that are gone nothing is known.
        Eager: reads footers, and columns of parts.
        """
        if shards:
            with ThreadPoolExecutor(min(_THREADS, len(shards))) as pool:
                others = list(pool.map(_is_another_file, shards))
            for shard in itertools.compress(shards, others):
                part = self.part_with(shard)
                if part is not None:
                    yield shard, part


def trace(given: Sequence[Source], stems: Collection[str], addresses: Sequence[str]) -> Trace:
    """What some files of rows lead back to. Eager; reads recipes, and footers of parts.

    Parameters
    ----------
    given : sequence of Source
    stems : collection of str
        Of the names of the files of embeddings: a part of such a name has embeddings of its own.
    addresses : sequence of str
        Of the files of embeddings. A recipe leads to no other store than theirs, those of what is
        given, and this machine.

    Raises
    ------
    PairingError
        When a part's recipe is missing or does not say where its rows came from.
    """
    schemes = {"", *map(_scheme, addresses), *(_scheme(source.path) for source in given)}
    own, shards, levels = {}, {}, []
    recipes: dict[str, dict] = {}
    waiting = dict.fromkeys(given)
    while waiting:
        level = {}
        for source in waiting:
            if not source.is_part:
                shards[source] = None
            elif stem(source.path) in stems:
                own[source] = None
            elif _scheme(source.path) not in schemes:
                raise PairingError(
                    f"{source.path}, which the rows of an export came from, lies in a store that "
                    "was not named. Score the frame before it is exported."
                )
            else:
                level[source] = _listed(source, recipes)
        if level:
            levels.append(_origins(level))
        if len(levels) > _DEPTH:
            raise PairingError(
                f"{next(iter(levels[-1])).path} is the export of an export more than {_DEPTH} "
                "times, or of itself. Score the frame before it is exported."
            )
        waiting = _reached(levels[-1]) if level else {}
    return Trace(list(own), levels, list(shards))


def _is_another_file(shard: Source) -> bool:
    try:
        fs, inner = file_system(shard.path)
        if not fs.isfile(inner):  # gone, or a pipe, which would be waited for
            return False
        check_unchanged(shard.path, shard.footer_sha256)
    except ShardError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _listed(part: Source, recipes: dict[str, dict]) -> tuple[str, dict[int, Source]]:
    """The recipe that lists a part, and its inputs; each folder is looked at once."""
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
            f"{part.path} is named as a part of an export, and no recipe beside it lists it, so "
            "where its rows came from is not known. Copy the whole export with its _recipe.json, "
            "or name the embeddings of a part as the part."
        )
    return recipes[folder][part.path]


def _origins(level: Mapping[Source, tuple[str, dict[int, Source]]]) -> dict[Source, Origin]:
    """What parts lead back to, by the recipes that list them."""
    with ThreadPoolExecutor(min(_THREADS, len(level))) as pool:
        ranges = list(pool.map(lambda part: shard_range(part.path, part.footer_sha256), level))
    found = {}
    for (part, (recipe, listed)), (low, high) in zip(level.items(), ranges, strict=True):
        unknown = [n for n in (low, high) if low <= high and n not in listed]
        if unknown:
            raise PairingError(
                f"{part.path} has rows of shard {unknown[0]}, which {recipe} does not list. Copy "
                "the whole export again, or export again."
            )
        found[part] = Origin(recipe, listed, low, high)
    return found


def _reached(level: Mapping[Source, Origin]) -> dict[Source, None]:
    """The inputs that some part may have rows of."""
    ranges: dict[str, list[tuple[int, int]]] = {}
    inputs: dict[str, Mapping[int, Source]] = {}
    for origin in level.values():
        inputs[origin.recipe] = origin.inputs
        ranges.setdefault(origin.recipe, []).append((origin.low, origin.high))
    found: dict[Source, None] = {}
    for recipe, listed in inputs.items():
        numbers = np.array(sorted(listed))
        lows, highs = np.array(ranges[recipe]).T
        begun = np.searchsorted(np.sort(lows), numbers, side="right")
        ended = np.searchsorted(np.sort(highs), numbers, side="left")
        found |= dict.fromkeys(listed[n] for n in numbers[begun > ended].tolist())
    return found


def _inputs(part: Source, recipe: Manifest) -> dict[int, Source]:
    """The shards that an export was made of, by the number that its rows have in ``shard``."""
    try:
        listed = recipe.content["inputs"]
        found = {one["shard"]: _input(one) for one in listed}
        if len(found) < len(listed):
            raise ValueError("it numbers two inputs alike")
    except (KeyError, TypeError, ValueError) as error:
        what = f"an input has no {error}" if isinstance(error, KeyError) else error
        raise PairingError(
            f"{recipe.path} does not say which shards the rows of {part.path} came from: {what}. "
            "Export them again from their source, or name the embeddings of a part as the part."
        ) from None
    return found


def _input(entry: Mapping) -> Source:
    number, path = entry["shard"], entry["path"]
    n_rows, digest = entry["rows"], entry["footer_sha256"]
    whole = type(number) is int and type(n_rows) is int and number >= 0 and n_rows >= 0
    if not (whole and isinstance(path, str) and isinstance(digest, str)):
        raise ValueError(f"an input is listed as {entry!a:.200}")
    return Source(path, n_rows, digest)


def _scheme(path: str) -> str:
    return path.rpartition("://")[0]
