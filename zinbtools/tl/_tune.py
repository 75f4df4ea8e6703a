"""`tune`: which architecture and which training suit the data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from .._anndata.reading import SPLITS, check_anndata
from .._anndata.results import refuse_to_overwrite, storable, target_of
from .._check.arguments import checked, shown
from .._check.rng import RNG
from .._record.keys import Keys
from .._record.parts import SUMMARY, TUNING
from ..jobs import Where, workers
from ..jobs.threads import single_threaded
from ..model.config import Likelihood, ProtocolName
from ..model.restarts import data_fingerprint
from ..model.search import SPACES, Outcome, Search, Told, evaluate, outcome_checkpoints, run_searches
from ._added import says_what_it_added
from ._asked import asked, settings_among
from ._setup import Run, Seeds, Setup, prepare, read_sample


@checked
@says_what_it_added
@single_threaded()
def tune(
    adata: AnnData,
    *,
    max_evals: int = 100,
    space: Any = "default",
    shared: bool = True,
    layer: str | None = None,
    mask_var: str | np.ndarray | None = None,
    batch_key: str | None = None,
    categorical_covariate_keys: str | Sequence[str] | None = None,
    continuous_covariate_keys: str | Sequence[str] | None = None,
    size_factor_key: str | None = None,
    models: Likelihood | Sequence[Likelihood] = ("nb", "zinb"),
    protocol: ProtocolName = "default",
    dispersion: Literal["gene", "gene-batch", "gene-cell", "none"] = "gene",
    library: Literal["latent", "observed"] = "latent",
    max_epochs: int | None = None,
    split: Sequence[float] | str = (0.8, 0.1, 0.1),
    n_samples: int = 100,
    prune: bool = True,
    max_queue_len: int = 1,
    check_counts: bool = True,
    device: str = "auto",
    n_jobs: int | Literal["auto"] = "auto",
    executor: Where = "threads",
    resume: str | os.PathLike[str] | None = None,
    rng: RNG = 0,
    progress: bool = True,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Search for settings of the fit with hyperopt's tree of Parzen estimators.

    A setting is judged by the importance-sampled log likelihood of the validation cells (under
    ``protocol="blog2019"`` with the encoder's draws, as in the study); the test cells stay unseen. A model is
    trained as `zinbtools.tl.fit_nb_zinb` would with the same ``rng``, and is stopped after a quarter or half
    of its epochs if its validation ELBO is below the median of the trials before it. The default setting
    (that of ``protocol``) is evaluated in the same way.

    The trials depend on ``rng``, ``space`` and ``max_queue_len``, not on how many workers there are or which
    was quicker. Without pruning they are those of ``hyperopt.fmin`` with
    ``rstate=numpy.random.default_rng(seed)``, the seed being in ``uns``.

    Parameters
    ----------
    adata
        Cells x genes with raw counts.
    max_evals
        Settings to try. With ``resume`` a search goes on where an earlier one with fewer of them ended.
    space
        ``"default"``: latent dimensions, width, one or two layers, dropout, minibatch and learning rate
        around the default. ``"blog2019"``: that of the 2019 study. Or any space of hyperopt that gives a
        dictionary with settings of the fit, such as
        ``{"n_hidden": hyperopt.hp.choice("n_hidden", [64, 128])}``. It goes before arguments of that name.
    shared
        One setting for both models, by the mean of their likelihoods, so that they are compared at the same
        architecture; otherwise a search and a setting for each, as the study had.
    split
        Shares of training, validation and test cells, or a column of ``obs`` that holds these words.
    n_samples
        Importance samples per validation cell.
    prune
        Stop hopeless trainings.
    max_queue_len
        How many settings hyperopt suggests before it hears of the losses of any. The first 20 are random and
        run side by side in any case; after them ``max_queue_len`` times the number of models is how many
        workers have something to do.

    Returns
    -------
    ``None``, or the copy. Sets:

    ``obs["zinbtools_tuning_split"]``
        ``train``, ``validation`` or ``test``, to be kept by the fit that uses what was found.
    ``uns["zinbtools"]["tuning"]``
        ``trials``, a table with a row per trial and model; ``summary``, a row per model with the NLL of the
        default and of the best setting on validation cells, the ``gain`` and its standard error over cells
        (chosen as the best of many, it promises too much; the test cells tell); ``best``, the setting for
        each model; ``params``.

    ``zinbtools.tl.fit_nb_zinb(adata, config="tuned")`` uses it. What else is in ``adata`` stays.

    Raises
    ------
    ValueError, KeyError, TypeError
        For counts, columns, settings and spaces that cannot be used, before any training.
    RuntimeError
        If no trial gave a finite likelihood. ``adata`` is as it was in all cases.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.tune(adata, max_evals=2, max_epochs=3, n_samples=5, progress=False)
    >>> zt.get.tuning_df(adata)[["trial", "model", "status"]]
       trial model status
    0      0    nb     ok
    1      0  zinb     ok
    2      1    nb     ok
    3      1  zinb     ok
    """
    given = settings_among(locals())
    check_anndata(adata, copy)
    keys = Keys(key_added)
    refuse_to_overwrite(adata, keys)
    run = Run.on(device, n_jobs, executor, resume=resume, progress=progress)
    settings = asked(adata, keys, **given).changed(stop_on="validation")
    seeds = Seeds.spawn(rng)
    sample, _ = read_sample(adata, settings)
    setup = prepare(sample, settings, seeds.split, run.device)
    options: dict[str, Any] = {"max_evals": max_evals, "max_queue_len": max_queue_len, "prune": prune}
    searches = [
        Search(_space(space), together, setup.settings.common, seed=seeds.search, **options)
        for together in ([settings.models] if shared else [[name] for name in settings.models])
    ]
    fixed: dict[str, Any] = {
        "seed": seeds.restarts[0],
        "order_seed": seeds.order,
        "draw_seed": seeds.draws,
        "n_samples": n_samples,
        "proposal": settings.preset.proposal,
    }
    default = _run(searches, setup, fixed, run)
    winners = [_winner(search, default) for search in searches]
    found = {
        "trials": _trials_table(searches),
        "summary": _summary_table(winners, default),
        "best": {name: dict(told.settings) for told in winners for name in told.outcomes},
        "params": storable(
            {
                **asdict(setup.settings.common),
                **fixed,
                **options,
                "protocol": protocol,
                "models": settings.models,
                "space": space if isinstance(space, str) else "custom",
                "shared": shared,
                "search_seed": seeds.search,
                "version": version("zinbtools"),
            }
        ),
    }
    target = target_of(adata, copy)
    target.obs[keys.tuning_split] = pd.Categorical(setup.labels, categories=SPLITS)
    target.uns[keys.uns] = {**target.uns.get(keys.uns, {}), TUNING.name: found}
    return target if copy else None


