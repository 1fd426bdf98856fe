"""A variant is `{dotted path: value}`: read exactly, refused loudly, and the same thing as text and as a value."""

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthbox.core.config import added, digest, flatten, parse_overrides, vary
from depthbox.core.errors import UsageError
from depthbox.recipes import box_depth, full
from depthbox.supervision.config import BoxDepthConfig, FullConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    rate: float = 0.5
    steps: int = 10
    on: bool = False
    name: str | None = None
    kind: Literal["plain", "fancy"] = "plain"
    stride: Literal[4, 8] = 4
    span: tuple[float, float] = (0.8, 1.2)
    levels: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    rate: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    inner: Inner = Inner()
    choice: Inner | Other = Other()
    seed: int = 0
    title: str = ""


inners = st.builds(
    Inner,
    rate=st.floats(allow_nan=False),
    steps=st.integers(),
    on=st.booleans(),
    name=st.none() | st.text().filter(lambda text: text.lower() != "none"),
    kind=st.sampled_from(("plain", "fancy")),
    stride=st.sampled_from((4, 8)),
    span=st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
    levels=st.lists(st.integers()).map(tuple),
)
outers = st.builds(
    Outer, inner=inners, choice=st.builds(Other, rate=st.floats(allow_nan=False)), seed=st.integers(), title=st.text()
)


@settings(max_examples=50, deadline=None)
@given(outers)
def test_every_setting_survives_being_text(config):
    flat = flatten(config)
    assert vary(Outer(), {path: str(value) for path, value in flat.items()}) == config == vary(Outer(), flat)
    assert digest(vary(Outer(), {path: str(value) for path, value in flat.items()})) == digest(config)


@pytest.mark.parametrize("experiment", [box_depth(), full()])
def test_every_default_survives_being_text(experiment):
    flat = flatten(experiment)
    assert vary(experiment, {path: str(value) for path, value in flat.items()}) == experiment == vary(experiment, flat)
    assert flat["data.views.scale"] == (0.8, 1.2) and flat["method.weights.class_focal"] == 1.0


def test_vary_replaces_what_is_named_and_nothing_else():
    config = Outer()
    varied = vary(config, {"inner.rate": "1e-3", "seed": 7, "inner.span": "0.5, 2"})
    assert varied == Outer(inner=Inner(rate=1e-3, span=(0.5, 2.0)), seed=7)
    assert config == Outer() and vary(config, {}) is config
    assert vary(config, {"choice": Inner(), "choice.steps": "3"}).choice == Inner(steps=3)


