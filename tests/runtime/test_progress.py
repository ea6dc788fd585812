"""The progress bar: it appears after a time, whatever has been counted."""

from __future__ import annotations

import gc
import io
import threading
from types import SimpleNamespace

import dask
import pytest

from laion_dask.models import clip_loading
from laion_dask.models.clip import ClipModel
from laion_dask.options import is_watched
from laion_dask.runtime import graph
from laion_dask.runtime.progress import ProgressBar
from laion_dask.runtime.tasks import verb_bar


class Screen(io.StringIO):
    """A text stream with an event for an awaited text."""

    def __init__(self, awaited: str):
        super().__init__()
        self.awaited, self.seen = awaited, threading.Event()

    def write(self, text: str) -> int:
        if self.awaited in text:
            self.seen.set()
        return super().write(text)


def test_a_bar_appears_while_nothing_is_counted():
    screen = Screen("0/3")
    with ProgressBar(total=3, desc="a \x1b[31mshard", delay=0.01, file=screen) as bar:
        assert screen.seen.wait(60)
    assert "a \\u001b[31mshard" in screen.getvalue()
    assert not bar._clock.is_alive()


def test_a_short_job_shows_nothing():
    screen = Screen("")
    with ProgressBar(total=3, delay=1e6, file=screen, leave=False) as bar:
        bar.update()
    assert not screen.getvalue().strip()
    with ProgressBar(total=3, delay=0, file=screen, disable=True) as bar:
        assert bar._clock is None


def test_one_long_task_without_a_cluster_is_seen(monkeypatch):
    screen = Screen("search: ")

    class Quick(ProgressBar):
        def __init__(self, **options):
            super().__init__(**{**options, "delay": 0.01, "file": screen})

    monkeypatch.setattr(graph, "ProgressBar", Quick)
    monkeypatch.setattr(graph, "is_watched", lambda: True)
    results = graph.compute(dask.delayed(screen.seen.wait)(60), label="search")
    assert results == (True,)


def test_a_model_that_loads_slowly_is_seen(monkeypatch):
    screen = Screen("load demo: ")

    bars = []

    class Quick(ProgressBar):
        def __init__(self, **options):
            super().__init__(**{**options, "delay": 0.01, "file": screen})
            bars.append(self)

    monkeypatch.setattr(clip_loading, "ProgressBar", Quick)
    monkeypatch.setattr(clip_loading, "is_watched", lambda: True)
    monkeypatch.setattr(clip_loading, "load", lambda *args: screen.seen.wait(60))
    assert ClipModel("demo").load() is True
    assert not any(bar._clock.is_alive() for bar in bars) and len(bars) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_clock_stops_with_an_error(error):
    with pytest.raises(error), ProgressBar(total=1, delay=0.01, file=io.StringIO()) as bar:
        raise error
    assert not bar._clock.is_alive()


def test_the_clock_stops_with_a_bar_that_nobody_closed():
    bar = ProgressBar(total=1, delay=0.01, file=io.StringIO())
    clock = bar._clock
    del bar
    gc.collect()
    clock.join(60)
    assert not clock.is_alive()


def test_a_bar_that_an_error_ended_is_cleared_in_a_notebook_too():
    pytest.importorskip("ipywidgets")
    from tqdm import notebook

    class Bar(ProgressBar, notebook.tqdm):
        """`ProgressBar` as it is if tqdm.auto detects a notebook."""

    for leave, style in ((False, ""), (True, "danger")):
        with (
            pytest.raises(KeyboardInterrupt),
            Bar(total=3, delay=1e6, leave=leave, display=False) as bar,
        ):
            bar.update()
            raise KeyboardInterrupt
        assert bar.container.children[-2].bar_style == style
        assert (bar.container.layout.visibility == "hidden") is not leave


@pytest.mark.parametrize("leave", [False, True])
def test_a_notebook_keeps_the_output_of_a_bar_only_if_it_was_asked_for(leave, monkeypatch):
    pytest.importorskip("ipywidgets")
    from tqdm import notebook

    class Bar(ProgressBar, notebook.tqdm):
        """`ProgressBar` as it is if tqdm.auto detects a notebook."""

    outputs = []

    def displayed(shown, **options):
        outputs.append(shown)
        return SimpleNamespace(update=lambda data, raw: outputs.__setitem__(0, data))

    monkeypatch.setattr("IPython.display.display", displayed)
    monkeypatch.setattr(notebook, "display", displayed)
    with Bar(total=3, delay=1e-9, leave=leave) as bar:
        bar.refresh()
        assert outputs == [bar.container]
    assert outputs == [bar.container if leave else {}]


def test_a_bar_of_a_verb_goes_with_it_unless_it_was_asked_for(monkeypatch):
    monkeypatch.setattr("laion_dask.runtime.tasks.is_watched", lambda: True)
    for progress, stays in ((None, False), (True, True)):
        with verb_bar("train", 3, progress) as bar:
            assert (bar.leave, bar.disable) == (stays, False)
    with verb_bar("train", 3, False) as bar:
        assert bar.disable


def test_only_a_terminal_or_a_running_kernel_shows_progress(monkeypatch):
    pytest.importorskip("ipykernel")
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert not is_watched()
    monkeypatch.setattr(
        "laion_dask.notebook_traceback.running_shell", lambda: SimpleNamespace(kernel=object())
    )
    assert is_watched()
