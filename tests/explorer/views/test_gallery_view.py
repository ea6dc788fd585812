"""The gallery: what is sent to the browser, and what never is."""

import base64
import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from bokeh.core.json_encoder import serialize_json
from bokeh.document import Document
from PIL import Image
from support.explorations import exploration_of
from support.shards import laion_table
from support.small_clip import write_tar

import laion_dask as ld
from laion_dask.explorer.embedding_filters import Score
from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.views import gallery as module
from laion_dask.explorer.views import row_pages
from laion_dask.explorer.views.gallery import GalleryView

HOSTILE = "<img src=x onerror=alert(1)>\u202e\x00"
N = 120


def checkerboard(number: int) -> bytes:
    pixels = (np.indices((96, 96)).sum(0) % 2 * (255 - number)).astype("uint8")
    sink = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    files = {f"{n:03}.png": checkerboard(n) for n in range(N - 10)}
    files["003.png"] = b"<svg onload=alert(1)>"
    write_tar(folder / "00000.tar", files)
    return ld.open_images(folder)


def table() -> pa.Table:
    rows = laion_table(N, odd=False)
    scores = [0.9 if n % 5 == 2 else None if n % 5 == 4 else 0.1 for n in range(N)]
    texts = [HOSTILE if n == 0 else None if n == 1 else f"caption {n}" for n in range(N)]
    data = rows.to_pandas().assign(punsafe=scores, TEXT=texts, key=[f"{n:03}" for n in range(N)])
    return pa.Table.from_pandas(data, preserve_index=False)


class Watched:
    """A gallery, and the messages that a browser would have had from it."""

    def __init__(self, exploration, **options) -> None:
        self.view = GalleryView(exploration, **options)
        self.messages: list[dict] = []
        self.lengths: list[int] = []
        self.view.panel._send_msg = self._take

    def _take(self, text: str) -> None:
        self.lengths.append(len(text))
        self.messages.append(json.loads(text))

    def send(self, **message) -> list[dict]:
        """Act as the browser; the messages that come back."""
        self.messages.clear()
        self.view.panel._handle_msg(message)
        return self.wait()

    def wait(self) -> list[dict]:
        jobs = self.view._jobs
        while jobs.current is not None and (jobs._queue or not jobs.current.has_ended):
            jobs.current._ended.wait(60)
        jobs.deliver()
        return self.messages

    @property
    def page(self) -> dict:
        return next(one for one in self.messages if one["kind"] == "page")

    @property
    def pictures(self) -> dict[int, dict]:
        groups = [one["pictures"] for one in self.messages if one["kind"] == "pictures"]
        return {one["id"]: one for group in groups for one in group}


@pytest.fixture
def exploration(tmp_path, images):
    made = exploration_of(tmp_path, table())
    made.images = images
    return made


@pytest.fixture
def watched(exploration):
    watched = Watched(exploration)
    yield watched
    watched.view.close()


def contrast(picture: dict) -> float:
    data = base64.b64decode(picture["jpeg"])
    return float(np.asarray(Image.open(io.BytesIO(data)), float).std())


def test_nothing_is_sent_before_a_browser_is_there(watched):
    watched.view.refresh()
    assert watched.wait() == []


def test_a_page_has_safe_rows_and_their_pictures(watched):
    watched.send(kind="ready")
    page, pictures = watched.page, watched.pictures
    safe = [n for n in range(N) if n % 5 not in (2, 4)]
    assert [tile["id"] for tile in page["tiles"]] == safe[:48] == list(pictures)
    assert page["bar"]["n"] == len(safe) and page["bar"]["hidden"] == N - len(safe)
    assert page["bar"]["pages"] == 2
    assert all(tile["doubt"] is None for tile in page["tiles"])
    shown = [one for n, one in pictures.items() if n != 3]
    assert all(contrast(one) > 50 and not one["blurred"] for one in shown)
    assert "not readable: not an image" in pictures[3]["reason"]
    assert page["tiles"][0]["caption"] == "<img src=x onerror=alert(1)>\\u202e\\u0000"
    assert page["tiles"][1]["caption"] is None
    row = watched.view._exploration.frame.compute().iloc[0]
    assert page["tiles"][0]["facts"] == [
        ["similarity", f"{row['similarity']:.3f}"],
        ["punsafe", "0.100"],
        ["", row["language"]],
        ["", f"{row['width']} x {row['height']}"],
    ]
    watched.send(kind="page", page=2)
    assert [tile["id"] for tile in watched.page["tiles"]] == safe[48:]
    assert watched.pictures[max(safe)]["reason"] == "no image"
    assert max(watched.lengths) < 300_000


