"""A run whose masks became the boxes is told so, once, and no healthy run is."""

import logging

from depthbox.train.watch import CollapseWatch


def warned(ratios, caplog, *, first_step=60) -> int:
    caplog.clear()
    watch = CollapseWatch(steps=90)
    with caplog.at_level(logging.WARNING, logger="depthbox"):
        for number, ratio in enumerate(ratios):
            watch.look({"mask_box_ratio": ratio}, step=first_step + number)
    return len(caplog.records)


def test_five_full_lines_in_a_row_warn_once(caplog):
    assert warned([0.97] * 12, caplog) == 1
    assert "the masks fill 97 % of their boxes" in caplog.text


def test_healthy_short_and_early_runs_are_left_alone(caplog):
    assert warned([0.9] * 20, caplog) == 0
    assert warned([0.97, 0.97, 0.97, 0.97, 0.9] * 4, caplog) == 0
    assert warned([0.99] * 12, caplog, first_step=0) == 0
    CollapseWatch(steps=9).look({"loss/total": 1.0}, step=9)
