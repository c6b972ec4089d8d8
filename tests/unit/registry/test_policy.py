"""registry/policy.yaml: what ships is the default, and what is wrong is named."""

from pathlib import Path

import pytest

from sctransformer.errors import UserError
from sctransformer.registry.policy import Policy, load_policy

SHIPPED = Path(__file__).parents[3] / "registry" / "policy.yaml"


def test_the_shipped_policy_has_every_gate_and_all_are_on() -> None:
    policy = load_policy(SHIPPED)
    assert policy == Policy()
    assert set(policy.gates.model_fields_set) == set(type(policy.gates).model_fields)
    assert all(gate["enabled"] for gate in policy.gates.model_dump().values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("gates: {macro_f1: {minimum: 1.5}}", r"gates\.macro_f1\.minimum is 1\.5"),
        ("gates: {macro_f1: {minimum: '0.5'}}", r"gates\.macro_f1\.minimum is '0\.5'"),
        ("gates: {macro_f1: {minimum: true}}", r"gates\.macro_f1\.minimum is True"),
        ("gates: {macro_f1: {minimum: .nan}}", r"gates\.macro_f1\.minimum is nan"),
        ("gates: {macro_f1: {}}", r"gates\.macro_f1\.minimum"),
        ("gates: {macro_fl: {minimum: 0.5}}", r"gates\.macro_fl is unknown; the most similar name is gates\.macro_f1"),
        ("gates: {validation: {enabled: 'no way'}}", r"gates\.validation\.enabled"),
        ("gates: {prior_edges: {minimum: 2.5}}", r"gates\.prior_edges\.minimum"),
        ("gate: {}", r"gate is"),
        ("- gates", "expected `name: value` lines at the top, found a list"),
        ("gates: {", "is not valid YAML"),
    ],
)
def test_a_wrong_policy_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        load_policy(path)
    assert "\n" not in str(caught.value)


def test_a_gate_that_is_off_needs_no_threshold(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    every = type(Policy().gates).model_fields
    path.write_text("gates: {" + ", ".join(f"{name}: {{enabled: false}}" for name in every) + "}")
    gates = load_policy(path).gates
    assert not any(gate["enabled"] for gate in gates.model_dump().values())
    assert gates.macro_f1.minimum == Policy().gates.macro_f1.minimum


def test_no_policy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"policy\.yaml: no such file; run from the project's folder or give --policy"):
        load_policy(tmp_path / "policy.yaml")


def test_an_empty_policy_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("")
    assert load_policy(path) == Policy()
