"""`model_selection`: whether these counts should be zero-inflated."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from anndata import AnnData

from .._anndata.fitted_counts import places_of
from .._anndata.reading import check_anndata, checked_column
from .._anndata.results import refuse_to_overwrite, storable, target_of, write_of_some
from .._check.arguments import check_arguments, checked
from .._check.rng import RNG, as_integer, integer
from .._record.keys import Keys
from .._record.parts import METRICS as ALL_METRICS
from .._record.parts import PPC, SELECTION, WEIGHTS, Metric
from .._record.record import Record
from .._words.models import MODELS
from ..get._fitted import Fitted
from ..get._health import health_of_fit, health_of_runs
from ..get._sentence import cautions, sentence
from ..get._settings import FitSettings
from ..jobs import Where
from ..jobs.cores import usable_cores
from ..jobs.progress import tells
from ..jobs.threads import single_threaded
from ..stats.compile_beside import compile_beside
from ..stats.discrepancies import CHECKS
from ._added import says_what_it_added
from ._as_trained import cautions_of_import, compare_as_trained, fit_that_is_there
from ._asked import asked
from ._comparison import FOLDS, Comparison, Method, n_folds_of
from ._conditional import CallRule, conditional_test, stored_means, write_columns
from ._copies import copies_if_known
from ._enough import compare_on_enough
from ._explain_zeros import by_copies, causes_table, write_causes
from ._fit import fit_nb_zinb
from ._marginal import likelihood_metrics, write_estimates
from ._metrics import update_metrics
from ._outputs import affordable, history_table
from ._ppc import choose, predictive_checks
from ._refits import settings_again
from ._selection_tables import (
    calls_table,
    tests_table,
)
from ._setup import Run
from ._verdict import RIVALS, ask_columns, evidence_of

METRICS = ("nll", *(f"ks_{check}" for check in CHECKS))


@checked
@says_what_it_added
@tells
@single_threaded()
def model_selection(
    adata: AnnData,
    *,
    n_restarts: int | Literal["auto"] = "auto",
    folds: int | Literal["auto"] = "auto",
    models: Sequence[Literal["nb", "zinb", "poisson", "nb-gene-cell"]] = ("nb", "zinb"),
    metrics: Sequence[str] = ("nll", "ks_dropout_ratio", "ks_zeros_to_expression", "ks_cv"),
    alpha: float = 0.05,
    rope: float | None = None,
    groupby: str | None = None,
    counts: Literal["auto", "molecules", "reads"] = "auto",
    n_bootstrap: int = 0,
    cells: int | Literal["auto", "all"] = "auto",
    n_samples: int = 100,
    n_null: int = 50,
    device: str = "auto",
    n_jobs: int | Literal["auto"] = "auto",
    executor: Where = "threads",
    resume: str | os.PathLike[str] | None = None,
    rng: RNG = 0,
    progress: bool = True,
    retrain: bool = True,
    key_added: str | None = None,
    copy: bool = False,
    **settings: Any,
) -> AnnData | None:
    r"""Say whether a zero-inflated model accounts better for the counts, by how much and how surely.

    Three questions are kept apart. Does the ZINB PREDICT better? ``d_rn``, the log likelihood of test cell n
    under restart r of the ZINB minus that under restart r of the NB (same seed, same minibatches), is
    averaged over cells and restarts. Its standard error has both as random effects,
    ``s_cells^2 / N + s_restarts^2 / R + s_rest^2 / (N R)``, and the interval is held against a region of
    practical equivalence. Up to 2,000 cells are compared in ten folds: all of them are tested, each by models
    that have not seen it, and each fold has seeds of its own. So are up to 10,000 where a tenth of them and 3
    pairs leave it open. The error is then the scatter of the folds'
    means, or that of the cells within folds if it is larger (`zinbtools.stats.crossed.crossed_mean`).

    Are there EXCESS ZEROS? The zeros of all cells are compared with what the NB, at its own means and
    dispersions, expects of them, and this with the same for counts that the NB has drawn itself. They can
    come apart, as a dropout head takes up whatever else the NB lacks. Does SOMETHING ELSE explain both? A
    dispersion that differs between cells makes zeros in some of them. So where the ZINB is above the region,
    both models are compared once more, with a dispersion per gene and cell (1 or 2 pairs per fold, 3 or 5 on
    one split, no more than asked for), and it is the ZINB only if it is above the region there too, with
    excess zeros; or if at least a twentieth of the genes are zero-inflated, each tested with a dispersion
    that depends on the state of the cell, as `zinbtools.tl.zi_scores` does.

    Reads are copies of molecules, and their sizes make a ZINB better than an NB without any loss. So of reads
    each gene is also fitted to the training cells around the NB network's means, as NB, ZINB, and NB and ZINB
    of molecules that were copied, and all four are held against the test cells. Copies are those of the
    training cells around the NB's means (`zinbtools.tl.reads_per_molecule`), those of a test cell from its
    own reads and what the training cells say of the genes; of fewer than two copies the counts are taken for
    molecules. Amplification explains the ZINB's gain if the NB of copied molecules is
    not below the ZINB of reads, and a dropout of molecules adds no more than the region to it; unless it adds
    something, and a twentieth of the genes are zero-inflated beyond their copies.

    Beside them stands what the 2019 study had: metrics per restart, medians and rank-sum tests over restarts.

    Parameters
    ----------
    adata
        Cells x genes with raw counts. Where it holds a fit and no ``settings`` are given, the settings are
        that fit's, and with one fold so is the split.
    n_restarts
        Pairs of fits in each fold. ``"auto"``: 1, 2, 3 or 5, and on one split 3, 5 or 10, until the
        interval no longer reaches over the upper edge of the region of practical equivalence, or more pairs
        would hardly change that.
    folds
        Parts of the cells, in proportion to the batches, that are held out in turn: one tests, the next says
        when to stop, the others train. 1 is one split, and then as `zinbtools.tl.fit_nb_zinb` has it.
        ``"auto"``: 10; of more than 2,000 cells only where one split leaves it open; and 1 for more than
        10,000, for the study's protocol, and where ``split``, here or in the fit, or ``config="tuned"`` says
        which cells are held out. Without cells for ten, fewer.
    models
        ``"nb"`` and ``"zinb"``, and rival explanations of the dispersion to be compared with the NB:
        ``"poisson"`` and ``"nb-gene-cell"``, an NB with an inverse dispersion per gene and cell.
    metrics
        What to test over restarts: ``"nll"`` and ``"ks_"`` with a check of `zinbtools.tl.ppc`.
    alpha
        Level of the tests; the interval is of level ``1 - alpha``.
    rope
        Half-width of the region of practical equivalence, nats per cell. By default a thousandth of the NB's
        NLL, one bit in a thousand: `zinbtools.stats.equivalence.default_rope`.
    groupby
        Column of ``obs`` with cell types or batches: the comparison is repeated within each of at least 100
        cells, by models of its own. If no group is zero-inflated and together they are clearly within or
        below their regions, differences between the groups explain what all cells show.
    counts
        What they are: ``"molecules"``, ``"reads"``, or ``"auto"``, what they look like. For reads it is asked
        whether the copies of molecules explain what the ZINB gains; with ``"auto"`` of all counts that would
        be zero-inflated, if molecules turn out to have been read twice or more.
    n_bootstrap
        Twins of the data, drawn from the fitted NB, on which the comparison is repeated (one restart on one
        split each): how large a difference and how many zeros by dropout the ZINB finds where there are none.
    cells
        How many to use. ``"auto"``: all, up to 20,000. Of more, 20,000 are drawn at random, by batch and
        library size, and while the interval reaches over the upper edge and at most 5 pairs of fits leave it
        so, 40,000 and 80,000. The other cells have no split; neither embeddings nor layers are written, which
        `zinbtools.tl.embed` does for all cells. Everything else is of the cells that were used.
    n_samples
        Importance samples per cell, and draws of the predictive checks.
    n_null
        Replicates whose zeros the NB is compared on.
    retrain
        Train new pairs. ``False``: compare the models that are there, as `zinbtools.tl.import_scvi` or
        `zinbtools.tl.fit_nb_zinb` left them, on the test cells of their split. Only the rivals, where they
        are asked for, are trained, as many pairs as there are of the models. It goes with no ``settings``,
        groups or twins, and with all cells.
    **settings
        Further settings of `zinbtools.tl.fit_nb_zinb`, such as ``layer`` and ``batch_key``. With
        ``protocol="blog2019"`` the evaluation is the study's too: draws from the encoder's posterior, and
        predictive checks of training cells.

    Returns
    -------
    ``None``, or the copy. Sets all that `zinbtools.tl.fit_nb_zinb`, `zinbtools.tl.marginal_ll`,
    `zinbtools.tl.ppc` and `zinbtools.tl.explain_zeros` do, for all restarts of the first fold, and
    ``uns["zinbtools"]["model_selection"]``, which `zinbtools.get.verdict` and
    `zinbtools.get.model_selection_df` read:

    ``verdict``
        ``"zinb"``: the interval lies above the region, there are excess zeros, and nothing that was asked
        explains them. ``"better fit, not zero inflation"``: the interval lies above the region, but one of
        the others fails. ``"nb"``: it lies below the region, or over its lower edge alone, so that the ZINB
        is not better by more than the region. ``"no practical difference"``: inside. ``"undecided"``: it
        reaches over the upper edge.
    ``explained_by``
        Of a better fit: ``"amplification"`` (reads are copies of molecules), ``"dispersion"`` (per gene and
        cell), ``"groups"`` (of ``groupby``), ``"covariate"`` (the excess is in genes whose zeros a column of
        ``obs`` tells), or an empty word.
    ``reads_per_molecule``
        Of reads, as the training cells of the folds have it; the median.
    ``sentence``, ``cautions``
        The same for people, and what to know before it is believed; the latter is not there if it is empty.
    ``rivals``
        What `zinbtools.get.rivals_df` returns.
    ``calls``
        Genes that are zero-inflated, or whose zeros are explained: ``gene``, ``dropout``, its interval,
        ``call``, ``explained_by``, ``on_in``, and the ``cause`` as by `zinbtools.tl.explain_zeros`.
    ``differences``
        A row per model that is compared with the NB: ``difference`` (nats per cell, POSITIVE = better than
        the NB), ``se``, ``df``, ``low``, ``high``, ``sd_cells``, ``sd_restarts``, ``n_cells``,
        ``n_restarts``, ``n_folds``, ``nll``, ``rope``, ``position``.
    ``by_restart``
        ``model``, ``fold``, ``restart``, ``difference``.
    ``tests``
        A row per metric over the restarts, of all folds for ``nll``, of the first for others: medians,
        numbers of runs, p values of both directions, raw and adjusted by Benjamini and Hochberg over all of
        them, and ``better``, the model that is significantly so (bold in the study).
    ``zeros``, ``pooled_zeros``
        Per gene, the numbers of zeros that are there and that the NB's best restart expects, with the null;
        over all genes, ``n_expected``, to which the null's mean is added, and the excess as a share of the
        zeros that are there, with the null.
    ``groups``, ``bootstrap``
        A row per group, or per twin.
    ``cells``
        ``n_used`` and ``n_all``, where not all cells were used.

    Raises
    ------
    ValueError, KeyError, TypeError
        For counts, columns and settings that cannot be used, and fewer than two test cells, before any
        training.
    RuntimeError
        If every restart of a model failed, or a worker process died.

    References
    ----------
    Kruschke (2018), Rejecting or accepting parameter values in Bayesian estimation, AMPPS 1(2).

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=600)
    >>> zt.tl.model_selection(
    ...     adata, folds=3, n_restarts=1, n_samples=10, n_null=5, max_epochs=5, progress=False
    ... )
    >>> zt.get.verdict(adata).sentence.split(": ")[1][:36]
    'on 600 cells in three folds the ZINB'
    """
    check_anndata(adata, copy)
    rivals = _rivals(models, metrics, settings)
    if groupby is not None:
        checked_column(adata.obs, groupby, "groupby", "obs")
    keys, seed = Keys(key_added), as_integer(rng)
    refuse_to_overwrite(adata, keys)
    if usable_cores() > 1:
        compile_beside(of_reads=counts == "reads")
    of_new_fits = {
        "n_restarts": n_restarts != "auto",
        "folds": folds not in ("auto", 1),
        "cells": cells not in ("auto", "all"),
        "groupby": groupby is not None,
        "n_bootstrap": n_bootstrap > 0,
        **dict.fromkeys(settings, True),
    }
    there = None if retrain else fit_that_is_there(adata, keys, of_new_fits)
    asked_for = _settings(adata, keys, settings, folds) if there is None else there.settings
    method = Method(
        n_restarts=n_restarts,
        folds=folds,
        alpha=alpha,
        rope=rope,
        n_samples=n_samples,
        n_null=n_null,
        proposal=asked_for.preset.proposal,
        seed=seed,
        run=Run.on(device, n_jobs, executor, resume=resume, progress=progress),
        counts=counts,
    )
    main, part, used, asked_for, digests = (
        compare_on_enough(adata, asked_for, method, cells)
        if there is None
        else compare_as_trained(adata, there, method)
    )
    sample, dropped = main.fit.setup.sample, main.dropped()
    everyone, n_threads = main.fit.cells("all"), method.run.n_threads
    held = main.fit.cells("validation")
    copies = copies_if_known(part.obs, main.fit, main.data, everyone, held) if main.are_copied else None
    results = None
    if there is None:
        layers = affordable(adata, asked_for) if used is None else ()
        results = main.fit.results(part, keys, digests, layers, n_threads)
        means = results.layers.get(keys.mean("nb"))
        if means is not None:
            means = means[:, places_of(part, asked_for.genes)]
    else:
        means = stored_means(adata, there, everyone)
    test = partial(conditional_test, main.fit, main.data, everyone, CallRule(alpha), means)
    genes = test(part.obs, n_threads, copies, copies is None)
    explained = genes["explained_by"] if copies is None else by_copies(genes, test(None, n_threads))
    labels = None if groupby is None else part.obs[groupby]
    result = evidence_of(main, rivals, dropped, labels, n_bootstrap, genes)
    causes = causes_table(genes | {"explained_by": explained}, sample.genes, len(everyone), alpha)
    result["calls"] = calls_table(genes, sample.genes, causes)
    ask_columns(result, main, genes)
    result["params"] = storable(
        {
            "n_restarts": n_restarts,
            "folds": len(main.fits),
            "alpha": alpha,
            "n_samples": n_samples,
            "n_null": n_null,
            "groupby": groupby,
            "proposal": method.proposal,
            "seed": seed,
        }
    )
    predicted = _predicted(main, metrics, asked_for.preset.checked_cells)
    whole = target_of(adata, copy)
    target = whole if used is None else part
    if results is not None:
        results.write(target, keys)
    places = places_of(target, asked_for.genes)
    write_columns(target, keys, places, genes)
    of_causes = {"alpha": alpha, "n_cells": len(everyone), "split": "all"}
    write_causes(target, keys, places, causes, of_causes | {"counts": "reads" if copies else "molecules"})
    write_estimates(target, keys, main.fit, main.estimates[0], main.cells, "test")
    if len(main.fits) > 1:
        update_metrics(target, keys, likelihood_metrics(main.of_all_folds, FOLDS))
    update_metrics(target, keys, (Metric("zinb", r, "test", "excess_zeros", v) for r, v in dropped.items()))
    if predicted:
        update_metrics(target, keys, predicted[0])
        target.uns[keys.uns][PPC.name] = predicted[1]
    result["tests"] = tests_table(target.uns[keys.uns][ALL_METRICS.name], metrics, alpha)
    health = (
        health_of_runs(history_table(main.fit.trainings), main.fit.settings, len(main.fit.cells("train")))
        if there is None
        else health_of_fit(adata, key_added)
    )
    training = "" if health is None else health.caution
    if used is not None:
        result["cells"] = {"n_used": len(used), "n_all": adata.n_obs}
    told = [*cautions(result, training, sample.finding.kind)]
    result |= storable({"cautions": told if there is None else [*told, *cautions_of_import(there)]})
    result["sentence"] = sentence(result)
    target.uns[keys.uns][SELECTION.name] = result
    if used is not None:
        write_of_some(part, used, whole, keys)
    return whole if copy else None


def _settings(
    adata: AnnData, keys: Keys, given: Mapping[str, Any], folds: int | Literal["auto"]
) -> FitSettings:
    """Those that are given, or those of the fit that is there, or the defaults."""
    if folds not in ("auto", 1) and (given.get("split") is not None or given.get("config") is not None):
        raise ValueError(f"folds must be 1 or 'auto' with split and config='tuned', found {folds!r}.")
    if given or WEIGHTS not in Record.read(adata, keys.key_added):
        return asked(adata, keys, **given)
    fit = Fitted.read(adata, keys.key_added)
    by_folds = n_folds_of(folds, fit.settings, adata.n_obs) > 1
    return (fit.settings if by_folds else settings_again(adata, fit)).of_models(MODELS)


def _rivals(models: Collection[str], metrics: Collection[str], settings: Mapping[str, Any]) -> list[str]:
    """The rivals among the models, once what only this verb knows of its arguments is checked."""
    if not {"nb", "zinb"} <= set(models):
        raise ValueError(f"models must have 'nb' and 'zinb' among them, found {models!r}.")
    if unknown := set(metrics) - set(METRICS):
        raise ValueError(f"metrics must be some of {', '.join(map(repr, METRICS))}, found {unknown.pop()!r}.")
    check_arguments(fit_nb_zinb, settings)
    return [name for name in RIVALS if name in models]


def _predicted(
    main: Comparison, metrics: Sequence[str], split: str
) -> tuple[list[Metric], dict[str, Any]] | None:
    """Run the predictive checks that are among the metrics."""
    checks = [name.removeprefix("ks_") for name in metrics if name != "nll"]
    if not checks:
        return None
    fit, method = main.fit, main.method
    cells, genes = fit.cells(split), fit.setup.sample.genes
    options: dict[str, Any] = {"n_samples": method.n_samples, "split": split, "seed": integer(method.seed)}
    return predictive_checks(
        fit, fit.data, cells, genes, *choose(checks), n_threads=method.run.n_threads, **options
    )
