"""The RayJob of training: fields that KubeRay knows, parameters that params.yaml has, resources that fit together."""

import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sctransformer.params import Params

MANIFEST = Path(__file__).parents[3] / "infra" / "kuberay" / "train.rayjob.yaml"


def strict(required: list[str], **properties: Any) -> dict[str, Any]:
    """An object with these fields and no others."""
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


TEXT, WHOLE, FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
CONTAINER = strict(
    ["name", "image", "resources"],
    name=TEXT,
    image=TEXT,
    imagePullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
    workingDir=TEXT,
    env={"type": "array", "items": strict(["name", "value"], name=TEXT, value=TEXT)},
    envFrom={"type": "array", "items": strict(["secretRef"], secretRef=strict(["name"], name=TEXT))},
    ports={"type": "array", "items": strict(["containerPort"], containerPort=WHOLE, name=TEXT)},
    resources=strict(["limits", "requests"], limits=TEXTS, requests=TEXTS),
    securityContext=strict([], allowPrivilegeEscalation=FLAG, runAsNonRoot=FLAG),
)
POD = strict(["spec"], spec=strict(["containers"], containers={"type": "array", "minItems": 1, "items": CONTAINER}))
HEAD = strict(["rayStartParams", "template"], serviceType={"enum": ["ClusterIP"]}, rayStartParams=TEXTS, template=POD)
WORKERS = strict(
    ["groupName", "rayStartParams", "template"],
    groupName=TEXT,
    replicas=WHOLE,
    minReplicas=WHOLE,
    maxReplicas=WHOLE,
    rayStartParams=TEXTS,
    template=POD,
)
RAY_JOB = strict(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=strict(["generateName"], generateName=TEXT, labels=TEXTS),
    spec=strict(
        ["entrypoint", "rayClusterSpec"],
        entrypoint=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        backoffLimit=WHOLE,
        shutdownAfterJobFinishes=FLAG,
        ttlSecondsAfterFinished=WHOLE,
        activeDeadlineSeconds={"type": "integer", "minimum": 1},
        rayClusterSpec=strict(
            ["headGroupSpec", "workerGroupSpecs"],
            rayVersion=TEXT,
            headGroupSpec=HEAD,
            workerGroupSpecs={"type": "array", "minItems": 1, "items": WORKERS},
        ),
    ),
)
"""The fields that are used here, as KubeRay's API of version v1 types them; any other is an error."""


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return yaml.safe_load(MANIFEST.read_text())


def test_it_is_a_ray_job(manifest: dict[str, Any]) -> None:
    jsonschema.validate(manifest, RAY_JOB)
    manifest = manifest | {"spec": manifest["spec"] | {"shutdownAfterJobFinished": True}}
    with pytest.raises(jsonschema.ValidationError, match="shutdownAfterJobFinished"):
        jsonschema.validate(manifest, RAY_JOB)


def test_its_parameters_and_its_workers_fit(manifest: dict[str, Any]) -> None:
    words = shlex.split(manifest["spec"]["entrypoint"])
    assert words[:2] == ["sctransformer", "train"]
    changes = dict(word.split("=", 1) for before, word in pairwise(words) if before == "-S")
    train = {name.removeprefix("train."): yaml.safe_load(value) for name, value in changes.items()}
    params = Params.model_validate({"train": train}).train
    (group,) = manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    assert group["maxReplicas"] * float(container["resources"]["limits"]["cpu"]) >= params.count * params.cpus
    assert float(container["resources"]["limits"]["cpu"]) >= params.cpus
    assert params.minimum is not None
    assert group["minReplicas"] >= params.minimum
    assert "://" in params.storage


def test_no_secret_stands_in_it() -> None:
    text = MANIFEST.read_text()
    assert not any(word in text for word in ("SECRET_ACCESS_KEY, value", "PASSWORD, value"))


def test_ray_is_of_the_version_that_is_installed(manifest: dict[str, Any]) -> None:
    constraints = (MANIFEST.parents[2] / "constraints.txt").read_text().splitlines()
    assert f"ray=={manifest['spec']['rayClusterSpec']['rayVersion']}" in constraints
