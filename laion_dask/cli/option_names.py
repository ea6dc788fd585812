"""What a message calls the parameters of the package: the options of the command that was run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from laion_dask.errors import LaionDaskError

#: Parameters that an option of another name stands for, where the command has that option.
_SYNONYMS = {
    "heads": ("head", "--head"),
    "weights": ("head", "--head NAME=FILE"),
    "arch": ("model", "--model"),
    "pretrained": ("model", "PRETRAINED in --model NAME:PRETRAINED"),
    "paths": ("source", "SOURCE"),
}

#: The same, for one command only.
_OF_COMMAND = {"plan": {"workers": "--cores", "where": "--step where:"}}


def option_names(group, command: str | None = None) -> dict[str, str]:
    """What stands for each parameter in a command, or before any: an option, or an argument."""
    own = group.commands.get(command)
    parameters = [*group.params, *(() if own is None else own.params)]
    names = {p.name.removeprefix("no_"): _name(p) for p in parameters}
    synonyms = {name: shown for name, (option, shown) in _SYNONYMS.items() if option in names}
    return names | synonyms | _OF_COMMAND.get(command, {})


def _name(parameter) -> str:
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name.upper()
    return max(parameter.opts, key=len)


@contextmanager
def called(**options: str) -> Iterator[None]:
    """Within it, messages call these parameters by these options: ``called(where="--rate")``."""
    try:
        yield
    except LaionDaskError as error:
        error.called = options
        raise
