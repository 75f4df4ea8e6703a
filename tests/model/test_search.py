"""The search: what hyperopt is asked and told, what is pruned, what fails; workers change nothing."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from functools import partial

import hyperopt
import numpy as np
import pytest
from hyperopt import hp, tpe

from zinbtools import jobs
from zinbtools.jobs.threads import single_threaded
from zinbtools.model import search as searching
from zinbtools.model.config import FitConfig
from zinbtools.model.search import (
    N_STARTUP,
    RUNGS,
    SPACES,
    Outcome,
    Search,
    Trial,
    checked_settings,
    evaluate,
    outcome_checkpoints,
    run_searches,
)
from zinbtools.model.training import train
from zinbtools.model.vae import Shape

SEEDS = {"seed": 11, "order_seed": 5, "draw_seed": 3, "n_samples": 10, "proposal": "laplace"}


@pytest.fixture
def evaluate_here(data, cells):
    """As in a verb, where torch makes the products of all threads in the same way."""
    with single_threaded():
        yield partial(evaluate, data=data, shape=Shape(data.n_genes), cells=cells, **SEEDS)


def made_up(trial: Trial) -> Outcome:
    """A smooth loss in place of a training; NaN for some of the settings."""
    config = trial.config
    loss = (
        (config.dropout_rate - 0.2) ** 2 + math.log(config.learning_rate / 5e-3) ** 2 + config.n_latent / 50
    )
    if config.n_latent % 5 == 0:
        return Outcome("failed", message="made up")
    return Outcome("ok", elbo=-loss - 1, rungs=[-loss - 3, -loss - 2], log_likelihood=np.array([-loss]))


def run(searches, function, **options):
    with jobs.workers(function, **options) as crew:
        return run_searches(searches, crew)


def fmin(function, space, base, likelihoods, *, seed, max_evals, max_queue_len=1):
    """The same search by hyperopt's own loop, one trial after the other."""
    trials = hyperopt.Trials()

    def objective(drawn):
        config = replace(base, **checked_settings(drawn))
        outcomes = [function(Trial(0, name, config, ())) for name in likelihoods]
        if any(outcome.status == "failed" for outcome in outcomes):
            return {"status": hyperopt.STATUS_FAIL}
        loss = sum(outcome.loss for outcome in outcomes) / len(outcomes)
        return {"status": hyperopt.STATUS_OK, "loss": loss}

    hyperopt.fmin(
        objective,
        space,
        algo=tpe.suggest,
        max_evals=max_evals,
        trials=trials,
        rstate=np.random.default_rng(seed),
        max_queue_len=max_queue_len,
        show_progressbar=False,
        verbose=False,
    )
    found = []
    for document in trials.trials:
        values = {name: value[0] for name, value in document["misc"]["vals"].items() if value}
        settings = checked_settings(hyperopt.space_eval(space, values))
        found.append((settings, document["result"].get("loss", math.nan)))
    return found


@pytest.mark.parametrize("space", ["default", "blog2019"])
@pytest.mark.parametrize(("max_queue_len", "max_evals"), [(1, 45), (4, 46), (30, 100), (1, 7)])
def test_the_trials_are_those_of_fmin(config, space, max_queue_len, max_evals):
    space, options = SPACES[space](), {"max_evals": max_evals, "seed": 7, "max_queue_len": max_queue_len}
    search = Search(space, ["nb"], config, prune=False, **options)
    run([search], made_up)
    found = [(told.settings, told.loss) for told in search.told]
    expected = fmin(made_up, space, config, ["nb"], **options)
    assert len(found) == max_evals
    if max_evals > 7:
        assert "failed" in {told.status for told in search.told}
    np.testing.assert_equal(found, expected)


@pytest.mark.slow
def test_real_trials_are_those_of_fmin(config, evaluate_here):
    space = {"n_latent": hp.randint("n_latent", 1, 6), "learning_rate": hp.loguniform("rate", -7.0, -3.0)}
    options = {"max_evals": 23, "seed": 1}
    search = Search(space, ["nb", "zinb"], config, prune=False, **options)
    run([search], evaluate_here)
    found = [(told.settings, told.loss) for told in search.told]
    assert found == fmin(evaluate_here, space, config, ["nb", "zinb"], **options)


def test_any_space_is_accepted(config):
    space = hp.choice(
        "kind",
        [
            {"n_hidden": hp.quniform("small", 8, 32, 8), "schedule": "constant"},
            {"n_hidden": 64, "more": {"dropout_rate": hp.uniform("rate", 0.1, 0.4)}},
        ],
    )
    search = Search(space, ["zinb"], config, max_evals=30, seed=0)
    run([search], made_up)
    kinds = {tuple(sorted(told.settings)) for told in search.told}
    assert kinds == {("n_hidden", "schedule"), ("dropout_rate", "n_hidden")}
    assert {type(told.settings["n_hidden"]) for told in search.told} == {int}


@pytest.mark.parametrize(
    ("drawn", "error", "words"),
    [
        (3, TypeError, "space must give a dictionary of settings, found 3"),
        ({"lr": 0.1}, ValueError, "space must hold settings of the fit .*learning_rate.*, found 'lr'"),
        ({"stop_on": "test"}, ValueError, "found 'stop_on'"),
    ],
)
def test_spaces_that_make_no_fit_are_refused(config, drawn, error, words):
    with pytest.raises(error, match=words):
        Search(hp.choice("all", [drawn]), ["nb"], config, max_evals=1, seed=0).ask()


