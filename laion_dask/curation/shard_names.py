"""Names of shards relative to their data set, by which they are found again in another listing."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from laion_dask.errors import OptionError
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.shard import Shard


@dataclass(frozen=True)
class ShardName:
    """What identifies a shard in another listing of the data set.

    Attributes
    ----------
    name : str
        Its path relative to the data set, with slashes.
    footer_sha256 : str
    is_unique : bool
        Whether no other shard of the data set has an equal footer; otherwise the name decides.
    """

    name: str
    footer_sha256: str
    is_unique: bool = True


def shard_names(provenance: Provenance) -> dict[int, ShardName]:
    """The name of each shard of a frame, by its number. Eager; reads no data.

    A name is relative to the folder that was searched, or to the folder that all shards have in
    common.

    Raises
    ------
    ProvenanceError
        As `Provenance.shards`.
    """
    shards = provenance.shards
    paths = [shard.path for shard in shards]
    searched = {folder for scan, _ in provenance.sources for folder in scan.searched}
    folders = sorted((_plain(folder) + "/" for folder in searched), key=len, reverse=True)
    relative = [_relative(_plain(path), folders) for path in paths]
    if len(set(relative)) < len(paths):
        relative = [_plain(path) for path in paths]
    if any(one == _plain(path) for one, path in zip(relative, paths, strict=True)):
        below = len(_common_folder([_plain(path) for path in paths]))
        relative = [_plain(path)[below:] for path in paths]
    n_equal = Counter(shard.footer_sha256 for shard in shards)
    return {
        shard.index: ShardName(name, shard.footer_sha256, n_equal[shard.footer_sha256] == 1)
        for shard, name in zip(shards, relative, strict=True)
    }


def _plain(path: str) -> str:
    """A path or address as it is compared: local ones without ``file://``."""
    path = path.removeprefix("file://") if path.startswith("file:///") else path
    return path.replace(os.sep, "/").rstrip("/")


def _relative(path: str, folders: Sequence[str]) -> str:
    return next((path[len(one) :] for one in folders if path.startswith(one)), path)


def _common_folder(paths: Sequence[str]) -> str:
    """The start that all paths share, up to a slash."""
    folders = [path.rpartition("/")[0] + "/" for path in paths]
    low, high = min(folders, default=""), max(folders, default="")
    n = next((i for i in range(len(low)) if low[i] != high[i : i + 1]), len(low))
    return low[: low.rfind("/", 0, n) + 1]


def found_again(wanted: Sequence[ShardName], provenance: Provenance, what: str) -> list[Shard]:
    """The shard of a frame for each of the wanted ones: the same content, under any name.

    Parameters
    ----------
    wanted : sequence of ShardName
        From this or another listing.
    provenance : Provenance
    what : str
        What names them, for messages.

    Raises
    ------
    OptionError
        When a shard is missing or has changed, or several shards may be meant; names what differs.
    """
    names = shard_names(provenance)
    by_footer: dict[str, list[Shard]] = defaultdict(list)
    for shard in provenance.shards:
        by_footer[shard.footer_sha256].append(shard)
    found: dict[int, str] = {}
    shards = []
    for one in wanted:
        alike = by_footer.get(one.footer_sha256, [])
        meant = alike
        if len(alike) > 1 or not one.is_unique:
            meant = [shard for shard in alike if names[shard.index].name == one.name]
        if len(meant) != 1:
            raise _not_found(one, alike, list(names.values()), what)
        (shard,) = meant
        if shard.index in found:
            raise OptionError(
                f"{what} names the shards {found[shard.index]!r} and {one.name!r}, of which this "
                f"data set has one. Open both, or write the rows of {names[shard.index].name!r} as "
                "another set."
            )
        found[shard.index] = one.name
        shards.append(shard)
    return shards


def _not_found(
    wanted: ShardName, alike: Sequence[Shard], names: Sequence[ShardName], what: str
) -> OptionError:
    if alike:
        paths = " or ".join(shard.path for shard in alike[:2])
        return OptionError(
            f"{what} names the shard {wanted.name!r}, whose footer equals that of other shards, so "
            f"its name decides, and no shard has it; it may be {paths}. Open the folder that the "
            "data set was opened from when the rows were chosen."
        )
    before = f"(its footer has sha256 {wanted.footer_sha256[:16]})"
    changed = [one for one in names if one.name == wanted.name]
    if changed:
        return OptionError(
            f"{what} names rows of the shard {wanted.name!r} {before}, which has changed since: it "
            f"has {changed[0].footer_sha256[:16]} now. A row number may now be another row. Open "
            "the files that the rows were chosen from, or choose the rows again."
        )
    return OptionError(
        f"{what} names rows of the shard {wanted.name!r} {before}, which is not among the "
        f"{len(names):,} shards of this frame. Open all of the data set that the rows were chosen "
        "from; files that were written again have other footers."
    )
