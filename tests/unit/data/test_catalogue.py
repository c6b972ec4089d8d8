"""The catalogue of datasets: entries, errors in them, and overrides of `train` that name a dataset."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sctransformer.data.catalogue import (
    Dataset,
    dataset,
    find_dataset,
    parse_catalogue,
    read_catalogue,
    with_entry,
    write_entry,
)
from sctransformer.data.settings import DataSettings
from sctransformer.data.versioned import checked_url, dvc_sentence, find_tracked, is_url, parsed
from sctransformer.errors import UserError
from sctransformer.params import load_params
from sctransformer.pipeline.overrides import BUILT_IN_NETWORK, expanded

ROOT = Path(__file__).parents[3]

ODD_NAMES = [
    "cell type, v2",
    "it's",
    'say "hi"',
    "a+b/c",
    "x=y:z",
    "[1,2]",
    "{a: b}",
    "null",
    "1",
    "true",
    "2020-01-01",
]
ODD_NAMES += [
    "back\\",
    "b\\'c",
    " lead ",
    "$x",
    "# no comment",
    "choice(a,b)",
    "1e3",
    "~",
    "-",
    "Zelltyp für Ärzte",
    "*a",
]


def _fits(text: str) -> bool:
    try:
        dataset("test", name="a", cells="a.h5ad", label_column=text)
    except UserError:
        return False
    return True


printable = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp")), min_size=1, max_size=20)
column_names = st.one_of(st.sampled_from(ODD_NAMES), printable.filter(_fits))
prose = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn"), include_characters="\n\t"), max_size=200)
entries = st.builds(
    Dataset,
    name=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,12}", fullmatch=True).filter(
        lambda name: name not in ("yes", "no", "on", "off")
    ),
    cells=st.from_regex(r"data/[A-Za-z0-9 _+-]{1,12}\.(h5ad|zarr)", fullmatch=True),
    url=st.none() | st.just("s3://bucket/a key.h5ad"),
    label_column=column_names,
    donor_column=st.none() | column_names,
    gene_column=st.none() | column_names,
    counts=st.none() | column_names,
    library_size_column=st.none() | column_names,
    license=st.none() | prose,
    citation=st.none() | prose,
    description=st.none() | prose,
)


@settings(max_examples=12, deadline=None)
@given(st.lists(entries, unique_by=lambda entry: entry.name, max_size=3))
def test_entries_are_read_as_they_were_written_and_in_order(written: list[Dataset]) -> None:
    text = ""
    for entry in written:
        text = with_entry(text, entry)
    assert list(parse_catalogue(text or "datasets:\n").values()) == written


@settings(max_examples=15, deadline=None)
@given(entries, entries)
def test_a_replaced_entry_has_only_the_new_values(old: Dataset, new: Dataset) -> None:
    new = new.model_copy(update={"name": old.name})
    text = with_entry(with_entry("", old), new)
    assert parse_catalogue(text) == {new.name: new}
    assert with_entry(text, new) == text


def test_a_long_line_of_another_entry_is_not_wrapped() -> None:
    text = f"datasets:\n  a:\n    cells: a.h5ad\n    label_column: x\n    description: {'word ' * 60}end\n"
    assert with_entry(text, dataset("test", name="new", cells="n.h5ad", label_column="l")).startswith(text)


def test_comments_and_other_entries_are_kept() -> None:
    text = """\
# which cells we have
datasets:
  # from the clinic
  kang:  # eight donors
    cells: 'data/raw/kang.h5ad'  # copied
    label_column: "cell_type"
  last:
    cells: data/raw/last.h5ad
    label_column: l  # to be renamed
