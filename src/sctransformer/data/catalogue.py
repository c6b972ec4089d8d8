"""The datasets in data/catalogue.yaml: where their cells are, how they are read, and how they are cited."""

import difflib
import io
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar

import yaml
from pydantic import AfterValidator, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from sctransformer.data.settings import CellColumns, DatasetDescription, DataSettings
from sctransformer.errors import UserError
from sctransformer.files import atomic_write
from sctransformer.settings import Settings, like

CATALOGUE = Path("data/catalogue.yaml")
"""The catalogue, relative to the project folder."""
RAW_FOLDER = Path("data/raw")
"""Folder for cells that `data add` copies or imports."""
ORGANISMS = ("human",)

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_HEADER = """\
# The datasets of this project. `sctransformer data add` writes here and keeps comments and other entries;
# `sctransformer train -S data=NAME` trains on one of them.
datasets: {}
"""


def _known_organism(value: str) -> str:
    if value not in ORGANISMS:
        raise ValueError(
            "only human is supported at present, because the prior networks and models use human gene symbols"
        )
    return value


def _dataset_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("a name has lower case letters, digits, _ and -, and starts with a letter or digit")
    return value


def _text_only(value: str) -> str:
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Cn") and letter not in "\n\t" for letter in value):
        raise ValueError("expected text without control characters")
    return value


def _parameter(value: str) -> str:
    """Refuse text that params.yaml, or DVC when it sets a parameter, would read back differently."""
    if not value.strip():
        raise ValueError("expected a name, found an empty text")
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in value):
        raise ValueError("line breaks and control characters are not allowed in a parameter; rename it")
    if "${" in value or value == "???":
        raise ValueError("${ and ??? have a special meaning in parameters; rename it")
    stream = io.StringIO()
    YAML().dump({"value": value}, stream)  # as DVC writes it, by YAML 1.2
    if yaml.safe_load(stream.getvalue()) != {"value": value}:  # as params.yaml is read, by YAML 1.1: yes, on, 12:30
        raise ValueError("YAML reads this as a boolean or a number, not as text; rename it")
    return value


