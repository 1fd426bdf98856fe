"""Train the built-in depth network from scratch on rendered scenes: one command, the same file for the same seed.

    python -m depthbox.train.builtin_depth out=FILE scenes=N steps=N seed=0 batch=8

No photo and, but for `weights=`, no foreign weights take part, so the result can be shipped.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from depthbox.core.config import parse_overrides, vary
from depthbox.core.errors import InputError, UsageError
from depthbox.core.rng import torch_generator
from depthbox.data.scene_layout import WIDE
from depthbox.data.scenes import render_scene
from depthbox.models.backbone import build_backbone
from depthbox.models.depth_net import DepthNetwork, NetworkNote, save_network
from depthbox.models.depthwise import speed_up_strided_depthwise
from depthbox.train.builtin_run import BuiltinRun
from depthbox.train.state import choose_device, mixed_precision

__all__ = ["augment", "depth_loss", "train_builtin"]

_ENCODER = "mobilenetv2_100"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PEAK_LR, _PEAK_LR_STARTED = 2e-3, 1e-3
"""From scratch, and from weights for the encoder."""
_RELIEF_FROM = 0.1
"""Share of the steps over which the learning rate and the relief terms of the loss rise."""
_SMALL_UNTIL = 2 / 3
"""Up to this share of the steps the crops have half the scene's side (cheap), afterwards 5/6 of it."""


def train_builtin(run: BuiltinRun, *, out: Path, progress: Callable[[str], None] = print) -> Path:
    """Render, train, write `out` (at most 4 MB).

    AdamW with one cycle of learning rate; bf16 autocast where the device has it; losses in float32. One thread, so that the order of sums, and with it the
    file, does not depend on the number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = _trained(run, progress)
    finally:
        torch.set_num_threads(threads)
    save_network(network.cpu(), _note(run), out)
    return out


def _trained(run: BuiltinRun, progress: Callable[[str], None]) -> DepthNetwork:
    device, steps = choose_device(run.device), run.steps
    network = _begun(run).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    images, disparities = (tensor.to(device) for tensor in _rendered(run, progress))
    peak = _PEAK_LR if run.weights == "none" else _PEAK_LR_STARTED
    optimizer = torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=0.02)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps + 1, pct_start=_RELIEF_FROM)
    generator = torch_generator("built-in depth", run.seed)
    running, mixed = 0.0, mixed_precision("auto", device)
    for step in range(steps):
        index = torch.randint(len(images), (run.batch,), generator=generator).to(device)
        crop_hw = _crop_hw(step / steps, run.size_hw)
        photos, target = augment(images[index], disparities[index], crop_hw=crop_hw, generator=generator)
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            predicted = network(photos.contiguous(memory_format=torch.channels_last))
        loss = depth_loss(predicted, target, relief=min(1.0, step / (_RELIEF_FROM * steps)))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        cycle.step()
        running += loss.item()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            progress(f"step {step + 1}/{steps} loss {running / (step % 50 + 1):.4f}")
            running = 0.0
    return network


def _begun(run: BuiltinRun) -> DepthNetwork:
    """Drawn from the seed; the encoder read from `weights` where there are any. Raises `InputError` for weights of another network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        network = DepthNetwork(_ENCODER)
    if run.weights != "none":
        network.encoder.load_state_dict(_started(run.weights))
    speed_up_strided_depthwise(network)
    return network


def _started(weights: str) -> dict[str, Tensor]:
    try:
        return build_backbone(_ENCODER, weights=weights).network.state_dict()
    except InputError as error:
        next_step = f"weights= takes none, hub or a .safetensors file of timm's {_ENCODER}"
        raise InputError(error.place, error.record, error.cause, next_step) from error


def _crop_hw(done: float, size_hw: Sequence[int]) -> tuple[int, int]:
    """The crop at this share of the run, in multiples of 32."""
    share = 1 / 2 if done < _SMALL_UNTIL else 5 / 6
    height, width = (max(round(side * share / 32), 1) * 32 for side in size_hw)
    return height, width


def depth_loss(predicted: Tensor, target: Tensor, *, relief: float = 1.0) -> Tensor:
    """L1, plus `relief` times L1 after the best scale and shift and half the gradient error at four scales (MiDaS).

    Both "B 1 H W" in [0, 1]. Relief has to wait until the plain L1 has found near and far: while the prediction is
    nearly flat, both relief terms are least for a flat one, and training from scratch stays there.
    """
    error = _aligned(predicted, target) - target
    gradient = sum(_gradient_size(error[..., :: 2**s, :: 2**s]) for s in range(4))
    return (predicted - target).abs().mean() + relief * (error.abs().mean() + 0.5 * gradient)


def _gradient_size(error: Tensor) -> Tensor:
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def _aligned(predicted: Tensor, target: Tensor) -> Tensor:
    """`scale * predicted + shift` of least squared distance to the target, per image; the scale stays in [0.25, 4]."""
    p, t = predicted - predicted.mean((1, 2, 3), keepdim=True), target - target.mean((1, 2, 3), keepdim=True)
    scale = (p * t).mean((1, 2, 3), keepdim=True) / (p.square().mean((1, 2, 3), keepdim=True) + 1e-4)
    return scale.clamp(0.25, 4.0) * p + target.mean((1, 2, 3), keepdim=True)


