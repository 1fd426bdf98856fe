"""The semi-supervised method on two workers, one of which has no labelled image: terms, gradient and prototypes of the whole batch on one."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from query_network import query_network
from small_batches import OBJECTS, small_batch, small_network
from two_ranks import found_by_rank, found_by_two

from depthbox.core.batch import Batch
from depthbox.core.config import vary
from depthbox.core.dist import mean_over_ranks
from depthbox.supervision.config import PlDcConfig
from depthbox.supervision.method import weigh
from depthbox.supervision.pl_dc import PlDc
from depthbox.supervision.pl_dc_detector import PlDcDetector

CONFIG = vary(
    PlDcConfig(),
    {"query.points.number": 64, "burn_in": 0.0, "class_threshold": 0.0, "mask_threshold": 0.0}
    | {"weights.pseudo_color_affinity": 1.0, "boxed.warm_up": 0.0},
)
PARTS = (slice(0, 2), slice(2, 4))


def batch_of(part: slice) -> Batch:
    """Images with masks, with masks, with nothing, with boxes."""
    batch = small_batch([OBJECTS[0], (), OBJECTS[1], OBJECTS[0]], masks=True, depth=False)
    views = {name: getattr(batch.views, name)[part] for name in ("weak", "strong", "valid")}
    boxed = replace(batch.instances[3], masks=None)
    instances = [batch.instances[0], batch.instances[1], replace(batch.instances[1]), boxed][part]
    return replace(
        batch,
        views=replace(batch.views, **views),
        instances=instances,
        image_ids=(7, 8, 9, 10)[part],
        supervision=("masks", "masks", "none", "boxes")[part],
    )


DETECTOR = vary(
    PlDcConfig(),
    {"burn_in": 0.0, "class_threshold": 0.0, "mask_threshold": 0.0, "boxed.warm_up": 0.0}
    | {"detector.weights.pseudo_color_affinity": 1.0},
)


def of_queries():
    student = query_network(**{"query.start": "picked"})
    with torch.no_grad():
        student.decoder.classify.bias[0] += 4.0
    return student, PlDc(CONFIG, student, steps=90, boxed=True), student.decoder.embed[0].weight


def of_detector():
    student = small_network("condinst")
    with torch.no_grad():
        student.detector.classify.bias[1] += 3.0
    return student, PlDcDetector(DETECTOR, student, steps=90, boxed=True), student.controller.conv.weight


def said_of(part: slice, made=of_queries) -> tuple[dict[str, float], torch.Tensor, torch.Tensor]:
    """Mean over workers of each term and of a gradient, and the prototypes."""
    student, method, weight = made()
    losses = method.losses(student, batch_of(part), 1)
    weigh(losses.terms, method.weights, 1).backward()
    gradient = mean_over_ranks(weight.grad)
    terms = {name: mean_over_ranks(term).item() for name, term in losses.terms.items()}
    return terms, gradient, method.modules()["category"].prototypes


def said_by(number: int):
    return said_of(PARTS[number]), said_of(PARTS[number], of_detector)


def test_two_workers_say_what_one_says(tmp_path):
    pairs = zip(*found_by_two(__file__, said_by, tmp_path), (of_queries, of_detector), strict=True)
    for one, other, made in pairs:
        same_as_one(one, other, said_of(slice(0, 4), made))


def same_as_one(one, other, alone):
    terms, gradient, prototypes = alone
    assert one[0] == other[0] and min(terms.values()) > 0 and {"projection", "pseudo_color_affinity"} < set(terms)
    assert one[0] == pytest.approx(terms, rel=1e-3, abs=1e-5)
    torch.testing.assert_close(one[1], gradient, rtol=1e-3, atol=1e-5)
    for found in (one[2], other[2]):
        torch.testing.assert_close(found, prototypes, rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    found_by_rank(said_by, 0, Path(sys.argv[1]))