def _inside_the_project(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "://" in value:
        raise ValueError("expected a path inside the project, relative to its folder; use `data add` for other cells")
    return path.as_posix()


Parameter = Annotated[str, AfterValidator(_parameter)]
Text = Annotated[str, AfterValidator(_text_only)]


class Dataset(Settings):
    """One entry of the catalogue. Fields with the names of `DataSettings` have the same meaning."""

    empty_text: ClassVar[bool] = True  # a description, for example; names of columns have a check of their own

    name: Annotated[str, AfterValidator(_dataset_name), AfterValidator(_parameter)]
    """Name of the entry: lower case letters, digits, `_`, `-`."""
    cells: Annotated[str, AfterValidator(_inside_the_project), AfterValidator(_parameter)]
    """An h5ad file or zarr folder under DVC, relative to the project's folder."""
    url: Text | None = None
    """URL from which DVC imported the cells; null: added from a file."""
    label_column: Parameter = like(CellColumns, "label_column")
    donor_column: Parameter | None = like(CellColumns, "donor_column", default=None)
    gene_column: Parameter | None = like(CellColumns, "gene_column", default=None)
    ontology_column: Parameter | None = like(CellColumns, "ontology_column", default=None)
    ontology_ids: dict[str, Text] | None = like(CellColumns, "ontology_ids", default=None)
    counts: Parameter | None = like(CellColumns, "counts", default=None)
    library_size_column: Parameter | None = like(CellColumns, "library_size_column", default=None)
    new_cells_fraction: float = like(DataSettings, "new_cells_fraction", default=0.0, ge=0.0, lt=1.0)
    organism: Annotated[str, AfterValidator(_known_organism)] = like(DatasetDescription, "organism", default="human")
    license: Text | None = like(DatasetDescription, "license", default=None)
    citation: Text | None = like(DatasetDescription, "citation", default=None)
    description: Text | None = like(DatasetDescription, "description", default=None)

    def parameters(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The entry's values of those `fields` that it has, in the order of the entry."""
        return {field: getattr(self, field) for field in type(self).model_fields if field in fields}


def dataset(source: str, **fields: Any) -> Dataset:
    """Create a checked entry.

    Args:
        source: origin of the fields, for errors.
        fields: fields of `Dataset`.

    Raises:
        UserError: a field is unknown, missing or has a value that is not allowed.
    """
    try:
        return Dataset.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            problem = f"has no field {field}; expected {_described(Dataset.model_fields)}"
        elif first["type"] == "extra_forbidden":
            problem = f"has an unknown field {field}; expected {_described(Dataset.model_fields)}"
        else:
            problem = f"field {field} is {first.get('input')!r}: {first['msg'].removeprefix('Value error, ')}"
        raise UserError(f"{source}: dataset {fields.get('name')}: {problem}.") from error


def parse_catalogue(text: str, source: str = str(CATALOGUE)) -> dict[str, Dataset]:
    """Parse the text of a catalogue into entries by name, in their order.

    Raises:
        UserError: the text is not YAML or not a catalogue, a dataset is repeated, or an entry is invalid.
    """
    entries = _entries(_loaded(text, source), source)
    datasets = {}
    for name, fields in entries.items():
        if not isinstance(name, str):
            raise UserError(f"{source}: the dataset name {name!r} is not text; put it in quotes.")
        if not isinstance(fields, Mapping) or "name" in fields:
            raise UserError(f"{source}: dataset {name} must have fields as `field: value`, without its name.")
        # a key that is not text cannot be a keyword: its text is passed, and refused as an unknown field
        datasets[name] = dataset(source, name=name, **{str(field): value for field, value in fields.items()})
    return datasets


def with_entry(text: str, entry: Dataset, source: str = str(CATALOGUE)) -> str:
    """Add an entry at the end of a catalogue's text, or replace it in place.

    Comments and the other entries are kept; line breaks inside values may move.

    Raises:
        UserError: the text is not YAML or not a catalogue.
    """
    content = _loaded(text, source)
    entries = _entries(content, source)
    fields = entry.model_dump(exclude={"name"})
    if isinstance(entries.get(entry.name), Mapping):
        existing = entries[entry.name]
        for field in [field for field in existing if field not in fields]:
            del existing[field]
        existing.update(fields)  # in place, so that its comments are kept
    else:
        entries[entry.name] = fields
    content["datasets"] = entries
    entries_style = getattr(entries, "fa", None)
    if entries_style is not None:
        entries_style.set_block_style()  # the empty catalogue `datasets: {}` is in flow style
    stream = io.StringIO()
    _yaml().dump(content, stream)
    return stream.getvalue()


def read_catalogue(path: Path = CATALOGUE) -> dict[str, Dataset]:
    """Read a catalogue; a missing file is an empty catalogue.

    Raises:
        UserError: as `parse_catalogue`, or the file cannot be read.
    """
    return parse_catalogue(_text(path), str(path))


def write_entry(entry: Dataset, path: Path = CATALOGUE) -> None:
    """Add or replace an entry in a catalogue file, atomically.

    Raises:
        UserError: the file is not a catalogue, or cannot be written.
    """
    text = with_entry(_text(path), entry, str(path))
    parse_catalogue(text, str(path))  # fail before writing what could not be read
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def find_dataset(datasets: Mapping[str, Dataset], name: str, source: str = str(CATALOGUE)) -> Dataset:
    """Find an entry by name.

    Raises:
        UserError: there is none; the message suggests a similar name.
    """
    if name in datasets:
        return datasets[name]
    near = difflib.get_close_matches(name, datasets, n=1)
    hint = f"did you mean {near[0]}?" if near else f"datasets: {', '.join(datasets) or 'none'};"
    raise UserError(f"{source}: has no dataset {name!r}; {hint} add one with `sctransformer data add`.")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return _HEADER
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from error


def _loaded(text: str, source: str) -> Any:
    try:
        content = _yaml().load(text)
    except YAMLError as error:
        problem = getattr(error, "problem", None) or str(error)
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f"line {mark.line + 1}: "
        raise UserError(f"{source}: is not valid YAML ({where}{' '.join(problem.split())}).") from error
    return _yaml().load(_HEADER) if content is None else content


def _entries(content: Any, source: str) -> Any:
    if not isinstance(content, Mapping) or set(content) != {"datasets"}:
        raise UserError(f"{source}: expected one key `datasets` with the datasets by name under it.")
    entries = content["datasets"]
    if entries is None:
        return {}
    if not isinstance(entries, Mapping):
        raise UserError(f"{source}: `datasets` must hold datasets by name, as `name: fields`.")
    return entries


class _NullsWrittenOut(RoundTripRepresenter):
    """Write `field: null`, not `field:`, so that an empty value is seen to be intended."""


_NullsWrittenOut.add_representer(
    type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
)


def _yaml() -> YAML:
    """Reader and writer that keep comments, order and quotes."""
    reader = YAML()
    reader.preserve_quotes = True
    reader.width = 4096  # do not wrap lines of other entries
    reader.Representer = _NullsWrittenOut
    return reader


def _described(fields: Mapping[str, Any]) -> str:
    return ", ".join(field for field in fields if field != "name")
