"""One page that holds a whole study: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from .. import get
from .._keys import Keys
from .._text import with_error
from ._table import COLUMNS, table_cells

if TYPE_CHECKING:
    from anndata import AnnData

    from ._figures import Picture
    from ._pipeline import Study

N_TOP_GENES = 10
# What makes a fit readable for machines says little to people.
NOT_SHOWN = {"covariates", "draw_seed", "failed", "fitted_genes"}
PACKAGES = ("zinbtools", "anndata", "scanpy", "torch", "numpy", "scipy", "pandas")


def report_html(study: Study, pictures: Sequence[Picture], *, title: str, command: str | None = None) -> str:
    """Lay out the study as one self-contained HTML page.

    Parameters
    ----------
    study
        What :func:`~zinbtools.study.run_study` gave.
    pictures
        Figures in their order.
    title
        What the counts are called.
    command
        The command line that made the study.
    """
    environment = Environment(
        loader=PackageLoader("zinbtools", "study"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    adata, key = study.adata, study.key
    return environment.get_template("report.html.j2").render(
        title=title,
        date=date.today().isoformat(),
        n_cells=f"{adata.n_obs:,}",
        n_genes=f"{adata.n_vars:,}",
        splits=_splits(adata, key),
        conclusion=study.conclusion,
        failures=_failures(adata, key),
        columns=list(COLUMNS.values()),
        rows=table_cells(study.table),
        pictures=[(p, b64encode(p.png).decode("ascii")) for p in pictures],
        genes=_top_genes(adata, key),
        command=command,
        settings=_settings(adata, key),
        versions=[("python", python_version()), *((name, version(name)) for name in PACKAGES)],
    )


def _splits(adata: AnnData, key: str | None) -> str:
    sizes = adata.obs[Keys(key).split].value_counts()
    return ", ".join(f"{sizes[name]:,} {name}" for name in ("train", "validation", "test") if sizes.get(name))


def _failures(adata: AnnData, key: str | None) -> list[str]:
    """One sentence for each restart whose training broke off."""
    table = adata.uns[Keys(key).uns].get("failures")
    return [] if table is None else [message[0].upper() + message[1:] for message in table["message"]]


def _top_genes(adata: AnnData, key: str | None) -> list[list[str]]:
    genes = get.zi_genes_df(adata, key=key).head(N_TOP_GENES)
    return [
        [
            str(gene),
            with_error(row["score"], row["score_se"]),
            f"{row['mean_count']:.3g}",
            *(f"{100 * row[f'{who}_zero_fraction']:.1f}" for who in ("observed", "nb", "zinb")),
        ]
        for gene, row in genes.iterrows()
    ]


def _settings(adata: AnnData, key: str | None) -> list[tuple[str, str]]:
    params = adata.uns[Keys(key).uns]["params"]
    return [(name.replace("_", " "), _plain(params[name])) for name in sorted(set(params) - NOT_SHOWN)]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple, np.ndarray)):
        return ", ".join(_plain(item) for item in value)
    return f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)
