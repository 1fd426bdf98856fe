"""The teacher and its pseudo masks inside box_depth: when they start, what they teach, and that one poor image does not silence the others."""

from dataclasses import replace

import pytest
import torch
from small_batches import OBJECTS, small_batch, small_network

from depthbox.core.batch import TeacherView
from depthbox.models.predict import ImagePredictions
from depthbox.ops.masks import box_masks
from depthbox.supervision import distillation
from depthbox.supervision.box_depth import BoxDepth
from depthbox.supervision.config import BoxDepthConfig, BoxDepthWeights, DistillationConfig
from depthbox.supervision.distillation import distil
from depthbox.supervision.method import weigh
from depthbox.supervision.parts.teacher import Teacher

START, STEPS = 4, 9
FIGURES = {"distillation/kept_an_image", "distillation/kept_share", "distillation/depth_agreement"}


def method_with_teacher(student, *, depth: bool = True, weights: BoxDepthWeights | None = None, **settings) -> BoxDepth:
    config = BoxDepthConfig(
        weights=weights or BoxDepthWeights(), distillation=DistillationConfig(**({"threshold": 0.0} | settings))
    )
    return BoxDepth(config, steps=STEPS, depth=depth, guided=depth, teacher=Teacher(student, start=START, keep=0.999))


def confident_network():
    """A network that does detect something in a few noisy pixels."""
    student = small_network()
    torch.nn.init.constant_(student.detector.classify.bias, 1.0)
    return student


def test_the_teacher_starts_as_the_student_and_then_averages_buffers_too():
    student = small_network()
    student.register_buffer("seen", torch.zeros(2))
    teacher = Teacher(student, start=2, keep=0.9)
    for step in range(6):
        with torch.no_grad():
            for tensor in student.state_dict().values():
                tensor.fill_(float(step))
        teacher.follow(student, step)
        expected = {0: 0, 1: 1, 2: 1.5, 3: 2, 4: 2.5, 5: 3}[step]
        if step >= 1:
            assert {round(t.float().mean().item(), 4) for t in teacher.model.state_dict().values()} == {expected}
    assert (teacher.active(1), teacher.active(2)) == (False, True)
    assert not any(p.requires_grad for p in teacher.parameters()) and not teacher.train().training


def test_the_average_keeps_at_most_the_stated_share():
    student = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(student.weight)
    teacher = Teacher(student, start=0, keep=0.5)
    teacher.follow(student, 0)
    torch.nn.init.ones_(student.weight)
    values = []
    for step in range(20, 23):
        teacher.follow(student, step)
        values.append(teacher.model.weight.item())
    assert values == [0.5, 0.75, 0.875]


def test_a_student_that_has_learnt_nothing_is_not_averaged_in():
    student = torch.nn.Linear(1, 1, bias=False)
    teacher = Teacher(student, start=0, keep=0.9)
    values = []
    for step in range(3):
        torch.nn.init.constant_(student.weight, step + 1.0)
        teacher.follow(student, step)
        values.append(teacher.model.weight.item())
    assert values == pytest.approx([1.0, 1.5, 2.0])


def test_the_copy_does_not_run_on_the_students_weights():
    student = small_network().eval()
    teacher, images = Teacher(student, start=0, keep=0.9), small_batch().views.weak
    before = teacher.model(images).mask_features
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1.5)
    assert torch.equal(teacher.model(images).mask_features, before)


def test_before_its_start_the_teacher_says_nothing_and_after_it_teaches():
    student = confident_network()
    method = method_with_teacher(student)
    early, late = (method.losses(student, small_batch(), step) for step in (START - 1, START))
    assert early.terms["pseudo_mask"] == 0 and early.terms["pseudo_mask"].requires_grad
    assert late.terms["pseudo_mask"] > 0 and set(late.figures) >= FIGURES
    assert set(late.terms) == set(method.weights)
    weigh(late.terms, method.weights, START).backward()
    assert student.controller.conv.weight.grad.any()
    assert method.evaluated(student, START - 1) is student
    assert method.evaluated(student, START) is method.modules()["teacher"].model


