"""Is `full` a straw man? torchvision's Mask R-CNN with the same backbone, data, views and minutes, scored by the same evaluation.

    uv run python experiments/bench_peer.py data.root=DIR data.train.images=.. data.train.annotations=instances_train.json data.val.images=.. data.val.annotations=.. model.weights=FILE [minutes=5]

Both learn from masks. The target is full >= 0.9 of the peer's mask AP. Ours runs a schedule that is cut to the steps it can do in those minutes
(measured on its first steps); the peer's learning rate drops by the clock.
"""

import json
import sys
import tempfile
import time
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator

from depthbox.core.config import parse_overrides, vary
from depthbox.data.decode import decode_record
from depthbox.data.local import local_batches
from depthbox.data.pack import unpack
from depthbox.data.schema import Detections
from depthbox.evaluate.instance import score
from depthbox.evaluate.runner import evaluate
from depthbox.models.backbone import FeaturePyramid, build_backbone
from depthbox.recipes import full
from depthbox.train.context import RunContext
from depthbox.train.job import Job
from depthbox.train.loop import train
from depthbox.train.prepare import prepare
from depthbox.train.progress import Progress
from depthbox.train.state import make_state, mixed_precision

SHOWN = ("mask_ap", "mask_ap50", "mask_ap75", "box_ap")
PROBE_STEPS = 20


def main() -> None:
    words = parse_overrides(sys.argv[1:])
    seconds = 60 * float(words.pop("minutes", "5"))
    with tempfile.TemporaryDirectory() as folder:
        job = prepare(vary(full(), {"tracking.uri": "none", "out": f"{folder}/run", **words}))
        job.out.mkdir(parents=True)
        ours, steps = _ours(job, seconds)
        peer, peer_steps = _peer(job, seconds)
    print(
        json.dumps(
            {
                "minutes": seconds / 60,
                "full": ours,
                "full_steps": steps,
                "mask_rcnn": peer,
                "mask_rcnn_steps": peer_steps,
                "full_over_mask_rcnn": ours["mask_ap"] / peer["mask_ap"],
            },
            indent=1,
        )
    )


def _ours(job: Job, seconds: float) -> tuple[dict[str, float], int]:
    _, per_step = _trained(job, PROBE_STEPS)
    steps = int(seconds / per_step)
    state, _ = _trained(job, steps)
    scores, _ = evaluate(state.model, job.val, views=job.experiment.data.views, inference=job.experiment.inference)
    return {name: scores.values[name] for name in SHOWN}, steps


def _trained(job: Job, steps: int):
    job = replace(job, experiment=vary(job.experiment, {"schedule.steps": steps}), out=Path(tempfile.mkdtemp()))
    state = make_state(job)
    began: list[float] = []

    def clocked():
        for pack in local_batches(job.source, None, range(steps), processes=1):
            began.append(time.monotonic())
            yield pack

    train(
        state,
        clocked(),
        job,
        RunContext(job=job, tracker=None, progress=Progress(steps, every_s=30), report=lambda _: None),
    )
    return state, (time.monotonic() - began[1]) / (steps - 1)


class _Features(nn.Module):
    """The same backbone and pyramid, named as torchvision wants them."""

    def __init__(self, name: str, weights: str, channels: int, *, frozen: int, mixed: bool) -> None:
        super().__init__()
        self.mixed = mixed
        self.backbone, self.out_channels = build_backbone(name, weights=weights), channels
        self.backbone.freeze(frozen)
        self.pyramid = FeaturePyramid(self.backbone.channels[1:], channels)

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        with torch.autocast("cpu", torch.bfloat16, enabled=self.mixed):
            levels = self.pyramid(self.backbone(images)[1:])
        return OrderedDict((str(i), level.float()) for i, level in enumerate(levels[:4]))


def _peer(job: Job, seconds: float) -> tuple[dict[str, float], int]:
    config = job.experiment
    torch.manual_seed(config.seed)
    anchors = AnchorGenerator(((32,), (64,), (128,), (256,)), ((0.5, 1.0, 2.0),) * 4)
    model = MaskRCNN(
        _Features(
            config.model.backbone,
            config.model.weights,
            config.model.channels,
            frozen=config.model.frozen_stages,
            mixed=mixed_precision(config.schedule.precision, torch.device("cpu")),
        ),
        len(job.classes) + 1,
        rpn_anchor_generator=anchors,
        min_size=config.data.views.short_side,
        max_size=config.data.views.max_side * 2,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
    )
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9, weight_decay=1e-4
    )
    ended, step = time.monotonic() + seconds, 0
    model.train()
    for pack in local_batches(job.source, None, range(1_000_000), processes=1):
        left = ended - time.monotonic()
        if left <= 0:
            break
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * min(1, (step + 1) / 50) * (1 if left > seconds / 4 else 0.1)
        optimizer.zero_grad()
        torch.stack(list(model(*_inputs(unpack(pack), pack.sizes_hw)).values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        step += 1
    return _peer_scores(model, job), step


def _inputs(batch, sizes_hw) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images = [image[:, :h, :w] for image, (h, w) in zip(batch.views.strong, sizes_hw, strict=True)]
    targets = [
        {"boxes": o.boxes_xyxy, "labels": o.labels + 1, "masks": o.masks[:, :h, :w].to(torch.uint8)}
        for o, (h, w) in zip(batch.instances, sizes_hw, strict=True)
    ]
    return images, targets


@torch.no_grad()
def _peer_scores(model: MaskRCNN, job: Job) -> dict[str, float]:
    from pycocotools import mask as coder

    model.eval()
    found = []
    for record in job.val.records:
        photo = decode_record(record, short_side=None, max_side=None).image
        (out,) = model([torch.from_numpy(photo).permute(2, 0, 1).float() / 255])
        shapes = np.asfortranarray((out["masks"][:, 0] > 0.5).permute(1, 2, 0).to(torch.uint8).numpy())
        rles = (
            tuple({"size": r["size"], "counts": r["counts"].decode()} for r in coder.encode(shapes))
            if len(out["scores"])
            else ()
        )
        found.append(
            Detections(
                image_id=record.image_id,
                boxes_xyxy=out["boxes"].numpy(),
                scores=out["scores"].numpy(),
                labels=out["labels"].numpy() - 1,
                masks=rles,
            )
        )
    values = score(job.val, found).values
    return {name: values[name] for name in SHOWN}


if __name__ == "__main__":
    main()