@pytest.mark.parametrize(
    "text, path, value",
    [
        ("1e3", "seed", 1000),
        ("12.0", "seed", 12),
        ("-9007199254740993", "seed", -9007199254740993),
        ("3", "inner.rate", 3.0),
        ("YES", "inner.on", True),
        ("0", "inner.on", False),
        ("None", "inner.name", None),
        ("none", "title", "none"),
        ("8", "inner.stride", 8),
        ("[1, 2]", "inner.span", (1.0, 2.0)),
        ("()", "inner.levels", ()),
        ("3,", "inner.levels", (3,)),
        ("x=y", "title", "x=y"),
    ],
)
def test_text_is_read_as_the_fields_type(text, path, value):
    read = flatten(vary(Outer(), {path: text}))[path]
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    "path, value, words",
    [
        ("seed", "1.5", "takes int"),
        ("seed", "inf", "takes int"),
        ("seed", "1e999", "takes int"),
        ("seed", 1.5, "takes int, got float"),
        ("seed", True, "takes int, got bool"),
        ("seed", None, "takes int, got NoneType"),
        ("seed", Other(), "takes int, got Other"),
        ("inner.rate", "fast", "takes float"),
        ("inner.rate", True, "takes float, got bool"),
        ("inner.on", "maybe", "takes bool"),
        ("inner.on", 1, "takes bool, got int"),
        ("title", 3, "takes str, got int"),
        ("inner.kind", "fnacy", "allowed are plain, fancy"),
        ("inner.kind", None, "allowed are plain, fancy"),
        ("inner.stride", "16", "allowed are 4, 8"),
        ("inner.span", "1", "takes 2 values"),
        ("inner.span", 1.0, "takes 2 values"),
        ("inner.span", None, "takes 2 values"),
        ("inner.levels", 1, "takes values"),
        ("inner.span", "1,b", "takes float"),
        ("inner", "x", "is a group; set one of inner.rate, inner.steps"),
        ("inner", Other(), "takes Inner, got Other"),
        ("choice", Outer(), "takes Inner or Other, got Outer"),
        ("choice", None, "is a group"),
    ],
)
def test_a_wrong_value_is_refused_with_both_types(path, value, words):
    with pytest.raises(UsageError, match=words) as error:
        vary(Outer(), {path: value})
    assert path in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "path, near",
    [
        ("schedule.step", "schedule.steps"),
        ("shedule.steps", "schedule.steps"),
        ("learning_rate", "schedule.learning_rate"),
        ("method.weights.depth_afinity", "method.weights.depth_affinity"),
        ("model.backbone.name", "model.backbone"),
        ("seeds", "seed"),
    ],
)
def test_b16_an_unknown_setting_gets_a_suggestion(path, near):
    with pytest.raises(UsageError, match=rf"unknown setting '{path}'; did you mean .*\b{near}\b"):
        vary(box_depth(), {path: "1"})


def test_an_unknown_setting_without_a_neighbour_lists_what_there_is():
    with pytest.raises(UsageError, match=r"there are: inner\.rate, .*, title$"):
        vary(Outer(), {"zzzzzz": "1"})


def test_overrides_are_words_with_an_equals_sign():
    assert parse_overrides(["a.b=c", "title=x=y", "empty="]) == {"a.b": "c", "title": "x=y", "empty": ""}
    for words, cause in ((["a.b"], "not an override"), (["=1"], "not an override"), (["a=1", "a=2"], "given twice")):
        with pytest.raises(UsageError, match=cause):
            parse_overrides(words)


def test_the_digest_names_what_the_settings_say():
    base = Outer()
    assert digest(base) == digest(Outer()) and len(digest(base)) == 16
    assert digest(base) != digest(vary(base, {"seed": 1})) != digest(vary(base, {"inner.levels": "1"}))
    assert digest(base, without=("seed", "inner")) == digest(
        vary(base, {"seed": 1, "inner.rate": 3}), without=("seed", "inner")
    )
    assert digest(base, without=("inner.rat",)) != digest(vary(base, {"inner.rate": 3}), without=("inner.rat",))
    assert digest(Outer(choice=Other())) != digest(Outer(choice=Inner()))
    assert digest(box_depth()) != digest(full())
    assert type(vary(box_depth(), {"method": FullConfig()}).method) is FullConfig
    assert vary(box_depth(), {"method.weights.depth_affinity": 1.0}).method == BoxDepthConfig()


def test_a_setting_that_came_later_renames_nothing_until_it_is_used():
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Before:
        inner: Inner = Inner()

    @dataclass(frozen=True, slots=True, kw_only=True)
    class After:
        inner: Inner = Inner()
        later: int = added(3)
        group: Other = added(Other())

    assert digest(After()) == digest(Before())
    changed = {digest(vary(After(), change)) for change in ({"later": 4}, {"group.rate": 0.1}, {"inner.steps": 11})}
    assert len(changed | {digest(Before())}) == 4


def test_a_bracket_at_the_end_of_a_pattern_is_not_the_list_s():
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Names:
        names: tuple[str, ...] = ()

    assert vary(Names(), {"names": "seq_0[0-5]"}).names == ("seq_0[0-5]",)
    assert vary(Names(), {"names": "[a, b]"}).names == vary(Names(), {"names": "(a,b)"}).names == ("a", "b")