def _run(
    searches: Sequence[Search], setup: Setup, fixed: Mapping[str, Any], run: Run
) -> dict[Likelihood, Outcome]:
    """Run the searches, which keep what they find, and give the outcome of the default setting."""
    train_here = partial(evaluate, data=setup.data, shape=setup.shape, cells=setup.cells, **fixed)
    identity = {
        "jobs": "tuning",
        "data": data_fingerprint(setup.data, setup.cells),
        "device": setup.data.device.type,
        **fixed,
    }
    kept = None if run.resume is None else outcome_checkpoints(run.resume, identity)
    with workers(train_here, n_jobs=run.n_jobs, executor=run.executor) as crew:
        return run_searches(searches, crew, checkpoints=kept, progress=run.progress)


def _space(space: Any) -> Any:
    from hyperopt.pyll.base import Apply

    if isinstance(space, str) and space in SPACES:
        return SPACES[space]()
    if isinstance(space, Apply) or (isinstance(space, Mapping) and space):
        return space
    known = ", ".join(map(repr, SPACES))
    raise ValueError(
        f"space must be one of {known} or a space of hyperopt that is not empty, found {shown(space)}."
    )


def _tried(search: Search) -> list[str]:
    """The settings that any trial had."""
    return list(dict.fromkeys(name for told in search.told for name in told.settings))


def _winner(search: Search, default: Mapping[Likelihood, Outcome]) -> Told:
    """The best trial, or the default, as number -1, where none was better."""
    names = [name.upper() for name in search.likelihoods]
    outcomes = {name: default[name] for name in search.likelihoods}
    settings = {name: getattr(search.base, name) for name in _tried(search)}
    candidates = [Told(-1, settings, outcomes), *search.told]
    good = [told for told in candidates if told.status == "ok"]
    if not good:
        messages = [outcome.message for told in candidates for outcome in told.outcomes.values()]
        why = next((message for message in messages if message), "all were pruned.")
        raise RuntimeError(f"No setting of the {' and '.join(names)} model could be trained: {why}")
    best = min(good, key=lambda told: told.loss)
    return best._replace(settings=settings | best.settings)


def _trials_table(searches: Sequence[Search]) -> pd.DataFrame:
    """One row per trial and model."""
    rows = [
        {
            "trial": told.number,
            "model": name,
            "status": outcome.status,
            "trial_status": told.status,
            "loss": told.loss,
            "nll": outcome.loss if outcome.status == "ok" else np.nan,
            "se": outcome.standard_error,
            "elbo": outcome.elbo,
            "n_epochs": outcome.n_epochs,
            **{setting: getattr(search.base, setting) for setting in _tried(search)},
            **told.settings,
            "message": outcome.message,
        }
        for search in searches
        for told in search.told
        for name, outcome in told.outcomes.items()
    ]
    return pd.DataFrame(rows)


def _summary_table(winners: Sequence[Told], default: Mapping[Likelihood, Outcome]) -> pd.DataFrame:
    """One row per model: NLL of the default and of the best trial, and the gain with its error over cells."""
    rows = []
    for told in winners:
        for name, outcome in told.outcomes.items():
            gain = gain_se = np.nan
            if outcome.log_likelihood is not None and default[name].log_likelihood is not None:
                by_cell = outcome.log_likelihood - default[name].log_likelihood
                gain, gain_se = by_cell.mean(), by_cell.std(ddof=1) / np.sqrt(len(by_cell))
            rows.append((name, told.number, default[name].loss, outcome.loss, gain, gain_se))
    return pd.DataFrame(rows, columns=SUMMARY.holds)
