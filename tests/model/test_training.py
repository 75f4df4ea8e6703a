"""The training loop: restarts alone and stacked, early stopping, best weights, losses that are not finite."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partialmethod

import numpy as np
import pytest
import torch

from zinbtools.model import training
from zinbtools.model.compiled import CompiledStack
from zinbtools.model.initialisation import initialise
from zinbtools.model.marginal import marginal_log_likelihood
from zinbtools.model.training import learning_rate, minibatches, train
from zinbtools.model.vae import Shape

SEEDS = [11, 22, 33]


@pytest.fixture
def fit(data, cells, config):
    def run(likelihood="zinb", seeds=SEEDS, **changes):
        settings = replace(config, **changes)
        return train(likelihood, data, Shape(data.n_genes), cells, settings, seeds=seeds, order_seed=5)

    return run


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_a_restart_has_the_same_bits_alone_and_in_a_stack(fit, likelihood):
    stack = fit(likelihood, max_epochs=5).model.replicate_state()
    for place, seed in enumerate(SEEDS):
        alone = fit(likelihood, seeds=[seed], max_epochs=5).model.replicate_state()
        for name, value in alone.items():
            assert torch.equal(value[0], stack[name][place]), name


def test_a_restart_has_the_same_held_out_likelihood_alone_and_in_a_stack(fit, data, cells):
    stack = marginal_log_likelihood(fit(max_epochs=12).model, data, cells.stop, n_samples=50)
    for place, seed in enumerate(SEEDS):
        alone = marginal_log_likelihood(
            fit(seeds=[seed], max_epochs=12).model, data, cells.stop, n_samples=50
        )
        np.testing.assert_allclose(alone.log_likelihood[0], stack.log_likelihood[place], rtol=1e-10)


def test_the_same_seeds_give_the_same_bits(fit):
    first, second = (fit().model.state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_different_seeds_differ(fit):
    weight = fit().model.scale.weight
    assert not torch.equal(weight[0], weight[1])


def test_training_improves_the_held_out_elbo(fit):
    history = [record for record in fit("nb", seeds=[1], max_epochs=30).history]
    assert history[-1].validation_elbo > history[0].validation_elbo + 1


def test_the_kept_weights_are_those_of_the_best_epoch(fit, data, cells, config):
    """Training that gets worse must give back the weights from before it did."""
    result = fit("nb", max_epochs=40, learning_rate=0.5, schedule="constant")
    for r in range(len(SEEDS)):
        course = [x.validation_elbo for x in result.history if x.replicate == r]
        assert result.best_epoch[r] == int(np.argmax(course))
    assert min(result.best_epoch) < 39
    kept = CompiledStack(result.model, data, SEEDS).elbo(cells.stop)
    best = [max(x.validation_elbo for x in result.history if x.replicate == r) for r in range(len(SEEDS))]
    assert kept == best


def test_the_last_weights_are_kept_on_request(fit):
    result = fit("nb", max_epochs=6, learning_rate=0.2, schedule="constant", restore_best=False)
    assert result.best_epoch == [5, 5, 5]


def test_replicates_stop_on_their_own(fit):
    """Each replicate leaves the stack when its own patience is over, and the others go on as before."""
    settings = {"max_epochs": 40, "learning_rate": 0.1, "schedule": "constant", "patience": 2}
    together = fit("nb", **settings)
    lengths = [sum(x.replicate == r for x in together.history) for r in range(len(SEEDS))]
    assert len(set(lengths)) > 1
    for place, seed in enumerate(SEEDS):
        alone = fit("nb", seeds=[seed], **settings)
        course = [x.validation_elbo for x in together.history if x.replicate == place]
        assert [x.validation_elbo for x in alone.history] == course


def test_min_delta_is_what_an_epoch_must_gain(fit):
    eager = fit("nb", seeds=[1], max_epochs=40, patience=2, min_delta=1e6)
    assert len(eager.history) == 3  # the first epoch beats minus infinity, the next two do not


@pytest.mark.parametrize("steps_between_reads", [1, 3, 64])
def test_losses_that_are_no_numbers(fit, monkeypatch, steps_between_reads):
    """One is passed over; ten in a row take out their replicate, whenever they are read, and no other."""
    monkeypatch.setattr(CompiledStack, "steps_between_reads", steps_between_reads)
    whole = fit(max_epochs=3)
    step = CompiledStack.step
    calls = []

    def broken(stack, cells, rate, n_broken):
        calls.append(1)
        elbo = step(stack, cells, rate).clone()
        if 4 <= len(calls) < 4 + n_broken:
            elbo[1] = math.nan
        return elbo

    monkeypatch.setattr(CompiledStack, "step", partialmethod(broken, n_broken=9))
    assert not fit(max_epochs=3).failures
    calls.clear()
    monkeypatch.setattr(CompiledStack, "step", partialmethod(broken, n_broken=10))
    result = fit(max_epochs=3)
    (failure,) = result.failures
    assert (failure.replicate, failure.step) == (1, 12)
    state, expected = result.model.replicate_state(), whole.model.replicate_state()
    for name, value in state.items():
        assert torch.isfinite(value).all()
        for place in (0, 2):
            assert torch.equal(value[place], expected[name][place]), name


def test_a_learning_rate_beyond_reason_is_a_recorded_failure(fit):
    result = fit("nb", learning_rate=1e30, schedule="constant")
    assert {failure.replicate for failure in result.failures} == {0, 1, 2}
    assert all(torch.isfinite(value).all() for value in result.model.replicate_state().values())


def test_a_blow_up_in_the_last_step_is_a_failure_too(fit):
    """One step: only the validation cells can tell."""
    result = fit("nb", seeds=[1], learning_rate=1e30, schedule="constant", max_epochs=1, batch_size=256)
    assert [failure.replicate for failure in result.failures] == [0]


def test_the_gene_that_breaks_the_loss_is_named(fit, data, cells, monkeypatch):
    def broken(model, *args):
        initialise(model, *args)
        model.log_theta.data[:, :, 7] = math.nan

    monkeypatch.setattr(training, "initialise", broken)
    (failure,) = fit("nb", seeds=[1]).failures
    assert (failure.step, failure.gene) == (9, 7)


def test_an_epoch_has_every_cell_once_in_an_order_of_its_seed(data):
    orders = [
        torch.cat(list(minibatches(data, torch.arange(10), 4, torch.Generator().manual_seed(seed)))).tolist()
        for seed in (0, 0, 1)
    ]
    assert sorted(orders[0]) == list(range(10))
    assert orders[0] == orders[1] != orders[2]


def test_a_last_cell_alone_is_left_out_of_an_epoch(data):
    assert [len(cells) for cells in minibatches(data, torch.arange(9), 4, torch.Generator())] == [4, 4]


def test_the_schedule_rises_and_falls(config):
    rates = [learning_rate(config, share) for share in np.linspace(0, 1, 101)]
    assert rates[0] == 0
    assert np.argmax(rates) in (5, 6)
    assert rates[-1] == pytest.approx(0)
    assert learning_rate(replace(config, schedule="constant"), 0.3) == config.learning_rate
