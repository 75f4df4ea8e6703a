"""Compiled loops over counts: numpy and numba only.

Six rules hold in this room.

- Arrays that belong together come as one ``NamedTuple``, taken apart at the top of the function: that costs
  nothing, and arrays with names are not exchanged unnoticed.
- numba looks for changes in the file of the outermost function only, though most are inlined into those of
  other files. The tests therefore keep what they compile in a folder for each state of this room; to run
  changed kernels outside of the tests, set ``NUMBA_CACHE_DIR`` to a new folder.
- A loop that writes to two arrays, gathers, or works on an array made within compiled code may get no vector
  instructions: split it, or pass working space in.
- Inlined functions are optimised before they are inlined: each that has a loop calls `double.wide_vectors`
  itself.
- Rounding must not depend on who calls: each inlined function names its ``fastmath`` flags, and where the
  order of terms matters none of them frees it.
- Every user waits for the compiler once, so what it is given is small: an argument has one type in all calls,
  arrays are not assigned to parts of others (`gene_climb.put`), numpy is not called for a few elements, and
  what is of reads alone is compiled for reads only (`gene_counts.by_kind`).
"""
