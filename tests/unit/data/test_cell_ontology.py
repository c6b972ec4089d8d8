"""Cell Ontology ids: common names, tables of the user, and what is refused."""

import re
from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest

from sctransformer._constants import OBS
from sctransformer.data.cell_ontology import known_ids, read_ids
from sctransformer.data.ingest import contract_columns
from sctransformer.data.settings import CellColumns
from sctransformer.errors import UserError


def test_the_table_has_one_id_per_line_and_one_id_per_name() -> None:
    lines = (files("sctransformer.data") / "cell_ontology.tsv").read_text().splitlines()[1:]
    ids = [line.split("\t")[0] for line in lines]
    assert len(ids) == len(set(ids)) > 60
    assert all(re.fullmatch(r"CL:\d{7}", identifier) for identifier in ids)
    names = [name for line in lines for name in filter(None, re.split(r"[\t;]", line)[1:])]
    assert len({name.casefold() for name in names}) == len(names)


def test_common_names_have_ids_in_any_usual_spelling() -> None:
    names = ["B cells", "b_cell", "NK", "Natural Killer Cells", "CD8+ T cells", "Monocytes", "pDC", "Treg"]
    assert list(known_ids(names).values()) == [
        "CL:0000236", "CL:0000236", "CL:0000623", "CL:0000623", "CL:0000625", "CL:0000576", "CL:0000784", "CL:0000815",
    ]  # fmt: skip
    assert known_ids(["Dendritic cells"])["Dendritic cells"] == "CL:0000451"
    assert known_ids(["cluster 7", "alpha", "doublets", "B cells of mice"]) == {}


def test_given_ids_come_first() -> None:
    assert known_ids(["B cells", "mine", "T"], {"B cells": "CL:0000788", "mine": "CL:0000001"}) == {
        "B cells": "CL:0000788",
        "mine": "CL:0000001",
        "T": "CL:0000084",
    }


@pytest.mark.parametrize(("name", "text"), [("ids.csv", "cell_type,cell_type_ontology_term_id\nmine,CL:0000001\n"),
    ("ids.tsv", "name\tcell_type_ontology_term_id\nmine\tCL:0000001\n")])  # fmt: skip
def test_a_table_is_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_ids(tmp_path / name) == {"mine": "CL:0000001"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type,id\na,CL:0000001\n", "columns are 'type', 'id'; expected cell_type and cell_type_ontology_term_id"),
        (
            "cell_type,cell_type_ontology_term_id\na,B cell\n",
            "'a' has the id 'B cell'; expected one such as CL:0000236",
        ),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "ids.csv").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        read_ids(tmp_path / "ids.csv")
    with pytest.raises(UserError, match="cannot be read as a table"):
        read_ids(tmp_path / "none.csv")


def test_cells_get_ids_from_a_column_a_table_or_their_names() -> None:
    obs = pd.DataFrame({"cell_type": ["B cells", "odd", None], "cl": ["CL:0000788", "CL:0000001", None]})
    by_name = contract_columns(obs, CellColumns(), "mine.h5ad")[OBS.ontology_term]
    assert by_name.astype(object).where(by_name.notna(), None).tolist() == ["CL:0000236", None, None]
    by_column = contract_columns(obs, CellColumns(ontology_column="cl"), "mine.h5ad")[OBS.ontology_term]
    assert by_column.tolist()[:2] == ["CL:0000788", "CL:0000001"]
    by_table = contract_columns(obs, CellColumns(ontology_ids={"odd": "CL:0000002"}), "mine.h5ad")[OBS.ontology_term]
    assert by_table.tolist()[:2] == ["CL:0000236", "CL:0000002"]
    with pytest.raises(UserError, match=r"no column 'x' .*set data\.ontology_column"):
        contract_columns(obs, CellColumns(ontology_column="x"), "mine.h5ad")
