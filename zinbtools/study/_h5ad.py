"""Write h5ad so that a full disk is an ordinary error."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
from anndata import AnnData
from anndata.io import write_elem

from ._writable import writable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


def write_h5ad(adata: AnnData, path: Path) -> None:
    """Write an object as ``adata.write_h5ad`` does, and mend what that refuses where nothing is lost.

    It is compressed by gzip. HDF5 cannot close a file that it cannot write, and may end the process. Here its
    errors are kept, and the first is raised when all is over.

    Raises
    ------
    ValueError
        If something in it cannot be written, see :func:`writable`.
    OSError
        If the disk is full, say; what is at ``path`` then is no h5ad.

    Examples
    --------
    >>> import tempfile, anndata as ad, zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=20)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_h5ad(adata, Path(folder, "counts.h5ad"))
    ...     ad.read_h5ad(Path(folder, "counts.h5ad")).shape
    (20, 50)
    """
    adata = writable(adata)
    adata.strings_to_categoricals()
    with open(path, "w+b", buffering=0) as raw:
        file = _Patient(raw)
        with h5py.File(file, "w") as root:
            write_elem(root, "/", adata, dataset_kwargs=_COMPRESSION)
            if adata.raw is None:
                root.pop("raw", None)  # older versions of anndata cannot read what stands for nothing
        if file.error is not None:
            raise file.error


# Gzip is what every HDF5 can read; its lowest level is quick and takes most of the room away.
_COMPRESSION = {"compression": "gzip", "compression_opts": 1}


class _Patient(io.RawIOBase):
    """A file that tells HDF5 of no failure, and forgets what is written after one."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._raw.seek(offset, whence)

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        n_read = self._raw.readinto(view)
        view[n_read:] = bytes(len(view) - n_read)  # what was forgotten
        return len(view)

    def write(self, data: ReadableBuffer) -> int:
        view = memoryview(data)
        rest = view
        while rest and self.error is None:
            try:
                rest = rest[self._raw.write(rest) :]
            except OSError as error:
                self.error = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._raw.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0
