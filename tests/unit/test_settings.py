"""Settings: each is declared once, has a description, and reaches files, components and options from there."""

import ast
import importlib
import inspect
import itertools
import pkgutil
import subprocess
import sys
from collections import defaultdict
from multiprocessing.reduction import ForkingPickler
from typing import Any

import pytest
from pydantic import Field, ValidationError

import sctransformer
from sctransformer.annotation.settings import AnnotationSettings, LabellingSettings, Scoring
from sctransformer.cli.options import help_text, option_for
from sctransformer.jobs.spec import Job
from sctransformer.model.config import ModelConfig
from sctransformer.params import Params, TrainParams
from sctransformer.settings import Settings, like
from sctransformer.training.config import Optimisation, TrainConfig
from sctransformer.training.execution import Execution
from sctransformer.training.workers import Workers
from sctransformer.typed_yaml import first_problem

MODULES = ("params", "settings", "annotation.settings", "jobs.spec", "model.config", "monitor.settings")
"""Modules with settings that import neither arrays nor tables; the command line reads descriptions from them."""


def fields_of(kind: type[Settings], place: str) -> dict[str, str | None]:
    """Description of each field of a file, by its dotted name."""
    found: dict[str, str | None] = {}
    for name, field in zip(kind.names(), kind.model_fields.values(), strict=True):
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            found |= fields_of(field.annotation, f"{place}.{name}")
        else:
            found[f"{place}.{name}"] = field.description
    return found


@pytest.mark.parametrize(("kind", "file"), [(Params, "params.yaml"), (Job, "job")])
def test_every_field_of_a_file_has_a_description(kind: type[Settings], file: str) -> None:
    fields = fields_of(kind, file)
    assert len(fields) > 20
    assert not [name for name, text in fields.items() if not text]


def settings_classes() -> set[type[Settings]]:
    """All settings classes of the package."""
    for module in pkgutil.walk_packages(sctransformer.__path__, "sctransformer."):
        if module.name.endswith((".settings", ".config", ".limits", ".spec", ".space", ".workers", ".execution")):
            importlib.import_module(module.name)
    found, new = set[type[Settings]](), [Settings]
    while new:
        new = [kind for parent in new for kind in parent.__subclasses__()]
        found |= {kind for kind in new if kind.__module__.startswith("sctransformer.")}
    return found


def written_fields(kind: type[Settings]) -> dict[str, str]:
    """Docstring of each field in the class's own body."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(kind)).body if isinstance(node, ast.ClassDef))
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def test_no_setting_is_declared_twice() -> None:
    """A class that needs the setting of another inherits from it, or refers to its field by `like`."""
    declared = defaultdict(list)
    for kind in settings_classes():
        for name, text in written_fields(kind).items():
            declared[name, text].append(kind.__qualname__)
    assert len(declared) > 80
    assert {field: kinds for field, kinds in declared.items() if len(kinds) > 1} == {}


def test_a_section_gives_each_component_its_own_settings() -> None:
    train = TrainParams(lr=0.5, workers=3, min_workers=1, precision="float32")  # type: ignore[call-arg]
    assert train.replace(pretrain_epochs=2).part(TrainConfig, seed=7).lr == 0.5
    assert train.part(Workers) == Workers(count=3, minimum=1)
    assert train.part(Execution) == Execution(precision="float32")
    assert TrainParams.names()[:3] == ("workers", "min_workers", "cpus_per_worker")
    assert set(TrainParams.names()) > set(Optimisation.names())


def test_files_have_the_names_of_files() -> None:
    assert Workers(count=3).model_dump() == Workers.model_validate({"workers": 3}).model_dump()
    assert Workers(count=3).model_dump()["workers"] == 3
    assert LabellingSettings.model_validate({"batch_size": 8}) == LabellingSettings(batch_cells=8)


def test_settings_are_immutable_and_replaced_by_checked_copies() -> None:
    execution = Execution()
    with pytest.raises(ValidationError, match="frozen"):
        execution.accumulate = 2  # type: ignore[misc]
    assert execution.replace(accumulate=2).accumulate == 2
    with pytest.raises(ValidationError) as caught:
        execution.replace(accumulate=0)
    assert first_problem(caught.value) == "accumulate is 0: Input should be greater than or equal to 1"
    with pytest.raises(ValidationError, match="unknown"):
        execution.replace(unknown=1)


def test_one_value_is_checked_apart_from_the_others() -> None:
    Optimisation.require_valid("lr", 0.1)
    Workers.require_valid("workers", 3)
    with pytest.raises(ValidationError, match="greater than 0"):
        Optimisation.require_valid("lr", 0.0)


def test_settings_are_pickled() -> None:
    for settings in (Params(), AnnotationSettings(threads=2), TrainConfig(seed=3), Workers(count=1)):
        assert ForkingPickler.loads(ForkingPickler.dumps(settings)) == settings


def test_like_takes_the_description_of_another_field() -> None:
    class Other(Settings):
        lr: float = like(Optimisation, "lr", default=1.0)

    assert Other().lr == 1.0
    assert Other.model_fields["lr"].description == Optimisation.model_fields["lr"].description


def test_an_option_has_the_text_and_the_limits_of_its_field() -> None:
    class Example(Settings):
        share: float = Field(default=0.5, ge=0.0, le=1.0)
        """Fraction of the
        `cells`."""
        name: str = "a"
        """Name."""

    option: Any = option_for(Example, "share", "--share")
    assert (option.help, option.min, option.max) == ("Fraction of the cells.", 0.0, 1.0)
    assert (option_for(Example, "name").min, help_text(Example, "name")) == (None, "Name.")


def test_the_default_settings_are_valid() -> None:
    """`DEFAULTS` is made without a check, so that `--help` is quick."""
    from sctransformer.annotation.settings import DEFAULTS

    assert AnnotationSettings() == DEFAULTS
    assert DEFAULTS.scoring == Scoring()


def test_model_sizes_written_before_are_read() -> None:
    """As in config.json of bundles of format 0.1.0."""
    content = {"n_genes": 7, "n_regulators": 2, "n_classes": 3, "mode": "bias", "width": 8, "depth": 1, "heads": 2}
    content |= {"feedforward": 16, "readout_heads": 8, "embedding": 16}
    assert ModelConfig(**content).to_dict() == content | {"direction": "regulators", "factors": 16}


def test_settings_import_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "pandas", "anndata", "mlflow", "ray", "great_expectations", "onnxruntime")
    imports = "; ".join(f"import sctransformer.{name}" for name in MODULES)
    program = f"import sys; {imports}; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
