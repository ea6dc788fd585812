"""Map the parameters that a message names to the options of the command that was run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from laion_dask.errors import LaionDaskError

#: Parameters that correspond to an option of another name, if the command has that option.
_SYNONYMS = {
    "heads": ("head", "--head"),
    "weights": ("head", "--head NAME=FILE"),
    "arch": ("model", "--model"),
    "pretrained": ("model", "PRETRAINED in --model NAME:PRETRAINED"),
    "paths": ("source", "SOURCE"),
}

#: The same for a single command.
_OF_COMMAND = {"plan": {"workers": "--cores", "where": "--step where:"}}


def option_names(group, command: str | None = None) -> dict[str, str]:
    """The option or argument for each parameter of a command, including the global options."""
    subcommand = group.commands.get(command)
    parameters = [*group.params, *(() if subcommand is None else subcommand.params)]
    names = {p.name.removeprefix("no_"): _name(p) for p in parameters}
    synonyms = {name: shown for name, (option, shown) in _SYNONYMS.items() if option in names}
    return names | synonyms | _OF_COMMAND.get(command or "", {})


def _name(parameter) -> str:
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name.upper()
    return max(parameter.opts, key=len)


@contextmanager
def called(**options: str) -> Iterator[None]:
    """Within this context, messages spell parameters like this: ``called(where="--rate")``."""
    try:
        yield
    except LaionDaskError as error:
        error.called = options
        raise
