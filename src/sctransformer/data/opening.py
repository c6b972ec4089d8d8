"""Opening files of cells: HDF5 or zarr, with what is wrong with a file that is neither an AnnData nor readable."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
from h5py import h5d, h5o, h5z

from sctransformer.data.obs_table import limit_metadata_cache
from sctransformer.data.other_formats import format_of_file, format_of_hdf5
from sctransformer.errors import BusyError, UserError, one_line

_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""What h5py raises on damaged elements."""
_FILTERS = {
    305: "LZO", 307: "bzip2", 32000: "LZF", 32001: "Blosc", 32004: "LZ4", 32008: "Bitshuffle", 32013: "ZFP",
    32015: "Zstandard", 32026: "Blosc2",
}  # fmt: skip
"""Registered numbers of HDF5 filters, https://github.com/HDFGroup/hdf5_plugins."""
_HDF5 = b"\x89HDF\r\n\x1a\n"


def open_root(path: Path) -> tuple[Any, h5py.File | None]:
    """The root element of an h5ad file or a zarr folder, and the file to close (None for zarr).

    Raises:
        UserError: the file is missing, cut short, neither HDF5 nor zarr, or reaches outside itself.
        BusyError: another process is writing it.
    """
    if path.is_dir():
        return _open_folder(path), None
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    try:
        file = h5py.File(path, "r")
    except BlockingIOError as error:  # HDF5 locks files while it writes them
        raise BusyError(f"{path}: another process is writing it now; try again when it is done.") from error
    except OSError as error:
        raise UserError(f"{path}: is not a readable h5ad file; {_why_unreadable(path, error)}.") from error
    try:
        limit_metadata_cache(file)
        _check_elements(file, path)
        with suppress(*_DAMAGE):
            if known := format_of_hdf5(file):
                raise UserError(f"{path}: expected an AnnData file, but {known}.")
    except BaseException:
        file.close()
        raise
    return file, file


def require_self_contained(path: Path) -> None:
    """Refuse a file or folder that reaches outside itself, before anything in it is read.

    Raises:
        UserError: an HDF5 file has an external link, external storage or a virtual dataset, or a zarr folder has a
            symbolic link.
    """
    if path.is_dir():
        for folder, folders, names in os.walk(path):
            for name in (*folders, *names):
                entry = Path(folder) / name
                if entry.is_symlink():
                    raise UserError(
                        f"{path}: {str(entry.relative_to(path))!r} is a symbolic link; links inside a folder of cells "
                        "are not followed: copy the folder with `cp -rL`."
                    )
    elif path.is_file() and h5py.is_hdf5(path):
        try:
            with h5py.File(path, "r") as file:
                _check_elements(file, path)
        except OSError:  # opening it for reading says what is wrong
            return


def missing_filters(root: Any, key: str) -> list[str]:
    """Names of the HDF5 filters that an element needs and that are not installed; filters of hdf5plugin are loaded.

    Damaged elements are left to those who read them.
    """
    needed: dict[int, str] = {}

    def visit(_: str, found: object) -> None:
        if isinstance(found, h5py.Dataset):
            plist = found.id.get_create_plist()
            for index in range(plist.get_nfilters()):
                code, _, _, name = plist.get_filter(index)
                needed[code] = _FILTERS.get(code) or name.decode(errors="replace") or str(code)

    with suppress(*_DAMAGE):
        element = root.get(key) if isinstance(root, h5py.Group) else None
        visit("", element)
        if isinstance(element, h5py.Group):
            element.visititems(visit)
    if all(h5z.filter_avail(code) for code in needed):
        return []
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401 (registers its filters)
    return [name for code, name in needed.items() if not h5z.filter_avail(code)]


def _check_elements(file: h5py.File, path: Path) -> None:
    """Refuse elements that are elsewhere. Damaged elements are left to those who read them."""
    groups, seen = [("", file)], set[int]()
    while groups:
        above, group = groups.pop()
        with suppress(*_DAMAGE):
            names = list(group)
            for name in names:
                place = f"{above}/{name}".lstrip("/")
                with suppress(*_DAMAGE):
                    if isinstance(group.get(name, getlink=True), h5py.SoftLink):
                        continue
                    if isinstance(link := group.get(name, getlink=True), h5py.ExternalLink):
                        raise _reaches_out(path, place, f"a link to the file {link.filename!r}")
                    element = group[name]
                    address = h5o.get_info(element.id).addr
                    if address in seen:
                        continue
                    seen.add(address)
                    if isinstance(element, h5py.Group):
                        groups.append((place, element))
                    elif isinstance(element, h5py.Dataset):
                        plist = element.id.get_create_plist()
                        if plist.get_layout() == h5d.VIRTUAL:
                            raise _reaches_out(path, place, "a virtual dataset")
                        if plist.get_external_count():
                            raise _reaches_out(path, place, "stored in another file")


def _reaches_out(path: Path, place: str, what: str) -> UserError:
    return UserError(
        f"{path}: {place!r} is {what}; only files that hold all of their own data are read: "
        "write one with `anndata.read_h5ad(file).write_h5ad(new)`."
    )


def _open_folder(path: Path) -> Any:
    import zarr  # takes half a second

    require_self_contained(path)
    if any(path.glob("*matrix.mtx*")):
        raise UserError(
            f"{path}: is a folder of Cell Ranger (matrix.mtx): convert it with "
            f"`scanpy.read_10x_mtx({str(path)!r}).write_h5ad('cells.h5ad')`."
        )
    try:
        return zarr.open_group(path, mode="r")
    except Exception as error:
        raise UserError(f"{path}: is a folder, but not a readable zarr group ({one_line(error)}).") from error


def _why_unreadable(path: Path, error: OSError) -> str:
    try:
        with path.open("rb") as stream:
            first_bytes = stream.read(len(_HDF5))
    except OSError:
        return one_line(error)
    if not first_bytes:
        return "it is empty"
    if first_bytes != _HDF5 and (known := format_of_file(path)):
        return known
    if first_bytes != _HDF5:
        return f"it is not HDF5 (it starts with {first_bytes!r}); expected a file written by `AnnData.write_h5ad`"
    return f"it is cut short or damaged ({one_line(error)})"
