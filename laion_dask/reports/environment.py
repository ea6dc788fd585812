"""The template environment of reports."""

from __future__ import annotations

from jinja2 import Environment
from markupsafe import Markup

from laion_dask import templates

_PACKAGE = "laion_dask.reports"


def environment() -> Environment:
    """The Jinja environment of the templates of reports."""
    return templates.environment(_PACKAGE)


def render(template: str, **context) -> Markup:
    """Render a template of reports, given its file name without ``.html.j2``."""
    return templates.render(_PACKAGE, template, **context)
