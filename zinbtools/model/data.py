"""Counts and covariates of all cells, and the minibatches made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from ..kernels.rows import Rows
from ..stats.discrepancies import GeneStatistics
from .distributions import data_constant

_ROWS = 4096  # that are looked up at once


@dataclass(frozen=True)
class Batch:
    """B cells: the positive counts one by one, the network's input as a matrix.

    Where each of R replicates has cells of its own (`apart`), all but the positive counts have a leading R.

    Attributes
    ----------
    counts
        The P positive counts, (P,).
    genes, positions
        The gene of each and its place in the flattened B x G matrix, (P,); of R replicates, the place in the
        flattened R x G and R x B x G.
    log1p
        ``log(1 + x)``, (B, G).
    constant
        The share of the log likelihood that depends on the data alone, (B,).
    group
        Index of the cell's batch, in the sense of ``batch_key``, (B,).
    covariates
        What the decoder is told beside z, (B, C).
    log_library
        Log of the total count, or of the size factor where one is given, (B,).
    """

    counts: Tensor
    genes: Tensor
    positions: Tensor
    log1p: Tensor
    constant: Tensor
    group: Tensor
    covariates: Tensor
    log_library: Tensor

    def __len__(self) -> int:
        return self.log1p.shape[-2]

    @classmethod
    def join(cls, batches: Sequence[Batch]) -> Batch:
        """Put the cells of batches of the same genes one after the other."""
        starts = torch.tensor([len(batch) for batch in batches]).cumsum(0) - len(batches[0])
        parts = {of.name: [getattr(batch, of.name) for batch in batches] for of in fields(cls)}
        parts["positions"] = [
            positions + start * batches[0].log1p.shape[1]
            for positions, start in zip(parts["positions"], starts.tolist(), strict=True)
        ]
        return cls(**{name: torch.cat(part) for name, part in parts.items()})

    def apart(self, n_replicates: int) -> Batch:
        """Give each of R replicates as many of the cells, in order."""
        n_cells, n_genes = self.log1p.shape
        shape = n_replicates, n_cells // n_replicates
        replicate = self.positions.div(shape[1] * n_genes, rounding_mode="floor")
        of_cells = ("log1p", "constant", "group", "covariates", "log_library")
        return replace(
            self,
            genes=self.genes + n_genes * replicate,
            **{name: getattr(self, name).unflatten(0, shape) for name in of_cells},
        )

    def dense(self) -> Tensor:
        """Write the counts out as a matrix, (B, G)."""
        matrix = torch.zeros_like(self.log1p)
        matrix.view(-1)[self.positions] = self.counts
        return matrix


@dataclass(frozen=True)
class StoredRows:
    """Counts of M cells in compressed rows.

    Attributes
    ----------
    starts
        Where each row starts among the P positive counts, (M + 1,).
    genes, counts
        The positive counts and their genes, (P,).
    constant
        The share of each cell's log likelihood that depends on the data alone, (M,).
    """

    starts: Tensor
    genes: Tensor
    counts: Tensor
    constant: Tensor

    @cached_property
    def arrays(self) -> Rows:
        """Return the same as kernels of double precision read them."""
        return Rows(*(part.numpy() for part in (self.starts, self.genes, self.counts, self.constant)))

    @cached_property
    def single_arrays(self) -> Rows:
        """Return the same as kernels of single precision read them."""
        return self.arrays._replace(constant=self.constant.float().numpy())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle arrays, which a file can hold beside the pickle; torch copies tensors into it."""
        parts = (self.starts, self.genes, self.counts, self.constant)
        return _stored_rows, (self.starts.device, *(part.numpy(force=True) for part in parts))

    def matrix(self, n_genes: int) -> sparse.csr_array:
        """Return the same as scipy has it."""
        counts, genes, starts = (part.numpy(force=True) for part in (self.counts, self.genes, self.starts))
        # scipy has both in one type, and would copy the genes into that of the starts
        if len(counts) < 2**31:
            starts = starts.astype(genes.dtype)
        return sparse.csr_array((counts, genes, starts), shape=(len(starts) - 1, n_genes))


def _stored_rows(device: torch.device, *parts: np.ndarray) -> StoredRows:
    return StoredRows(*(torch.from_numpy(part).to(device) for part in parts))


