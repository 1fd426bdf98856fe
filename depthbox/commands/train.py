"""`depthbox train METHOD path=value ...`"""

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from depthbox.commands.answer import end_with_json, for_people
from depthbox.core.config import flatten, parse_overrides, vary
from depthbox.core.errors import InputError, UsageError
from depthbox.experiment import Experiment, name_of
from depthbox.models.config import SdeModelConfig
from depthbox.recipes import RECIPES, recipe
from depthbox.recipes_paper import paper
from depthbox.tracking.words import redacted

__all__ = ["command", "resolved", "show_plan", "show_result"]

BEST = ("best_mask_ap", "best_miou", "best_step")
"""Shown where a run has several evaluations."""


def command(arguments: argparse.Namespace) -> int:
    if not arguments.words or "=" in arguments.words[0]:
        raise UsageError(f"which method? depthbox train {{{'|'.join(RECIPES)}}} path=value ...")
    words, name = _registered_name(arguments.words)
    experiment = resolved(words[0], words[1:])
    if name and experiment.tracking.uri == "none":
        raise UsageError(f"register={name}: a model is registered in a tracking store; give tracking.uri=URI")
    if name and isinstance(experiment.model, SdeModelConfig):
        raise UsageError(
            f"register={name}: what is registered is served, and finds objects or classes; a run of {words[0]} does not"
        )
    if arguments.dry_run:
        return show_plan(experiment, as_json=arguments.json)
    from depthbox.train.launch import run

    result = run(experiment, command=shlex.join(["depthbox", "train", *arguments.words]))
    registered = _register(name, result, experiment) if name else {}
    show_result(result, as_json=arguments.json, more=registered)
    return 0


def _registered_name(words: list[str]) -> tuple[list[str], str]:
    """The words without `register=NAME`, and the name."""
    rest, names = _taken(words, "register")
    if names and (not names[0] or set("/:@'") & set(names[0])):
        raise UsageError(f"register={names[0]}: takes a name without / : @ and '")
    return rest, names[0] if names else ""


def _taken(words: list[str], name: str) -> tuple[list[str], list[str]]:
    """The words without `name=VALUE`, which is no setting of an experiment, and the value, if there is one."""
    values = [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]
    if len(values) > 1:
        raise UsageError(f"'{name}' is given twice")
    return [word for word in words if not word.startswith(f"{name}=")], values


def _register(name: str, result, experiment: Experiment) -> dict[str, object]:
    """The finished model as a version of `name` in the run's store."""
    from depthbox.inference.served import servable
    from depthbox.tracking import tracking_uri
    from depthbox.tracking.models import register_model

    if not result.run_id:
        raise InputError("mlflow", "", f"the run was not tracked, so that {name} is not registered", "install mlflow")
    uri = tracking_uri(experiment.tracking.uri, out=result.out)
    version = register_model(name, servable(result.out / "model.safetensors"), uri=uri, run_id=result.run_id)
    return {"registered": f"models:/{name}/{version.number}", "champion": version.champion}


def resolved(method: str, words: list[str]) -> Experiment:
    """The recipe, or with `preset=paper` the paper's values, with overrides; without `out=` in `out/<method>-<digest>`, which the same command finds again."""
    rest, preset = _taken(words, "preset")
    experiment = vary(paper(method, *preset) if preset else recipe(method), parse_overrides(rest))
    return experiment if experiment.out else replace(experiment, out=f"out/{method}-{name_of(experiment)[:10]}")


def show_plan(experiment: Experiment, *, as_json: bool = False) -> int:
    """Every setting as it would be given, and what the run asks of machine or cluster; raises where it does not fit."""
    settings = {
        name: redacted(value) if isinstance(value, str) else value for name, value in flatten(experiment).items()
    }
    people = for_people(as_json=as_json)
    for path, value in settings.items():
        print(f"{path}={','.join(map(str, value)) if isinstance(value, tuple) else value}", file=people)
    lines = _resources(experiment)
    print("", *(f"resources: {line}" for line in lines), sep="\n", file=people)
    if as_json:
        end_with_json({"settings": settings, "resources": lines})
    return 0


def _resources(experiment: Experiment) -> list[str]:
    if experiment.launcher == "local":
        return ["this process and one data process"]
    from depthbox.train.local_resources import this_machine
    from depthbox.train.resources import plan_resources

    plan = plan_resources(experiment, cluster=this_machine(experiment.ray.address))
    plan.check()
    return plan.lines()


def show_result(result, *, as_json: bool, more: Mapping[str, object] = MappingProxyType({})) -> None:
    from depthbox.report.table import console_table

    shown = [name for name in (*result.headline, *BEST) if name in result.scores]
    stream = for_people(as_json=as_json)
    if shown:
        console_table(["", *shown], [[result.out.name, *(result.scores[name] for name in shown)]], file=stream)
    if result.note:
        print(result.note, file=stream)
    if result.picture is not None:
        print(f"pictures   {result.picture}", file=stream)
    print(f"run folder {result.out}", file=stream)
    if result.open_command:
        print(f"MLflow     {result.open_command}", file=stream)
    if more:
        champion = ", the champion" if more["champion"] else ""
        print(f"registered {more['registered']}{champion}", file=stream)
    if as_json:
        end_with_json({**result.as_json(), **more})
