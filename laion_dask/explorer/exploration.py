"""What all views of an explorer share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import dask.dataframe as dd
import numpy as np

from laion_dask.explorer.sample import Sample
from laion_dask.explorer.selection import Selection
from laion_dask.explorer.tag_filter import TagSets
from laion_dask.explorer.ticked_rows import TickedRows
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.images.images import Images


@dataclass(eq=False)
class Exploration:
    """A frame, a sample of its rows, and the selection that views share.

    Attributes
    ----------
    sample : Sample
    embeddings : Embeddings or None
    images : Images or None
    projection : Projection or None
        Set when it has been computed.
    points : (n, 2) float32 array or None
        The sample's rows in the plane of the projection; NaN for rows without an embedding.
    caption_terms : CaptionTerms or None
        Set when captions have been searched for terms.
    is_command : bool
        Whether `laion-dask explore` shows it, so that hints name options of the command.
    selection : Selection
    ticked : TickedRows
        The rows that a person has ticked, to tag them.
    tag_sets : TagSets
        Sets of rows that were chosen by hand.
    """

    sample: Sample
    embeddings: Embeddings | None = None
    images: Images | None = None
    projection: Any = None
    points: np.ndarray | None = None
    caption_terms: Any = None
    is_command: bool = False
    selection: Selection = field(init=False)
    ticked: TickedRows = field(init=False)
    tag_sets: TagSets = field(init=False)

    def __post_init__(self) -> None:
        self.selection = Selection(self.sample)
        self.ticked = TickedRows(self.sample)
        self.tag_sets = TagSets(self.frame)

    @property
    def frame(self) -> dd.DataFrame:
        """The frame that is explored, with all its rows. Lazy."""
        return self.sample.frame