def augment(
    images: Tensor, disparities: Tensor, *, crop_hw: tuple[int, int], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Uint8 "B 3 H W" and disparity "B 1 H W" -> normalised photos "B 3 h w" and disparity "B 1 h/2 w/2" (the network's
    stride), cropped, rolled, flipped and recoloured.

    Disparity is sampled at nearest, so that its edges stay steps, and stretched to [0, 1] over the crop.
    """
    count = len(images)
    draw = torch.rand(8, count, generator=generator).to(images.device)
    zoom = 0.6 + 0.4 * draw[0]
    zoom_x = (zoom * (0.9 + 0.2 * draw[1])).clamp(max=1.0)
    roll = (draw[2] - 0.5) * 0.12
    centre_x, centre_y = (2 * draw[3] - 1) * (1 - zoom_x), (2 * draw[4] - 1) * (1 - zoom)
    mirror = torch.where(draw[5] < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3, device=images.device)
    theta[:, 0] = torch.stack([zoom_x * mirror * roll.cos(), -zoom * roll.sin(), centre_x], 1)
    theta[:, 1] = torch.stack([zoom_x * mirror * roll.sin(), zoom * roll.cos(), centre_y], 1)
    grid = F.affine_grid(theta, [count, 1, *crop_hw], align_corners=False)
    cropped = F.grid_sample(images.float() / 255, grid, padding_mode="reflection", align_corners=False)
    coarse = F.affine_grid(theta, [count, 1, crop_hw[0] // 2, crop_hw[1] // 2], align_corners=False)
    depth = F.grid_sample(disparities.float(), coarse, mode="nearest", padding_mode="reflection", align_corners=False)
    low, high = depth.amin((1, 2, 3), keepdim=True), depth.amax((1, 2, 3), keepdim=True)
    recoloured = _recolour(cropped, generator)
    mean, std = (recoloured.new_tensor(v).view(3, 1, 1) for v in (_MEAN, _STD))
    return (recoloured - mean) / std, (depth - low) / (high - low).clamp(min=1e-6)


def _recolour(images: Tensor, generator: torch.Generator) -> Tensor:
    """Contrast, gamma, a random mix of the channels, grey now and then, blur and noise."""
    count = len(images)
    draw = torch.rand(5, count, 1, 1, 1, generator=generator).to(images.device)
    mix = (torch.eye(3) + 0.15 * torch.randn(count, 3, 3, generator=generator)).to(images.device)
    mix = torch.where(draw[0, ..., 0] < 0.1, torch.full_like(mix, 1 / 3), mix)
    mixed = torch.einsum("bij,bjhw->bihw", mix, images).clamp(1e-3, 1.0)
    curved = mixed ** torch.exp((draw[1] - 0.5) * 1.2)
    centre = curved.mean((1, 2, 3), keepdim=True)
    contrasted = centre + (curved - centre) * (0.6 + 0.8 * draw[2]) + 0.2 * (draw[3] - 0.5)
    blurred = F.avg_pool2d(F.pad(contrasted, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    softened = torch.lerp(contrasted, blurred, 0.8 * draw[4])
    strength = 0.03 * torch.rand(count, 1, 1, 1, generator=generator).to(images.device)
    return (softened + strength * _normal_like(images, generator)).clamp(0.0, 1.0)


def _normal_like(images: Tensor, generator: torch.Generator) -> Tensor:
    """Drawn where the images are: a GPU would wait for the numbers of all pixels."""
    if images.device.type != "cpu":
        seed = int(torch.randint(2**62, (), generator=generator))
        generator = torch.Generator(images.device).manual_seed(seed)
    return torch.randn(images.shape, generator=generator, device=images.device)


def _rendered(run: BuiltinRun, progress: Callable[[str], None]) -> tuple[Tensor, Tensor]:
    """Uint8 photos "S 3 H W" and float16 disparities "S 1 H W" of the widest style."""
    images = torch.empty(run.scenes, 3, *run.size_hw, dtype=torch.uint8)
    disparities = torch.empty(run.scenes, 1, *run.size_hw, dtype=torch.float16)
    for index, (image, disparity) in enumerate(_scenes(run)):
        images[index] = torch.from_numpy(image).permute(2, 0, 1)
        disparities[index, 0] = torch.from_numpy(disparity)
        if (index + 1) % 100 == 0 or index + 1 == run.scenes:
            progress(f"rendered {index + 1}/{run.scenes} scenes")
    return images, disparities


def _scenes(run: BuiltinRun) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    one, numbers = partial(_scene, seed=run.seed, size_hw=run.size_hw), range(run.scenes)
    if run.processes == 1:
        yield from map(one, numbers)
        return
    with ProcessPoolExecutor(run.processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(one, numbers, chunksize=16)


def _scene(index: int, *, seed: int, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 "H W 3" and disparity float16 "H W" of a scene of the training stream."""
    scene = render_scene("depth", index, seed=seed, size_hw=size_hw, style=WIDE)
    return scene.image, scene.disparity().astype(np.float16)


def _note(run: BuiltinRun) -> NetworkNote:
    return NetworkNote(
        encoder=_ENCODER,
        input_short_side=round(min(run.size_hw) / 32) * 32 or 32,
        mean=_MEAN,
        std=_STD,
        command=run.command(),
        scenes=run.scenes,
        steps=run.steps,
        seed=run.seed,
    )


def main(arguments: list[str]) -> None:
    given = parse_overrides(arguments)
    if not given.get("out"):
        raise UsageError(
            "say out=FILE, and if wanted scenes=N steps=N seed=N batch=N device=cuda processes=N weights=FILE"
        )
    out = Path(given.pop("out"))
    train_builtin(vary(BuiltinRun(), given), out=out)


if __name__ == "__main__":
    main(sys.argv[1:])
