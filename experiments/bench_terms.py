"""What the pairwise terms and `instance_depth` cost of a training step: target at most 15 %.

    uv run python experiments/bench_terms.py data.root=DIR data.train.images=.. data.train.annotations=boxes_train.json [steps=20] [depth.source=..]

Real steps of `box_depth` with the depth-guided head; after each, the terms alone (edges, sums, backward to the logits) on the same batch. Prints the median
share and its range. The first two steps do not count.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import torch

from depthbox.core.batch import Batch
from depthbox.core.config import parse_overrides, vary
from depthbox.data.local import local_batches
from depthbox.data.pack import unpack
from depthbox.recipes import box_depth
from depthbox.supervision.box_depth import BoxDepth
from depthbox.supervision.method import weigh
from depthbox.supervision.parts.box_terms import affinities, instance_depth
from depthbox.supervision.parts.edges import active_edges
from depthbox.supervision.parts.instance_step import InstanceStep, instance_step
from depthbox.train.prepare import prepare
from depthbox.train.state import TrainState, make_state

WARM_UP = 2


def main() -> None:
    words = parse_overrides(sys.argv[1:])
    steps = int(words.pop("steps", "20"))
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "tracking.uri": "none",
            "out": f"{folder}/run",
            "model.mask_head": "depth_guided",
            "method.distillation.start": 1.0,
            "schedule.steps": steps,
        }
        job = prepare(vary(box_depth(), settings | words))
        job.out.mkdir(parents=True)
        state = make_state(job)
        shares = []
        for pack in local_batches(job.source, job.depth, range(steps), processes=1):
            batch = unpack(pack)
            whole = _timed(lambda batch=batch: _step(state, batch))
            found = _found(state, batch)
            terms = _timed(lambda batch=batch, found=found: _terms(state.method, batch, found))
            shares.append(terms / whole)
    shares = shares[WARM_UP:]
    print(
        f"share of a step  {statistics.median(shares):.3f}  ({min(shares):.3f} to {max(shares):.3f}, {len(shares)} steps of "
        f"{job.experiment.batch_size}, {torch.get_num_threads()} threads); target 0.15"
    )


def _step(state: TrainState, batch: Batch) -> None:
    losses = state.method.losses(state.student, batch, state.step)
    state.optimizer.zero_grad(set_to_none=True)
    weigh(losses.terms, state.method.weights, state.step).backward()
    state.optimizer.step()
    state.step += 1


@torch.no_grad()
def _found(state: TrainState, batch: Batch) -> InstanceStep:
    config = state.method.config
    return instance_step(state.student, batch, quality=config.box_quality, masks_per_image=config.masks_per_image)


def _terms(method: BoxDepth, batch: Batch, found: InstanceStep) -> None:
    logits, depth = found.masks.logits.requires_grad_(), found.masks.depth.requires_grad_()
    edges = active_edges(batch.views, method.config, depth=True)
    where = (found.positives.image_index, found.boxes)
    pairs = affinities(logits, *where, list(edges.values()), dilation=method.config.dilation)
    torch.stack([*pairs, instance_depth(depth, *where, batch.views)]).sum().backward()


def _timed(work: Callable[[], None]) -> float:
    since = time.perf_counter()
    work()
    return time.perf_counter() - since


if __name__ == "__main__":
    main()
