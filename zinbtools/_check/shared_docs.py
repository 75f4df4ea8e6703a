"""Complete docstrings by what is the same in many of them, told here once.

`zinbtools._check.arguments.checked` does so for every public function: a parameter that its docstring does
not describe gets the paragraph of that name below, and a missing section is that of its room.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

# By a parameter's name, or by those of a room and its parameter where that one differs.
PARAMETERS = {
    # What is read, and from where.
    "adata": "Object on which `zinbtools.tl.fit_nb_zinb` was run.",
    "simulate.adata": "Raw counts; left as they are.",
    "layer": "Layer of the counts; ``X`` by default.",
    "mask_var": "Boolean column of ``var``, or boolean array: the genes to fit. All by default.",
    "check_counts": "Refuse numbers that are not whole; otherwise warn and round them.",
    "key": "The ``key_added`` with which that verb was run.",
    "model": '``"nb"`` or ``"zinb"``.',
    "obs": "Names of the cells, or a boolean array; all by default.",
    "var": "Names of the genes, or a boolean array; all by default.",
    "gene": "Its name.",
    "max_count": "The last count by itself; what 99 % of all cells do not exceed by default, 5 to 1,000.",
    # What is fitted, and how.
    "batch_key": (
        "Column of ``obs`` with batches, which the decoder is told. The library size has a prior for each."
    ),
    "categorical_covariate_keys": "Columns of ``obs`` with categories that the decoder is told.",
    "continuous_covariate_keys": "Columns of ``obs`` with numbers that the decoder is told.",
    "size_factor_key": "Column of ``obs`` with known size factors; takes the place of the library size.",
    "models": "Which models to fit.",
    "protocol": '``"default"``, or ``"blog2019"``: optimiser, stopping rule and split of the 2019 study.',
    "config": (
        '``"tuned"``: what `zinbtools.tl.tune` found takes the place of the settings of the fit, for each '
        "model, and the cells are split as they were for it (unless a ``split`` is given)."
    ),
    "dispersion": (
        'One ``theta`` per gene, per gene and batch, or per gene and cell; or ``"none"``: Poisson counts, '
        "and zero-inflated Poisson ones."
    ),
    "library": (
        '``"latent"``, or ``"observed"``: the total count. With the latter the ZINB cannot make up for the '
        "counts that dropout removes, which biases the comparison."
    ),
    "max_epochs": "Passes over the training cells; chosen by the number of cells by default.",
    "n_draws": "Posterior draws over which layers are averaged.",
    "layers": "Which of them to write.",
    "layer_memory": (
        "Most memory that the layers may take, GiB; beyond it they are left out with a warning, and "
        "`zinbtools.get.expected_counts` computes any block of them."
    ),
    # What a gene's call takes.
    "alpha": "False discovery rate of the calls.",
    "negligible_dropout": (
        "Dropout probabilities up to this one are no zero inflation to speak of; they are the null "
        "hypothesis. With 0 it is that no count drops out."
    ),
    "smallest_dropout": (
        "The smallest dropout probability of interest. A gene that is tested and not called is undecided "
        "where the test would find this one with a probability below a half "
        "(``zinbtools.stats.zero_inflation.power``)."
    ),
    # Where and how it is run, and where it is left.
    "device": '``"auto"``, ``"cpu"`` or ``"cuda"``.',
    "n_jobs": (
        "How many trainings run side by side, each on one thread; on the CPU only. By default as many as "
        "this process has cores (its affinity, its quota) and torch has threads (`torch.set_num_threads`, "
        "``OMP_NUM_THREADS``), up to 8. With 1 all is done by one thread. The results are the same bits."
    ),
    "executor": (
        'Where: in ``"threads"`` of this process, in ``"processes"`` of their own (a script that asks for '
        'them needs the usual ``if __name__ == "__main__":``), or on a `concurrent.futures.Executor` or a '
        "`dask.distributed.Client`."
    ),
    "resume": (
        "A folder in which every finished training is kept at once. With the same data and settings, one "
        "that is there is not done again: after a crash the work goes on, and gives what it would have "
        "given."
    ),
    "rng": (
        "Seed: a whole number, or numpy's Generator, RandomState or SeedSequence; None is a new one each "
        "time. The same seed on the same machine gives the same bits."
    ),
    "progress": "Show progress bars (in a terminal or notebook).",
    "key_added": (
        "Takes the place of ``zinbtools`` in ``uns`` and ``obs`` and is prefixed to all other names: "
        "``run2_nb_mean``, and ``X_run2_nb`` in ``obsm``."
    ),
    "copy": "Return a changed copy rather than change ``adata``.",
    # Plots.
    "gene_symbols": "Column of ``var`` with symbols to write in the place of ``var_names``.",
    "ax": "Axes to draw on; by default a new figure of one column's width.",
    "show": (
        "Show the figure. By default as ``scanpy.settings.autoshow`` says, where there is a window or a "
        "notebook and ``ax`` was not given."
    ),
    "return_fig": "Return the figure instead of the axes.",
    # Simulated counts and data sets.
    "n_obs": "Number of cells.",
    "n_vars": "Number of genes.",
    "means": (
        "Mean count of each gene, shape (n_vars,). By default 0.005 to 100, most of them small, which makes "
        "about nine counts in ten zero."
    ),
    "n_types": "Number of cell types, as frequent as 1, 1/2, 1/3, ...",
    "type_sd": "Standard deviation of the log fold changes of the 30 % of genes that differ between types.",
    "library_sd": "Standard deviation of the log library size.",
    "n_batches": "Number of batches of like size.",
    "batch_sd": "Standard deviation of the log batch effects, one for each gene and batch.",
    "share": "Share of genes that lose counts, from 0 to 1; int(share * n_vars) genes, drawn at random.",
    "inflation": "The rule by which genes lose counts, such as ``Uniform(0.1)``.",
    "n_top_genes": "How many genes of largest variance of the raw counts to keep; None keeps all.",
}

# The other sections, by room.
_NOTHING_THERE = """KeyError
    If ``adata`` does not hold what is read; the message names the verb that writes it."""
SECTIONS = {
    "get": {"Raises": _NOTHING_THERE},
    "pl": {
        "Returns": "The axes, the figure with ``return_fig=True``, or None once it was shown.",
        "Raises": _NOTHING_THERE,
    },
    "simulate": {
        "Raises": """TypeError, ValueError
    If an argument is out of range or does not go with the others."""
    },
    "datasets": {
        "Returns": """AnnData with raw counts in ``X`` (CSR, float32). ``uns["dataset"]`` says what it is and
