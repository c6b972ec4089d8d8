"""What cannot be trained on stops the stage that meets it, in one sentence, before anything is trained."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from anndata import AnnData
from safetensors.numpy import save_file

from sctransformer import layout
from sctransformer._constants import OBS
from sctransformer.errors import UserError
from sctransformer.files import write_json
from sctransformer.pipeline.stages import prepare, prior, train
from sctransformer.prior.bias import PRIOR_TENSOR
from sctransformer.training.build import load_trained_model
from tests.conftest import EDGES, GENES, simulated_cells, small_model


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with cells, a network, a gene map and parameters that fit."""
    monkeypatch.chdir(tmp_path)
    write_network(EDGES)
    genes = pd.DataFrame({"gene_id": [f"ENSG{index:011d}" for index in range(24)], "gene_name": GENES})
    genes.to_csv("genes.csv", index=False)
    write_cells(simulated_cells())
    set_params({})
    return tmp_path


def write_network(edges: list[tuple[str, str]]) -> None:
    table = pd.DataFrame(edges, columns=["regulator", "target"]).assign(sign=1, confidence="high")
    table.to_csv("mine.tsv", sep="\t", index=False)


def write_cells(cells: AnnData) -> None:
    layout.CELLS.parent.mkdir(parents=True, exist_ok=True)
    cells.write_h5ad(layout.CELLS)


ONE_WAY: dict[str, dict[str, Any]] = {"model": {"direction": "regulators"}}


def set_params(changes: dict[str, dict[str, Any]]) -> None:
    params: dict[str, dict[str, Any]] = {"data": {"gene_map": "genes.csv"}, "prior": {"network": "mine.tsv"}}
    for section, values in changes.items():
        params[section] = params.get(section, {}) | values
    Path("params.yaml").write_text(yaml.safe_dump(params))


def refused(stage: Any, *expected: str) -> str:
    """The sentence with which a stage ends."""
    with pytest.raises(UserError) as caught:
        stage.main()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    for part in expected:
        assert part in sentence, sentence
    return sentence


def test_what_fits_passes(project: Path) -> None:
    prepare.main()
    prior.main()
    panel = pd.read_parquet(layout.PANEL)
    assert train.model_config(train.load_params()).n_genes == len(panel)
    task = train.training_task(train.load_params())
    assert task.load_cells(task.files).training.labels_N.size > 0


def test_a_network_with_no_edge_among_the_cells_genes(project: Path) -> None:
    write_network([("SPI1", "LYZ"), ("GENE0", "LYZ"), ("SPI1", "GENE5")])
    set_params(ONE_WAY)
    refused(
        prepare, "no edge with both ends among the 24 genes", "check that cells and network use the same gene names"
    )
    assert not layout.PREPARED_CELLS.exists()


@pytest.mark.parametrize("min_coverage", [0.0, 0.05])
def test_a_network_with_no_edge_in_the_panel(project: Path, min_coverage: float) -> None:
    """As when the network is changed by hand after the panel was chosen; a limit of zero does not let it pass."""
    prepare.main()
    write_network([("SPI1", "LYZ"), ("GENE0", "LYZ")])
    set_params({"prior": {"min_coverage": min_coverage}})
    refused(prior, "mine.tsv: none of its 2 edges", "among the 24 genes of the panel")
    assert not layout.BIAS.exists()


def test_a_panel_with_no_regulator(project: Path) -> None:
    set_params(ONE_WAY)
    prepare.main()
    pd.read_parquet(layout.PANEL).assign(is_regulator=False).to_parquet(layout.PANEL)
    refused(prior, "panel.parquet: has no regulator", "dvc repro")
    refused(train, "panel.parquet: n_regulators is 0", "greater than or equal to 1")


def test_a_class_with_one_cell(project: Path) -> None:
    cells = simulated_cells(30)
    labels = cells.obs[OBS.cell_type].astype(str)
    labels.iloc[4] = "rare"
    cells.obs[OBS.cell_type] = labels.astype("category")
    write_cells(cells)
    refused(prepare, "cell type 'rare' has 1 cells; train, validation and test need one each", "merge it")
    assert not layout.PREPARED_CELLS.exists()