@pytest.mark.parametrize("matching", ["depth_aware", "greedy"])
@pytest.mark.parametrize("depth", [True, False])
def test_every_switch_gives_finite_terms(matching, depth):
    student = small_network("depth_guided" if depth else "condinst")
    torch.nn.init.constant_(student.detector.classify.bias, 1.0)
    weights = BoxDepthWeights(mask_affinity=0.1)
    method = method_with_teacher(
        student, depth=depth, weights=weights, matching=matching, confidence=True, binary=True, form="A"
    )
    losses = method.losses(student, small_batch([OBJECTS[0], (), OBJECTS[1]], depth=depth), STEPS - 1)
    assert {"pseudo_mask", "mask_affinity"} <= set(losses.terms) == set(method.weights)
    assert all(torch.isfinite(term) for term in losses.terms.values())


def test_the_depth_cost_falls_over_the_run_and_is_nothing_without_depth():
    student = small_network()
    assert [round(method_with_teacher(student).depth_cost(s), 3) for s in (0, 3, 9)] == [0.3, 0.2, 0.0]
    assert method_with_teacher(student, depth=False).depth_cost(0) == 0
    assert method_with_teacher(student, depth_cost_falls=False).depth_cost(9) == 0.3


def test_an_image_without_detections_does_not_end_the_batch(monkeypatch):
    """References stop at the first image with fewer detections than boxes, index pseudo masks by image, and use two images only."""
    batch = small_batch([OBJECTS[0], OBJECTS[1], OBJECTS[0], OBJECTS[1]])
    teacher = Teacher(small_network(), start=0, keep=0.9)
    boxes = [objects.boxes_xyxy for objects in batch.instances]
    detected = [boxes[0][:0], boxes[1], boxes[2][[2, 0]], boxes[3]]
    masks = [box_masks(b, (64, 96), 4).float() for b in detected]
    predictions = [
        ImagePredictions(
            boxes_xyxy=b, scores=torch.full((len(b),), 0.9), labels=torch.zeros(len(b), dtype=torch.long), masks=m
        )
        for b, m in zip(detected, masks, strict=True)
    ]
    monkeypatch.setattr(distillation, "predict", lambda *_, **__: predictions)
    found = distil(teacher, batch, DistillationConfig(), depth_cost=lambda step: 0.3, theta=2.0, step=0)
    assert [p.confidence.tolist() for p in found.pseudo] == [[0, 0, 0], [1], [1, 0, 1], [1]]
    assert torch.equal(found.pseudo[2].masks[0], masks[2][1]) and torch.equal(found.pseudo[2].masks[2], masks[2][0])
    assert found.figures["distillation/kept_an_image"] == 1.0
    assert found.figures["distillation/kept_share"] == 0.5


def test_a_box_without_disparity_is_matched_by_box_and_score_alone(monkeypatch):
    """A sensor's hole over a whole object is no sign against its mask: with beta it would score 0.1 + 0.6 * 0.6, below the threshold."""
    batch = small_batch([OBJECTS[0][:2]])
    boxes = batch.instances[0].boxes_xyxy
    hole = batch.views.disparity.clone()
    hole[..., :48] = torch.nan
    batch = replace(batch, views=replace(batch.views, disparity=hole))
    predicted = ImagePredictions(
        boxes_xyxy=boxes,
        scores=torch.full((2,), 0.6),
        labels=torch.zeros(2, dtype=torch.long),
        masks=box_masks(boxes, (64, 96), 4).float(),
    )
    monkeypatch.setattr(distillation, "predict", lambda *_, **__: [predicted])
    teacher = Teacher(small_network(), start=0, keep=0.9)
    found = distil(teacher, batch, DistillationConfig(), depth_cost=lambda step: 0.3, theta=2.0, step=0)
    assert found.pseudo[0].confidence.tolist() == [1, 1]
    assert 0.5 < found.figures["distillation/depth_agreement"] <= 1, "the mean over the boxes where it is known"


