"""The templates of pages: everything is escaped, whatever it says, and nothing undefined passes."""

from __future__ import annotations

from functools import cache

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined
from markupsafe import Markup

from laion_dask.formatting import printable


@cache
def environment() -> Environment:
    """The environment of all templates: autoescape on, undefined names are errors.

    What a template prints passes `shown` first, so control and direction characters are visible.
    """
    made = Environment(
        loader=PackageLoader("laion_dask.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"cut": cut, "thousands": "{:,}".format}
    return made


def render(template: str, **context) -> Markup:
    """The markup of a template of this room, by its file name without ``.html.j2``."""
    return Markup(environment().get_template(f"{template}.html.j2").render(**context))


def shown(value: object) -> object:
    """A value as a template prints it: markup as it is, all else as text that steers nothing."""
    if isinstance(value, (Markup, Undefined)):
        return value
    if is_missing(value):
        return Markup("<i>none</i>")
    return printable(str(value))


def cut(value: object, most: int) -> object:
    """The first characters of a text, before it is escaped; what is missing stays missing."""
    if is_missing(value):
        return value
    text = str(value)
    return text if len(text) <= most else text[:most] + "…"


def is_missing(value: object) -> bool:
    """Whether a value is None, NA or NaN."""
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)
