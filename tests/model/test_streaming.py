"""Counts that are read in blocks, against the same counts in memory."""

from __future__ import annotations

import pickle
from concurrent.futures import Executor, Future
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pretended_device import DEVICE, pretended_device
from scipy import sparse

from zinbtools.model import streaming
from zinbtools.model.data import CountData
from zinbtools.model.marginal import marginal_log_likelihood
from zinbtools.model.predictive import expectations
from zinbtools.model.restarts import data_fingerprint
from zinbtools.model.streaming import StreamedCountData
from zinbtools.model.training import Cells, minibatches, train
from zinbtools.model.vae import Shape


class Source:
    """Counts that remember which blocks were read."""

    def __init__(self, counts, bounds):
        self.counts = sparse.csr_array(counts).astype(np.float32)
        self.shape, self.bounds, self.asked = self.counts.shape, np.asarray(bounds), []

    def read(self, block):
        self.asked.append(block)
        return self.counts[self.bounds[block] : self.bounds[block + 1]]


def random_counts(n_cells=200, n_genes=12, seed=0):
    counts = np.random.default_rng(seed).poisson(0.4, (n_cells, n_genes))
    counts[:, 0] += 1
    return counts


@pytest.fixture
def small_windows(monkeypatch):
    """Two blocks of twenty cells in a window."""
    monkeypatch.setattr(streaming, "WINDOW_BYTES", 8 * 20 * 7 * 2)


@pytest.fixture
def streamed(small_windows):
    source = Source(random_counts(), [*range(0, 200, 20), 200])
    data = StreamedCountData(source)
    assert data.blocks_per_window == 2
    source.asked.clear()
    return data


def assert_same_batch(ours, theirs):
    for a, b in zip(vars(ours).values(), vars(theirs).values(), strict=True):
        assert torch.equal(a, b)


@given(st.data())
def test_a_batch_is_that_in_memory(drawn):
    n = drawn.draw(st.integers(1, 30))
    counts = random_counts(n, 3)
    inner = drawn.draw(st.sets(st.integers(1, n - 1))) if n > 1 else set()
    data = StreamedCountData(Source(counts, [0, *sorted(inner), n]))
    data.blocks_per_window = drawn.draw(st.integers(1, 4))
    cells = torch.tensor(drawn.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=60)))
    size, memory = drawn.draw(st.integers(1, 9)), CountData(counts)
    for ours, theirs in zip(data.batches(cells, size), memory.batches(cells, size), strict=True):
        assert_same_batch(ours, theirs)
    assert_same_batch(data.batch(cells), memory.batch(cells))
    assert data.statistics(cells.numpy()).total.tolist() == memory.statistics(cells.numpy()).total.tolist()


def test_each_block_is_read_once_in_a_pass_in_order(streamed):
    for _ in streamed.batches(torch.arange(200), 7):
        pass
    assert streamed._source.asked == list(range(10))


def test_each_block_is_read_once_in_an_epoch(streamed):
    generator = torch.Generator().manual_seed(0)
    chunks = list(minibatches(streamed, torch.arange(200), 7, generator))
    assert sorted(streamed._source.asked) == list(range(10))
    assert sorted(torch.cat(chunks).tolist()) == list(range(200))
    assert {len(chunk) for chunk in chunks} == {7, 4}


def test_an_epoch_mixes_the_cells_of_a_window_of_random_blocks(streamed):
    order = streamed.shuffled(torch.arange(200), torch.Generator().manual_seed(0))
    windows = (order // 20).reshape(5, 40)
    assert [len(window.unique()) for window in windows] == [2] * 5
    assert not torch.equal(windows[0, :20].unique(), windows[0, :1])
    assert not torch.equal(windows.sort(1).values.flatten(), torch.arange(10).repeat_interleave(20))
    other = streamed.shuffled(torch.arange(200), torch.Generator().manual_seed(1))
    assert not torch.equal(order, other)


def test_where_a_window_holds_everything_the_order_is_that_in_memory():
    data = StreamedCountData(Source(random_counts(), [0, 50, 200]))
    cells, memory = torch.arange(10, 190), CountData(random_counts())
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    for _ in range(2):
        assert torch.equal(*(d.shuffled(cells, g) for d, g in zip((data, memory), generators, strict=True)))


def test_no_more_than_two_windows_are_in_memory(streamed):
    held = []

    class Watched(streaming._Window):
        def __init__(self, cells, *arguments):
            super().__init__(cells, *arguments)
            held.append(len(cells))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "_Window", Watched)
        for number, _ in enumerate(streamed.ahead(torch.arange(200).split(10))):
            assert len(held) <= number // 4 + 2
    assert held == [40] * 5


