"""Sphinx configuration; build with ``sphinx-build -W docs docs/_build/html``."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "zinbtools"
author = "The zinbtools developers"
copyright = f"2026, {author}"
version = release = installed_version("zinbtools")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "jupyter_execute"]
html_static_path = ["_static"]
html_theme = "furo"
html_title = f"zinbtools {version}"

autosummary_generate = True
# Types come from the annotations, so that they cannot differ from the code; long signatures stay readable.
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
napoleon_google_docstring = False
napoleon_use_rtype = False

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_merge_streams = True

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
