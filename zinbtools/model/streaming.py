"""Counts that stay where they are and are read block by block, ahead of who looks at them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from .data import Batch, CountData, StoredRows, row_sums

WINDOW_BYTES = 2**27  # of counts and genes that are held in memory at a time; as much is read meanwhile
_BYTES_PER_COUNT = 8


class BlockSource(Protocol):
    """Counts of N cells x G genes that are read in blocks of consecutive cells.

    Attributes
    ----------
    shape
        ``(N, G)``.
    bounds
        The first cell of each block, and N at the end.
    """

    shape: tuple[int, int]
    bounds: np.ndarray

    def read(self, block: int) -> sparse.csr_array:
        """Positive whole numbers, float32, in rows without duplicates; the same in every call."""
        ...


def in_one_window(source: BlockSource) -> sparse.csr_array | None:
    """All counts, if they are no more than a window holds."""
    rows: list[sparse.csr_array] = []
    left = WINDOW_BYTES
    for block in range(len(source.bounds) - 1):
        rows.append(source.read(block))
        left -= _BYTES_PER_COUNT * rows[-1].nnz
        if left < 0:
            return None
    return sparse.csr_array(sparse.vstack(rows, format="csr"))


class StreamedCountData(CountData):
    """`CountData` of which a window is in memory, and the next one is read by a thread meanwhile.

    A window holds the counts of as many blocks as `WINDOW_BYTES` allow. Who goes through all cells in order
    meets them as in memory. `shuffled` shuffles the blocks, and then the cells of as many blocks at a time as
    go into a window; where all do, the order is that in memory.

    Parameters
    ----------
    source
        Where the counts are.
    group, covariates, size_factor, device
        As for `CountData`.
    """

    in_memory = False

    def __init__(
        self,
        source: BlockSource,
        *,
        group: np.ndarray | None = None,
        covariates: np.ndarray | None = None,
        size_factor: np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        n_cells = source.shape[0]
        sums, lengths = np.empty((2, n_cells)), np.empty(n_cells, dtype=np.int64)
        for block, (start, stop) in enumerate(zip(source.bounds, source.bounds[1:], strict=False)):
            rows = source.read(block)
            sums[:, start:stop] = row_sums(rows)
            lengths[start:stop] = np.diff(rows.indptr)
        library, constant = sums
        self._describe_cells(
            source.shape,
            library,
            constant,
            device,
            group=group,
            covariates=covariates,
            size_factor=size_factor,
        )
        self._source, self.lengths = source, lengths
        self.density = int(lengths.sum()) / max(self.n_cells * self.n_genes, 1)
        largest = np.add.reduceat(lengths, source.bounds[:-1]).max()
        self.blocks_per_window = max(1, WINDOW_BYTES // int(_BYTES_PER_COUNT * max(largest, 1)))
        self._windows: list[_Window] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_windows": []}

    def rows(self, cells: Tensor) -> tuple[StoredRows, Tensor]:
        for window in self._windows[::-1]:  # a copy, as threads have windows of their own there
            places = window.find(cells)
            if places is not None:
                return window.rows, places
        window = self._read(np.unique(cells.numpy(force=True)), None)
        places = window.find(cells)
        assert places is not None
        return window.rows, places

    def ahead(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        windows = self._planned(chunks)
        with ThreadPoolExecutor(1, "zinbtools-read-ahead") as reader:

            def ask(before: _Window | None) -> tuple[list[Tensor], Future[_Window]] | None:
                planned = next(windows, None)
                return (
                    None if planned is None else (planned[0], reader.submit(self._read, planned[1], before))
                )

            asked = ask(None)
            while asked is not None:
                own, future = asked
                window = future.result()
                asked = ask(window)
                self._windows.append(window)
                try:
                    yield from own
                finally:
                    self._windows.remove(window)

    def shuffled(self, cells: Tensor, generator: torch.Generator) -> Tensor:
        n_blocks = len(self._source.bounds) - 1
        if n_blocks <= self.blocks_per_window:
            return super().shuffled(cells, generator)
        order = torch.randperm(n_blocks, generator=generator)
        window_of = torch.empty_like(order)
        window_of[order] = torch.arange(n_blocks) // self.blocks_per_window
        mixed = super().shuffled(cells, generator)
        windows = window_of[torch.from_numpy(self._block_of(mixed.numpy(force=True)))]
        return mixed[windows.argsort(stable=True).to(mixed.device)]

    def side_by_side(self, cells: Sequence[Tensor]) -> Batch:
        return Batch.join([self.batch(own) for own in cells]).apart(len(cells))  # each from its own window

    def compressed(
        self, cells: Tensor, genes: slice | np.ndarray | None = None
    ) -> Iterator[sparse.csr_array]:
        largest_block = int(np.diff(self._source.bounds).max())
        for some in self.ahead(cells.split(largest_block)):
            yield from super().compressed(some, genes)

    def stored(self) -> Iterator[Tensor]:
        yield torch.from_numpy(self.lengths)
        for block in range(len(self._source.bounds) - 1):
            rows = self._source.read(block)
            yield from (torch.from_numpy(rows.indices), torch.from_numpy(rows.data))

    def _block_of(self, cells: np.ndarray) -> np.ndarray:
        return self._source.bounds.searchsorted(cells, side="right") - 1

    def _planned(self, chunks: Iterable[Tensor]) -> Iterator[tuple[list[Tensor], np.ndarray]]:
        """Chunks that one window serves, and the cells in it.

        A chunk for which the window has not enough blocks goes to the next one; but what it takes from
        these blocks is kept for then.
        """
        own: list[Tensor] = []
        members: list[np.ndarray] = []
        blocks: set[int] = set()
        for chunk in chunks:
            cells = chunk.numpy(force=True)
            of_cells = self._block_of(cells)
            needed = set(np.unique(of_cells).tolist())
            if own and len(blocks | needed) > self.blocks_per_window:
                here = np.isin(of_cells, list(blocks))
                yield own, np.unique(np.concatenate([*members, cells[here]]))
                own, members, needed = [], [], needed - blocks
                blocks = set()
            own.append(chunk)
            members.append(cells)
            blocks |= needed
        if own:
            yield own, np.unique(np.concatenate(members))

    def _read(self, cells: np.ndarray, before: _Window | None) -> _Window:
        """Read the rows of the cells, sorted by number; those in the window before are taken from there."""
        known = np.zeros(len(cells), dtype=bool) if before is None else before.holds(cells)
        missing = cells[~known]
        stored = np.concatenate([cells[known], missing])
        starts = np.zeros(len(stored) + 1, dtype=np.int64)
        self.lengths[stored].cumsum(out=starts[1:])
        genes, counts = np.empty(starts[-1], dtype=np.int32), np.empty(starts[-1], dtype=np.float32)
        end = 0
        for part in self._parts(cells[known], missing, before):
            here = slice(end, end + part.nnz)
            genes[here], counts[here] = part.indices, part.data
            end = here.stop
        return _Window(stored, (starts, genes, counts), self)

    def _parts(
        self, known: np.ndarray, missing: np.ndarray, before: _Window | None
    ) -> Iterator[sparse.csr_array]:
        """Rows of the known cells, from the window before, and of the missing ones, block by block."""
        if before is not None and len(known):
            yield before.part(known)
        of_cells = self._block_of(missing)
        for block in np.unique(of_cells).tolist():
            rows = self._source.read(block)
            wanted = missing[of_cells == block] - self._source.bounds[block]
            yield rows if len(wanted) == rows.shape[0] else rows[wanted]


class _Window:
    """Rows of some cells in memory, and where each is."""

    def __init__(
        self, cells: np.ndarray, rows: tuple[np.ndarray, np.ndarray, np.ndarray], data: StreamedCountData
    ) -> None:
        starts, genes, counts = rows
        self._counts = sparse.csr_array((counts, genes, starts), shape=(len(cells), data.n_genes))
        order = np.argsort(cells)
        self._cells = cells[order]

        self._sorted, self._places = torch.from_numpy(self._cells), torch.from_numpy(order)

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(data.device)

        self.rows = StoredRows(
            tensor(starts), tensor(genes), tensor(counts), constant=data.constant[tensor(cells)]
        )

    def find(self, cells: Tensor) -> Tensor | None:
        """Find the places of cells among the rows, on the host; None if some are not there."""
        cells = cells.cpu()
        places = torch.searchsorted(self._sorted, cells).clamp_(max=len(self._sorted) - 1)
        if not torch.equal(self._sorted.index_select(0, places), cells):
            return None
        return self._places.index_select(0, places)

    def holds(self, cells: np.ndarray) -> np.ndarray:
        """Tell which of the cells are there."""
        return np.isin(cells, self._cells, assume_unique=True)

    def part(self, cells: np.ndarray) -> sparse.csr_array:
        """Return the rows of cells that are all there, in this order."""
        places = self.find(torch.from_numpy(cells))
        assert places is not None
        return self._counts[places.numpy()]
