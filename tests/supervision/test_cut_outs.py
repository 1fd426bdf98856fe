"""The second opinion that looks at each object cut out."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from two_ranks import found_by_rank, found_by_two

from depthbox.supervision.parts.category import Shown
from depthbox.supervision.parts.cut_outs import SIDE, CutOuts, cut_out


class Stage(nn.Module):
    """A backbone of the third map alone: shapes and mean colours are what it tells."""

    channels = (1, 1, 3, 1)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images, images, torch.nn.functional.avg_pool2d(images, 16), images]


def scene(kind: int, *, x: int = 16, known: bool = True, stride: int = 4) -> Shown:
    """A square (0, bulging), a bar (1, flat) or a square that leans (2), at `x`; brightness says nothing."""
    image, disparity = torch.full((3, 64, 96), 0.3), torch.full((1, 64, 96), 0.1)
    mask = torch.zeros(64, 96)
    ys, xs = slice(16, 48), slice(x, x + (32 if kind != 1 else 12))
    mask[ys, xs] = 1
    slope = torch.linspace(-1, 1, 32)
    bulge = 0.6 - 0.1 * slope.square() - 0.1 * slope[:, None].square()
    disparity[0, ys, x : x + 32] = {0: bulge, 1: torch.full((32, 32), 0.5), 2: (0.6 + 0.1 * slope).expand(32, 32)}[kind]
    masks = mask[None, ::stride, ::stride]
    return Shown(
        image=image, disparity=disparity if known else None, features=torch.zeros(1, 1, 1), masks=masks.clone()
    )


def taught(*, depth: bool) -> CutOuts:
    prior = CutOuts(Stage(), 4, depth=depth)
    for x in (8, 16, 20, 28, 36, 44) * 2:
        rows = [prior.described(scene(kind, x=x, known=depth, stride=1), labelled=True) for kind in (0, 1, 2)]
        prior.learn(torch.cat(rows), torch.tensor([0, 1, 2]))
    return prior


def test_an_object_fills_its_cut_out_wherever_it_is_and_whatever_its_stride():
    photo, relief = cut_out(scene(0), edge=0.5)
    assert photo.shape == relief.shape == (1, 3, SIDE, SIDE)
    inside = (photo[0] - 0.3).abs() < 1e-4
    assert 0.6 < inside.float().mean() < 0.75  # (1 / 1.2)^2
    assert torch.equal(photo[0][~inside], torch.full_like(photo[0][~inside], 0.5)) and not relief[0][~inside].any()
    assert relief[0][inside].mean() == pytest.approx(0.5, abs=0.02) and relief.max() <= 1
    moved, same = cut_out(scene(0, x=40), edge=0.5), cut_out(scene(0, stride=1), edge=0.5)
    for other in (moved, same):
        assert all((a - b).abs().mean() < 0.03 for a, b in zip(other, (photo, relief), strict=True))


def test_without_disparity_the_relief_is_the_silhouette():
    (relief,) = cut_out(scene(1, known=False), edge=0.5)[1]
    assert set(relief.unique().tolist()) == {0.0, 0.5}


def test_the_edge_makes_objects_larger_or_smaller_and_never_nothing():
    sizes = [(cut_out(scene(0), edge=edge)[1] > 0).sum() for edge in (0.2, 0.5, 0.8)]
    assert sizes[0] > sizes[1] > sizes[2]
    thin = scene(0)
    thin.masks[:] = 0
    thin.masks[0, 5, 5] = 0.6
    assert (cut_out(thin, edge=0.8)[1] > 0).any()


def test_shapes_are_named_and_what_is_not_known_is_left_open():
    prior = taught(depth=True)
    rows = torch.cat([prior.described(scene(kind, x=x)) for x in (12, 32) for kind in (0, 1, 2)])
    said = prior.probabilities(rows)
    assert said[:, :3].argmax(1).tolist() == [0, 1, 2] * 2 and said[:, 3].isnan().all()
    assert torch.allclose(said[:, :3].sum(1), torch.ones(6))


def test_of_a_few_examples_nothing_is_said():
    prior = CutOuts(Stage(), 3, depth=True)
    rows = torch.cat([prior.described(scene(kind)) for kind in (0, 1, 2)])
    for _ in range(9):
        prior.learn(rows, torch.tensor([0, 1, 2]))
    assert prior.probabilities(rows).isnan().all()
    prior.learn(rows, torch.tensor([0, 1, 2]))
    assert prior.probabilities(rows).argmax(1).tolist() == [0, 1, 2]


def test_a_large_object_is_averaged_and_not_picked_from():
    fine = scene(0)
    board = torch.zeros(1, 512, 512)
    board[:, ::2, ::2], board[:, 1::2, 1::2] = 1, 1
    large = Shown(image=board.expand(3, -1, -1), disparity=None, features=None, masks=torch.ones(1, 128, 128))
    photo, _ = cut_out(large, edge=0.5)
    middle = photo[0, :, 16:48, 16:48]
    assert middle.std() < 0.15 and middle.mean() == pytest.approx(0.5, abs=0.02)
    assert cut_out(fine, edge=0.5)[0].shape == photo.shape


def test_disparity_tells_apart_what_looks_alike():
    blind, seeing = taught(depth=False), taught(depth=True)
    pair = [scene(0, x=24), scene(2, x=24)]
    alike = torch.cat([blind.described(one) for one in pair])
    assert torch.allclose(*alike, atol=1e-4)
    assert not torch.allclose(*torch.cat([seeing.described(one) for one in pair]), atol=1e-2)


def test_nothing_learnt_and_nothing_shown():
    prior = CutOuts(Stage(), 3, depth=True)
    assert prior.probabilities(prior.described(scene(0))).isnan().all()
    none = scene(0)
    empty = Shown(image=none.image, disparity=none.disparity, features=none.features, masks=none.masks[:0])
    assert prior.probabilities(prior.described(empty)).shape == (0, 3)
    prior.learn(prior.described(empty, labelled=True), torch.zeros(0, dtype=torch.long))
    assert not prior.number.any() and not any(p.requires_grad for p in prior.parameters())


def test_it_is_the_backbone_as_it_was():
    backbone = nn.Sequential(nn.Conv2d(3, 3, 1))
    backbone.channels = (1, 1, 3, 1)
    prior = CutOuts(backbone, 3, depth=False)
    before = prior.backbone[0].weight.clone()
    backbone[0].weight.data.add_(1)
    assert torch.equal(prior.backbone[0].weight, before)
    assert {name.split(".")[0] for name in prior.state_dict()} >= {"backbone", "number", "sums", "squares", "calls"}


def learnt_by(objects: list[int]) -> dict[str, torch.Tensor]:
    prior = CutOuts(Stage(), 4, depth=True)
    nothing = torch.zeros(0, prior.width)
    for x in (8, 30):
        rows = [prior.described(scene(kind, x=x, stride=1), labelled=True) for kind in objects]
        prior.learn(torch.cat((nothing, *rows)), torch.tensor(objects, dtype=torch.long))
    return dict(prior.state_dict())


def of_rank(rank: int) -> dict[str, torch.Tensor]:
    return learnt_by([0, 1, 2] if rank else [])


def test_two_ranks_know_what_one_knows(tmp_path: Path):
    alone = learnt_by([0, 1, 2])
    for found in found_by_two(__file__, of_rank, tmp_path):
        assert all(torch.allclose(found[name], alone[name]) for name in alone)


if __name__ == "__main__":
    found_by_rank(of_rank, 0, Path(sys.argv[1]))
