"""Cell Ontology ids of cell types: from a table of the user, or by common names.

The names and ids in cell_ontology.tsv are those of the Cell Ontology (https://obofoundry.org/ontology/cl.html), for
types that annotations often use, with usual synonyms.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from sctransformer._constants import OBS
from sctransformer.errors import UserError

_NAME_COLUMNS = (OBS.cell_type, "name", "label")
_ID = re.compile(r"CL:\d{7}")


def known_ids(names: Iterable[str], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Cell Ontology ids of those names that have one.

    Args:
        names: of cell types.
        given: ids by name, which take precedence over common names.

    Examples:
        >>> known_ids(["B cells", "CD14+ Monocyte", "cluster 7"])
        {'B cells': 'CL:0000236', 'CD14+ Monocyte': 'CL:0001054'}
    """
    by_name = _common_names()
    found = {name: (given or {}).get(name) or by_name.get(_plain(name)) for name in names}
    return {name: identifier for name, identifier in found.items() if identifier is not None}


def read_ids(path: Path) -> dict[str, str]:
    """Read Cell Ontology ids by name from a CSV or TSV table.

    Args:
        path: columns cell_type (or name, or label) and cell_type_ontology_term_id.

    Raises:
        UserError: the file cannot be read, lacks a column, or holds something else than ids.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a table of Cell Ontology ids ({error}).") from error
    rows = csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ",")
    columns = rows.fieldnames or []
    name = next((column for column in _NAME_COLUMNS if column in columns), None)
    if name is None or OBS.ontology_term not in columns:
        raise UserError(
            f"{path}: columns are {', '.join(map(repr, columns)) or 'none'}; expected {OBS.cell_type} and "
            f"{OBS.ontology_term}."
        )
    found = {(row[name] or "").strip(): (row[OBS.ontology_term] or "").strip() for row in rows}
    for cell_type, identifier in found.items():
        if not _ID.fullmatch(identifier):
            raise UserError(f"{path}: {cell_type!r} has the id {identifier!r}; expected one such as CL:0000236.")
    return found


@cache
def _common_names() -> dict[str, str]:
    table = (files("sctransformer.data") / "cell_ontology.tsv").read_text(encoding="utf-8")
    found = {}
    for row in csv.DictReader(table.splitlines(), delimiter="\t"):
        for name in (row["name"], *filter(None, row["synonyms"].split(";"))):
            found[_plain(name)] = row[OBS.ontology_term]
    return found


def _plain(name: str) -> str:
    """A name without case, hyphens, underscores and plural."""
    words = re.sub(r"[\s_-]+", " ", name.strip().casefold())
    return re.sub(r"(?<=[a-z]{3})s$", "", words)
