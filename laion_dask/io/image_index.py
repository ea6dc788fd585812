"""Where the images of one shard lie, by path and by key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class ImageIndex:
    """The images of one shard.

    Attributes
    ----------
    paths : dict of str to object
        ``image_path`` without the shard's own part → the place, as the shard's ``fetch`` takes it.
    keys : dict of str to list
        Key, or name without the shard's, → the places of all images of that key or name.
    """

    paths: dict[str, object] = field(default_factory=dict)
    keys: dict[str, list] = field(default_factory=dict)

    def add(self, path: str, names: Iterable[str], place) -> None:
        """Note an image and what else it may be asked for by."""
        self.paths[path] = place
        for name in names:
            self.keys.setdefault(name, []).append(place)
