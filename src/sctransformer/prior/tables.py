"""Text tables, plain or gzipped, with any separator, and Parquet files; all values are read as text."""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer.errors import UserError, one_line

SEPARATORS = ("\t", ",", ";", " ")
_MAGIC = {b"PK\x03\x04": "a zip archive", b"\xfd7zXZ": "an xz archive", b"BZh": "a bzip2 archive"}
_MAGIC |= {b"\x28\xb5\x2f\xfd": "a zstd archive", b"\x89HDF": "an HDF5 file"}
_MISSING = frozenset({"", "nan", "NaN", "NA", "N/A", "<NA>", "None", "null", "NULL"})
_LONGEST = 60


@dataclass(frozen=True)
class Table:
    """Named columns of text."""

    label: str
    """Name of the file, for messages."""
    names: list[str]
    """Names of the columns."""
    numbers: NDArray[np.int64]
    """Number of each row in the file, for messages."""
    unit: str
    """`line` in a text file, else `row`."""
    load: Callable[[str], Sequence[str] | pd.Series]
    """Reads a column by its name."""

    def __len__(self) -> int:
        return len(self.numbers)

    def column(self, name: str) -> pd.Series:
        """A column, without spaces around values.

        Raises:
            UserError: the column is shorter than the table, as in a damaged file.
        """
        values = pd.Series([value.strip() for value in self.load(name)], dtype=object)
        if len(values) != len(self):
            raise UserError(
                f"{self.label}: is damaged: column {name} has {len(values)} values, but the file has {len(self)} "
                f"{self.unit}s; download it again."
            )
        return values

    def symbols(self, name: str) -> pd.Series:
        """A column of gene symbols.

        Raises:
            UserError: a value is empty, or contains a space or an unprintable character.
        """
        values = self.column(name)
        codes, unique = pd.factorize(values, use_na_sentinel=False)
        bad = np.array([not is_symbol(value) for value in unique], dtype=bool)
        self.refuse(bad[codes], name, values, "a gene symbol")
        return values

    def refuse(self, bad: NDArray[np.bool_] | pd.Series, name: str, values: pd.Series, expected: str) -> None:
        """Raise a UserError for the first bad value, with file, line, column and the expected value.

        Does nothing if no value is bad.
        """
        mask = np.asarray(bad, dtype=bool)
        if mask.any():
            position = int(mask.argmax())
            raise UserError(
                f"{self.label}: {self.unit} {self.numbers[position]} has {name} {truncated(values.iloc[position])}; "
                f"expected {expected}."
            )


def is_symbol(value: object) -> bool:
    """Whether a value can be a gene symbol: printable, without spaces, not a word for a missing value."""
    return isinstance(value, str) and value not in _MISSING and value.isprintable() and " " not in value


def truncated(value: object) -> str:
    """A value for a message: quoted, on one line, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def is_parquet(path: Path) -> bool:
    """Whether a file is in Parquet format, by its first bytes.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"PAR1"
    except OSError as error:
        raise UserError(_unreadable(path, error)) from error


