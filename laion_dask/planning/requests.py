"""The requests of a plan: verbs of the table, or specs, with or without arguments."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from laion_dask.cost import EMBEDDINGS, Cost, PlannedFrame, is_spec
from laion_dask.errors import OptionError, did_you_mean, must_be, unknown
from laion_dask.verbs import VERBS, Verb

_FORMS = "its name, a head, a statistic, (name, argument), or a list of these"


@dataclass(frozen=True)
class Request:
    """A verb with its arguments, or specs that one verb applies together.

    Attributes
    ----------
    verb : Verb
    arguments : tuple
    keywords : dict
        Arguments by the names of the verb's parameters.
    are_specs : bool
        Whether the arguments were given without the verb's name.
    """

    verb: Verb
    arguments: tuple = ()
    keywords: Mapping[str, object] = field(default_factory=dict)
    are_specs: bool = False

    def costs(self, frame: PlannedFrame) -> list[Cost]:
        """The costs of the steps of the call.

        Raises
        ------
        OptionError
            When the verb does not work on a frame, or takes other arguments; else as the verb.
        """
        verb = self.verb
        if not verb.cost:
            raise OptionError(f"{verb.name} is not planned on a frame: {verb.instead}")
        cost = verb.load_cost()
        try:
            inspect.signature(cost).bind(frame, *self.arguments, **self.keywords)
        except TypeError:
            raise _wrong_arguments(verb.name, cost, self.arguments) from None
        costs = cost(frame, *self.arguments, **self.keywords)
        return [costs] if isinstance(costs, Cost) else list(costs)

    @property
    def shares_embeddings(self) -> bool:
        """Whether the steps together read each row's embeddings once."""
        return self.are_specs and all(spec.cost.reads == EMBEDDINGS for spec in self.arguments)


def requests(verbs: object) -> list[Request]:
    """The requests of a plan, in order. Consecutive specs applied by the same verb form one
    request.

    Raises
    ------
    OptionError
        When nothing is requested, or a name is unknown.
    """
    listed = verbs if isinstance(verbs, list) else [verbs]
    if not listed:
        raise OptionError(f"verbs is empty.{did_you_mean('', VERBS)}")
    return list(_grouped(map(_request, listed)))


def _request(item: object) -> Request:
    if is_spec(item):
        return Request(VERBS[item.verb], (item,), are_specs=True)
    name, *arguments = item if isinstance(item, tuple) and item else (item,)
    must_be("A verb", name, str, _FORMS)
    if name not in VERBS:
        raise unknown("verb", name, VERBS)
    verb, keywords = VERBS[name], None
    if arguments and verb.cost and isinstance(arguments[-1], Mapping):
        keywords = _keywords(verb, arguments[-1])
    given = arguments if keywords is None else arguments[:-1]
    return Request(verb, tuple(given), keywords or {})


def _keywords(verb: Verb, given: Mapping) -> dict[str, object] | None:
    """The arguments that the cost depends on, of a mapping of the verb's arguments by name.

    None if the mapping is an argument itself, such as the weights of `mix`.

    Raises
    ------
    OptionError
        When the verb has no such argument.
    """
    of_verb = list(inspect.signature(verb.load()).parameters)[1:]
    of_cost = list(inspect.signature(verb.load_cost()).parameters.values())[1:]
    found = {one.name: given[one.name] for one in of_cost if one.name in given}
    wrong = [name for name in given if name not in of_verb]
    if (wrong or not found) and any("Mapping" in str(one.annotation) for one in of_cost):
        return None
    if wrong:
        raise unknown(f"argument of {verb.name}", str(wrong[0]), of_verb)
    return found


def _grouped(requests_in_order: Iterable[Request]) -> Iterator[Request]:
    for (name, are_specs), group in groupby(
        requests_in_order, key=lambda r: (r.verb.name, r.are_specs)
    ):
        if are_specs:
            specs = (spec for request in group for spec in request.arguments)
            yield Request(VERBS[name], tuple(specs), are_specs=True)
        else:
            yield from group


def _wrong_arguments(name: str, cost, arguments: tuple) -> OptionError:
    takes = list(inspect.signature(cost).parameters)[1:]
    shown = ", ".join(map(repr, arguments))
    if not takes:
        return OptionError(f"{name} takes no argument, and {shown} was given. Leave it out.")
    form = ", ".join([repr(name), *takes])
    return OptionError(f"{name} was given {shown}. Expected ({form}), or the first of these.")
