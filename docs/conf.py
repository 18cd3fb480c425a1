"""How Sphinx makes a site of these pages and of the docstrings. `ci/docs` runs it."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]

from dlfast import __version__ as release  # noqa: E402

project = "dlfast"
author = copyright = "The dlfast authors"
extensions = ["sphinx.ext.autodoc", "myst_parser", "plain_docstrings", "api_links", "mathml"]
exclude_patterns = ["_extensions"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"  # what browsers draw themselves: no script, nothing from elsewhere

default_role = "code"
highlight_language = "none"
autodoc_member_order = "bysource"
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}
autodoc_default_options = {"members": True}
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"dlfast {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sphinx = False
