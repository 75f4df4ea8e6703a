"""Gene-wise fits and dropout tests by one package, in a process of its own; `gene_peers` starts it.

Runs under both interpreters, so that nothing is imported before the package is known.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import anndata as ad
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, gammaln, xlog1py, xlogy

Floats = NDArray[np.float64]
Record = dict[str, Any]
AT_MOST = 1_000  # iterations, of statsmodels


class Fits(NamedTuple):
    """Of G genes: the means are ``depth_n rate_g``; what an NB has no dropout of is 0. NaN for no fit."""

    rate: Floats
    inverse_dispersion: Floats
    dropout: Floats


def zinbtools(counts: sparse.csc_array, depth: Floats, family: str) -> Fits:
    """With the simpler families, as ever."""
    from zinbtools.stats.count_models import fit_counts

    fits = fit_counts(counts, depth, families=[family])
    f = fits.of(family)
    return Fits(np.exp(fits.coefficients[:, f, 0]), fits.inverse_dispersion[:, f], fits.dropout[:, f])


def statsmodels(counts: sparse.csc_array, depth: Floats, family: str) -> Fits:
    """By its own optimiser, with as many iterations as it needs; by default it stops after 35."""
    from statsmodels.discrete.count_model import ZeroInflatedNegativeBinomialP
    from statsmodels.discrete.discrete_model import NegativeBinomial

    design = np.ones((len(depth), 1))
    found = np.full((counts.shape[1], 3), np.nan)
    for g, x in enumerate(counts.toarray().T):
        if family == "nb":
            model = NegativeBinomial(x, design, offset=np.log(depth))
        else:
            model = ZeroInflatedNegativeBinomialP(x, design, offset=np.log(depth), exog_infl=design)
        try:
            params = model.fit(maxiter=AT_MOST, disp=False).params
        except np.linalg.LinAlgError:
            continue  # a gene without a fit
        logit = params[0] if family == "zinb" else -np.inf
        found[g] = np.exp(params[-2]), 1 / params[-1], expit(logit)
    return Fits(*found.T)


def pydeseq2(counts: sparse.csc_array, depth: Floats, family: str) -> Fits:
    """Dispersions gene by gene, as they are before shrinkage, and the coefficients given these."""
    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.default_inference import DefaultInference

    adata = ad.AnnData(counts.toarray().astype(np.int64))
    adata.obs_names, adata.var_names = (names.astype(str) for names in (adata.obs_names, adata.var_names))
    inference = DefaultInference(n_cpus=1)
    # means of single cells are far below the floor of half a count that suits bulk data
    dds = DeseqDataSet(adata=adata, design="~1", min_mu=1e-6, inference=inference, quiet=True)
    dds.obs["size_factors"], dds.layers["normed_counts"] = depth, dds.X / depth[:, None]
    dds.fit_genewise_dispersions()
    dds.var["dispersions"] = dds.var["genewise_dispersions"]
    dds.fit_LFC()
    rate = np.exp(dds.varm["LFC"].to_numpy()[:, 0])
    return Fits(rate, 1 / dds.var["dispersions"].to_numpy(), np.zeros_like(rate))


def delnx(counts: sparse.csc_array, depth: Floats, family: str) -> Fits:
    """Without its shrinkage and adjustment, which are not maximum likelihood."""
    from delnx.tl import nb_fit

    fitted = nb_fit(
        ad.AnnData(counts.tocsr()),
        design=np.ones((len(depth), 1)),
        size_factors=depth,
        overdispersion_shrinkage=False,
        do_cox_reid_adjustment=False,
        verbose=False,
    )
    rate = np.exp(np.asarray(fitted.beta)[:, 0])
    return Fits(rate, 1 / np.asarray(fitted.overdispersions), np.zeros_like(rate))


def tensorzinb(counts: sparse.csc_array, depth: Floats, family: str) -> Fits:
    """All genes in one program of single precision; it knows no offset."""
    from tensorzinb.tensorzinb import TensorZINB

    design = np.ones((len(depth), 1))
    zeros = {"exog_infl": design} if family == "zinb" else {"nb_only": True}
    weights = TensorZINB(counts.toarray(), design, **zeros).fit()["weights"]
    rate, theta = (np.exp(weights[name].ravel().astype(np.float64)) for name in ("x_mu", "theta"))
    logit = weights["x_pi"].ravel().astype(np.float64) if family == "zinb" else np.full_like(rate, -np.inf)
    return Fits(rate, theta, expit(logit))


FITS: dict[str, Callable[[sparse.csc_array, Floats, str], Fits]] = {
    fit.__name__: fit for fit in (zinbtools, statsmodels, pydeseq2, delnx, tensorzinb)
}
PACKAGES = {
    "ours": ("zinbtools", "numpy", "scipy", "numba"),
    "theirs": (
        *("statsmodels", "pydeseq2", "delnx", "tensorzinb-plusplus", "M3Drop"),
        *("numpy", "scipy", "numba", "jax", "tensorflow"),
    ),
}


def log_likelihood(counts: NDArray[np.int64], means: Floats, theta: float, dropout: float) -> float:
    """Nats of one gene's counts, (N,), around its means, (N,), in double precision for every theta.

    NaN where the estimates are none of an NB or a ZINB.
    """
    if not (np.isfinite(means).all() and theta > 0 and 0 <= dropout < 1):
        return np.nan
    theta = min(theta, 1e12)
    # Gamma(x + theta) / (Gamma(theta) theta^x) is a product over whole numbers below x
    rising = np.concatenate([[0.0], np.cumsum(np.log1p(np.arange(counts.max()) / theta))])
    nb = (
        rising[counts] - gammaln(counts + 1.0) + xlogy(counts, means) - xlog1py(counts + theta, means / theta)
    )
    kept, lost = np.log1p(-dropout) + nb, np.log(dropout) if dropout else -np.inf
    return float(np.where(counts == 0, np.logaddexp(lost, kept), kept).sum())


def fit(job: Record) -> Record:
    """CPU seconds of all genes, after a first call, and the log likelihood of each gene."""
    with np.load(job["counts"]) as file:
        counts, depth = file["counts"].astype(np.int64), file["depth"].astype(np.float64)
    if not job["offset"]:
        depth = np.ones_like(depth)
    call = FITS[job["package"]]
    columns = sparse.csc_array(counts.astype(np.float64))
    # where shapes or types are compiled for, the first call has to be the same
    first, _ = timed(lambda: call(columns, depth, job["family"]))
    seconds, fits = timed(lambda: call(columns, depth, job["family"]))
    by_gene = [
        log_likelihood(x, depth * rate, theta, dropout)
        for x, rate, theta, dropout in zip(counts.T, *fits, strict=True)
    ]
    return {"first": first, "seconds": seconds, "log_likelihood": by_gene}


def test(job: Record) -> Record:
    """CPU seconds of the dropout test of every gene of a file, after a first call, and its p values."""
    call = TESTS[job["package"]]
    first, _ = timed(lambda: call(job["file"]))
    seconds, pval = timed(lambda: call(job["file"]))
    return {"first": first, "seconds": seconds, "pval": pval.tolist()}


def m3drop(file: str) -> Floats:
    """NBDrop as its package computes it, from file to file."""
    import pandas as pd
    from M3Drop import RunFeatureSelectionCPU

    with tempfile.TemporaryDirectory() as folder:
        written = RunFeatureSelectionCPU(file, output_dir=folder)["combined_drop_csv"]
        table = pd.read_csv(written).set_index("Gene")["p.value"]
    return table.loc[ad.read_h5ad(file, backed="r").var_names].to_numpy()


def formula(file: str) -> Floats:
    """NBDrop as `genes` has it."""
    from genes import nbdrop_z
    from scipy.stats import norm

    return norm.sf(nbdrop_z(ad.read_h5ad(file).X.toarray().astype(np.float64)))


def zero_test(file: str) -> Floats:
    """The likelihood ratio of ZINB and NB."""
    import zinbtools as zt

    adata = ad.read_h5ad(file)
    zt.tl.zero_test(adata, families=["nb", "zinb"], negligible_dropout=0)
    return zt.get.zero_test_df(adata).loc[adata.var_names, "pval"].to_numpy()


TESTS: dict[str, Callable[[str], Floats]] = {test.__name__: test for test in (m3drop, formula, zero_test)}


def versions(job: Record) -> Record:
    """Of all that computes."""
    return {"Python": sys.version.split()[0]} | {name: version(name) for name in PACKAGES[job["side"]]}


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process, all its threads, and what the call gives."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


MEASUREMENTS = {measurement.__name__: measurement for measurement in (fit, test, versions)}


def main() -> None:
    """Print the record as the last line."""
    warnings.simplefilter("ignore")
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    job = json.loads(sys.argv[1])
    record = MEASUREMENTS[job["measurement"]](job)
    print("\n" + json.dumps(record))


if __name__ == "__main__":
    main()
