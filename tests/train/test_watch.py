"""A run whose masks became the boxes is told so, once, and no healthy run is."""

import pytest

from depthbox.core.config import vary
from depthbox.recipes import recipe
from depthbox.train.progress import Progress, Relay
from depthbox.train.watch import CollapseWatch, FlatDepthWatch, PseudoLabelWatch, watch_of


def warnings(ratios, *, first_step=60) -> list[str]:
    watch = CollapseWatch(steps=90)
    said = [watch.look({"mask_box_ratio": ratio}, step=first_step + number) for number, ratio in enumerate(ratios)]
    return [text for text in said if text]


def test_five_full_lines_in_a_row_warn_once():
    (text,) = warnings([0.97] * 6 + [0.5] + [0.97] * 9)
    assert "step 64: the masks fill 97% of their boxes" in text


def test_empty_masks_are_told_too():
    (text,) = warnings([0.02] * 9)
    assert "fill 2% of their boxes, so there are none; lower" in text


def test_healthy_short_and_early_runs_are_left_alone():
    assert not warnings([0.9] * 20)
    assert not warnings([0.97, 0.97, 0.97, 0.97, 0.9] * 4)
    assert not warnings([0.99] * 12, first_step=0)
    assert CollapseWatch(steps=9).look({"loss/total": 1.0}, step=9) == ""


def test_a_run_with_few_lines_is_told_by_the_last_of_them():
    watch = CollapseWatch(steps=450, log_every=100)
    said = [watch.look({"mask_box_ratio": 0.99}, step=step) for step in (100, 200, 300, 400, 450)]
    assert [bool(text) for text in said] == [False, False, False, True, False]


def test_lines_of_steps_without_boxes_neither_warn_nor_interrupt_a_count():
    watch = CollapseWatch(steps=9)
    lines = [{"mask_box_ratio": 0.97}, {"loss/total": 1.0}] * 5
    said = [watch.look(line, step=9 + n) for n, line in enumerate(lines)]
    assert [n for n, text in enumerate(said) if text] == [8]


def test_a_warning_reaches_the_driver_although_other_lines_follow(tmp_path, capsys):
    worker, driver = Relay(tmp_path), Relay(tmp_path)
    progress = Progress(9, write=worker.put, title="row: ")
    worker.put("step 1")
    driver.show_new()
    progress.warn("the masks are the boxes")
    worker.put("step 2")
    worker.put("step 3")
    driver.show_new()
    driver.show_new()
    assert capsys.readouterr().err.splitlines() == ["step 1", "warning: row: the masks are the boxes", "step 3"]


@pytest.mark.parametrize(
    ("method", "settings", "kind"),
    [
        ("sde", {}, FlatDepthWatch),
        ("depth_ssda", {"model.multi_task": True, "data.gap": 1}, FlatDepthWatch),
        ("depth_ssda", {}, CollapseWatch),
        ("box_depth", {}, CollapseWatch),
        ("pl_dc", {}, PseudoLabelWatch),
    ],
)
def test_what_a_method_can_go_wrong_by_is_watched(method, settings, kind):
    assert type(watch_of(vary(recipe(method), settings))) is kind


def test_flat_depth_warns_once_and_a_step_without_frames_neither_warns_nor_interrupts():
    watch = FlatDepthWatch(steps=9)
    lines = [{"disparity_spread": 0.01}, {"loss/total": 1.0}] * 8
    said = [watch.look(line, step=9 + n) for n, line in enumerate(lines)]
    assert [n for n, text in enumerate(said) if text] == [8] and "collapsed to a constant" in said[8]


def test_a_teacher_that_sees_objects_everywhere_is_told_once():
    watch = PseudoLabelWatch(steps=9)
    said = [watch.look({"pseudo/kept_to_labelled": ratio}, step=9 + n) for n, ratio in enumerate([1.2] * 3 + [4.0] * 9)]
    (text,) = [text for text in said if text]
    assert "4.0 times as many objects an image" in text and "method.adapt_on=counts" in text