def test_unsafe_and_unscored_pictures_leave_the_process_blurred_only(watched):
    watched.send(kind="ready")
    watched.send(kind="hidden", shown=True)
    doubts = {tile["id"]: tile["doubt"] for tile in watched.page["tiles"]}
    assert doubts[2] == "punsafe is 0.9" and doubts[4] == "punsafe is missing"
    for n in (2, 4, 7, 9):
        assert watched.pictures[n]["blurred"] and contrast(watched.pictures[n]) < 20
    assert watched.page["tiles"][0]["keeps"] and 0 not in watched.pictures  # not sent again
    # one tile at a time, until the page is left
    watched.send(kind="reveal", id=2, shown=True)
    assert list(watched.pictures) == [2] and contrast(watched.pictures[2]) > 50
    watched.send(kind="reveal", id=2, shown=False)
    assert contrast(watched.pictures[2]) < 20
    watched.send(kind="reveal", id=2, shown=True)
    watched.send(kind="page", page=2)
    watched.send(kind="page", page=1)
    assert contrast(watched.pictures[2]) < 20
    watched.send(kind="reveal", id=4, shown=True)
    watched.view.refresh()
    watched.wait()
    assert contrast(watched.pictures[4]) < 20


@pytest.mark.parametrize("position", [N - 1, -1, 10**9, "2", None, True, [2]])
def test_only_tiles_of_the_page_can_be_revealed_or_ticked(watched, position):
    watched.send(kind="ready")
    assert watched.send(kind="reveal", id=position, shown=True) == []
    assert watched.send(kind="tick", id=position, ticked=True) == []
    assert len(watched.view._exploration.ticked) == 0


def test_a_hidden_row_cannot_be_revealed(watched):
    watched.send(kind="ready")
    assert watched.send(kind="reveal", id=2, shown=True) == []


def test_a_reveal_that_is_taken_back_meanwhile_is_not_sent(watched):
    watched.send(kind="ready")
    watched.send(kind="hidden", shown=True)
    watched.messages.clear()
    watched.view.panel._handle_msg({"kind": "reveal", "id": 2, "shown": True})
    watched.view.panel._handle_msg({"kind": "reveal", "id": 2, "shown": False})
    watched.wait()
    assert all(one["blurred"] for one in watched.pictures.values())


def test_the_selection_is_followed(watched, exploration):
    watched.send(kind="ready")
    exploration.selection.set("width", NumberRange("width", 1000, None))
    watched.messages.clear()
    watched.view.refresh()
    watched.wait()
    data = exploration.frame.compute()
    kept = (data["width"] >= 1000) & (data["punsafe"] < 0.5)
    assert [tile["id"] for tile in watched.page["tiles"]] == np.flatnonzero(kept)[:48].tolist()


def test_ticked_rows_have_their_shard_and_row(watched, exploration):
    watched.send(kind="ready")
    (message,) = watched.send(kind="tick", id=5, ticked=True)
    assert message == {"kind": "ticks", "ids": [5]}
    exploration.ticked.change(add=[6])  # by the table
    assert exploration.ticked.rows == {(0, 5), (0, 6)}
    watched.view.refresh()
    assert [t["id"] for t in watched.messages[-1]["tiles"] if t["ticked"]] == [5, 6]
    watched.send(kind="tick", id=5, ticked=False)
    assert exploration.ticked.rows == {(0, 6)}


def test_more_like_a_row_is_passed_on(exploration):
    asked = []
    watched = Watched(exploration, on_more=asked.append)
    watched.send(kind="ready")
    assert watched.page["tiles"][0]["has_more"]
    watched.send(kind="more", id=5)
    watched.send(kind="more", id=N + 5)
    assert asked == [5]
    watched.view.close()


def test_tiles_in_the_order_of_a_question_show_their_similarity_to_it(exploration):
    scores = np.linspace(0.1, 0.9, N, dtype=np.float32)
    exploration.selection.set("ask", Score((1.0,), 0.2, scores))
    watched = Watched(exploration)
    watched.send(kind="ready")
    tiles = watched.page["tiles"]
    shown = [tile["facts"][0] for tile in tiles]
    assert shown == [["to the question", f"{scores[tile['id']]:.3f}"] for tile in tiles]
    assert [value for _, value in shown] == sorted((value for _, value in shown), reverse=True)
    assert tiles[0]["facts"][1][0] == "similarity"  # the column of the data
    watched.send(kind="sort", by="width")
    assert watched.page["tiles"][0]["facts"][0][0] == "similarity"
    watched.view.close()


