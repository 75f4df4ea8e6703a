"""Restarts in groups: how they are cut, and that nothing depends on it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zinbtools.jobs.threads import single_threaded
from zinbtools.model import restarts, training
from zinbtools.model.compiled import CompiledStack
from zinbtools.model.data import CountData
from zinbtools.model.restarts import split_evenly, stack_size, train_restarts
from zinbtools.model.training import Cells, Training, train
from zinbtools.model.vae import Shape

SEEDS = [11, 22, 33, 44, 55]


@pytest.fixture
def fit(data, cells, config, monkeypatch):
    def run(largest, likelihoods=("nb", "zinb"), configs=None, members=cells, resume=None, **changes):
        monkeypatch.setattr(restarts, "stack_size", lambda *_, **__: largest)
        settings = configs or replace(config, **changes)
        shape = Shape(data.n_genes)
        (trained,) = train_restarts(
            likelihoods, data, shape, [members], settings, seeds=[SEEDS], order_seed=5, resume=resume
        )
        return trained

    return run


def assert_same(first: Training, second: Training) -> None:
    assert repr(first.history) == repr(second.history)  # in which NaN is itself
    assert first.failures == second.failures
    assert first.best_epoch == second.best_epoch
    assert first.model.n_replicates == second.model.n_replicates == len(SEEDS)
    expected = second.model.state_dict()
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert not first.model.training


@pytest.mark.parametrize("largest", [1, 2])
def test_groups_give_the_bits_of_one_stack(fit, largest):
    settings = {"max_epochs": 12, "learning_rate": 0.1, "schedule": "constant", "patience": 2}
    whole, parts = fit(len(SEEDS), **settings), fit(largest, **settings)
    assert list(whole) == list(parts) == ["nb", "zinb"]
    epochs = [record.replicate for record in whole["nb"].history]
    assert len({epochs.count(r) for r in range(len(SEEDS))}) > 1  # some stopped before others
    for name, part in parts.items():
        assert_same(part, whole[name])


@pytest.mark.parametrize("learning_rate", [8e-3, 1e30])
def test_resumed_restarts_are_what_they_were(fit, monkeypatch, tmp_path, learning_rate):
    settings = {"learning_rate": learning_rate, "schedule": "constant"}
    expected = fit(2, **settings)
    fit(2, likelihoods=["nb"], resume=tmp_path, **settings)  # as if it had been cut off half way
    trained = []

    def note(likelihood, *arguments, **options):
        trained.append(likelihood)
        return train(likelihood, *arguments, **options)

    monkeypatch.setattr(restarts, "train", note)
    resumed = fit(2, resume=tmp_path, **settings)
    assert trained == ["zinb"] * 3
    for name, whole in expected.items():
        assert_same(resumed[name], whole)
    fit(2, resume=tmp_path, **settings)
    assert trained == ["zinb"] * 3
    fit(2, likelihoods=["nb"], resume=tmp_path, **settings, n_hidden=8)
    assert trained[3:] == ["nb"] * 3


def test_each_model_can_have_a_config_of_its_own(fit, config):
    configs = {"nb": replace(config, n_latent=2), "zinb": config}
    trained = fit(1, configs=configs)
    assert [trained[name].model.config for name in configs] == list(configs.values())
    assert_same(trained["nb"], fit(1, likelihoods=["nb"], n_latent=2)["nb"])


def test_the_folder_of_other_cells_is_refused(fit, cells, tmp_path):
    fit(5, likelihoods=["nb"], resume=tmp_path)
    with pytest.raises(ValueError, match="the jobs of another run, whose data was"):
        fit(5, likelihoods=["nb"], resume=tmp_path, members=replace(cells, stop=cells.stop[1:]))


def test_failures_keep_their_restart(fit, monkeypatch):
    """Two restarts fail, the later one first; the group of one of them has no other."""
    failing = {(55, 2), (22, 8)}

    class Failing(CompiledStack):
        def __init__(self, model, data, seeds):
            super().__init__(model, data, seeds)
            self.seeds, self.n_steps = list(seeds), 0

        def take(self, places):
            super().take(places)
            self.seeds = [self.seeds[place] for place in places]

        def step(self, cells, rate):
            fails = [(seed, self.n_steps) in failing for seed in self.seeds]
            self.n_steps += 1
            return torch.where(torch.tensor(fails), math.nan, super().step(cells, rate))

    monkeypatch.setattr(training, "CompiledStack", Failing)
    monkeypatch.setattr(training, "_MOST_LOST", 1)
    whole, parts = fit(len(SEEDS), ["nb"])["nb"], fit(2, ["nb"])["nb"]
    assert [(failure.replicate, failure.step) for failure in whole.failures] == [(4, 2), (1, 8)]
    assert_same(parts, whole)


def test_restarts_that_all_fail_are_all_recorded(fit):
    failed = fit(2, ["nb"], learning_rate=1e30, schedule="constant")["nb"]
    assert failed.failed == set(range(len(SEEDS)))
    assert all(torch.isfinite(value).all() for value in failed.model.replicate_state().values())


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 16))
def test_cuts_keep_every_seed_and_keep_workers_busy(n, largest, n_jobs):
    parts = split_evenly(range(n), largest, n_jobs)
    sizes = [len(part) for part in parts]
    assert [seed for part in parts for seed in part] == list(range(n))
    assert 1 <= min(sizes) <= max(sizes) <= min(largest, min(sizes) + 1)
    assert len(parts) == n or len(parts) % n_jobs == 0
    assert len(parts) < n_jobs * (n / (largest * n_jobs) + 1)


@pytest.mark.parametrize("onednn", [False, True])
def test_a_stack_is_for_a_gpu_or_for_few_genes(data, monkeypatch, onednn):
    monkeypatch.setattr(restarts, "ONEDNN", onednn)
    for n_genes, on_cpu in ((10, 4), (57, 4), (128, 2), (2000, 1)):
        monkeypatch.setattr(data, "n_genes", n_genes)
        for device, expected in (("cpu", on_cpu if onednn else 1), ("cuda", 20)):
            monkeypatch.setattr(data, "device", torch.device(device))
            assert stack_size(data, 20) == expected
            assert stack_size(data, 20, kept=True) == (1 if device == "cpu" else 20)


def test_products_that_are_made_together_have_the_bits_of_one_alone(config):
    counts = CountData(np.random.default_rng(0).negative_binomial(1, 0.3, (700, 57)) + np.eye(700, 57))
    everyone = torch.arange(counts.n_cells)
    members = Cells(everyone[:600], everyone[600:], everyone)  # minibatches of 128 and of 88
    settings = replace(config, n_hidden=128, n_latent=10, batch_size=128, max_epochs=2)

    def run(seeds):
        return train("zinb", counts, Shape(57), members, settings, seeds=seeds, order_seed=5).model

    with single_threaded():
        together = run(SEEDS).replicate_state()
        for place, seed in enumerate(SEEDS):
            for name, (alone,) in run([seed]).replicate_state().items():
                assert torch.equal(alone, together[name][place]), name
