"""Sphinx configuration: builds offline, from the package in this checkout. Run by `make docs`.

Nothing is downloaded: there is no intersphinx, formulas are converted to MathML, and the theme's
files are local. The reference pages, the notebooks with their outputs and the benchmark results are
generated before the sources are read, so that each has a single source.
"""

from __future__ import annotations

import shutil
import sys
from html import unescape
from pathlib import Path

from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.errors import ConfigError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

import copied_pages  # noqa: E402
import notebook_pages  # noqa: E402
import reference_pages  # noqa: E402

import laion_dask  # noqa: E402

project = "laion_dask"
author = copyright = "the laion_dask authors"
version = release = laion_dask.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_design",
]
exclude_patterns = ["_build", "jupyter_execute"]
templates_path = ["_templates"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}

nb_execution_mode = "off"  # notebook_pages runs the notebooks, in one kernel
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nitpicky = True  # a cross-reference in a docstring that leads nowhere is an error
suppress_warnings = ["mystnb.unknown_mime_type"]

autosummary_generate = True
autodoc_typehints = "none"  # docstrings give types with shapes and units
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = "laion_dask"
html_static_path = ["_static"]
html_css_files = ["laion_dask.css"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options = {
    "navbar_align": "left",
    "navbar_persistent": ["search-field"],
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 5,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
html_sidebars = {"index": [], "changelog": [], "contributing": []}


def _formula(translator, node, as_block: bool) -> None:
    """Write a formula as MathML, which browsers render natively."""
    markup = tex2mathml(unescape(node.astext()), as_block=as_block)
    tag = "div" if as_block else "span"
    translator.body.append(f'<{tag} class="math">{markup}</{tag}>')
    from docutils import nodes

    raise nodes.SkipNode


def _generate(app, config) -> None:
    shutil.rmtree(HERE / "reference" / "generated", ignore_errors=True)
    try:
        reference_pages.write(HERE / "reference")
        copied_pages.write(HERE)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    notebook_pages.run(sorted((HERE / "notebooks").glob("*.ipynb")))


def setup(app) -> dict:
    app.connect("config-inited", _generate)  # before Sphinx collects the sources
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(lambda t, n: _formula(t, n, False), None),
        block_renderers=(lambda t, n: _formula(t, n, True), None),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
