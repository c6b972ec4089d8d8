"""The manifests of infra/ and of jobs against the schemas of Compose and Kubernetes, without a network; no secrets."""

import re
from pathlib import Path
from typing import Any, Literal

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

from sctransformer.errors import SOME_FAILED, UNEXPECTED, BusyError, OutputError
from sctransformer.jobs.render import render
from sctransformer.jobs.runner import ALARM, METRICS_KEPT
from sctransformer.jobs.spec import Job

INFRA = Path(__file__).parents[3] / "infra"
COMPOSE = INFRA / "compose" / "compose.yaml"
RAY_IMAGE_PIN = re.compile(r"rayproject/ray:(\S+?)-py311")
MANIFESTS = sorted((INFRA / "kuberay").glob("*.yaml"))


def cluster_specs(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The RayCluster specs of a manifest, which a RayJob holds too."""
    if content["kind"] == "RayCluster":
        return [content["spec"]]
    return [content["spec"]["rayClusterSpec"]] if content["kind"] in ("RayJob", "RayService") else []


def documents(path: Path) -> list[dict[str, Any]]:
    return [content for content in yaml.safe_load_all(path.read_text()) if content]


def pod_problems(template: dict[str, Any]) -> None:
    """A pod template is checked as what Kubernetes makes of it, by the strict schema: no unknown field."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **template}
    kubernetes_validate.validate(pod, "1.31", strict=True)


def test_compose_is_valid_and_its_services_are_pinned() -> None:
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text())  # the defaults
    compose = PyCompose.from_yaml(text)
    assert {"postgres", "s3", "bucket", "mlflow", "ray-head", "ray-worker"} == set(compose.service_names())
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    for name, service in services.items():
        assert "build" in service or re.search(r":[\w.-]*\d", service["image"]), name
        assert name == "bucket" or service["restart"] == "unless-stopped"
        for port in service.get("ports", []):
            assert port.startswith("${STACK_BIND:-127.0.0.1}:"), (name, port)
    with pytest.raises(ValueError, match="imagee"):
        PyCompose.from_yaml("services: {a: {imagee: x}}")


def test_no_secret_is_written_anywhere() -> None:
    texts = [path.read_text() for path in INFRA.rglob("*") if path.suffix in (".yaml", ".env", ".ini")]
    assert len(texts) >= 3
    for text in texts:
        for name, value in re.findall(r"^\s*(\w*(?:PASSWORD|SECRET_KEY|ACCESS_KEY)\w*)[:=][ ]*(.*)$", text, re.M):
            assert value == "" or value.startswith("${"), (name, value)


def test_versions_are_those_of_the_constraints() -> None:
    constraints = dict(
        line.split("==") for line in (INFRA.parent / "constraints.txt").read_text().splitlines() if "==" in line
    )
    assert set(RAY_IMAGE_PIN.findall(COMPOSE.read_text())) == {constraints["ray"]}
    pinned = re.findall(r"(\S+)==(\S+)", (INFRA / "compose" / "Dockerfile").read_text())
    assert {name for name, _ in pinned} == {"mlflow", "psycopg2-binary", "boto3", "Flask-WTF"}
    lower = {name.lower(): version for name, version in constraints.items()}
    assert all(lower[name.lower()] == version for name, version in pinned)
    for path in MANIFESTS:
        for content in documents(path):
            for spec in cluster_specs(content):
                assert spec["rayVersion"] == constraints["ray"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_ray_manifests(path: Path) -> None:
    """KubeRay's own fields by name, pod templates by Kubernetes' schema."""
    for content in documents(path):
        assert content["apiVersion"] == "ray.io/v1"
        specs = cluster_specs(content)
        assert specs
        for spec in specs:
            assert set(spec) <= {
                "rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs",
                "gcsFaultToleranceOptions", "suspend", "managedBy", "headServiceAnnotations",
            }  # fmt: skip
            head = spec["headGroupSpec"]
            assert set(head) <= {"serviceType", "rayStartParams", "template", "enableIngress", "headService"}
            pod_problems(head["template"])
            assert all(isinstance(value, str) for value in head["rayStartParams"].values())
            for group in spec["workerGroupSpecs"]:
                assert set(group) <= {
                    "groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template", "numOfHosts",
                    "idleTimeoutSeconds", "scaleStrategy", "suspend",
                }  # fmt: skip
                assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
                assert all(isinstance(value, str) for value in group["rayStartParams"].values())
                pod_problems(group["template"])


def rendered(target: Literal["kubernetes", "kuberay"]) -> dict[str, Any]:
    resources = {"cpus": 64, "memory_gib": 2.5, "gpus": 1}
    fields = {"name": "nightly", "model": "celltype@champion", "input": "new", "output": "annotated"}
    job = Job.model_validate({**fields, "resources": resources, "schedule": "0 3 * * MON,SUN"})
    (text,) = render(job, Path("pipelines/jobs/nightly.yaml"), target).values()
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def test_the_cron_job_is_valid_and_does_not_try_again_in_vain() -> None:
    manifest = rendered("kubernetes")
    kubernetes_validate.validate(manifest, "1.31", strict=True)
    rules = manifest["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    (ended,) = [rule["onExitCodes"]["values"] for rule in rules if rule["action"] == "FailJob"]
    assert {1, 2, ALARM, UNEXPECTED} == set(ended)
    assert not {SOME_FAILED, METRICS_KEPT, OutputError.exit_code, BusyError.exit_code} & set(ended)


def test_the_ray_cron_job_has_valid_pods() -> None:
    cluster = rendered("kuberay")["spec"]["jobTemplate"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod_problems(group["template"])


def test_a_wrong_manifest_is_found() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        pod_problems({"spec": {"containers": [{"name": "x", "image": "y", "imagePolicy": "Always"}]}})