def read_text(path: Path) -> str:
    """Text of a plain or gzipped UTF-8 file, without byte order mark, with unified line ends.

    Raises:
        UserError: the file is missing, truncated, or not text.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file.") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path}: is a truncated or damaged gzip file ({one_line(error)}); download it again."
        ) from error
    except OSError as error:
        raise UserError(_unreadable(path, error)) from error
    for magic, what in _MAGIC.items():
        if content.startswith(magic):
            raise UserError(f"{path}: is {what}; expected a text table (plain or gzipped) or Parquet.")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path}: is UTF-16 text; save it as UTF-8.")
    if b"\0" in content:
        raise UserError(f"{path}: is binary, not text; expected a text table (plain or gzipped) or Parquet.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not a text table in UTF-8 ({one_line(error)}).") from error
    return io.StringIO(text, newline=None).read()


def header_of(path: Path, text: str) -> tuple[list[str], str]:
    """Fields of the first non-blank line, and the separator that gives the most fields.

    Raises:
        UserError: all lines are blank.
    """
    first = next((line for line in text.split("\n") if line.strip()), None)
    if first is None:
        raise UserError(f"{path}: is empty.")
    fields = {separator: _fields(first, separator) for separator in SEPARATORS[:3]}
    best = max(fields, key=lambda separator: len(fields[separator]))
    if len(fields[best]) == 1:  # a space only if nothing else separates
        best, fields[" "] = " ", _fields(first, " ")
    return [field.strip() for field in fields[best]], best


def text_table(path: Path, text: str, separator: str, header: Sequence[str] | None = None) -> Table:
    """Split text into a table.

    Missing fields at the end of a line are empty. A first column without a name (row names of R) is called `row`.

    Args:
        path: the file, for messages.
        text: its text.
        separator: the character between fields.
        header: names of the columns; None takes those of the first line.

    Raises:
        UserError: a line has more fields than the header, a column name is repeated, or the text is empty.
    """
    rows, numbers = _rows(path, text, separator)
    if not rows:
        raise UserError(f"{path}: is empty; expected a {_called(separator)} table.")
    if header is None:
        names, numbers = [field.strip() for field in rows.pop(0)], numbers[1:]
    else:
        names = list(header)
    widths = set(map(len, rows))
    if header is None and widths == {len(names) + 1} and any(row[-1].strip() for row in rows):
        names.insert(0, "row")
    names = [name or ("row" if index == 0 else f"column {index + 1}") for index, name in enumerate(names)]
    _check_names(path, names)
    for number, row in zip(numbers, rows, strict=True) if widths != {len(names)} else ():
        if any(field.strip() for field in row[len(names) :]):
            raise UserError(
                f"{path}: line {number} has {len(row)} fields, but the header has {len(names)}; expected a "
                f"{_called(separator)} table with the same number of fields in each line."
            )
        row[len(names) :] = []
        row += [""] * (len(names) - len(row))
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    return Table(str(path), names, np.array(numbers, dtype=np.int64), "line", columns.__getitem__)


def parquet_table(path: Path) -> Table:
    """A Parquet file as a table; columns are read on demand.

    Raises:
        UserError: the file is damaged.
    """
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names, rows = list(file.schema_arrow.names), file.metadata.num_rows
    except Exception as error:  # pyarrow raises many types of errors for damaged files
        raise UserError(f"{path}: is a damaged Parquet file ({one_line(error)}); download it again.") from error
    _check_names(path, names)

    def load(name: str) -> pd.Series:
        return _as_text(parquet_columns(path, [name])[name])

    return Table(str(path), names, np.arange(1, rows + 1), "row", load)


def parquet_columns(path: Path, names: list[str]) -> pd.DataFrame:
    """Some columns of a Parquet file, unchanged.

    Raises:
        UserError: the file is damaged.
    """
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=names, use_pandas_metadata=False).to_pandas(ignore_metadata=True)[names]
    except Exception as error:
        raise UserError(f"{path}: is a damaged Parquet file ({one_line(error)}); download it again.") from error


def frame_table(label: str, frame: pd.DataFrame) -> Table:
    """A table in memory."""
    names = [str(name) for name in frame.columns]
    columns = dict(zip(names, (frame.iloc[:, index] for index in range(len(names))), strict=True))
    return Table(label, names, np.arange(1, len(frame) + 1), "row", lambda name: _as_text(columns[name]))


def _check_names(path: Path, names: Sequence[str]) -> None:
    odd = next((name for name in names if not name.isprintable()), None)
    if odd is not None:
        raise UserError(f"{path}: the header has {truncated(odd)}, which is not a column name; is a quote not closed?")
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise UserError(
            f"{path}: the column {truncated(twice)} occurs twice in the header; give each column its own name."
        )


def _as_text(values: pd.Series) -> pd.Series:
    text = values.astype(object).map(str)
    return text.where(values.notna().to_numpy(), "")


def _rows(path: Path, text: str, separator: str) -> tuple[list[list[str]], list[int]]:
    """Fields of each non-blank row, and the number of its first line."""
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    rows: list[list[str]] = []
    ends: list[int] = []
    try:
        for row in reader:
            rows.append(row)
            ends.append(reader.line_num)
    except csv.Error as error:
        line = (ends[-1] if ends else 0) + 1
        raise UserError(f"{path}: line {line} cannot be split into fields ({one_line(error)}).") from error
    numbers = [1, *(end + 1 for end in ends[:-1])] if rows else []
    blank = [not row or (len(row) == 1 and not row[0].strip()) for row in rows]
    if any(blank):
        rows = [row for row, empty in zip(rows, blank, strict=True) if not empty]
        numbers = [number for number, empty in zip(numbers, blank, strict=True) if not empty]
    return rows, numbers


def _fields(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return [line]


def _called(separator: str) -> str:
    return {"\t": "tab", ",": "comma", ";": "semicolon", " ": "space"}[separator] + "-separated"


def _unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path}: no such file."
    return f"{path}: cannot be read ({error.strerror or one_line(error)})."
