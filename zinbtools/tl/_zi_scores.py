"""`zi_scores`: say which genes are zero-inflated."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from anndata import AnnData

from .._anndata.reading import check_anndata
from .._anndata.results import target_of
from .._check.arguments import checked
from .._check.rng import RNG, integer
from .._record.parts import ZI_BOOTSTRAP
from .._words.count_kinds import CountKind
from ..get._fitted import Fitted, resolve_device
from ..jobs.progress import tells
from ..jobs.threads import available_threads, single_threaded
from ..model.gene_predictive import gene_predictive
from ..model.predictive import gene_reconstruction
from ._added import says_what_it_added
from ._conditional import CallRule, check_nb, conditional_test, remove_causes, stored_means, write_columns
from ._copies import copies_if_known, copies_of
from ._refits import bootstrap
from ._setup import Run


@checked
@says_what_it_added
@tells
@single_threaded()
def zi_scores(
    adata: AnnData,
    *,
    method: Literal["conditional", "predictive", "reconstruction"] = "conditional",
    alpha: float = 0.05,
    negligible_dropout: float = 0.01,
    smallest_dropout: float = 0.1,
    n_samples: int | None = None,
    n_bootstrap: int = 0,
    counts: Literal["auto", "molecules", "reads"] = "auto",
    split: Literal["train", "validation", "test", "all"] | None = None,
    device: str = "auto",
    rng: RNG = 0,
    progress: bool = True,
    key: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Say which genes are zero-inflated, given what is known of each cell.

    ``method="conditional"`` is a likelihood ratio test for each gene. The NB network says which mean
    ``mu_ng`` it expects in the state of each cell; around these means, a gene's own scale, inverse dispersion
    and dropout probability are fitted,

    .. math:: x_{ng} \sim \pi_g [x = 0] + (1 - \pi_g) \, \mathrm{NB}(e^{b_g} \mu_{ng}, \theta_g),

    and compared with the best of those whose dropout probability is negligible, at most 0.01: the counts of
    no gene are NB to the letter, and with enough cells all would differ from it. The ratio's null is half a
    chi-squared and half 0. Cell types, library sizes and batches are in the means, and so are no evidence of
    zero inflation.

    Nor is a dispersion that differs between cells. A gene that is found so is tested again with
    ``theta_ng = theta_g exp(s_n w_g)``, where ``s_n`` is the state of the cell in the network: the 40 main
    directions of the decoder's last hidden layer (fewer for less than 1,000 cells) and the library size. The
    coefficients have a normal prior whose width the counts choose. The p value is the larger of the two.

    Cells may lose counts at rates of their own, as those of one type or of bad quality do, and have
    dispersions of their own. The other genes tell (``stats.cell_effects``, from the 300
    that can show a dropout best, the gene itself left out): where cells differ in the odds of a dropout, the
    gene is also tested with odds that are proportional to these. The smaller of the two p values counts, once
    they are divided by weights of 0.8 and, for the test without, 0.2. The effect of a cell on the dispersion
    stands beside its state.

    Of a gene that is called it is asked whether a column of ``obs`` that the fit does not know tells its
    zeros: with a mean for each level, is the gene better explained, and is no dropout left? Genes that are
    silent in some cells for reasons that neither other genes nor a column shows (bursts) are called as well;
    `zinbtools.tl.explain_zeros` asks whether bursts or a dropout are closer to their counts.

    Counts may be reads. Their molecules were copied, which makes more zeros beside higher counts than an NB
    does, and is no dropout. With ``counts="reads"`` the molecules are NB around ``mu_ng`` over the copies of
    the cell, each molecule has a number of reads of its own, and a gene may be copied more than others: is
    there a dropout beyond that? Where genes differ in how unevenly their molecules are copied, too, a gene
    that is called is tested again with a shape of its own, and then with a dispersion of its molecules that
    depends on the state of the cell; the p value is the largest of the three. How
    molecules were copied is estimated from the fitted genes around the NB's means, for each batch, as by
    `zinbtools.tl.reads_per_molecule` with ``of_fit``.
    All cells have the same dropout probability then. Where a molecule was read less than
    twice, counts are compared as molecules, with a warning; the verdict has the same rule.
    The price is power: of the genes that the test finds among simulated molecules, it finds half to nine
    tenths among their reads (``tests/benchmarks/reads.py --only power``).

    A gene with a count in fewer than 20 of the cells is not tested, and undecided: of a few counts it is not
    known how many zeros an NB makes, and the p value means nothing
    (`zinbtools.stats.zero_inflation.dropout_pval_adj`). So a gene of a few rare cells is not called.

    Parameters
    ----------
    adata
        Object on which `zinbtools.tl.fit_nb_zinb` was run, with the NB; the other methods need both models.
    method
        ``"conditional"``, or a comparison of the two networks, by gene: ``"predictive"``, the log probability
        of a gene's count given the other genes of its cell,
        ``log p(x_ng | x_n,-g) = log mean_k w_k - log mean_k w_k / p(x_ng | z_k)`` by importance sampling; or
        ``"reconstruction"``, ``E_q log p(x_ng | z)``, the 2019 study's score with its sign turned.
    n_samples
        Posterior draws per cell of the two network comparisons, 25 by default, and 100 for ``"predictive"``;
        refused with ``"conditional"``, which draws none.
    n_bootstrap
        Twins of the data, drawn from the fitted NB, to which it is fitted anew (one restart, same settings
        and split) and the same test is applied: what the test finds where there is nothing to be found, the
        training's errors included. Each takes as long as a fit of the NB. For ``"conditional"`` only.
    counts
        What is counted; by default reads where the fit saw that the counts look like reads, if it can be
        estimated how they were copied. For ``"conditional"`` only.
    split
        Which cells; all by default, and those of the test split for the network comparisons.
    rng
        Seed: a whole number, or numpy's Generator, RandomState or SeedSequence; None is a new one each time.
        The default method draws nothing but twins.

    Returns
    -------
    ``None``, or the copy. Removes causes of other calls (`zinbtools.tl.explain_zeros`), and sets in ``var``,
    NaN for genes that were not fitted:

    ``zi_score``, ``zi_score_se``
        Gain of the ZINB, nats per cell, POSITIVE where it is better, and its standard error over cells.
    ``zi_pval``, ``zi_pval_adj``
        P value, and adjusted by Benjamini and Hochberg among the genes with a count in 20 cells or more, NaN
        for the others, whose p value is not to be trusted; for ``"conditional"`` only, as are the rest.
    ``zi_dropout``, ``zi_dropout_low``, ``zi_dropout_high``
        Dropout probability, averaged over cells, and the ends of its interval of level ``1 - 2 alpha``, by
        the profile of the likelihood.
    ``zi_excess_zeros``
        The share of the gene's zeros that the dropout makes where the NB would not.
    ``zi_power``
        Power for ``smallest_dropout``.
    ``zi_call``
        Zero-inflated: above the negligible dropout, by the adjusted p value; negligible: the upper end of
        the interval is not above it; undecided: neither.
    ``zi_explained_by``, ``zi_on_in``
        For a gene that is called, the column of ``obs`` that tells its zeros, as ``"obs['sex']"``, and the
        level that has nearly all of its counts; ``"dispersion"`` for one that was called only with one
        dispersion for all cells; otherwise empty words.
    ``zi_pval_bootstrap``
        With twins: the share of their likelihood ratios that are at least as large as the gene's,
        ``(1 + #) / (1 + N)``, among the 100 or more genes of like mean, and all genes if they are fewer than
        200: `zinbtools.stats.zero_inflation.bootstrap_pval`. It is at least ``1 / (1 + N)``, and no call
        rests on it: hold it against ``zi_pval``.

    With twins also ``uns["zinbtools"]["zi_bootstrap"]``, a row for each: ``twin``, ``n_genes`` (with a
    count), ``n_called``, ``share_pval_05`` (p values of 0.05 or less among the genes that were tested; 0.05
    or fewer if the test is right) and ``largest_ratio``.

    Raises
    ------
    KeyError
        If there is no fit.
    ValueError
        If a model that is needed was not fitted, the method is not known or has no twins or no draws, numbers
        are out of range or the split has fewer than two cells.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, progress=False)
    >>> zt.tl.zi_scores(adata)
    >>> sorted(adata.var["zi_call"].cat.categories)
    ['negligible', 'undecided', 'zero-inflated']
    """
    check_anndata(adata, copy)
    rule = CallRule(alpha, negligible_dropout, smallest_dropout)
    rule.check()
    if n_bootstrap and method != "conditional":
        raise ValueError(f"n_bootstrap goes with method 'conditional' only, found {method!r}.")
    if n_samples is not None and method == "conditional":
        raise ValueError("n_samples goes with 'predictive' and 'reconstruction' only; leave it out.")
    fit = Fitted.read(adata, key)
    where = resolve_device(device)
    are_reads = method == "conditional" and (
        counts == "reads" or (counts == "auto" and fit.params.get("counts") == CountKind.READS)
    )
    if are_reads and n_bootstrap:
        raise ValueError(
            "n_bootstrap draws twins of molecules and does not go with reads; leave it out, or give "
            "counts='molecules'."
        )
    if counts != "auto" and method != "conditional":
        raise ValueError(f"counts goes with method 'conditional' only, found {counts!r}.")
    split = split or ("all" if method == "conditional" else "test")
    cells = fit.cells(adata, split)
    if len(cells) < 2:
        raise ValueError(f"split {split!r} has {len(cells)} cell; a standard error needs at least 2.")
    if method == "conditional":
        check_nb(fit)
        data = fit.data(adata, where)
        means, n_threads = stored_means(adata, fit, cells), available_threads(where)
        known = copies_of if counts == "reads" else copies_if_known
        copies = known(adata.obs, fit, data, cells, fit.unseen_cells(adata)) if are_reads else None
        columns = conditional_test(fit, data, cells, rule, means, adata.obs, n_threads, copies)
    else:
        columns = _network_columns(adata, fit, method, cells, n_samples, where, integer(rng))
    twins = None
    if n_bootstrap:
        twins, columns["pval_bootstrap"] = bootstrap(
            adata,
            fit,
            data,
            columns,
            n_twins=n_bootstrap,
            split=split,
            rule=rule,
            run=Run.on(device),
            rng=rng,
        )
    target = target_of(adata, copy)
    write_columns(target, fit.keys, fit.genes(target), columns)
    remove_causes(target, fit.keys)
    target.uns[fit.keys.uns].pop(ZI_BOOTSTRAP.name, None)
    if twins is not None:
        target.uns[fit.keys.uns][ZI_BOOTSTRAP.name] = twins
    return target if copy else None