class CountData:
    """Counts of N cells x G genes in compressed rows, with what the models need to know of each cell.

    Parameters
    ----------
    counts
        Non-negative integers, (N, G); dense or scipy sparse.
    group
        Index of each cell's batch, (N,); all zero by default.
    covariates
        What the decoder is told of each cell, (N, C); none by default.
    size_factor
        Positive numbers that stand in for the total counts, (N,).

    Attributes
    ----------
    density
        Share of the counts that is positive.
    lengths
        Each cell's number of positive counts, (N,), on the host.

    Examples
    --------
    >>> import numpy as np
    >>> data = CountData(np.array([[0, 3], [1, 0], [2, 2]]))
    >>> batch = data.batch(torch.tensor([2, 0]))
    >>> batch.counts.tolist(), batch.positions.tolist()
    ([2.0, 2.0, 3.0], [0, 1, 3])
    """

    in_memory = True  # and so threads may ask for different cells

    def __init__(
        self,
        counts: np.ndarray | sparse.csr_matrix | sparse.csr_array,
        *,
        group: np.ndarray | None = None,
        covariates: np.ndarray | None = None,
        size_factor: np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        csr = sparse.csr_array(counts)
        if not (csr.has_canonical_format and csr.data.all()):
            csr = csr.copy()  # the arrays may be somebody's
            csr.sum_duplicates()
            csr.eliminate_zeros()
        library, constant = row_sums(csr)
        self.lengths = np.diff(csr.indptr)
        self._describe_cells(
            csr.shape,
            library,
            constant,
            group=group,
            covariates=covariates,
            size_factor=size_factor,
            device=device,
        )
        self.density = csr.nnz / max(self.n_cells * self.n_genes, 1)
        self._everything = StoredRows(
            torch.as_tensor(csr.indptr).to(device=device, dtype=torch.int64),
            torch.as_tensor(csr.indices).to(device=device, dtype=torch.int32),
            torch.as_tensor(csr.data).to(device=device, dtype=torch.float32),
            self.constant,
        )

    def _describe_cells(
        self,
        shape: tuple[int, int],
        library: np.ndarray,
        constant: np.ndarray,
        device: torch.device | str,
        *,
        group: np.ndarray | None,
        covariates: np.ndarray | None,
        size_factor: np.ndarray | None,
    ) -> None:
        """Keep what is known of each cell beside its counts."""
        self.n_cells, self.n_genes = shape
        self.device = torch.device(device)

        def tensor(values: np.ndarray, dtype: torch.dtype) -> Tensor:
            return torch.as_tensor(values).to(device=device, dtype=dtype)

        self.constant = tensor(constant, torch.float64)
        self.log_library = tensor(np.log(library if size_factor is None else size_factor), torch.float64)
        self.group = tensor(np.zeros(self.n_cells) if group is None else group, torch.int64)
        self.covariates = tensor(
            np.zeros((self.n_cells, 0)) if covariates is None else covariates, torch.float32
        )

    def rows(self, cells: Tensor) -> tuple[StoredRows, Tensor]:
        """Return compressed rows with the given cells among them, and the places of the cells there."""
        return self._everything, cells

    def ahead(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the chunks of cells in order; while one is looked at, its rows are in memory."""
        return iter(chunks)

    def shuffled(self, cells: Tensor, generator: torch.Generator) -> Tensor:
        """Shuffle the cells."""
        return cells[torch.randperm(len(cells), generator=generator).to(cells.device)]

    def stored(self) -> Iterator[Tensor]:
        """Yield all arrays of the compressed rows."""
        rows = self._everything
        yield from (rows.starts, rows.genes, rows.counts)

    def n_positive(self, cells: Tensor) -> int:
        """Count the positive counts of cells that are given on the host."""
        return int(self.lengths[cells.numpy()].sum())

    def batch(self, cells: Tensor, dtype: torch.dtype = torch.float32, n_entries: int | None = None) -> Batch:
        """Read the given cells, in the given order.

        Cells that are given on the host are read without waiting for the device. With ``n_entries``, no fewer
        than there are positive counts, the last of these is repeated up to that number: the shapes are then
        the same whatever the cells, and what is written twice is written once.
        """
        n_positive = n_entries
        if n_entries is None and cells.device.type == "cpu":
            n_positive = self.n_positive(cells)
        rows, found = self.rows(cells)
        places = found.to(self.device, non_blocking=True)
        cells = places if found is cells else cells.to(self.device, non_blocking=True)
        # index_select and index_copy_ do what indexing does, four times faster
        starts = rows.starts[places]
        lengths = rows.starts[places + 1] - starts
        ends = lengths.cumsum(0)
        if n_positive is None:
            n_positive = int(ends[-1])
        number = torch.arange(n_positive, device=self.device)
        if n_entries is None:
            row = torch.repeat_interleave(lengths, output_size=n_positive)
        else:
            number = torch.minimum(number, ends[-1] - 1)
            row = torch.searchsorted(ends, number, right=True)
        stored = (starts - ends + lengths).index_select(0, row)
        stored += number
        genes = rows.genes.index_select(0, stored).long()
        positions = torch.add(genes, row, alpha=self.n_genes)
        log1p = torch.zeros(len(cells), self.n_genes, dtype=dtype, device=self.device)
        counts = rows.counts.index_select(0, stored).to(dtype)
        log1p.view(-1).index_copy_(0, positions, counts.log1p())
        return Batch(
            counts=counts,
            genes=genes,
            positions=positions,
            log1p=log1p,
            constant=self.constant[cells].to(dtype),
            group=self.group[cells],
            covariates=self.covariates[cells].to(dtype),
            log_library=self.log_library[cells].to(dtype),
        )

    def side_by_side(self, cells: Sequence[Tensor]) -> Batch:
        """Read minibatches of one size, one for each replicate."""
        return self.batch(torch.cat(list(cells))).apart(len(cells))

    def compressed(
        self, cells: Tensor, genes: slice | np.ndarray | None = None
    ) -> Iterator[sparse.csr_array]:
        """Yield the counts of the cells in order, in blocks of compressed rows; of some genes, or of all.

        The arrays of all cells and genes in order are those that are stored.
        """
        rows, places = self.rows(cells)
        matrix = rows.matrix(self.n_genes)
        if genes is None and torch.equal(places, torch.arange(matrix.shape[0], device=places.device)):
            yield matrix
            return
        for some in places.split(_ROWS):
            part = matrix[some.numpy(force=True)]
            yield part if genes is None else part[:, genes]

    def statistics(self, cells: np.ndarray) -> GeneStatistics:
        """Sum up each gene over the given cells."""
        sums = torch.zeros(4, self.n_genes, dtype=torch.float64, device=self.device)
        maximum = torch.zeros_like(sums[0])
        for batch in self.batches(torch.as_tensor(cells), 128, torch.float64):
            x = batch.counts
            sums.index_add_(1, batch.genes, torch.stack([torch.ones_like(x), (x == 1).to(x), x, x * x]))
            maximum.scatter_reduce_(0, batch.genes, x, "amax")
        positive, ones, total, squares = sums.numpy(force=True)
        n_zeros = len(cells) - positive
        return GeneStatistics(len(cells), n_zeros, ones, total, squares, maximum.numpy(force=True))

    def batches(self, cells: Tensor, size: int, dtype: torch.dtype = torch.float32) -> Iterator[Batch]:
        """Read the given cells in order, ``size`` at a time; the last batch may be smaller."""
        for chunk in self.ahead(cells.cpu().split(size)):
            yield self.batch(chunk, dtype)


def row_sums(csr: sparse.csr_array, size: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Compute each cell's total, and the share of its log likelihood that depends on counts alone, (N,)."""
    sums = np.empty((2, csr.shape[0]))
    small = data_constant(torch.arange(1, 257, dtype=torch.float64)).numpy()  # that most counts look up
    for start in range(0, csr.shape[0], size):
        part = csr[start : start + size].astype(np.float64)
        sums[0, start : start + size] = part.sum(axis=1)
        large = part.data > len(small)
        constants = small[np.minimum(part.data, len(small)).astype(np.int64) - 1]
        constants[large] = data_constant(torch.from_numpy(part.data[large])).numpy()
        part.data = constants
        sums[1, start : start + size] = part.sum(axis=1)
    return sums[0], sums[1]
