"""Where the images of one shard lie, by path and by key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from laion_dask.io.images.sample_groups import SampleFiles


@dataclass
class ImageIndex:
    """The images of one shard.

    Attributes
    ----------
    paths : dict of str to object
        ``image_path`` without the shard's own part → the place, as the shard's ``fetch`` takes it.
    keys : dict of str to list
        Key, or name without the shard's, → the places of all images of that key or name.
    ends : dict of str to list
        What follows a folder in the name of a file → the places of all such images. A file is
        named below the root of all folders that were opened together.
    """

    paths: dict[str, object] = field(default_factory=dict)
    keys: dict[str, list] = field(default_factory=dict)
    ends: dict[str, list] = field(default_factory=dict)

    def add(self, path: str, names: Iterable[str], place) -> None:
        """Note an image and what else it may be asked for by."""
        self.paths[path] = place
        for name in names:
            self.keys.setdefault(name, []).append(place)

    def add_sample(self, sample: SampleFiles, place) -> None:
        """Note the image of a sample: by its path, and by its key where it is no reject."""
        path = sample.first.path
        self.add(path, dict.fromkeys([path] if sample.reason else [path, sample.key]), place)

    def add_file(self, sample: SampleFiles, place) -> None:
        """Note an image of a folder: as ``add_sample``, and by what its names end with."""
        self.add_sample(sample, place)
        for name in dict.fromkeys((sample.first.path, sample.key)):
            parts = name.split("/")
            for at in range(1, len(parts)):
                self.ends.setdefault("/".join(parts[at:]), []).append(place)