"""
    kept = [line.strip() for line in text.splitlines()]
    added = with_entry(text, dataset("test", name="new", cells="n.h5ad", label_column="l"))
    assert [line.strip() for line in added.splitlines()][: len(kept)] == kept
    assert list(parse_catalogue(added)) == ["kang", "last", "new"]
    replaced = with_entry(text, dataset("test", name="kang", cells="k.h5ad", label_column="c"))
    for comment in ("# which cells we have", "# from the clinic", "# eight donors", "# copied", "# to be renamed"):
        assert comment in replaced
    assert list(parse_catalogue(replaced)) == ["kang", "last"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("datasets: [", "is not valid YAML"),
        ("a: 1", "expected one key `datasets`"),
        ("datasets: [1]", "must hold datasets by name"),
        ("datasets: {1: {}}", "dataset name 1 is not text"),
        ("datasets: {a: 1}", "dataset a must have fields"),
        ("datasets: {a: {cells: x}}", "dataset a: has no field label_column"),
        (
            "datasets: {a: {cells: x, label_column: y, colour: z}}",
            "dataset a: has an unknown field colour; expected cells",
        ),
        ("datasets: {a: {cells: x, label_column: y, 3: z}}", "dataset a: has an unknown field 3"),
        (
            "datasets: {a: {cells: x, label_column: 3}}",
            "dataset a: field label_column is 3: Input should be a valid string",
        ),
        ("datasets: {a: {cells: x, label_column: ''}}", "expected a name, found an empty text"),
        ("datasets: {a: {cells: /x, label_column: y}}", "dataset a: field cells is '/x': expected a path inside"),
        ("datasets: {a: {cells: d/../../x, label_column: y}}", "expected a path inside"),
        ("datasets: {a: {cells: s3://b/x, label_column: y}}", "expected a path inside"),
        (
            "datasets: {a: {cells: x, label_column: y, organism: mouse}}",
            "field organism is 'mouse': only human .* because",
        ),
        ("datasets: {Kang: {cells: x, label_column: y}}", "lower case letters"),
        ("datasets: {a: {cells: x, label_column: y}, a: {cells: x, label_column: y}}", "duplicate key"),
    ],
)
def test_an_error_names_the_invalid_entry(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        read_catalogue(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["yes", "off", "12:30", "190:20:30.15", "${oops}", "a\\${b}", "???", "a\nb", "a\x85b", " "]
)
def test_a_column_name_that_parameters_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="field label_column is"):
        dataset("test", name="a", cells="a.h5ad", label_column=name)


def test_a_missing_catalogue_is_empty_and_a_failed_write_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "data" / "catalogue.yaml"
    assert read_catalogue(path) == {}
    entry = dataset("test", name="a", cells="a.h5ad", label_column="l")
    write_entry(entry, path)
    assert read_catalogue(path) == {"a": entry}
    path.write_text("datasets: {b: {cells: x}}")  # damaged by hand
    with pytest.raises(UserError, match="dataset b: has no field label_column"):
        write_entry(entry, path)
    assert path.read_text() == "datasets: {b: {cells: x}}"
    assert list(path.parent.iterdir()) == [path]


def test_the_error_for_an_unknown_name_suggests_a_similar_one() -> None:
    datasets = {name: dataset("test", name=name, cells="a", label_column="l") for name in ("kang", "muraro")}
    assert find_dataset(datasets, "kang").name == "kang"
    with pytest.raises(UserError, match=r"has no dataset 'kong'; did you mean kang\?"):
        find_dataset(datasets, "kong")
    with pytest.raises(UserError, match="datasets: kang, muraro"):
        find_dataset(datasets, "zzz")


def test_the_first_entry_of_the_committed_catalogue_has_the_cells_of_params_yaml() -> None:
    """Then `-S data=NAME` with the first entry changes no parameter and no stage runs again."""
    first = next(iter(read_catalogue(ROOT / "data" / "catalogue.yaml").values()))
    parameters = first.parameters(DataSettings.model_fields)
    committed = load_params(ROOT / "params.yaml").data.model_dump(mode="json")
    assert parameters == {field: committed[field] for field in parameters}


def test_an_entry_sets_every_parameter_that_it_has_a_field_for() -> None:
    entry = dataset("test", name="a", cells="a.h5ad", label_column="l")
    assert set(entry.parameters(DataSettings.model_fields)) == set(Dataset.model_fields) & set(
        DataSettings.model_fields
    )
    assert {"cells", "label_column", "library_size_column"} <= set(entry.parameters(DataSettings.model_fields))
    assert entry.parameters(DataSettings.model_fields)["new_cells_fraction"] == 0.0  # for the demonstration alone


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder as the current folder, with one dataset whose cells exist."""
    monkeypatch.chdir(tmp_path)
    write_entry(dataset("test", name="kang", cells="data/raw/kang.h5ad", label_column="cell type, v2"))
    (tmp_path / "data" / "raw").mkdir()
    (tmp_path / "data" / "raw" / "kang.h5ad").touch()
    return tmp_path


def test_a_dataset_name_expands_in_place_and_other_overrides_are_kept(catalogue: Path) -> None:
    overrides = expanded({"train.lr": 1, "data": "kang", "data.label_column": "x", "data.new_cells_fraction": 0.2})
    assert (overrides["train.lr"], overrides["data.new_cells_fraction"]) == (1, 0.2)
    assert (overrides["data.cells"], overrides["data.label_column"]) == ("data/raw/kang.h5ad", "x")
    assert expanded({"data": "kang"})["data.label_column"] == "cell type, v2"
    assert overrides["data.library_size_column"] is None
    assert expanded({"database": "kang", "data.name": "x"}) == {"database": "kang", "data.name": "x"}


