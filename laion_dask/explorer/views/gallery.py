"""The gallery: the selected rows as tiles with pictures, or as cards of text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.hidden_rows import HiddenRows
from laion_dask.explorer.jobs import Job, Jobs, error_line
from laion_dask.explorer.views.component import MessageComponent, source
from laion_dask.explorer.views.row_pages import RowPages
from laion_dask.explorer.views.tiles import (
    describe,
    in_messages,
    is_on_page,
    picture,
    read_images,
    tile_columns,
)
from laion_dask.io.images.images import NAMES, Images

#: Tiles of a page, and pictures that are sent to it together.
TILES, _AT_ONCE = 48, 16

_NO_IMAGES = "No images were given: pass images=ld.open_images(…) to explore."
_NO_IMAGES_OF_COMMAND = (
    "No images were given: start laion-dask explore with --images PATH to see them."
)
_BLURRED = "Their pictures stay blurred; a click, or Enter, shows one."
_NO_NAMES = (
    f"The rows have neither {NAMES[0]!r} nor {NAMES[1]!r}, which identify an image; ld.embed "
    "writes both, img2dataset the key."
)


class GalleryComponent(MessageComponent):
    _esm = source("common.js", "empty_page.js", "page_bar.js", "gallery_tile.js", "gallery.js")
    _stylesheets = [source("common.css", "page_bar.css", "gallery.css")]  # noqa: RUF012


class GalleryView:
    """Tiles of the selected rows, 48 a page. Nothing is fetched from the web.

    Rows that are not known to be safe (``punsafe`` of at least 0.5, or missing) are hidden, with
    their number in sight, until a person asks for them. Then their pictures are blurred before they
    leave this process, and shown one at a time, until the page is left.

    Parameters
    ----------
    exploration : Exploration
        With ``images``, or without: then tiles have captions and domains only.
    safety : str
        The column with the probability that an image is unsafe.
    on_more : callable, optional
        Called with the position of a row in the sample, to look for more like it.

    Attributes
    ----------
    panel : GalleryComponent
    """

    def __init__(
        self,
        exploration: Exploration,
        *,
        safety: str = "punsafe",
        on_more: Callable[[int], object] | None = None,
    ) -> None:
        self._exploration, self._on_more = exploration, on_more
        self._ticked = exploration.ticked
        self._pages = RowPages(exploration.selection, TILES, safety)
        self._hidden_rows = HiddenRows(exploration, safety)
        self._jobs = Jobs()
        self._is_ready = False
        self._frame = pd.DataFrame()
        self._doubts: dict[int, str | None] = {}
        self._revealed: set[int] = set()
        #: Pictures that the browser has, of the page it shows: whether they are blurred.
        self._sent: dict[int, bool] = {}
        self._sequence = 0
        self.panel = GalleryComponent(self._receive, sizing_mode="stretch_both")
        self._ticked.subscribe(self._send_ticks)

    # -- what the app calls ------------------------------------------------------------------------
    def refresh(self) -> None:
        """Show the first page of the selection as it is now."""
        self._pages.refresh()
        self._show()

    def set_on_more(self, on_more: Callable[[int], object] | None) -> None:
        """Offer to look for more like a row; see ``on_more``."""
        self._on_more = on_more
        self._show()

    def close(self) -> None:
        """End the work in the background."""
        self._jobs.close()

    # -- what the browser sends --------------------------------------------------------------------
    def _receive(self, message: Mapping[str, Any]) -> None:
        """Act on a message; malformed messages are ignored."""
        kind, position = message.get("kind"), message.get("id")
        if kind == "ready":
            self._is_ready, self._sent = True, {}
            self._show()
        elif self._pages.receive(message):
            self._show()
        elif is_on_page(self._positions, position):
            self._act(str(kind), int(position), message)  # type: ignore[arg-type]

    def _act(self, kind: str, position: int, message: Mapping[str, Any]) -> None:
        """Act on a message about a tile of the page."""
        if kind == "tick" and message.get("ticked") is True:
            self._ticked.change(add=[position])
        elif kind == "tick":
            self._ticked.change(remove=[position])
        elif kind == "reveal":
            self._reveal(position, message.get("shown") is True)
        elif kind == "more" and self._on_more is not None:
            self._on_more(position)

    @property
    def _positions(self) -> np.ndarray:
        return self._frame.index.to_numpy()

    # -- pages -------------------------------------------------------------------------------------
    def _show(self) -> None:
        """Send the page; nothing before a browser shows the view."""
        self._jobs.cancel()
        if not self._is_ready:
            return
        sample, safety = self._exploration.sample, self._pages.safety
        if (order := self._pages.order_to_compute()) is not None:
            self.panel.tell({"kind": "bar", "bar": self._bar()})
            self._jobs.start("order", lambda job: sample.order(*order), then=lambda _: self._show())
            return
        with_images = self._source is not None
        names = tile_columns(sample, safety, with_images)
        self._frame = sample.page(self._pages.positions(), names)
        question = self._pages.ranking
        tiles = describe(self._frame, sample, safety, with_images=with_images, question=question)
        self._doubts = {tile["id"]: tile["doubt"] for tile in tiles}
        self._revealed.clear()
        self._sequence += 1
        self._sent = {
            at: blurred
            for at, blurred in self._sent.items()
            if at in self._doubts and blurred == self._is_blurred(at)
        }
        first = (self._pages.page - 1) * self._pages.size + 1
        for number, tile in enumerate(tiles, first):
            at = tile["id"]
            tile |= {"number": number, "ticked": at in self._ticked, "keeps": at in self._sent}
            tile["has_more"] = self._on_more is not None
        message = {"kind": "page", "tiles": tiles, "has_pictures": with_images}
        self.panel.tell({**message, "note": self._note(), "bar": self._bar()})
        if with_images:
            self._make_pictures([at for at in self._doubts if at not in self._sent])

    def _bar(self) -> dict[str, Any]:
        pages, note = self._pages, "" if self._source is None else _BLURRED
        empty = self._hidden_rows.state(pages.n, pages.n_hidden, note)
        return pages.bar("shown" if self._source is None else "blurred") | {"empty": empty}

    @property
    def _source(self) -> Images | None:
        """The images, if rows have names of images."""
        is_named = any(name in self._exploration.sample.names for name in NAMES)
        return self._exploration.images if is_named else None

    def _note(self) -> str:
        notes = []
        if self._exploration.images is None:
            notes.append(_NO_IMAGES_OF_COMMAND if self._exploration.is_command else _NO_IMAGES)
        elif self._source is None:
            notes.append(_NO_NAMES)
        return " ".join(notes)

    def _is_blurred(self, position: int) -> bool:
        return self._doubts[position] is not None and position not in self._revealed

    def _send_ticks(self) -> None:
        if self._is_ready:
            ids = [at for at in self._doubts if at in self._ticked]
            self.panel.tell({"kind": "ticks", "ids": ids})

    # -- pictures ----------------------------------------------------------------------------------
    def _reveal(self, position: int, shown: bool) -> None:
        (self._revealed.add if shown else self._revealed.discard)(position)
        if self._source is not None:
            self._make_pictures([position])

    def _make_pictures(self, positions: list[int]) -> None:
        """Read and make the pictures in the background, and send them a group at a time."""
        frame, blurred = self._frame, {at: self._is_blurred(at) for at in positions}
        images: dict[int, Any] = {}
        source = self._source
        assert source is not None

        def make(job: Job, group: list[int]) -> list[dict[str, Any]]:
            if not images:  # the whole page, since rows that share an image's name are told apart
                found = read_images(source, frame)
                images.update(zip(frame.index.tolist(), found, strict=True))
            made = []
            for at in group:
                if job.observer.is_cancelled:
                    break
                made.append(picture(at, images[at], blurred=blurred[at]))
            return made

        for start in range(0, len(positions), _AT_ONCE):
            self._start_job(make, positions[start : start + _AT_ONCE])

    def _start_job(self, make: Callable[[Job, list[int]], Any], group: list[int]) -> None:
        sequence = self._sequence

        def failed(error: Exception) -> None:
            reasons = [{"id": at, "reason": error_line(error)} for at in group]
            self._send_pictures(reasons, sequence)

        self._jobs.start(
            "pictures",
            lambda job: make(job, group),
            then=lambda made: self._send_pictures(made, sequence),
            failed=failed,
        )

    def _send_pictures(self, made: Iterable[dict[str, Any]], sequence: int) -> None:
        """Send pictures, unless the page has changed or their tile is to be blurred meanwhile."""
        if sequence != self._sequence:
            return
        current = [one for one in made if self._is_current(one)]
        for group in in_messages(current):
            self.panel.tell({"kind": "pictures", "pictures": group})
        for one in current:
            self._sent[one["id"]] = one.get("blurred", self._is_blurred(one["id"]))

    def _is_current(self, made: dict[str, Any]) -> bool:
        return "jpeg" not in made or made["blurred"] == self._is_blurred(made["id"])
