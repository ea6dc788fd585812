"""The ``.laion`` accessor: the verbs as methods of every Dask DataFrame. It is stateless.

Once ``laion_dask`` is imported, every Dask DataFrame has the accessor, regardless of who created
the frame and of the order in which the two packages are imported. If ``dask.dataframe`` is not
loaded yet, an import hook registers the accessor when it is, so importing ``laion_dask`` does not
load it.
"""

from __future__ import annotations

import functools
import sys

from laion_dask.notebook_traceback import running_shell
from laion_dask.verbs import TASKS, VERBS, Verb

_DATAFRAMES = "dask.dataframe"


class _Method:
    """A method that forwards to a verb; the verb is imported when the method is first looked up.

    Parameters
    ----------
    verb : Verb
        A verb whose function takes the frame as its first argument.
    """

    def __init__(self, verb: Verb):
        self._verb = verb

    @functools.cached_property
    def _method(self):
        function = self._verb.load()

        @functools.wraps(function)
        def method(self, *args, **kwargs):
            return function(self._frame, *args, **kwargs)

        return method

    def __get__(self, accessor, owner=None):
        return self._method if accessor is None else self._method.__get__(accessor, owner)


_METHODS = {name: _Method(verb) for name, verb in VERBS.items() if verb.is_method}


class Laion:
    """The verbs as methods of a frame; each is also a function of the package."""

    def __init__(self, frame):
        self._frame = frame

    def __repr__(self) -> str:
        return self._overview().text()

    def _repr_html_(self) -> str:
        return self._overview().html()

    def _overview(self):
        from laion_dask.display.grid import Grid
        from laion_dask.display.overview import Overview
        from laion_dask.frame.frame_overview import origin

        grids = []
        for task, verbs in TASKS.items():
            lines = tuple((f".{v.name}", v.does) for v in verbs if v.is_method)
            names = ", ".join(name.lstrip(".") for name, _ in lines)
            grids.append(Grid((), lines, len(lines), heading=f"{task}: {names}", is_folded=True))
        facts = origin(self._frame) or {"frame": "does not come from read_shards"}
        return Overview("The verbs of a frame: frame.laion.<verb>(...)", facts, grids=grids)

    def __getattr__(self, name: str):
        from laion_dask.errors import did_you_mean

        hint = did_you_mean(name, _METHODS)
        raise AttributeError(f"There is no verb {name!r}.{hint}", name=name)


for _name, _descriptor in _METHODS.items():
    setattr(Laion, _name, _descriptor)


class _RegisterAfterImport:
    """A finder on ``sys.meta_path`` that registers the accessor once ``dask.dataframe`` is loaded.

    It finds no modules itself and removes itself afterwards.
    """

    def find_spec(self, name, path=None, target=None):
        if name != _DATAFRAMES:
            return None
        finders = [f for f in sys.meta_path if f is not self and hasattr(f, "find_spec")]
        specs = (finder.find_spec(name, path, target) for finder in finders)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is None or not hasattr(spec.loader, "exec_module"):
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module):
            execute(module)
            if module.__name__ == _DATAFRAMES:
                spec.loader.exec_module = execute
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                _register()

        spec.loader.exec_module = execute_and_register
        return spec


def _register() -> None:
    from dask.dataframe import DataFrame
    from dask.dataframe.extensions import register_dataframe_accessor

    if getattr(DataFrame, "laion", None) is not Laion:
        register_dataframe_accessor("laion")(Laion)
        _register_with_ipython(DataFrame)


def _register_with_ipython(frames: type) -> None:
    """Let a running IPython show frames from shards as overviews, unless the user chose otherwise.

    A frame is a plain Dask DataFrame, so what it shows is Dask's; IPython asks formatters first.
    """
    shell = running_shell()
    if shell is None:
        return
    formatters = shell.display_formatter.formatters
    html, text = formatters["text/html"], formatters["text/plain"]
    if frames not in html.type_printers:
        html.for_type(frames, _html)
    if frames not in text.type_printers:
        text.for_type(frames, _print)


def _html(frame) -> str:
    from laion_dask.frame.frame_overview import frame_overview

    overview = frame_overview(frame)
    return frame._repr_html_() if overview is None else overview.html()


def _print(frame, printer, cycle: bool) -> None:
    from laion_dask.frame.frame_overview import frame_overview

    overview = frame_overview(frame)
    printer.text(repr(frame) if overview is None else overview.text())


def register_with_dask() -> None:
    """Register the accessor with ``dask.dataframe``, now or as soon as it is imported."""
    if _DATAFRAMES in sys.modules:
        _register()
    elif not any(isinstance(finder, _RegisterAfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RegisterAfterImport())
