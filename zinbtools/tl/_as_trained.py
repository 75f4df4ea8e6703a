"""A comparison of models that are there already, as `import_scvi` and `fit_nb_zinb` leave them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from .._anndata.kinds import Finding
from .._anndata.reading import FEWEST_TEST_CELLS, checked_column
from .._record.keys import Keys
from .._record.parts import HISTORY
from .._words.count_kinds import CountKind
from .._words.models import MODELS, model_name
from .._words.numbers import counted, percent
from ..get._fitted import Fitted
from ..model.config import Likelihood
from ..model.restarts import merge
from ..model.training import Cells, EpochRecord, Failure, Training
from ..stats.convergence import RISING, late_rise
from ._comparison import Comparison, Method
from ._enough import Compared
from ._setup import Sample, Seeds, Setup, setup_of
from ._trained import Trained

_STOP_ONE_IN = 9  # of the training cells, where a rival has no validation cells to stop by


def fit_that_is_there(adata: AnnData, keys: Keys, of_new_fits: Mapping[str, bool]) -> Fitted:
    """Find what is to be compared as it is; ValueError for an argument that is given and is of new fits."""
    for name, is_given in of_new_fits.items():
        if is_given:
            raise ValueError(f"{name} must be left out with retrain=False: it is of new fits.")
    return Fitted.read(adata, keys.key_added)


def compare_as_trained(adata: AnnData, fit: Fitted, method: Method) -> Compared:
    """Compare an NB and a ZINB on the test cells of their own split; nothing but rivals is trained.

    Raises
    ------
    ValueError
        If one of the models is missing, there are too few test cells, or their counts are others by now.
    """
    if fit.models != list(MODELS):
        there, name = model_name(fit.models[0]), fit.keys.key_added
        both = "import both as a list" if fit.is_imported else "fit both"
        raise ValueError(
            f"retrain must be True where there is only the {there}, as key_added={name!r} has it; or {both}."
        )
    counts = fit.counts(adata)
    kind, sign = (fit.params.get(name, "") for name in ("counts", "counts_sign"))
    told = Finding(CountKind(kind or CountKind.MOLECULES), sign)
    if method.counts != "auto":
        told = Finding(CountKind(method.counts), f"counts={method.counts!r} was given")
    sample = Sample(counts.matrix, adata, pd.Index(fit.settings.genes, dtype=object), told)
    labels = checked_column(adata.obs, fit.keys.split, "split", "obs").astype(str).to_numpy()
    if (n_test := int((labels == "test").sum())) < FEWEST_TEST_CELLS:
        raise ValueError(
            f"{n_test} of {len(labels):,} cells are new to both models, and at least {FEWEST_TEST_CELLS} are "
            "needed: train both on one split that leaves some, or let retrain=True train pairs of its own."
        )
    device = method.run.device
    setup = _with_stop(setup_of(sample, fit.settings, fit.covariates, labels.astype(object), device))
    trainings = {name: merge([*_trainings(fit, name, device)]) for name in fit.models}
    n_restarts = len(next(iter(trainings.values())).best_epoch)
    seeds = replace(Seeds.spawn(method.seed, n_restarts), draws=fit.draw_seed)
    trained = Trained(setup, seeds, trainings, ())
    method = replace(method, n_restarts=n_restarts, folds=1)
    main = Comparison(method, [trained], method.evaluate([trained]))
    return Compared(main, adata, None, fit.settings, counts.digests)


def cautions_of_import(fit: Fitted) -> Iterator[str]:
    """What to know of a verdict on models as they were trained elsewhere."""
    if not fit.is_imported:
        return
    yield from _unfinished(fit)
    if fit.params.get("may_have_stopped_on_test", False):
        yield (
            "Caution: the test cells were validation cells, and may have said when the trainings stopped; "
            "both models are shown a little better on them than on new cells."
        )
    if fit.settings.common.library == "observed":
        yield (
            "Caution: the models take each cell's total for its library size, with which a ZINB cannot make "
            "up for the counts that dropout removes, so that the comparison favours the NB "
            "(use_observed_lib_size=False)."
        )


def _unfinished(fit: Fitted) -> Iterator[str]:
    """Say by the training cells, where no others were looked at, that a training had not come to its end."""
    history = fit[HISTORY]
    if history["validation_elbo"].notna().any():
        return
    for name, run in history.groupby("model", observed=True):
        rise = late_rise(run.sort_values("epoch")["train_elbo"].to_numpy(dtype=float))
        if rise > RISING:
            yield (
                f"Caution: training of the {model_name(name)} had not levelled off: over the last quarter of "
                f"its {counted(len(run), 'epoch')} the ELBO of training cells still rose, by "
                f"{percent(rise)}; train longer before you believe the answer."
            )


def _with_stop(setup: Setup) -> Setup:
    """With cells to stop a rival's training by, where the split has no validation cells."""
    if len(setup.cells.stop):
        return setup
    train = setup.members["train"]
    held = torch.zeros(len(train), dtype=torch.bool, device=train.device)
    held[::_STOP_ONE_IN] = True
    return replace(setup, cells=Cells(train=train[~held], stop=train[held], prior=setup.cells.prior))


def _trainings(fit: Fitted, name: Likelihood, device: torch.device) -> Iterator[Training]:
    """Each restart of a model with what is told of its training; one that failed is a copy of the best."""
    history, good = fit[HISTORY], fit.restarts(name)
    failed = [int(restart) for restart in np.atleast_1d(fit.params.get("failed", {}).get(name, []))]
    for restart in sorted([*good, *failed]):
        run = history[(history["model"] == name) & (history["restart"] == restart)].sort_values("epoch")
        records = [
            EpochRecord(0, int(row.epoch), row.train_elbo, row.validation_elbo, row.learning_rate)
            for row in run.itertuples()
        ]
        elbo = run["validation_elbo"].to_numpy(dtype=float)
        best = int(run["epoch"].iloc[-1 if fit.is_imported or np.isnan(elbo).all() else np.nanargmax(elbo)])
        model = fit.load(name, device, restart if restart in good else None)
        failures = [] if restart in good else [Failure(0, best, -1, -1)]
        yield Training(model, [best], records, failures)
