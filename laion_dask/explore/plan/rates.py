"""What a plan counts with: rates that were measured, and what cards can do at best."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from laion_dask.errors import OptionError, did_you_mean, must_be

_OURS = Path(__file__).with_name("rates.json")
CPU = "cpu"


@dataclass(frozen=True)
class Rate:
    """What one worker was measured to do.

    Attributes
    ----------
    step : str
        What was measured: ``"where"``, ``"linear"``, ``"nsfw bfloat16"``, ``"search"``, …
    device : str
        ``"cpu"``, where a worker is one core, or the name of a card.
    rows_per_s, slowest, fastest : float
        Rows, or images, a second of one worker: the median run, the slowest and the fastest.
    process_bytes : int
        Memory of the process, without the embeddings that were mapped.
    processor, date, source : str
        What it was measured on, when, and the file that has each run.
    row_bytes : int
        Bytes of a row of the embeddings; 0 where none were read.
    queries : int
        How many were searched for at once.
    """

    step: str
    device: str
    rows_per_s: float
    slowest: float
    fastest: float
    process_bytes: int
    processor: str
    date: str
    source: str
    row_bytes: int = 0
    queries: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.slowest <= self.rows_per_s <= self.fastest:
            raise OptionError(
                f"The rate of {self.step!r} is {self.rows_per_s!r}, its slowest run "
                f"{self.slowest!r} and its fastest {self.fastest!r}. Expected 0 < slowest <= "
                "rows_per_s <= fastest, in rows a second."
            )


@dataclass(frozen=True)
class Card:
    """What a card can do at best, by its maker's data sheet; never what it does.

    Attributes
    ----------
    name : str
    memory_bytes_per_s, link_bytes_per_s : float
        Of its memory; of its link to the host, in one direction.
    bfloat16_flop_per_s : float
        Dense.
    memory_bytes : float
    source : str
    """

    name: str
    memory_bytes_per_s: float
    bfloat16_flop_per_s: float
    link_bytes_per_s: float
    memory_bytes: float
    source: str


@dataclass(frozen=True)
class Rates:
    """All that is known of speeds."""

    rates: tuple[Rate, ...]
    cards: tuple[Card, ...]

    def of(self, step: str, device: str) -> list[Rate]:
        """What was measured of a step on a device, by its number of queries."""
        found = [r for r in self.rates if (r.step, r.device) == (step, device)]
        return sorted(found, key=lambda rate: rate.queries)

    def card(self, name: str) -> Card:
        """A card by its name, or the beginning of it.

        Raises
        ------
        OptionError
            When no such card is known.
        """
        must_be("card", name, str, "the name of a card, such as 'NVIDIA H200'")
        for card in self.cards:
            if name.lower().startswith(card.name.lower()):
                return card
        hint = did_you_mean(name, [card.name for card in self.cards])
        raise OptionError(
            f"card is {name!r}, whose peaks are not known.{hint} Another one's go into rates=, "
            "under 'cards'."
        )


def open_rates(given: Mapping | str | os.PathLike | None) -> Rates:
    """The rates that ship with the package, those given before them. Eager.

    Parameters
    ----------
    given : mapping, path of a JSON file, or None
        ``{"rates": [...], "cards": [...]}``, either may be missing, with the fields of `Rate` and
        `Card`. What is given of a step on a device replaces what ships.

    Raises
    ------
    OptionError
        When it is of another form.
    """
    ours = _read(_OURS)
    if given is None:
        return ours
    own = _read(given)
    known = {(rate.step, rate.device) for rate in own.rates}
    rest = tuple(rate for rate in ours.rates if (rate.step, rate.device) not in known)
    named = {card.name for card in own.cards}
    cards = tuple(card for card in ours.cards if card.name not in named)
    return Rates(own.rates + rest, own.cards + cards)


def _read(given: Mapping | str | os.PathLike) -> Rates:
    if isinstance(given, Mapping):
        return _checked(given, "rates")
    must_be("rates", given, (str, os.PathLike), "a mapping, or the path of a JSON file")
    return _from_file(os.fspath(given))


@cache
def _parsed(text: str, path: str) -> Rates:
    return _checked(json.loads(text), path)


def _from_file(path: str) -> Rates:
    try:
        return _parsed(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(
            f"rates={path!r} cannot be read: {error}. Expected JSON with 'rates' and 'cards', as "
            "laion_dask/explore/plan/rates.json has them."
        ) from error


def _checked(given: object, what: str) -> Rates:
    must_be(what, given, Mapping, "a mapping with 'rates' and 'cards'")
    for name in given:
        if name not in ("rates", "cards"):
            raise OptionError(f"{what} has {name!r}.{did_you_mean(name, ['rates', 'cards'])}")
    return Rates(_all(Rate, given.get("rates", ()), what), _all(Card, given.get("cards", ()), what))


def _all(kind: type, given: Sequence[Mapping], what: str) -> tuple:
    names = [field.name for field in fields(kind)]
    made = []
    for one in given:
        must_be(f"An entry of {what}", one, Mapping, f"a mapping with {', '.join(names)}")
        for name in one:
            if name not in names:
                raise OptionError(f"{what} has the field {name!r}.{did_you_mean(name, names)}")
        try:
            made.append(kind(**one))
        except TypeError as error:
            raise OptionError(
                f"An entry of {what} has {', '.join(one)}. Expected {', '.join(names)}."
            ) from error
    return tuple(made)