def test_an_unknown_dataset_stops_training_before_dvc(catalogue: Path) -> None:
    with pytest.raises(UserError, match="no dataset 'kong'; did you mean kang"):
        expanded({"data": "kong"})


def test_missing_cells_stop_training_unless_a_stage_makes_them(catalogue: Path) -> None:
    cells = catalogue / "data" / "raw" / "kang.h5ad"
    cells.unlink()
    with pytest.raises(UserError, match="are missing; add them again"):
        expanded({"data": "kang"})
    pointer = cells.with_name("kang.h5ad.dvc")
    pointer.write_text("outs:\n- md5: " + "0" * 32 + "\n  size: 3\n  path: kang.h5ad\n")
    with pytest.raises(UserError, match=r"are missing; run `dvc pull data/raw/kang\.h5ad\.dvc`"):
        expanded({"data": "kang"})
    pointer.unlink()
    lock = {"stages": {"make": {"cmd": "x", "outs": [{"path": "data/raw/kang.h5ad", "md5": "1" * 32, "size": 3}]}}}
    (catalogue / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert expanded({"data": "kang"})


def test_the_former_name_of_the_built_in_network_still_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert expanded({"prior": "embedded"}) == expanded({"prior": "immune"})
    assert capsys.readouterr().err == "Note: -S prior=embedded is now -S prior=immune.\n"


def test_a_network_name_expands_to_a_file(catalogue: Path) -> None:
    assert expanded({"prior": BUILT_IN_NETWORK}) == {"prior.network": "src/sctransformer/prior/immune_network.tsv"}
    with pytest.raises(UserError, match=r"collectri\.tsv: no such network; available networks: immune \("):
        expanded({"prior": "collectri"})
    (catalogue / "data" / "networks").mkdir()
    (catalogue / "data" / "networks" / "collectri.tsv").touch()
    assert expanded({"prior": "collectri", "prior.min_coverage": 0}) == {
        "prior.network": "data/networks/collectri.tsv",
        "prior.min_coverage": 0,
    }
    with pytest.raises(UserError, match="available networks: immune, collectri"):
        expanded({"prior": "../raw/kang"})


def test_tracked_files_are_found_in_dvc_files_tracked_folders_and_the_lock(tmp_path: Path) -> None:
    assert find_tracked(Path("data/raw/a.h5ad"), tmp_path) is None
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "raw.dvc").write_text("outs:\n- {md5: abc.dir, size: 9, nfiles: 2, path: raw}\n")
    inside = find_tracked(Path("data/raw/a.h5ad"), tmp_path)
    assert inside is not None
    assert (inside.file, inside.md5, inside.size) == (Path("data/raw.dvc"), "abc.dir", None)
    (tmp_path / "data" / "raw.dvc").write_text("[")
    with pytest.raises(UserError, match=r"raw\.dvc: cannot be read"):
        find_tracked(Path("data/raw/a.h5ad"), tmp_path)


def test_equal_content_of_a_file_of_dvc_is_parsed_once() -> None:
    content = b"outs:\n- {md5: abc, path: once.h5ad}\n"
    assert parsed(content) is parsed(bytes(bytearray(content)))


def test_urls_are_distinguished_from_paths_and_secrets_are_refused() -> None:
    assert [is_url(source) for source in ("s3://b/k", "https://h/p", "file:///p", "a/b.h5ad", "/a:b", "C:/x")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    assert checked_url("s3://bucket/a b.h5ad") == "s3://bucket/a b.h5ad"
    assert checked_url("file:///data/a%20b.h5ad") == "/data/a b.h5ad"
    with pytest.raises(UserError, match="has the host 'there'"):
        checked_url("file://there/a.h5ad")
    for secret in ("https://me:hush@host/a.h5ad", "https://host/a.h5ad?X-Amz-Signature=hush"):
        with pytest.raises(UserError, match=r"https://host/a\.h5ad: the URL contains a key") as caught:
            checked_url(secret)
        assert "hush" not in str(caught.value)


def test_an_error_of_dvc_is_shortened_to_one_sentence() -> None:
    output = (
        "ERROR:  output 'a' is already tracked by SCM (e.g. Git).\n    You can remove it from Git, then add to DVC.\n"
    )
    assert dvc_sentence(output) == (
        "output 'a' is already tracked by SCM (e.g. Git). You can remove it from Git, then add to DVC."
    )
    output = "ERROR: unexpected error - No module named 'dvc_gs'\n\nHaving any troubles? Hit us up at https://dvc.org\n"
    assert dvc_sentence(output) == "No module named 'dvc_gs'."
    assert dvc_sentence("") == "failed without a message."