def test_without_a_known_depth_of_a_kept_pair_no_agreement_is_told(monkeypatch):
    """A 0 would be read as masks that cross every depth edge."""
    batch = small_batch([OBJECTS[1]], depth=False)
    teacher = Teacher(small_network(), start=0, keep=0.9)
    predicted = ImagePredictions(
        boxes_xyxy=batch.instances[0].boxes_xyxy,
        scores=torch.ones(1),
        labels=torch.zeros(1, dtype=torch.long),
        masks=box_masks(batch.instances[0].boxes_xyxy, (64, 96), 4).float(),
    )
    monkeypatch.setattr(distillation, "predict", lambda *_, **__: [predicted])
    found = distil(teacher, batch, DistillationConfig(), depth_cost=lambda step: 0.0, theta=2.0, step=0)
    assert set(found.figures) == FIGURES - {"distillation/depth_agreement"}
    assert found.figures["distillation/kept_an_image"] == 1


def test_a_faint_mask_is_kept_and_one_of_another_place_is_not(monkeypatch):
    """What is above the threshold is kept, however little its mask sums to; a box that it does not touch learns nothing from it."""
    batch = small_batch([OBJECTS[1]])
    box = batch.instances[0].boxes_xyxy
    teacher = Teacher(small_network(), start=0, keep=0.9)
    for detected, kept in ((box, [1.0]), (box + 200, [0.0])):
        predicted = ImagePredictions(
            boxes_xyxy=detected,
            scores=torch.ones(1),
            labels=torch.zeros(1, dtype=torch.long),
            masks=box_masks(box, (64, 96), 4).float() * 0.01,
        )
        monkeypatch.setattr(distillation, "predict", lambda *_, found=predicted, **__: [found])
        said = distil(teacher, batch, DistillationConfig(), depth_cost=lambda step: 0.3, theta=2.0, step=0)
        assert said.pseudo[0].confidence.tolist() == kept


def test_all_detections_take_part_where_it_is_asked_for(monkeypatch):
    batch, asked = small_batch([OBJECTS[1]]), []
    teacher = Teacher(small_network(), start=0, keep=0.9)
    nothing = ImagePredictions(
        boxes_xyxy=torch.zeros(0, 4),
        scores=torch.zeros(0),
        labels=torch.zeros(0, dtype=torch.long),
        masks=torch.zeros(0, 16, 24),
    )
    monkeypatch.setattr(distillation, "predict", lambda *_, config, **__: asked.append(config.min_score) or [nothing])
    for every in (False, True):
        config = DistillationConfig(all_detections=every)
        distil(teacher, batch, config, depth_cost=lambda step: 0.3, theta=2.0, step=0)
    assert asked == [pytest.approx((0.5 - 0.4) / 0.6), 0.0]


def test_the_affinity_of_pseudo_masks_comes_in_over_a_ramp_whatever_the_matching():
    weights = BoxDepthWeights(mask_affinity=0.1)
    for matching, pseudo in (("depth_aware", [1.0, 1.0, 1.0]), ("greedy", [0.0, 0.5, 1.0])):
        config = BoxDepthConfig(weights=weights, warm_up=0.1, distillation=DistillationConfig(matching=matching))
        teacher = Teacher(small_network(), start=60, keep=0.9)
        found = BoxDepth(config, steps=100, depth=True, guided=False, teacher=teacher).weights
        assert [found["mask_affinity"](s) for s in (60, 65, 70)] == pytest.approx([0.0, 0.05, 0.1])
        assert [found["pseudo_mask"](s) for s in (60, 65, 70)] == pytest.approx(pseudo)