def test_an_iteration_that_is_given_up_leaves_nothing_behind(streamed):
    chunks = streamed.ahead(torch.arange(200).split(10))
    next(chunks)
    assert len(streamed._windows) == 1
    chunks.close()
    assert streamed._windows == []


def test_what_goes_wrong_while_reading_is_raised(streamed, monkeypatch):
    def fail(block):
        raise OSError("the disk is gone")

    monkeypatch.setattr(streamed._source, "read", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        list(streamed.batches(torch.arange(200), 10))


class InMemory(CountData):
    """Counts in memory whose cells are shuffled as they are where blocks are read."""

    def __init__(self, counts, like):
        super().__init__(counts)
        self.shuffled = like.shuffled


@pytest.fixture(params=["nb", "zinb"])
def fits(request, streamed, config):
    """The same training, from memory and from blocks."""
    found = []
    for data in (InMemory(streamed._source.counts, streamed), streamed):
        shape, own = Shape(data.n_genes), replace(config, max_epochs=3)
        members = Cells(train=torch.arange(170), stop=torch.arange(170, 200), prior=torch.arange(170))
        found.append((data, train(request.param, data, shape, members, own, seeds=[1, 2], order_seed=3)))
    return found


def test_training_gives_the_same_bits(fits):
    (_, memory), (_, blocks) = fits
    assert memory.history == blocks.history
    for name, value in memory.model.state_dict().items():
        assert torch.equal(value, blocks.model.state_dict()[name]), name


def test_evaluation_gives_the_same_bits(fits):
    (memory, training), (blocks, _) = fits
    model, cells = training.model, torch.arange(3, 200, 2)
    ours, theirs = (
        marginal_log_likelihood(model, d, cells, n_samples=5, n_threads=2) for d in (blocks, memory)
    )
    assert torch.equal(ours.log_likelihood, theirs.log_likelihood)
    model.take([0])
    for a, b in zip(*(expectations(model, d, n_draws=2, seed=1) for d in (blocks, memory)), strict=True):
        assert all(torch.equal(*pair) for pair in zip(a, b, strict=True))


def test_a_pickle_reads_anew(streamed):
    batches = streamed.batches(torch.arange(200), 50)
    next(batches)
    copied = pickle.loads(pickle.dumps(streamed))
    assert copied._windows == []
    assert_same_batch(copied.batch(torch.arange(9)), streamed.batch(torch.arange(9)))


def test_the_fingerprint_tells_data_apart(small_windows):
    members = Cells(*[torch.arange(3)] * 3)
    counts = random_counts()
    bounds = [0, 100, 200]
    changed = counts.copy()
    changed[150, 0] += 1
    first, same, other = (
        data_fingerprint(StreamedCountData(Source(x, bounds)), members) for x in (counts, counts, changed)
    )
    assert first == same != other


class AtOnce(Executor):
    """The reader of windows in this thread, as devices are pretended in one."""

    def __init__(self, *_):
        super().__init__()

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


def test_windows_on_a_device_are_those_in_memory(small_windows, config, monkeypatch):
    """Training too, which asks the host for nothing but the epoch's ELBOs and, once, for the cells."""
    monkeypatch.setattr(streaming, "ThreadPoolExecutor", AtOnce)
    counts, everyone = random_counts(), torch.arange(200)
    with pretended_device() as pretended:
        found = []
        for data in (
            StreamedCountData(Source(counts, [*range(0, 200, 20), 200]), device=DEVICE),
            CountData(counts, device=DEVICE),
        ):
            cells = Cells(*(part.to(DEVICE) for part in (everyone[:160], everyone[160:], everyone)))
            pretended.forget()
            result = train("zinb", data, Shape(12), cells, config, seeds=[1, 2], order_seed=3)
            assert pretended.waits.total() <= 2 * config.max_epochs + 6
            assert not result.failures
            found.append([*data.batches(everyone, 30), data.batch(everyone.to(DEVICE))])
        for ours, theirs in zip(*found, strict=True):
            assert_same_batch(ours, theirs)
