"""The ``.laion`` accessor: every verb, as a method of a Dask DataFrame. It holds no state.

Every Dask DataFrame has it once ``laion_dask`` is imported, whoever made the frame, and in
whichever order the two packages are imported: where Dask's dataframes are not loaded yet, an import
hook registers the accessor as soon as they are. So importing ``laion_dask`` does not load them.
"""

from __future__ import annotations

import functools
import sys
from importlib import import_module

_DATAFRAMES = "dask.dataframe"


class _Verb:
    """A method that forwards to a function, which is imported when the method is first looked up.

    Parameters
    ----------
    function : str
        ``module:name``; the function takes the frame as its first argument.
    """

    def __init__(self, function: str):
        self._module, self._name = function.split(":")

    @functools.cached_property
    def _method(self):
        verb = getattr(import_module(self._module), self._name)

        @functools.wraps(verb)
        def method(self, *args, **kwargs):
            return verb(self._frame, *args, **kwargs)

        return method

    def __get__(self, accessor, owner=None):
        return self._method if accessor is None else self._method.__get__(accessor, owner)


class Laion:
    """Verbs on a frame of ``read_shards``; each is a free function of the package too."""

    def __init__(self, frame):
        self._frame = frame

    def __getattr__(self, name: str):
        from laion_dask.errors import did_you_mean

        verbs = [verb for verb in vars(type(self)) if not verb.startswith("_")]
        raise AttributeError(f"There is no verb {name!r}.{did_you_mean(name, verbs)}", name=name)

    where = _Verb("laion_dask.frame.where:where")
    join = _Verb("laion_dask.joins.join:join")
    rows = _Verb("laion_dask.frame.accounting:rows")
    similarity = _Verb("laion_dask.scoring.score:similarity")
    score = _Verb("laion_dask.scoring.score:score")
    score_captions = _Verb("laion_dask.scoring.score_captions:score_captions")
    search = _Verb("laion_dask.retrieval.search:search")
    stats = _Verb("laion_dask.aggregations.engine.statistics:statistics")
    perceived = _Verb("laion_dask.aggregations.perceived:perceived")
    summary = _Verb("laion_dask.aggregations.summary:summary")
    distributions = _Verb("laion_dask.aggregations.distribution:distributions")
    export = _Verb("laion_dask.exports.export:export")
    excluded = _Verb("laion_dask.frame.funnel:excluded")
    funnel = _Verb("laion_dask.frame.funnel:funnel")
    audit = _Verb("laion_dask.aggregations.audit:audit")
    language = _Verb("laion_dask.scoring.language:language")
    report = _Verb("laion_dask.reports.datasheet:report")


class _RegisterAfterImport:
    """A finder on ``sys.meta_path`` that finds nothing itself: it registers the accessor once
    ``dask.dataframe`` has been imported, and leaves the path."""

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


def register_with_dask() -> None:
    """Register the accessor with Dask's dataframes: now, or as soon as they are imported."""
    if _DATAFRAMES in sys.modules:
        _register()
    elif not any(isinstance(finder, _RegisterAfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RegisterAfterImport())
