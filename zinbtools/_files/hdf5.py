"""Refuse HDF5 files that take data from elsewhere, run in circles or need a plugin."""

from __future__ import annotations

from pathlib import Path

import h5py

_MOST_PLACES = 100_000


def check_hdf5(path: Path) -> None:
    """Refuse a file whose reading would bring in other files, never end, or lack a filter.

    Raises
    ------
    ValueError
        At an external link, storage in another file, a virtual data set, references, a link that leads
        nowhere or to a group above, a filter that is not installed, or more places than any study has.
    """
    with h5py.File(path, "r", locking=False) as file:
        _check_contents(file)
        _check_ways(file)


def _check_contents(file: h5py.File) -> None:
    """Refuse what leads out of the file; every group is looked at once, and no soft link followed."""
    seen = {_identity(file["/"])}
    waiting = [("", file["/"])]
    while waiting:
        above, group = waiting.pop()
        for name in group:
            place = f"{above}/{name}"
            kind = group.id.links.get_info(name.encode("utf-8", "surrogateescape")).type
            if kind not in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT):
                raise ValueError(f"{place!r} is a link to another file; copy what it leads to into this one.")
            found = group[name] if kind == h5py.h5l.TYPE_HARD else None
            if isinstance(found, h5py.Dataset):
                _check_dataset(place, found)
            elif isinstance(found, h5py.Group) and _identity(found) not in seen:
                seen.add(_identity(found))
                waiting.append((place, found))


def _check_ways(file: h5py.File) -> None:
    """Refuse links of which a reader that follows them all would make no end."""
    n_places = 0
    waiting = [("", file["/"], frozenset({_identity(file["/"])}))]
    while waiting:
        above, group, passed = waiting.pop()
        for name in group:
            place = f"{above}/{name}"
            try:
                found = group[name]
            except (KeyError, RuntimeError) as error:  # a RuntimeError where links lead in a circle
                raise ValueError(f"{place!r} is a link that leads nowhere; remove it.") from error
            if isinstance(found, h5py.Group):
                if _identity(found) in passed:
                    raise ValueError(f"{place!r} leads back to a group that it is in; remove that link.")
                waiting.append((place, found, passed | {_identity(found)}))
            n_places += 1
            if n_places > _MOST_PLACES:
                raise ValueError(f"it has more than {_MOST_PLACES:,} groups and arrays; write it anew.")


def _identity(group: h5py.Group) -> tuple[int, int]:
    found = h5py.h5o.get_info(group.id)
    return found.fileno, found.addr


def _check_dataset(place: str, dataset: h5py.Dataset) -> None:
    settings = dataset.id.get_create_plist()
    if settings.get_external_count():
        raise ValueError(f"{place!r} keeps its numbers in another file; copy them into this one.")
    if dataset.is_virtual:
        raise ValueError(
            f"{place!r} is a virtual data set, which takes its numbers from elsewhere; copy them."
        )
    kinds = [kind for kind, *_ in (dataset.dtype.fields or {"": (dataset.dtype,)}).values()]
    if any(h5py.check_ref_dtype(kind) for kind in kinds):
        raise ValueError(
            f"{place!r} holds references to other places in place of numbers or text; remove it."
        )
    for number in range(settings.get_nfilters()):
        code = settings.get_filter(number)[0]
        if not h5py.h5z.filter_avail(code):
            raise ValueError(
                f"{place!r} is compressed with HDF5 filter {code}, which is not installed; write the file "
                "anew with compression='gzip'."
            )
