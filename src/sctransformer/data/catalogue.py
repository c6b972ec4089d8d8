"""data/catalogue.yaml, typed: which datasets there are, how each is called, read and credited. Knows nothing of DVC."""

import difflib
import io
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from sctransformer.errors import UserError
from sctransformer.files import atomic_write

CATALOGUE = Path("data/catalogue.yaml")
"""Where the catalogue stands, from the project's folder."""
RAW_FOLDER = Path("data/raw")
"""Where `data add` puts cells that come from outside the project."""
ORGANISMS = ("human",)

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_HEADER = """\
# The datasets of this project. `sctransformer data add` writes here and leaves comments and other entries as they are;
# `sctransformer train -S data=NAME` trains on one of them.
datasets: {}
"""


def _known_organism(value: str) -> str:
    if value not in ORGANISMS:
        raise ValueError(
            "only human is accepted at present, because the prior networks name human genes and a model reads its "
            "genes by those names"
        )
    return value


def _dataset_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("a name is made of lower case letters, digits, _ and -, and begins with a letter or digit")
    return value


def _text_only(value: str) -> str:
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Cn") and letter not in "\n\t" for letter in value):
        raise ValueError("expected text without control characters")
    return value


def _parameter(value: str) -> str:
    """Refuse what would not come back from params.yaml, or from DVC's way of setting it, as the same text."""
    if not value.strip():
        raise ValueError("expected a name, found nothing")
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in value):
        raise ValueError("line breaks and control characters cannot stand in a parameter; rename it")
    if "${" in value or value == "???":
        raise ValueError("${ and ??? have a meaning of their own in parameters; rename it")
    stream = io.StringIO()
    YAML().dump({"value": value}, stream)  # as DVC writes it, by YAML 1.2
    if yaml.safe_load(stream.getvalue()) != {"value": value}:  # as params.yaml is read, by YAML 1.1: yes, on, 12:30
        raise ValueError("YAML reads this as a truth value or a number, not as a name; rename it")
    return value


def _inside_the_project(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "://" in value:
        raise ValueError("expected a path inside the project, from its folder; add cells from elsewhere by `data add`")
    return path.as_posix()


Parameter = Annotated[str, AfterValidator(_parameter)]
Text = Annotated[str, AfterValidator(_text_only)]


class Dataset(BaseModel):
    """One entry of the catalogue. The fields that `params.yaml` has under `data` mean the same there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(_dataset_name), AfterValidator(_parameter)]
    """Lower case letters, digits, `_`, `-`."""
    cells: Annotated[str, AfterValidator(_inside_the_project), AfterValidator(_parameter)]
    """An h5ad file or zarr folder, from the project's folder, under DVC."""
    url: Text | None = None
    """Where DVC imported the cells from; null: added from a file."""
    label_column: Parameter
    """Column of obs with the cell type."""
    donor_column: Parameter | None = None
    """Column of obs with the donor; null: none."""
    gene_column: Parameter | None = None
    """Column of var with gene ids; null: recognised."""
    counts: Parameter | None = None
    """Where the raw counts stand: `X`, `raw.X` or a layer's name; null: found."""
    library_size_column: Parameter | None = None
    """Column of obs with the counts of the whole cell; null: their sum."""
    organism: Annotated[str, AfterValidator(_known_organism)] = "human"
    license: Text | None = None
    """Under what terms the cells may be used."""
    citation: Text | None = None
    description: Text | None = None

    def parameters(self, fields: Mapping[str, Any]) -> dict[str, str | None]:
        """Those of the entry's fields that are among `fields`, in the order of the entry."""
        return {field: getattr(self, field) for field in type(self).model_fields if field in fields}


def dataset(source: str, **fields: Any) -> Dataset:
    """A checked entry.

    Args:
        source: what to call the origin of the fields in errors.
        fields: those of `Dataset`.

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
    """The entries of a catalogue's text, by name, in their order.

    Raises:
        UserError: the text is not YAML, is no catalogue, names a dataset twice, or an entry is wrong.
    """
    entries = _entries(_loaded(text, source), source)
    datasets = {}
    for name, fields in entries.items():
        if not isinstance(name, str):
            raise UserError(f"{source}: dataset {name!r} is no text; put its name in quotes.")
        if not isinstance(fields, Mapping) or "name" in fields:
            raise UserError(f"{source}: dataset {name} must hold fields as `field: value`, without its name.")
        # a key that is no text cannot be a keyword: pydantic is given its text, and refuses it as unknown
        datasets[name] = dataset(source, name=name, **{str(field): value for field, value in fields.items()})
    return datasets


def with_entry(text: str, entry: Dataset, source: str = str(CATALOGUE)) -> str:
    """A catalogue's text with an entry added at its end, or replaced in its place.

    Comments and the other entries keep their words and order; line breaks inside values may move.

    Raises:
        UserError: the text is not YAML or is no catalogue.
    """
    content = _loaded(text, source)
    entries = _entries(content, source)
    fields = entry.model_dump(exclude={"name"})
    if isinstance(entries.get(entry.name), Mapping):
        there = entries[entry.name]
        for field in [field for field in there if field not in fields]:
            del there[field]
        there.update(fields)  # in place: its comments stay
    else:
        entries[entry.name] = fields
    content["datasets"] = entries
    entries_style = getattr(entries, "fa", None)
    if entries_style is not None:
        entries_style.set_block_style()  # `datasets: {}` of an empty catalogue would go on in braces
    stream = io.StringIO()
    _yaml().dump(content, stream)
    return stream.getvalue()


def read_catalogue(path: Path = CATALOGUE) -> dict[str, Dataset]:
    """Read a catalogue; a file that is not there is an empty one.

    Raises:
        UserError: as `parse_catalogue`, or the file cannot be read.
    """
    return parse_catalogue(_text(path), str(path))


def write_entry(entry: Dataset, path: Path = CATALOGUE) -> None:
    """Add or replace an entry of a catalogue's file, whole or not at all.

    Raises:
        UserError: the file is no catalogue, or cannot be written.
    """
    text = with_entry(_text(path), entry, str(path))
    parse_catalogue(text, str(path))  # what is written can be read
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def find_dataset(datasets: Mapping[str, Dataset], name: str, source: str = str(CATALOGUE)) -> Dataset:
    """The entry of that name.

    Raises:
        UserError: there is none; the sentence names the nearest one.
    """
    if name in datasets:
        return datasets[name]
    near = difflib.get_close_matches(name, datasets, n=1)
    hint = f"did you mean {near[0]}?" if near else f"datasets there: {', '.join(datasets) or 'none'};"
    raise UserError(f"{source}: has no dataset {name!r}; {hint} `sctransformer data add` adds one.")


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
    """`field: null`, not `field:`: it can be seen that nothing was meant."""


_NullsWrittenOut.add_representer(
    type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
)


def _yaml() -> YAML:
    """Round trip: comments, order and quotes stay."""
    reader = YAML()
    reader.preserve_quotes = True
    reader.width = 4096  # no line of another entry is broken anew
    reader.Representer = _NullsWrittenOut
    return reader


def _described(fields: Mapping[str, Any]) -> str:
    return ", ".join(field for field in fields if field != "name")
