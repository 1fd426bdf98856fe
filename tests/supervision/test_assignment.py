"""Which location answers for which object: FCOS centre sampling against a plain loop."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from depthbox.core.batch import Instances
from depthbox.models.detector import DenseOutputs, locations
from depthbox.supervision.parts.assignment import Positives, assign, spread

STRIDES = (8, 16, 32, 64, 128)
LIMITS = (0, 64, 128, 256, 512, float("inf"))


def dense_at(points, levels) -> DenseOutputs:
    nothing = torch.zeros(0)
    return DenseOutputs(
        class_logits=nothing, boxes_xyxy=nothing, quality_logits=nothing, points_xy=points, level=levels, tower=[]
    )


def naive(points, levels, boxes) -> list[tuple[int, int]]:
    """(point, object) of every positive location of one image, in the order of points."""
    found = []
    for p, ((x, y), level) in enumerate(zip(points.tolist(), levels.tolist(), strict=True)):
        best = None
        for n, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            sides = (x - x0, y - y0, x1 - x, y1 - y)
            central = max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2)) < 1.5 * STRIDES[level]
            if central and min(sides) > 0 and LIMITS[level] <= max(sides) <= LIMITS[level + 1]:
                area = (x1 - x0) * (y1 - y0)
                best = min(best or (area, n), (area, n))
        if best:
            found.append((p, best[1]))
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 5), min_size=1, max_size=3))
def test_positives_equal_the_plain_loop(seed, numbers):
    rng = torch.Generator().manual_seed(seed)
    levels = torch.randint(5, (40,), generator=rng)
    points = torch.randint(80, (40, 2), generator=rng) * 8.0 + 4
    instances = []
    for n in numbers:
        centers = points[torch.randint(40, (n,), generator=rng)] + torch.randint(-12, 13, (n, 2), generator=rng)
        sides = 2.0 ** torch.randint(3, 9, (n, 2), generator=rng)
        boxes = torch.cat((centers - sides, centers + sides), 1)
        instances.append(Instances(boxes_xyxy=boxes, labels=torch.randint(7, (n,), generator=rng)))
    positives = assign(dense_at(points, levels), instances)
    wanted = [
        (image, *pair) for image, objects in enumerate(instances) for pair in naive(points, levels, objects.boxes_xyxy)
    ]
    said = list(
        zip(*(getattr(positives, n).tolist() for n in ("image_index", "point_index", "object_index")), strict=True)
    )
    assert said == wanted
    for row, (image, _, owner) in enumerate(wanted):
        assert torch.equal(positives.boxes_xyxy[row], instances[image].boxes_xyxy[owner])
        assert positives.labels[row] == instances[image].labels[owner]


def test_an_object_of_ordinary_size_has_locations_on_its_level():
    grids = [locations(512 // s, 512 // s, s) for s in STRIDES]
    dense = dense_at(torch.cat(grids), torch.cat([torch.full((len(grid),), i) for i, grid in enumerate(grids)]))
    for size, level in ((40, 0), (144, 1), (300, 2)):
        box = torch.tensor([[256 - size / 2, 256 - size / 2, 256 + size / 2, 256 + size / 2]])
        positives = assign(dense, [Instances(boxes_xyxy=box, labels=torch.zeros(1, dtype=torch.int64))])
        assert set(dense.level[positives.point_index].tolist()) == {level} and 4 <= len(positives.labels) <= 16


def test_no_objects_at_all():
    nothing = Instances(boxes_xyxy=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64))
    positives = assign(dense_at(torch.rand(9, 2), torch.zeros(9, dtype=torch.int64)), [nothing, nothing])
    assert all(len(getattr(positives, name)) == 0 for name in positives.__slots__)
    assert positives.boxes_xyxy.shape == (0, 4) and positives.point_index.dtype == torch.int64
    assert len(spread(positives, torch.zeros(0), per_image=4)) == 0


def positives_of(images: list[int], objects: list[int]) -> Positives:
    n = len(images)
    order = sorted(range(n), key=lambda i: images[i])
    index = torch.tensor([[images[i], objects[i]] for i in order], dtype=torch.int64).view(-1, 2)
    zeros = torch.zeros(n, dtype=torch.int64)
    return Positives(
        image_index=index[:, 0],
        point_index=torch.arange(n),
        object_index=index[:, 1],
        boxes_xyxy=torch.zeros(n, 4),
        labels=zeros,
    )


rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 8)), max_size=30)


@settings(max_examples=100, deadline=None)
@given(rows, st.integers(1, 9))
def test_masks_are_shared_out_turn_by_turn(rows, per_image):
    positives = positives_of([r[0] for r in rows], [r[1] for r in rows])
    scores = torch.tensor([r[2] / 8 for r in rows])
    kept = spread(positives, scores, per_image=per_image).tolist()
    assert kept == sorted(set(kept))
    for image in range(3):
        mine = [i for i in range(len(rows)) if positives.image_index[i] == image]
        taken = [i for i in kept if i in mine]
        assert len(taken) == min(len(mine), per_image)
        owned = {n: [i for i in mine if positives.object_index[i] == n] for n in range(5)}
        counts = {n: len(set(owned[n]) & set(taken)) for n in owned}
        for n, has in owned.items():
            assert counts[n] >= min(len(has), max(counts.values()) - 1), "an object waits while another is served twice"
            left = [scores[i] for i in has if i not in taken]
            assert all(scores[i] >= max(left) for i in has if i in taken and left), "the best locations go first"


def test_taking_keeps_the_rows_together():
    positives = positives_of([0, 0, 1], [3, 4, 5])
    assert positives.take(torch.tensor([0, 2])).object_index.tolist() == [3, 5]
