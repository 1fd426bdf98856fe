"""Every method on a GPU: the losses of a step are those of the CPU, and a run in bfloat16, with a teacher, ends with numbers."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from confident_detector import confident_detector
from tiny_data import tiny_experiment, write_tiny_data
from tiny_dense import SEVERAL_TASKS, tiny_dense, write_tiny_dense
from tiny_video import tiny_sde, write_tiny_video

from depthbox.core.config import vary
from depthbox.data.local import local_batches
from depthbox.data.pack import unpack
from depthbox.experiment import Experiment
from depthbox.train.context import RunContext
from depthbox.train.launch import run
from depthbox.train.prepare import prepare
from depthbox.train.state import make_state

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")

DYNAMIC = {"data.processes": 0}
QUERY = DYNAMIC | {"model.head": "query", "model.channels": 32, "model.query.queries": 8, "model.query.layers": 2, "model.query.width": 32}  # fmt: skip
DEPTH = {"depth.source": "builtin"}
BOXES = DEPTH | {
    "model.mask_head": "depth_guided",
    "method.distillation.start": 0.3,
    "method.weights.depth_relief": 1.0,
    "method.weights.relief_bce": 1.0,
}
KEPT = {"method.mask_threshold": 0.0, "method.class_threshold": 0.01, "method.detector.class_from": 0.1}
DETECTOR = DYNAMIC | DEPTH | KEPT | {"model.head": "dynamic", "model.channels": 32}
RELIEF = {"method.depth_form": "relief", "method.depth_threshold": 0.0, "method.depth_refine": True, "method.pseudo_nms_iou": 0.7, "method.category": "cut_outs"}  # fmt: skip
FEW = {"data.train.labelled": "split.txt", "method.burn_in": 0.3, "batch_size": 4}
ADAPTED = {"method.adapt_on": "all", "method.lowest": (0.1, 0.1), "method.floors": (0.0, 0.0)}
INSTANCES: dict[str, tuple[str, dict]] = {
    "full": ("full", DYNAMIC),
    "full, queries": ("full", QUERY),
    "box_depth": ("box_depth", DYNAMIC | BOXES),
    "box_depth, plane": ("box_depth", DYNAMIC | DEPTH | {"method.depth_form": "plane", "method.depth_veto": 8.0}),
    "pl_dc": ("pl_dc", QUERY | FEW | ADAPTED | {"method.query.points.number": 64}),
    "pl_dc, relief": ("pl_dc", DETECTOR | FEW | RELIEF),
    "pl_dc, depth": ("pl_dc", DETECTOR | FEW | {"method.depth_form": "B", "method.depth_threshold": 0.0}),
}  # fmt: skip
OTHERS = ("sde", "depth_ssda", "depth_ssda, several tasks")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_tiny_data(folder / "instances")
    (folder / "instances" / "split.txt").write_text("2\n5\n")
    confident_detector(folder / "instances", folder)
    write_tiny_video(folder / "video")
    write_tiny_dense(folder / "dense")
    return folder


def experiment(name: str, data: Path, out: Path, **changes: object) -> Experiment:
    if name in INSTANCES:
        method, settings = INSTANCES[name]
        if method == "pl_dc" and settings.get("model.head") == "dynamic":
            changes["model.init"] = str(data / "confident.safetensors")
        return tiny_experiment(data / "instances", out, method, **{**settings, **changes})
    if name == "sde":
        return tiny_sde(data / "video", out, **changes)
    return tiny_dense(data / "dense", out, **{**(SEVERAL_TASKS if "several" in name else {}), **changes})


def first_losses(job_of: Experiment) -> dict[str, float]:
    job = prepare(job_of)
    state = make_state(job)
    packed = next(iter(local_batches(job.source, job.depth, range(1), processes=0)))
    terms = state.method.losses(state.student.train(), unpack(packed).to(state.device), 0).terms
    return {name: float(value.detach()) for name, value in terms.items()}


@pytest.mark.parametrize("name", [name for name in INSTANCES if name not in ("full, queries", "pl_dc")] + [*OTHERS])
def test_a_step_has_the_losses_of_the_cpu(name: str, data: Path, tmp_path: Path, monkeypatch) -> None:
    """Not of queries, whose points are drawn on the device."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    mine, theirs = (
        first_losses(experiment(name, data, tmp_path / device, device=device)) for device in ("cuda", "cpu")
    )
    assert mine == pytest.approx(theirs, rel=2e-3, abs=2e-4)


@pytest.mark.parametrize("name", [*INSTANCES, *OTHERS])
def test_a_run_in_bfloat16_ends_with_numbers(name: str, data: Path, tmp_path: Path, monkeypatch) -> None:
    changes = {"device": "cuda", "schedule.precision": "auto"}
    kept, log = [], RunContext.log

    def logged(self: RunContext, metrics: Mapping[str, float], *, step: int) -> None:
        kept.append(metrics.get("pseudo/kept_an_image", 0.0))
        log(self, metrics, step=step)

    monkeypatch.setattr(RunContext, "log", logged)
    found = run(vary(experiment(name, data, tmp_path), changes))
    assert max(kept) > 0 or not name.startswith("pl_dc, ")
    assert found.scores and not [name for name, value in found.scores.items() if math.isinf(value)]
    assert not (tmp_path / "bad_steps.jsonl").exists()
