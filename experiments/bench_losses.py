"""What the pairwise term costs against the straightforward form that unfolds eight copies of every instance map.

Question: half the time and a third of the memory, at equal values and gradients, for 64 instances of 160x240? Prints ratios: time from interleaved rounds
in this process, memory as the growth of a fresh process's peak.

    uv run python experiments/bench_losses.py
"""

import multiprocessing
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from depthbox.ops.pairwise import OFFSETS, Edges, pair, weighted_sums

INSTANCES, SIZE, IMAGES, ROUNDS = 64, (160, 240), 8, 7


def problem() -> tuple[Tensor, Tensor, Tensor, list[Edges]]:
    rng = torch.Generator().manual_seed(0)
    logits = (torch.randn(INSTANCES, *SIZE, generator=rng) * 4).requires_grad_()
    image_index = torch.arange(INSTANCES) // (INSTANCES // IMAGES)
    inside = torch.zeros(INSTANCES, *SIZE, dtype=torch.bool)
    inside[:, 30:120, 50:190] = True
    valid = torch.ones(IMAGES, *SIZE, dtype=torch.bool)
    sources = []
    for inside_only in (True, False):
        similar = torch.rand(IMAGES, 4, *SIZE, generator=rng) > 0.4
        sources.append(Edges(forward=similar, backward=similar, valid=valid, inside_only=inside_only))
    return logits, image_index, inside, sources


def lean(logits: Tensor, image_index: Tensor, inside: Tensor, sources: list[Edges]) -> Tensor:
    return sum(
        (total / count.clamp(min=1) for total, count in weighted_sums(logits, image_index, inside, sources)),
        torch.zeros(()),
    )


def unfolded(logits: Tensor, image_index: Tensor, inside: Tensor, sources: list[Edges]) -> Tensor:
    """-log(p q + (1 - p)(1 - q)) in log space with all eight neighbours unfolded, as the formula reads."""
    foreground, background = F.logsigmoid(logits)[:, None], F.logsigmoid(-logits)[:, None]
    near = [_neighbours(one) for one in (foreground, background)]
    both = foreground + near[0], background + near[1]
    high = torch.maximum(*both)
    cost = -(torch.log(torch.exp(both[0] - high) + torch.exp(both[1] - high)) + high)
    loss = torch.zeros(())
    for edges in sources:
        weight = _eight(edges)[image_index]
        weight = weight * (inside[:, None] if edges.inside_only else edges.valid[image_index][:, None])
        loss = loss + (cost * weight).sum() / weight.sum().clamp(min=1)
    return loss


def _neighbours(values: Tensor) -> Tensor:
    """ "N 1 H W" -> "N 8 H W", dilation 2, zeros outside."""
    height, width = values.shape[-2:]
    windows = F.unfold(values, 3, dilation=2, padding=2).unflatten(-1, (height, width))
    return windows[:, [0, 1, 2, 3, 5, 6, 7, 8]]


def _eight(edges: Edges) -> Tensor:
    """The four stored offsets as eight directed similarities "B 8 H W" in unfold's order."""
    out = torch.zeros(len(edges.forward), 9, *SIZE)
    for o, (dy, dx) in enumerate(OFFSETS):
        offset = (2 * dy, 2 * dx)
        there, back = (dy + 1) * 3 + dx + 1, (1 - dy) * 3 + 1 - dx
        pair(out[:, there], offset)[0].copy_(pair(edges.forward[:, o], offset)[0])
        pair(out[:, back], offset)[1].copy_(pair(edges.backward[:, o], offset)[0])
    return out[:, [0, 1, 2, 3, 5, 6, 7, 8]]


def step(form) -> tuple[float, Tensor, Tensor]:
    logits, *rest = problem()
    since = time.perf_counter()
    loss = form(logits, *rest)
    loss.backward()
    assert logits.grad is not None
    return time.perf_counter() - since, loss.detach(), logits.grad


def peak(name: str) -> float:
    """MiB by which one step raises the peak of a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (name,))


def _peak_here(name: str) -> float:
    torch.set_num_threads(1)
    arguments = problem()
    # 5 sets the high-water mark back to what is in use now (Linux).
    Path("/proc/self/clear_refs").write_text("5")
    before = _high_water()
    FORMS[name](*arguments).backward()
    return (_high_water() - before) / 1024


def _high_water() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


FORMS = {"one pass": lean, "unfolded": unfolded}


def main() -> int:
    (_, value, gradient), (_, value_u, gradient_u) = step(lean), step(unfolded)
    torch.testing.assert_close(value, value_u, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient, gradient_u, rtol=1e-3, atol=1e-8)
    times: dict[str, list[float]] = {name: [] for name in FORMS}
    for _ in range(ROUNDS):
        for name, form in FORMS.items():
            times[name].append(step(form)[0])
    ratios = [a / b for a, b in zip(times["one pass"], times["unfolded"], strict=True)]
    memory = {name: peak(name) for name in FORMS}
    print(
        f"equal values ({float(value):.5f}) and gradients; {torch.get_num_threads()} threads, {ROUNDS} interleaved rounds"
    )
    print(
        f"time   one pass / unfolded  {statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f}); target 0.50"
    )
    print(
        f"memory one pass / unfolded  {memory['one pass'] / memory['unfolded']:.2f}  ({memory['one pass']:.0f} of {memory['unfolded']:.0f} MiB); target 0.33"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