def split_table(labelled: dict[str, bool], tested: dict[str, bool]) -> None:
    """Every other cell of a type is a test cell, of the types that are tested; the rest is labelled or not, by type."""
    labels = simulated_cells().obs[OBS.cell_type].astype(str)
    test = pd.Series([(index // 3) % 2 == 0 and tested[label] for index, label in enumerate(labels)], labels.index)
    content = pd.DataFrame({"cell": labels.index, "test": test.to_numpy()})
    content["labelled_10_s0"] = [labelled[label] and not out for label, out in zip(labels, test, strict=True)]
    path = Path("data/splits/table.tsv")
    path.parent.mkdir(parents=True)
    content.to_csv(path, sep="\t", index=False)
    set_params({"prepare": {"split_table": str(path), "label_fraction": 0.1}})


@pytest.mark.parametrize("tested", [True, False])
def test_a_label_fraction_that_leaves_a_class_empty(project: Path, tested: bool) -> None:
    """Also of a class without test cells: the model would have an answer that it cannot learn."""
    split_table({"alpha": True, "beta": True, "gamma": False}, {"alpha": True, "beta": True, "gamma": tested})
    refused(prepare, "cell type 'gamma'", "no labelled training cell", "prepare.label_fraction")
    assert not layout.PREPARED_CELLS.exists()


def test_a_small_label_fraction_without_a_table_leaves_two_of_each_class(project: Path) -> None:
    set_params({"prepare": {"label_fraction": 0.001}})
    prepare.main()
    prior.main()
    task = train.training_task(train.load_params())
    assert sorted(task.load_cells(task.files).training.labels_N) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("changes", "stage", "expected"),
    [
        ({"model": {"mode": "magic"}}, prior, "params.yaml: parameter model.mode is 'magic'"),
        ({"prior": {"control": "upside"}}, prior, "params.yaml: parameter prior.control is 'upside'"),
        ({"train": {"lr": 0.0}}, train, "params.yaml: parameter train.lr is 0.0"),
        (
            {"model": {"width": 30, "heads": 4}},
            train,
            "params.yaml: parameter model: width 30 is not a multiple of heads 4",
        ),
        (
            {"train": {"finetune": "frozen", "start": "random"}},
            train,
            "params.yaml: parameter train: finetune is 'frozen', pretrain_epochs is 0 and start is 'random'",
        ),
        ({"train": {"finetune": "frozen", "gene_dropout": 0.2}}, train, "set gene_dropout to 0"),
    ],
)
def test_parameters_that_no_run_can_have(project: Path, changes: dict[str, Any], stage: Any, expected: str) -> None:
    prepare.main()
    prior.main()
    set_params(changes)
    refused(stage, expected)
    assert not Path("mlflow.db").exists()
    assert not Path("outputs/ray").exists()


def test_weights_of_another_vocabulary(project: Path) -> None:
    """Weights and prior have 24 genes; the configuration beside the weights has 23."""
    model = small_model()
    layout.TRAINING.mkdir(parents=True)
    layout.BIAS.parent.mkdir(parents=True)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    save_file(weights, layout.WEIGHTS)
    save_file({PRIOR_TENSOR: weights["prior_HQS"]}, layout.BIAS)
    write_json(layout.MODEL_CONFIG, model.config.to_dict())
    assert load_trained_model(layout.MODEL_CONFIG, layout.BIAS, layout.WEIGHTS).config == model.config
    write_json(layout.MODEL_CONFIG, model.config.to_dict() | {"n_genes": 23})
    with pytest.raises(UserError, match=r"model.json.*dvc repro"):
        load_trained_model(layout.MODEL_CONFIG, layout.BIAS, layout.WEIGHTS)
    write_json(layout.MODEL_CONFIG, model.config.to_dict())
    save_file({name: tensor for name, tensor in weights.items() if "score" not in name}, layout.WEIGHTS)
    with pytest.raises(UserError, match=r"does not fit .*dvc repro"):
        load_trained_model(layout.MODEL_CONFIG, layout.BIAS, layout.WEIGHTS)