def test_a_larger_view_comes_back_to_the_students_cells(monkeypatch):
    """A disc seen at one and a half times the size lands where the student has it."""
    batch, scale = small_batch([OBJECTS[1]]), torch.tensor([[1.5, 1.5]])
    view = TeacherView(images=torch.zeros(1, 3, 96, 160), scale_xy=scale)
    batch = replace(batch, views=replace(batch.views, teacher=view))

    def disc(size_hw, factor):
        ys, xs = (torch.arange(n) * 4 + 2.5 for n in (size_hw[0] // 4, size_hw[1] // 4))
        distance = ((ys[:, None] / factor - 26) ** 2 + (xs[None] / factor - 50) ** 2).sqrt()
        return (12 - distance).clamp(0, 1)[None]

    predicted = ImagePredictions(
        boxes_xyxy=batch.instances[0].boxes_xyxy * 1.5,
        scores=torch.ones(1),
        labels=torch.zeros(1, dtype=torch.long),
        masks=disc((96, 160), 1.5),
    )
    monkeypatch.setattr(distillation, "predict", lambda *_, **__: [predicted])
    teacher = Teacher(small_network(), start=0, keep=0.9)
    found = distil(teacher, batch, DistillationConfig(), depth_cost=lambda step: 0.3, theta=2.0, step=0)
    mine, wanted = found.pseudo[0].masks[0] > 0.5, disc((64, 96), 1.0)[0] > 0.5
    assert (mine & wanted).sum() / (mine | wanted).sum() > 0.9
    assert found.pseudo[0].masks.shape == (1, 16, 24)


def test_confidence_weighs_and_greedy_sorts_as_boxteacher_writes(monkeypatch):
    """The weight is sqrt(sqrt(s) q), the order of the greedy matching sqrt(s q): here they disagree on who comes first."""
    batch = small_batch([OBJECTS[1]])
    box = batch.instances[0].boxes_xyxy.repeat(2, 1)
    masks = box_masks(box, (64, 96), 4) * torch.tensor([0.6, 1.0])[:, None, None]
    scores = torch.tensor([0.9, 0.5])
    predicted = ImagePredictions(boxes_xyxy=box, scores=scores, labels=torch.zeros(2, dtype=torch.long), masks=masks)
    monkeypatch.setattr(distillation, "predict", lambda *_, **__: [predicted])
    config = DistillationConfig(matching="greedy", confidence=True)
    found = distil(
        Teacher(small_network(), start=0, keep=0.9), batch, config, depth_cost=lambda step: 0.0, theta=2.0, step=0
    )
    assert found.pseudo[0].confidence.item() == pytest.approx((0.9**0.5 * 0.6) ** 0.5)
    assert found.pseudo[0].masks.max().item() == pytest.approx(0.6)


def test_a_mask_that_is_not_finite_teaches_nothing_where_no_depth_says_so(monkeypatch):
    batch = small_batch([OBJECTS[1]])
    box = batch.instances[0].boxes_xyxy.repeat(2, 1)
    masks = box_masks(box, (64, 96), 4).float()
    masks[0, 2, 3] = torch.nan
    predicted = ImagePredictions(
        boxes_xyxy=box, scores=torch.tensor([0.9, 0.9]), labels=torch.zeros(2, dtype=torch.long), masks=masks
    )
    monkeypatch.setattr(distillation, "predict", lambda *_, **__: [predicted])
    teacher = Teacher(small_network(), start=0, keep=0.9)
    found = distil(teacher, batch, DistillationConfig(), depth_cost=lambda step: 0.0, theta=2.0, step=0)
    assert found.pseudo[0].confidence.item() == 1.0 and bool(torch.isfinite(found.pseudo[0].masks).all())


def test_a_detection_elsewhere_is_no_mask_of_a_box_it_does_not_touch(monkeypatch):
    batch = small_batch([OBJECTS[1]])
    far = torch.tensor([[0.0, 44.0, 20.0, 60.0]])
    predicted = ImagePredictions(
        boxes_xyxy=far,
        scores=torch.tensor([0.99]),
        labels=torch.zeros(1, dtype=torch.long),
        masks=box_masks(far, (64, 96), 4).float(),
    )
    monkeypatch.setattr(distillation, "predict", lambda *_, **__: [predicted])
    teacher = Teacher(small_network(), start=0, keep=0.9)
    found = distil(teacher, batch, DistillationConfig(), depth_cost=lambda step: 0.0, theta=2.0, step=0)
    assert found.pseudo[0].confidence.tolist() == [0] and found.figures["distillation/kept_an_image"] == 0


@pytest.mark.parametrize("depth_cost", [0.3, 0.0])
def test_what_is_left_out_could_not_have_been_kept(depth_cost):
    config = DistillationConfig()
    floor = distillation._worth_a_look(config, depth_cost).min_score
    best = config.box_cost + depth_cost + (1 - config.box_cost - depth_cost) * floor
    assert best == pytest.approx(config.threshold)
    assert distillation._worth_a_look(DistillationConfig(matching="greedy"), depth_cost).min_score == 0
