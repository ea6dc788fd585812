"""Jinja environments of pages: autoescape is on, and undefined names are errors."""

from __future__ import annotations

from functools import cache

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined
from markupsafe import Markup

from laion_dask.formatting import printable


@cache
def environment(package: str) -> Environment:
    """The Jinja environment of the templates in a package, such as ``"laion_dask.reports"``.

    Printed values pass through `shown` first, which makes control characters visible.
    """
    jinja = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {"cut": cut, "thousands": "{:,}".format}
    return jinja


def render(package: str, template: str, **context) -> Markup:
    """Render a template of a package, given its file name without ``.html.j2``."""
    return Markup(environment(package).get_template(f"{template}.html.j2").render(**context))


def shown(value: object) -> object:
    """A value as a template prints it: markup unchanged, other values as printable text."""
    if isinstance(value, (Markup, Undefined)):
        return value
    if is_missing(value):
        return Markup("<i>none</i>")
    return printable(str(value))


def cut(value: object, limit: int) -> object:
    """Truncate text before it is escaped; missing values stay missing."""
    if is_missing(value):
        return value
    text = str(value)
    return text if len(text) <= limit else text[:limit] + "…"


def is_missing(value: object) -> bool:
    """Whether a value is None, NA or NaN."""
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)