def test_settings_out_of_range_are_told(config):
    search = Search({"n_latent": hp.randint("n", 1)}, ["nb"], config, max_evals=1, seed=0)
    with pytest.raises(ValueError, match="n_latent must be a whole number of at least 1, found 0"):
        search.jobs(search.ask())


def test_the_evaluation_is_that_of_a_fit(config, data, cells, evaluate_here):
    outcome = evaluate_here(Trial(0, "zinb", config, ()))
    training = train(
        "zinb",
        data,
        Shape(data.n_genes),
        cells,
        config,
        seeds=[SEEDS["seed"]],
        order_seed=SEEDS["order_seed"],
    )
    elbos = [record.validation_elbo for record in training.history]
    assert outcome.elbo == max(elbos)
    assert outcome.rungs == [max(elbos[:1]), max(elbos[:2])]
    assert (outcome.status, outcome.n_epochs) == ("ok", config.max_epochs)
    assert outcome.log_likelihood.shape == (len(cells.stop),)
    assert 0 < outcome.standard_error < 1
    assert 0 < -outcome.elbo - outcome.loss < 5  # the bound is below the likelihood, and not by much


def test_a_hopeless_trial_is_stopped_at_the_rung(config, evaluate_here):
    config = replace(config, max_epochs=8)
    assert RUNGS == (0.25, 0.5)
    full = evaluate_here(Trial(0, "nb", config, ()))
    first, second = full.rungs
    below = evaluate_here(Trial(0, "nb", config, (first - 1e-3, second + 1e-3)))
    assert (below.status, below.n_epochs, below.rungs) == ("pruned", 4, [first, second])
    assert below.loss == -second
    assert evaluate_here(Trial(0, "nb", config, (first + 1e-3, -math.inf))).rungs == [first]
    np.testing.assert_equal(evaluate_here(Trial(0, "nb", config, (first, second)))._asdict(), full._asdict())


def test_floors_are_the_medians_of_the_trials_that_came_as_far(config):
    search = Search(SPACES["default"](), ["nb"], config, max_evals=40, seed=0)
    asked = search.ask()
    assert len(asked) == N_STARTUP
    assert {trial.floors for trial in search.jobs(asked)} == {()}
    outcomes = [Outcome("pruned", elbo=-9, rungs=[float(-i)]) for i in range(10)]
    outcomes += [
        Outcome("ok", elbo=-9, rungs=[float(-i), float(i)], log_likelihood=np.zeros(1)) for i in range(9)
    ]
    outcomes += [Outcome("failed")]
    search.tell(asked, outcomes)
    (trial,) = search.jobs(search.ask())
    assert trial.floors == (-4.0, 4.0)
    assert trial.number == N_STARTUP


def test_a_loss_that_is_not_finite_is_recorded_and_survived(config, evaluate_here):
    space = {"learning_rate": hp.choice("rate", [1e30, 8e-3]), "schedule": "constant"}
    search = Search(space, ["nb", "zinb"], config, max_evals=6, seed=0)
    run([search], evaluate_here)
    for told in search.told:
        good = told.settings["learning_rate"] < 1
        assert told.status == ("ok" if good else "failed")
        assert math.isfinite(told.loss) == good
        assert good or "was not finite" in told.outcomes["nb"].message
    assert {told.status for told in search.told} == {"ok", "failed"}
    assert search.best.loss == min(told.loss for told in search.told if told.status == "ok")


def test_a_trial_that_runs_out_of_memory_has_failed(config, evaluate_here, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError("no room")

    monkeypatch.setattr(searching, "train", exhausted)
    outcome = evaluate_here(Trial(0, "nb", config, ()))
    assert (outcome.status, outcome.message) == ("failed", "out of memory: no room")


def searched(evaluate_here, config, folder=None, **options):
    """Two searches with pruning, as plain values."""
    config = replace(config, max_epochs=6)
    space = {"n_latent": hp.randint("n_latent", 1, 6), "learning_rate": hp.loguniform("rate", -8.0, -3.0)}
    searches = [
        Search(space, [name], config, max_evals=26, seed=3, max_queue_len=2) for name in ("nb", "zinb")
    ]
    kept = None if folder is None else outcome_checkpoints(folder, {})
    with jobs.workers(evaluate_here, **options) as crew:
        default = run_searches(searches, crew, checkpoints=kept)
    told = [told for search in searches for told in search.told]
    outcomes = [*default.values(), *(outcome for t in told for outcome in t.outcomes.values())]
    return [t.settings for t in told], [outcome._asdict() for outcome in outcomes]


@pytest.mark.slow
def test_workers_and_checkpoints_change_nothing(config, evaluate_here, tmp_path):
    expected = searched(evaluate_here, config, tmp_path)
    assert {outcome["status"] for outcome in expected[1]} == {"ok", "pruned"}
    np.testing.assert_equal(searched(evaluate_here, config, n_jobs=2), expected)
    for path in sorted(tmp_path.glob("trial*"))[::3]:
        path.unlink()
    np.testing.assert_equal(searched(evaluate_here, config, tmp_path), expected)


def test_keys_tell_what_is_computed():
    trial = Trial(3, "nb", FitConfig(), (1.0,))
    others = [
        trial._replace(number=4),
        trial._replace(likelihood="zinb"),
        trial._replace(config=replace(FitConfig(), n_latent=11)),
        trial._replace(floors=()),
        trial._replace(number=-1),
    ]
    assert len({t.key for t in [trial, *others]}) == 6
    assert Trial(3, "nb", FitConfig(**asdict(FitConfig())), (1.0,)).key == trial.key
