"""What a person says about an export: its name, license, creator, and so on."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from laion_dask.errors import OptionError, did_you_mean, parameter

UNKNOWN = "unknown"
#: Names of folders that do not tell which data set is in them.
_GENERIC = {"", ".", "..", "data", "embedded", "metadata", "parts", "shards", "_parts"}


@dataclass(frozen=True)
class Card:
    """Statements that no data set makes about itself; "unknown" unless somebody makes them.

    Attributes
    ----------
    name, description : str
    creator : str
        The person or organization that made the subset.
    license : str
        Of the subset: a URL or an SPDX identifier. Images have their own licenses.
    url : str
        The page of the subset.
    version : str
    date_published : str
        An ISO 8601 date; by default the day of the export.
    cite_as : str
        A citation, such as BibTeX.
    language : tuple of str
        Codes of ISO 639-1.
    """

    name: str = UNKNOWN
    description: str = UNKNOWN
    creator: str = UNKNOWN
    license: str = UNKNOWN
    url: str = UNKNOWN
    version: str = "1.0.0"
    date_published: str = ""
    cite_as: str = UNKNOWN
    language: tuple[str, ...] = field(default=())

    def named(self, inputs: Sequence[str], recipe: str = "") -> Card:
        """The card with a name; by default, the recipe's, or that of the folder of the inputs."""
        if self.name != UNKNOWN:
            return self
        if recipe:
            return replace(self, name=recipe)
        folders = {tuple(path.split("/")[:-1]) for path in inputs}
        names = [one for one in min(folders) if one not in _GENERIC] if len(folders) == 1 else []
        of = names[-1] if names else ""
        return replace(self, name=f"Subset of the shards in {of}" if of else "Subset")

    @classmethod
    def of(cls, card: Mapping[str, object] | None) -> Card:
        """The card of an export from what its caller says.

        Parameters
        ----------
        card : mapping, optional
            Values by the names of the attributes.

        Raises
        ------
        OptionError
            When a name or a value is not valid.
        """
        values = dict(card or {})
        for name in values:
            if name not in cls.__dataclass_fields__:
                hint = did_you_mean(str(name), cls.__dataclass_fields__)
                raise OptionError(f"{parameter('card')} has no entry {name!r}.{hint}")
        languages = values.pop("language", ())
        languages = (languages,) if isinstance(languages, str) else languages
        if not isinstance(languages, (list, tuple)):
            raise OptionError(
                f"{parameter('card')} has the language {languages!r}. Expected codes."
            )
        for name, value in values.items():
            if isinstance(value, datetime.date):
                values[name] = value.isoformat()
            elif not isinstance(value, str) or not value.strip():
                raise OptionError(
                    f"{parameter('card')} has {value!r} as its {name}. Expected a string."
                )
        given = {"date_published": _today(), **values}
        _check_date(str(given["date_published"]))
        return cls(**{n: str(v) for n, v in given.items()}, language=tuple(map(str, languages)))


def _today() -> str:
    """The day of the export in UTC; that of SOURCE_DATE_EPOCH if it is set.

    Source: reproducible-builds.org/specs/source-date-epoch.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    now = datetime.datetime.now(datetime.UTC)
    moment = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC) if epoch.isdigit() else now
    return moment.date().isoformat()


def _check_date(date: str) -> None:
    try:
        datetime.datetime.fromisoformat(date)
    except ValueError:
        raise OptionError(
            f"{parameter('card')} has the date {date!r}. Expected an ISO 8601 date, such as "
            "2026-01-31."
        ) from None