def _network_columns(
    adata: AnnData,
    fit: Fitted,
    method: str,
    cells: np.ndarray,
    n_samples: int | None,
    device: torch.device,
    seed: int,
) -> dict[str, np.ndarray]:
    """Average the difference between the two networks over cells, with its standard error."""
    if fit.models != ["nb", "zinb"]:
        raise ValueError(f"scores compare 'nb' with 'zinb', but only {fit.models[0]!r} was fitted; fit both.")
    data = fit.data(adata, device)
    by_gene, draws = (gene_predictive, 100) if method == "predictive" else (gene_reconstruction, 25)
    everyone = torch.as_tensor(cells, device=device)
    nb, zinb = (
        by_gene(fit.load(name, device), data, everyone, n_samples=n_samples or draws, seed=seed)
        for name in fit.models
    )
    total, total_of_squares = np.zeros(data.n_genes), np.zeros(data.n_genes)
    for nb_block, zinb_block in zip(nb, zinb, strict=True):
        gain = zinb_block - nb_block
        total += gain.sum(0)
        total_of_squares += np.square(gain).sum(0)
    n = len(cells)
    score = total / n
    variance = np.maximum(total_of_squares / n - score**2, 0) * n / (n - 1)
    return {"score": score, "score_se": np.sqrt(variance / n)}