what was left out.""",
        "Raises": """ConnectionError
    If a file is not in the cache (``zinbtools`` under ``scanpy.settings.datasetdir``) and cannot be fetched.
ValueError
    If a file is not the known one.""",
    },
}

_ORDER = ("Parameters", "Returns", "Warns", "Raises", "Notes", "References", "Examples")
_TITLE = re.compile(r"^(\w+)\n-{3,}\n", re.MULTILINE)
_INDENT = " " * 4


def completed(function: Callable[..., Any]) -> str | None:
    """Return a function's docstring, completed by what it does not tell itself."""
    package, room = f"{function.__module__}.".split(".")[:2]
    if package != "zinbtools" or not function.__doc__:
        return function.__doc__
    head, *rest = _TITLE.split(inspect.cleandoc(function.__doc__))
    sections = SECTIONS.get(room, {}) | dict(zip(rest[::2], rest[1::2], strict=True))
    sections["Parameters"] = _parameters(sections.get("Parameters", ""), function, room)
    told = (title for title in sorted(sections, key=_ORDER.index) if sections[title])
    return "\n\n".join([head.strip(), *(f"{t}\n{'-' * len(t)}\n{sections[t].strip()}" for t in told)])


def _parameters(told: str, function: Callable[..., Any], room: str) -> str:
    """Return the section of the parameters in the order of the signature."""
    paragraphs = {}
    for paragraph in re.split(r"\n(?=\S)", told.strip()):
        for name in paragraph.partition("\n")[0].split(","):
            paragraphs[name.strip(" *")] = paragraph
    names = inspect.signature(function).parameters
    found = (paragraphs.get(name) or _shared(name, room) for name in names)
    return "\n".join(dict.fromkeys(filter(None, found)))  # one that tells of several parameters stands once


def _shared(name: str, room: str) -> str:
    text = PARAMETERS.get(f"{room}.{name}", PARAMETERS.get(name, ""))
    return text and f"{name}\n{textwrap.fill(text, 100, initial_indent=_INDENT, subsequent_indent=_INDENT)}"