def test_without_images_tiles_are_text(tmp_path):
    watched = Watched(exploration_of(tmp_path, table().drop(["key"])))
    watched.send(kind="ready")
    assert watched.pictures == {} and not watched.page["has_pictures"]
    assert "ld.open_images" in watched.page["note"]
    urls = {"https://a.example.com/x": "example.com", "http://shop.co.uk/1": "shop.co.uk"}
    data = watched.view._exploration.frame.compute()
    for tile in watched.page["tiles"]:
        domain = urls.get(data["url"].iloc[tile["id"]])
        assert domain is None or tile["facts"][0] == ["", domain]


def test_rows_without_names_of_images_say_so(tmp_path, images):
    made = exploration_of(tmp_path, table().drop(["key"]))
    made.images = images
    watched = Watched(made)
    watched.send(kind="ready")
    assert watched.pictures == {} and not watched.page["has_pictures"]
    assert "'image_path' nor 'key'" in watched.page["note"]


def test_without_scores_everything_is_hidden_and_the_page_says_why(tmp_path, images):
    made = exploration_of(tmp_path, table().drop(["punsafe"]))
    made.images = images
    watched = Watched(made)
    watched.send(kind="ready")
    bar = watched.page["bar"]
    assert watched.page["tiles"] == [] and bar["hidden"] == N
    assert bar["empty"]["why"].endswith("because there is no column punsafe.")
    assert bar["empty"]["button"] == "Show the 120 rows without a score"
    assert "stay blurred" in bar["empty"]["note"]
    watched.send(kind="hidden", shown=True)
    assert watched.page["bar"]["empty"] is None
    assert {tile["doubt"] for tile in watched.page["tiles"]} == {"unscored"}
    assert all(one["blurred"] for one in watched.pictures.values() if "jpeg" in one)
    watched.view.close()


def test_no_rows(tmp_path):
    watched = Watched(exploration_of(tmp_path, table().slice(0, 0)))
    watched.send(kind="ready")
    assert watched.page["tiles"] == [] and watched.page["bar"]["n"] == 0


def test_a_notebook_saves_no_caption_and_no_picture(watched):
    """Shown a second time, when the gallery has a page."""
    watched.send(kind="ready")
    saved = Document()
    saved.add_root(watched.view.panel.get_root(saved))
    text = serialize_json(saved.to_json())
    assert "caption 5" not in text and "jpeg;base64,/9j" not in text and "a.example.com" not in text


def test_pictures_are_sent_in_messages_of_bounded_size(watched, monkeypatch):
    big = {"jpeg": "x" * 100_000, "blurred": False}
    monkeypatch.setattr(module, "picture", lambda at, image, blurred: {"id": at, **big})
    watched.send(kind="ready")
    assert len(watched.pictures) == 48 and max(watched.lengths) < 300_000


def test_pages_of_images_that_cannot_be_read_have_reasons(watched, monkeypatch):
    def read(images, page: pd.DataFrame):
        raise OSError("<b>disk</b> gone")

    monkeypatch.setattr(module, "read_images", read)
    watched.send(kind="ready")
    assert {one["reason"] for one in watched.pictures.values()} == {"OSError: <b>disk</b> gone"}


def test_one_image_that_cannot_be_told_ends_no_page(tmp_path, images):
    for name in ("a", "b", "c", "rows"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        write_tar(tmp_path / name / "00000.tar", {"005.png": checkerboard(5)})
    tars = [*(tmp_path / name / "00000.tar" for name in ("a", "b"))]
    write_tar(tmp_path / "c" / "00001.tar", {"006.png": checkerboard(6)})
    made = exploration_of(tmp_path / "rows", table())
    made.images = ld.open_images([*map(str, tars), str(tmp_path / "c" / "00001.tar")])
    watched = Watched(made)
    watched.send(kind="ready")
    assert "matches 2 images" in watched.pictures[5]["reason"]
    assert contrast(watched.pictures[6]) > 50 and watched.pictures[8]["reason"] == "no image"
    watched.view.close()


def test_a_long_order_is_computed_in_the_background(watched, monkeypatch):
    monkeypatch.setattr(row_pages, "_QUICK", 10)
    watched.send(kind="ready")
    messages = watched.send(kind="sort", by="similarity")
    assert messages[0]["kind"] == "bar" and messages[0]["bar"]["is_ordering"]
    watched.wait()
    data = watched.view._exploration.frame.compute()
    expected = data[data["punsafe"] < 0.5].sort_values("similarity", kind="stable").index
    assert [tile["id"] for tile in watched.page["tiles"]] == expected.tolist()[:48]
    assert not watched.page["bar"]["is_ordering"]
    kept = {tile["id"] for tile in watched.page["tiles"] if tile["keeps"]}
    assert kept | set(watched.pictures) == set(expected[:48]) and kept.isdisjoint(watched.pictures)
