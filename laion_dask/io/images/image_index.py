"""Index the images in one shard by path and by key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from laion_dask.io.images.sample_groups import SampleFiles


@dataclass
class ImageIndex:
    """The positions of the images in one shard.

    Attributes
    ----------
    paths : dict of str to object
        ``image_path`` without the shard's name → the position, as used by the shard's ``fetch``.
    keys : dict of str to list
        Key, or path without the shard's name → the positions of all matching images.
    ends : dict of str to list
        Final part of a path, starting after some folder → the positions of all matching images.
        Paths start at the common root of the folders that were opened together.
    """

    paths: dict[str, object] = field(default_factory=dict)
    keys: dict[str, list] = field(default_factory=dict)
    ends: dict[str, list] = field(default_factory=dict)

    def add(self, path: str, names: Iterable[str], location) -> None:
        """Add an image by its path, and by other names that may refer to it."""
        self.paths[path] = location
        for name in names:
            self.keys.setdefault(name, []).append(location)

    def add_sample(self, sample: SampleFiles, location) -> None:
        """Add the image of a sample by its path and, unless the sample is rejected, by its key."""
        path = sample.first.path
        self.add(path, dict.fromkeys([path] if sample.reason else [path, sample.key]), location)

    def add_file(self, sample: SampleFiles, location) -> None:
        """Add an image of a folder; also indexes the ends of its path and key."""
        self.add_sample(sample, location)
        for name in dict.fromkeys((sample.first.path, sample.key)):
            parts = name.split("/")
            for at in range(1, len(parts)):
                self.ends.setdefault("/".join(parts[at:]), []).append(location)
