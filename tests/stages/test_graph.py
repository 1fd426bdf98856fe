"""Which stage comes when, what names it, and what a change of one does to the others."""

from dataclasses import replace

import pytest

from depthbox.core.config import vary
from depthbox.core.errors import InputError, UsageError
from depthbox.experiment import Experiment
from depthbox.recipes import box_depth, sde
from depthbox.stages.graph import CacheFill, Stages
from depthbox.stages.selecting import Selection


def a_graph() -> Stages:
    selection = vary(Selection(images="frames", count=6), {"depth.source": "run:{sde}"})
    boxes = vary(box_depth(), {"data.train.labelled": "{select}/selected.txt", "depth.source": "run:{sde}"})
    cache = vary(CacheFill(), {"depth.source": "run:{sde}"})
    stages = {"train": boxes, "select": selection, "cache": cache, "sde": sde()}
    return Stages(stages=stages, after={"train": ("cache",)})


def test_a_stage_comes_behind_what_its_settings_and_its_author_name():
    order = a_graph().order()
    assert order[0] == "sde" and order[-1] == "train" and set(order) == set(a_graph().stages)


def test_folders_take_the_place_of_names():
    filled = a_graph().filled("train", lambda name: f"/out/{name}-1")
    assert isinstance(filled, Experiment) and filled.depth.source == "run:/out/sde-1"
    assert filled.data.train.labelled == "/out/select-1/selected.txt"  # type: ignore[union-attr]


def changed(**words: object) -> set[str]:
    """The stages that a change gives other folders."""
    before, after = a_graph().names(), a_graph().placed({k.replace("__", "."): v for k, v in words.items()}).names()
    return {name for name in before if before[name] != after[name]}


def test_a_change_renames_a_stage_and_all_that_build_on_it_and_nothing_else():
    assert changed(sde__schedule__steps=7) == {"sde", "cache", "select", "train"}
    assert changed(select__seed=1) == {"select", "train"}
    assert changed(train__seed=1) == {"train"}
    assert changed(cache__data__views__short_side=64) == {"cache", "train"}
    assert changed(launcher="local", data__processes=0, depth__cache="/elsewhere") == set()


def test_words_of_the_command_line_reach_one_stage_or_all_that_have_the_path():
    placed = a_graph().placed({"data.root": "/data", "sde.schedule.steps": "7", "depth.device": "cuda"}).stages
    assert [one.data.root for one in placed.values()] == ["/data"] * 4
    assert placed["sde"].schedule.steps == 7 and placed["train"].schedule.steps != 7  # type: ignore[union-attr]
    assert placed["select"].depth.device == "cuda"
    for words in ({"schedul.steps": 7}, {"sde": 7}):
        with pytest.raises(
            UsageError, match=r"unknown setting .*STAGE.path=value for one of train, select, cache, sde"
        ):
            a_graph().placed(words)
    with pytest.raises(UsageError, match=r"did you mean schedule\.steps"):
        a_graph().placed({"sde.schedule.step": 7})


def test_what_is_no_graph_is_refused():
    graph = a_graph()
    with pytest.raises(InputError, match="is a circle"):
        replace(graph, after={"sde": ("train",)}).order()
    with pytest.raises(InputError, match="stage train: builds on 'depth', which is no stage"):
        replace(graph, after={"train": ("depth",)}).order()
