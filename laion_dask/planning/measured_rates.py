"""The data of estimates: measured rates, and the peaks of GPUs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from laion_dask.errors import OptionError, argument, did_you_mean, must_be, parameter
from laion_dask.validation import number, whole_number

_PACKAGED = Path(__file__).with_name("rates.json")
CPU = "cpu"


@dataclass(frozen=True)
class Rate:
    """The measured rate of one worker.

    Attributes
    ----------
    step : str
        The measured step: ``"where"``, ``"linear"``, ``"nsfw bfloat16"``, ``"search"``, …
    device : str
        ``"cpu"``, for workers of one core each, or the name of a GPU.
    rows_per_s, slowest, fastest : float
        Rows, images, or units of `laion_dask.cost.Work`, per second of one worker: the median,
        slowest and fastest run.
    process_bytes : int
        Memory of the process, without mapped embeddings.
    processor, date, source : str
        The hardware and date of the measurement, and the file with each run.
    row_bytes : int
        Bytes per row of the embeddings; 0 if none were read.
    queries : int
        Number of queries in one search.
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
        _check(self, f"of the rate of {self.step!r}")
        if not 0 < self.slowest <= self.rows_per_s <= self.fastest:
            raise OptionError(
                f"The rate of {self.step!r} is {self.rows_per_s!r}, its slowest run "
                f"{self.slowest!r} and its fastest {self.fastest!r}. Expected 0 < slowest <= "
                "rows_per_s <= fastest, in rows per second."
            )


@dataclass(frozen=True)
class Gpu:
    """The peak performance of a GPU, by the manufacturer's data sheet; never reached in practice.

    Attributes
    ----------
    name : str
    memory_bytes_per_s, link_bytes_per_s : float
        Bandwidths of its memory, and of its link to the host in one direction.
    bfloat16_flop_per_s : float
        Without sparsity.
    memory_bytes : float
    source : str
    """

    name: str
    memory_bytes_per_s: float
    bfloat16_flop_per_s: float
    link_bytes_per_s: float
    memory_bytes: float
    source: str

    def __post_init__(self) -> None:
        _check(self, f"of the GPU {self.name!r}")


def _check(record: Rate | Gpu, owner: str) -> None:
    """Raise if a field's type differs from its declaration."""
    for field in fields(record):
        value = getattr(record, field.name)
        if field.type == "str":
            must_be(f"{field.name} {owner}", value, str, "text")
        elif field.type == "int":
            whole_number(
                f"{field.name} {owner}", value, "a whole number", int(field.name == "queries")
            )
        else:
            number(f"{field.name} {owner}", value, "a number above 0")


@dataclass(frozen=True)
class Rates:
    """All known rates and GPU peaks."""

    rates: tuple[Rate, ...]
    gpus: tuple[Gpu, ...]

    def of(self, step: str, device: str) -> list[Rate]:
        """The rates of a step on a device, sorted by number of queries.

        For "NVIDIA H200 NVL", the rates of a GPU with that name, else those of "NVIDIA H200".
        """
        of_step = [rate for rate in self.rates if rate.step == step]
        nearest = _nearest(device, [rate.device for rate in of_step])
        matching = [rate for rate in of_step if rate.device == nearest]
        return sorted(matching, key=lambda rate: rate.queries)

    def gpu(self, name: str) -> Gpu | None:
        """The peaks of a GPU, by its name or the longest known prefix of it."""
        nearest = _nearest(name, [gpu.name for gpu in self.gpus])
        return next((gpu for gpu in self.gpus if gpu.name == nearest), None)

    def device(self, name: str) -> str:
        """The known name of a GPU, or ``"cpu"``; a name longer than the known one is kept.

        Raises
        ------
        OptionError
            When neither its peaks nor any of its rates are known.
        """
        must_be("device", name, str, "the name of a GPU, such as 'NVIDIA H200'")
        names = [CPU, *(gpu.name for gpu in self.gpus), *(rate.device for rate in self.rates)]
        nearest = _nearest(name, names)
        if nearest is not None:
            return nearest if len(nearest) == len(name) else name
        hint = did_you_mean(name, names)
        raise OptionError(
            f"{parameter('device')} is {name!r}, whose peaks are unknown.{hint} Add peaks in "
            f"{argument('rates')}, under 'gpus'."
        )


def _nearest(name: str, names: Sequence[str]) -> str | None:
    """The longest known name that equals the name, or is a prefix of it in whole words."""
    fitting = [k for k in names if re.match(rf"{re.escape(k)}(?!\w)", name, re.IGNORECASE)]
    return max(fitting, key=len, default=None)


def open_rates(rates: Mapping | str | os.PathLike | None) -> Rates:
    """The rates that ship with the package, preceded by the given ones. Eager.

    Parameters
    ----------
    rates : mapping, path of a JSON file, or None
        ``{"rates": [...], "gpus": [...]}`` with the fields of `Rate` and `Gpu`; either key may be
        missing. A given rate of a step on a device replaces the package's.

    Raises
    ------
    OptionError
        When ``rates`` does not have this form.
    """
    packaged = _read(_PACKAGED)
    if rates is None:
        return packaged
    user_rates = _read(rates)
    measured = {(rate.step, rate.device) for rate in user_rates.rates}
    remaining = tuple(rate for rate in packaged.rates if (rate.step, rate.device) not in measured)
    gpu_names = {gpu.name for gpu in user_rates.gpus}
    gpus = tuple(gpu for gpu in packaged.gpus if gpu.name not in gpu_names)
    return Rates(user_rates.rates + remaining, user_rates.gpus + gpus)


def _read(rates: Mapping | str | os.PathLike) -> Rates:
    if isinstance(rates, Mapping):
        return _checked(rates, "rates")
    must_be("rates", rates, (str, os.PathLike), "a mapping, or the path of a JSON file")
    return _from_file(os.fspath(rates))


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
            f"{argument('rates', path)} cannot be read: {error}. Expected JSON with 'rates' and "
            "'gpus', as in "
            "laion_dask/planning/rates.json."
        ) from error


def _checked(rates: Any, source: str) -> Rates:
    must_be(source, rates, Mapping, "a mapping with 'rates' and 'gpus'")
    for name in rates:
        if name not in ("rates", "gpus"):
            raise OptionError(f"{source} has {name!r}.{did_you_mean(name, ['rates', 'gpus'])}")
    return Rates(
        _all(Rate, rates.get("rates", ()), source), _all(Gpu, rates.get("gpus", ()), source)
    )


def _all(kind: type, entries: Sequence[Mapping], source: str) -> tuple:
    names = [field.name for field in fields(kind)]
    records = []
    plural = f"{kind.__name__.lower()}s"
    must_be(f"{plural!r} of {source}", entries, (list, tuple), "a list of mappings")
    for entry in entries:
        must_be(f"An entry of {source}", entry, Mapping, f"a mapping with {', '.join(names)}")
        for name in entry:
            if name not in names:
                raise OptionError(f"{source} has the field {name!r}.{did_you_mean(name, names)}")
        try:
            records.append(kind(**entry))
        except TypeError as error:
            raise OptionError(
                f"An entry of {source} has {', '.join(entry)}. Expected {', '.join(names)}."
            ) from error
    return tuple(records)
