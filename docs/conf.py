"""Sphinx configuration; build with ``sphinx-build -W docs docs/_build/html``."""

from __future__ import annotations

import os
import re
from importlib.metadata import version as installed_version
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.ext.napoleon import NumpyDocstring
from sphinx.transforms import SphinxTransform
from sphinx.util.inspect import TypeAliasForwardRef

project = "zinbtools"
author = "The zinbtools developers"
copyright = f"2026, {author}"
version = release = installed_version("zinbtools")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "jupyter_execute"]
templates_path = ["_templates"]
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
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}  # instead of the ten types that it stands for
napoleon_attr_annotations = False
napoleon_custom_sections = [("Attributes", "Parameters")]  # of a record, they are the same

# A single backtick is a link, and one that leads nowhere is an error.
default_role = "py:obj"
nitpicky = True

# Names of other packages become links only where their inventories can be fetched: CI must pass without.
_MANUALS = {
    "anndata": "https://anndata.readthedocs.io/en/stable/",
    "distributed": "https://distributed.dask.org/en/stable/",
    "matplotlib": "https://matplotlib.org/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "pandas": "https://pandas.pydata.org/docs/",
    "python": "https://docs.python.org/3/",
    "scanpy": "https://scanpy.readthedocs.io/en/stable/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
    "torch": "https://docs.pytorch.org/docs/stable/",
}
_online = {"READTHEDOCS", "ZINBTOOLS_INTERSPHINX"} & os.environ.keys()
intersphinx_mapping = {name: (url, None) for name, url in _MANUALS.items()} if _online else {}

# What annotations call things of others -> where these have them in their manuals.
_IN_MANUALS = {
    "AnnData": "anndata.AnnData",
    "ArrayLike": "numpy.typing.ArrayLike",
    "Axes": "matplotlib.axes.Axes",
    "Executor": "concurrent.futures.Executor",
    "Figure": "matplotlib.figure.Figure",
    "Path": "pathlib.Path",
    "anndata._core.anndata.AnnData": "anndata.AnnData",
    "concurrent.futures._base.Executor": "concurrent.futures.Executor",
    "dask.distributed.Client": "distributed.Client",
    "numpy.random._generator.Generator": "numpy.random.Generator",
    "numpy.random.bit_generator.SeedSequence": "numpy.random.SeedSequence",
    "numpy.random.mtrand.RandomState": "numpy.random.RandomState",
    "pandas.core.frame.DataFrame": "pandas.DataFrame",
    "pd.DataFrame": "pandas.DataFrame",
}
_OTHERS = ("collections", "concurrent", "dask", "hyperopt", "os", "pathlib", "types", *_MANUALS)
nitpick_ignore_regex = [("py:.*", rf"({'|'.join(_OTHERS)})\..*|{'|'.join(map(re.escape, _IN_MANUALS))}")]

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 900
nb_merge_streams = True

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def returns(docstring: NumpyDocstring, section: str) -> list[str]:
    """Take what is returned as it is written, in paragraphs and lists, not as one type per line."""
    lines = docstring._dedent(docstring._consume_to_next_section())
    return [*docstring._format_block(":returns: ", docstring._strip_empty(lines)), ""]


NumpyDocstring._parse_returns_section = returns
TypeAliasForwardRef.__repr__ = lambda alias: alias.name  # in a union, too


class CodeLinks(SphinxTransform):
    """Make links of ``zt.tl`` and ``zt.tl.ppc(adata)`` in text: code that begins with a name of ours."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        for code in list(self.document.findall(nodes.literal)):
            name = re.match(r"(?:zt|zinbtools)((?:\.\w+)+)", code.astext())
            if name and not isinstance(code.parent, (nodes.title, pending_xref)):
                target = {"refdomain": "py", "reftype": "obj", "reftarget": f"zinbtools{name[1]}"}
                link = pending_xref("", refdoc=self.env.docname, refwarn=True, **target)
                code.replace_self(link)
                link += code


def name_in_manual(app: Sphinx, env: Any, node: pending_xref, text: nodes.Element) -> None:
    """Look a name of others up where their manual has it; intersphinx, which comes later, does so."""
    node["reftarget"] = _IN_MANUALS.get(node["reftarget"], node["reftarget"])


def setup(app: Sphinx) -> None:
    app.add_transform(CodeLinks)
    app.connect("missing-reference", name_in_manual, priority=400)
