"""The manifests of cluster/ against their schemas: Ray's own for `ray up`, reduced ones for KubeRay; the Dockerfile against the repository."""

import copy
import json
import re
import shlex
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml
from manifest_schemas import PERSISTENT_VOLUME_CLAIM, RAY_CLUSTER, RAY_JOB

from depthbox.cli import COMMANDS
from depthbox.commands.train import resolved

REPOSITORY = Path(__file__).resolve().parents[1]
CLUSTER = REPOSITORY / "cluster"
SCHEMAS = {"RayCluster": RAY_CLUSTER, "RayJob": RAY_JOB, "PersistentVolumeClaim": PERSISTENT_VOLUME_CLAIM}
KUBERNETES = [
    pytest.param(manifest, id=f"{file}-{manifest['kind']}")
    for file in ("kuberay.yaml", "job.yaml")
    for manifest in yaml.safe_load_all((CLUSTER / file).read_text())
]


@pytest.fixture
def aws() -> dict:
    return yaml.safe_load((CLUSTER / "aws.yaml").read_text())


@pytest.fixture
def pins() -> dict[str, str]:
    listed = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    return dict(line.split("==") for line in listed)


def test_ray_takes_the_aws_cluster(aws: dict) -> None:
    util = pytest.importorskip("ray.autoscaler._private.util", reason="the cluster file is checked by ray itself")
    util.validate_config(
        util.prepare_config(copy.deepcopy(aws))
    )  # with Ray's defaults: the schema, the sums of workers
    schema = json.loads((Path(util.__file__).parents[1] / "ray-schema.json").read_text())
    jsonschema.validate(aws, schema)
    aws["max_wrokers"] = 3
    with pytest.raises(jsonschema.ValidationError, match="max_wrokers"):
        jsonschema.validate(aws, schema)


def test_the_aws_cluster_asks_for_the_token_and_shows_its_dashboard_to_itself_alone(aws: dict) -> None:
    starts = [line for key in ("head_start_ray_commands", "worker_start_ray_commands") for line in aws[key]]
    starts = [line for line in starts if "ray start" in line]
    assert len(starts) == 2 and all(line.startswith("RAY_AUTH_MODE=token ray start ") for line in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert aws["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}


@pytest.mark.parametrize("manifest", KUBERNETES)
def test_kubernetes_takes_the_manifest(manifest: dict) -> None:
    schema = SCHEMAS[manifest["kind"]]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(manifest, schema)
    broken = copy.deepcopy(manifest)
    broken["spec"]["replcias"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


@pytest.mark.parametrize("manifest", [one for one in KUBERNETES if one.values[0]["kind"] != "PersistentVolumeClaim"])
def test_ray_on_kubernetes_has_a_token_the_pinned_version_and_volumes_that_exist(manifest: dict, pins) -> None:
    spec = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    assert spec["authOptions"]["mode"] == "token" and spec["rayVersion"] == pins["ray"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        mounted = {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in pod.get("volumes", [])}


def test_the_commands_of_the_manifests_are_commands() -> None:
    job = yaml.safe_load((CLUSTER / "job.yaml").read_text())
    program, command, method, *words = shlex.split(job["spec"]["entrypoint"])
    assert program == "depthbox" and command in COMMANDS
    assert resolved(method, words).storage == "s3://BUCKET/runs/one"


def test_the_image_takes_its_pins_from_pyproject_alone(pins: dict[str, str]) -> None:
    lines = [line for line in (CLUSTER / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(lines)
    assert text.count("uv sync --no-dev") == 2 and "==" not in text
    for copied in re.findall(r"^COPY (.+) \S+$", text, re.M):
        assert all((REPOSITORY / name).exists() for name in copied.split())
    assert {"ray", "torch", "torchvision", "mlflow"} <= pins.keys()
