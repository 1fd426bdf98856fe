"""The command line: words in, one call, words out. No logic; nothing heavy is imported before a command is known."""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from depthbox.core.errors import InputError, UsageError
from depthbox.train.stop import Interrupted

__all__ = ["main"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A line about it, what its `--help` shows besides, whether it has results, whether it can plan instead of run."""

    says: str
    usage: str
    answers: bool = True
    plans: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    """--NAME VALUE besides the settings: name -> what the value is."""
    flags: Mapping[str, str] = field(default_factory=dict)


DATA = """data.root=DIR data.train.images=DIR data.train.annotations=FILE
  data.val.images=DIR data.val.annotations=FILE"""
DEPTH = """depth.source={builtin|builtin:FILE|none|maps:DIR|hf:NAME_OR_FOLDER|run:FOLDER}
  depth.maps.kind={depth_mm|depth_m|disparity} depth.maps.zero={far|missing}"""

COMMANDS: Mapping[str, Command] = {
    "demo": Command(
        says="render a small data set, train with and without depth, show the table",
        usage="  depthbox demo [out=DIR]",
        plans=True,
    ),
    "train": Command(
        says="train METHOD: box_depth | full | pl_dc | guided_distillation | depth_ssda | sde",
        usage=f"""  depthbox train {{box_depth|full|pl_dc|guided_distillation|depth_ssda|sde}} path=value ...

settings (all of them with --dry-run; data paths are relative to data.root or $DEPTHBOX_DATA)
  {DATA}
  {DEPTH}
  data.train.labelled=FILE[:KEY] data.train.boxed=FILE[:KEY] data.unlabelled.images=DIR
  data.labelled_share=0.5 data.boxed_share=0.25 (of a step; the rest of it has no labels)
  depth_ssda (a class for every pixel): data.table={{cityscapes|gta5|synthia|camvid|FILE.json}} data.train.images=DIR data.train.labels=DIR
      data.train.labelled=FILE (which may be learnt from) data.val.images=DIR data.val.labels=DIR; DIR may be 'seq_*/frame_*.jpg'
      method.mixing={{depth|class|none}} method.mixed_images={{all|unlabelled}} model.init=RUN_OF_SDE model.multi_task=yes data.gap=1 (neighbours in a video, for the depth task)
      data.source.images=DIR data.source.labels=DIR data.source_share=0.5 method.cross_domain=yes data.pairing={{random|geometry}}
  sde (depth from your own video): data.train.sequences=DIR,DIR data.val.sequences=DIR, an intrinsics.json in them or above; data.gap=2,4,8 (else chosen)
  model.head={{dynamic|query}} model.backbone=NAME model.weights={{auto|builtin|hub|none|FILE.safetensors}} model.init=RUN_OR_FILE
  schedule.steps=N batch_size=N (global) workers=N launcher={{ray|local}} seed=N out=DIR tracking.uri=URI
  preset=paper: the absolute values of the method's paper instead of those for a short run
  register=NAME: the finished model becomes a version of NAME in MLflow's registry, ready for `mlflow models serve`""",
        plans=True,
    ),
    "ablate": Command(
        says="run the missing cells of an ablation table, then write and show it",
        usage="""  depthbox ablate experiments/table_NAME.py [data.root=DIR] [seeds=0,1] [rows=TEXT] [cells=N] [tracking.uri=URI] [out=DIR]

finished cells are lines of experiments/results/*.jsonl and never run again; the table is written beside them as Markdown,
CSV and an HTML page with plots, and into a parent run in MLflow; a table that builds on a finished run asks for it (sde=FOLDER)""",
        plans=True,
    ),
    "sweep": Command(
        says="search for the best settings: many trials, poor ones stopped early",
        usage="""  depthbox sweep experiments/search_NAME.py [data.root=DIR] [trials=N] [search.max_concurrent=N] path=value ...

the same command goes on where a sweep was stopped; a trial that has ended never runs again
  search.scheduler={asha|population|none} search.sampler={tpe|random|grid} search.epochs=N search.metric=NAME search.seed=N
  launcher={local|ray}: a trial is a loop in its own process, or a Ray Train run""",
        plans=True,
    ),
    "stages": Command(
        says="stages that build on one another: video -> depth network -> cache -> selection -> segmentation",
        usage="""  depthbox stages experiments/stages_NAME.py [data.root=DIR] [STAGE.]path=value ... [out=DIR] [tracking.uri=URI]

STAGE.path=value changes one stage, path=value every stage that has it; a stage whose settings have not changed, nor those of the stages it
builds on, never runs again; the same command goes on where it was stopped; in MLflow the stages are children of one run""",
        plans=True,
    ),
    "evaluate": Command(
        says="score a trained run on a validation set, beside the floor that any mask must beat",
        usage="""  depthbox evaluate run=FOLDER [data.root=DIR data.val.images=DIR data.val.annotations=FILE]

without data.* the run's own validation set is scored
of a run of depth_ssda: [data.val.images=DIR data.val.labels=DIR] [window=512] (seen through overlapping squares)""",
    ),
    "predict": Command(
        says="what a model sees in photos: COCO results or label maps, and overlays",
        usage="""  depthbox predict MODEL PHOTOS... --out DIR [--ray] path=value ...

MODEL is a run folder, a .safetensors file of a run, a run id or models:/NAME@ALIAS; PHOTOS are files, folders, patterns or s3://bucket/folder
the same command goes on where it was killed; a photo that cannot be read is set aside and listed
of a run of depth_ssda: label_maps/ (PNGs with the ids and colours of the training data) and label_maps.json (which id is which class)
  overlays={yes|no} batch_size=N device={auto|cpu|cuda} precision={auto|float32|bfloat16} views.short_side=N tracking.uri=URI
  ray.address=ADDRESS ray.actors=N ray.actor_cpus=N
  objects: score=0.3 mask_nms=IOU views.max_side=N inference.nms_iou=IOU; a class for every pixel: window=512 (through overlapping squares)""",
        options={"out": "DIR"},
        flags={"ray": "as a Ray Data job"},
    ),
    "label": Command(
        says="a mask for every box you have, and a page of the doubtful ones",
        usage=f"""  depthbox label MODEL --boxes boxes.json --images DIR --out masks.json path=value ...

MODEL is a run folder, a .safetensors file of a run, a run id or models:/NAME@ALIAS, and finds objects; best one trained on these very boxes
masks.json keeps ids, boxes and order; attributes.quality of a mask says how far to believe it; the same command goes on where it was killed
  matching.box_cost=0.5 matching.depth_cost=0.2 review.below=0.8 review.most=200 device={{auto|cpu|cuda}} tracking.uri=URI
  {DEPTH}""",
        options={"boxes": "FILE", "images": "DIR", "out": "FILE"},
    ),
    "export": Command(
        says="a model as ONNX, pt2 or safetensors, checked, with a card",
        usage="""  depthbox export MODEL --format {onnx|pt2|safetensors} [--out FILE] path=value ...

MODEL is a run folder, a .safetensors file of a run, a run id or models:/NAME@ALIAS; the file is compared with the model before it is written,
on the run's validation photos, or on those of images=DIR
  licence=TEXT (for the card) tracking.uri=URI; objects: inference.score_threshold=0.05 inference.before_nms=300 inference.top=100""",
        options={"format": "FORMAT", "out": "FILE", "images": "DIR"},
    ),
    "depth": Command(
        says="depth run | evaluate | train: pseudo disparity by itself",
        usage=f"""  depthbox depth run images=DIR out=DIR
      disparity maps, and pictures of them to look at
  depthbox depth evaluate images=DIR depths=DIR [alignment={{scale_shift|median|none}}]
      against measured depth, beside the prior "lower is nearer"
  depthbox depth train out=FILE.safetensors [scenes=1500] [steps=4500] [seed=0] [batch=8] [device=cpu] [processes=1 (that render)] [size_hw=192,256]
      [weights={{none|hub|FILE}} (of timm's mobilenetv2_100, to start from)]
      the built-in network, from rendered scenes; use it as depth.source=builtin:FILE.safetensors

settings of run and evaluate (images= and depths= are folders, or patterns such as 'DIR/*.jpg', below data.root)
  {DEPTH}
  for evaluate depth.maps.* say what the files of depths= hold""",
    ),
    "select": Command(
        says="which photos of a folder to label next, and why",
        usage="""  depthbox select images=DIR count=N out=DIR [by={diversity|uncertainty|both}] [labelled=FILE] [seed=0]

writes selected.txt (one name a line, best first) and selected.html (the photos, and why); labelled= is such a list of those that
have a label; unlike them in what the depth network sees (diversity), or with depth that they do not teach (uncertainty)
  depth.source={builtin|run:FOLDER}""",
    ),
    "data": Command(
        says="data validate | summary | split: what is in a data set, what is wrong with it, a share of it drawn",
        usage=f"""  depthbox data validate   one line a finding; exit status 1 where there is one
  depthbox data summary    images, objects, sizes, classes
  depthbox data split percent=5 [seed=0] out=FILE
      a share of the images of data.train as text, one a line, for data.train.labelled=FILE

settings
  {DATA}
  depth.source=maps:DIR (validate: the depth maps of the training photos too)""",
    ),
    "submit": Command(
        says="run another command as a job of a Ray cluster, and follow it",
        usage="""  depthbox submit [address=http://127.0.0.1:8265] [working_dir=.] [wait=yes] COMMAND ...
      such as: depthbox submit train box_depth data.root=/shared/photos ... out=/shared/runs/one

working_dir is packed and sent along (none: depthbox is installed there); paths are those of the cluster
the token is Ray's: ~/.ray/auth_token, RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN""",
        plans=True,
    ),
    "dashboard": Command(
        says="open MLflow on this machine",
        usage="""  depthbox dashboard [tracking.uri=URI] [port=5000] [host=127.0.0.1]

without tracking.uri: $MLFLOW_TRACKING_URI, else the newest mlflow.db below ./out""",
        answers=False,
    ),
    "doctor": Command(
        says="what is wrong with this installation, a GPU, a Ray address or an MLflow URI, in words",
        usage="  depthbox doctor [tracking.uri=URI] [ray.address=ADDRESS]",
    ),
}
EPILOG = """settings are given as path=value, for example
  depthbox train box_depth data.root=DIR data.train.images=train data.train.annotations=boxes.json schedule.steps=600
exit status: 0 done, 1 failed, 2 bad usage, 130 interrupted"""
STOPPED = "interrupted; the same command goes on from the last checkpoint"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (bad words and `--help` leave by `SystemExit`, as argparse does)."""
    name, arguments = _parsed(list(sys.argv[1:] if argv is None else argv))
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("depthbox").setLevel(logging.INFO)
    # Before torch is imported: threads that spin at a barrier cost a factor of ten where data workers share the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "300000")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Ray reads it when it is imported; its own 30 s are too short to start in where others use every core.
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "90")
    try:
        return importlib.import_module(f"depthbox.commands.{name}").command(arguments)
    except UsageError as error:
        return _said(error, str(error), 2, arguments)
    except InputError as error:
        return _said(error, str(error), 1, arguments)
    except (KeyboardInterrupt, Interrupted) as error:
        return _said(error, STOPPED, 130, arguments)
    except Exception as error:
        hint = "" if arguments.traceback else " (more with --traceback)"
        return _said(error, f"{type(error).__name__}: {error or 'no message'}{hint}", 1, arguments)


def _said(error: BaseException, text: str, status: int, arguments: argparse.Namespace) -> int:
    """One line on standard error, without credentials; before it the traceback where it was asked for."""
    from depthbox.tracking.words import redacted

    if arguments.traceback:
        import traceback

        print(redacted("".join(traceback.format_exception(error))), file=sys.stderr)
    print(f"depthbox: {redacted(' '.join(text.split()))}", file=sys.stderr)
    return status


def _parsed(words: list[str]) -> tuple[str, argparse.Namespace]:
    """The command and its words. Options may stand anywhere between them, unlike in argparse's own subcommands."""
    if not words or words[0] not in COMMANDS:
        _overview().parse_args(words)
    return words[0], _parser(words[0]).parse_intermixed_args(words[1:])


class _OneLine(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"depthbox: {message}; see {self.prog} --help\n")


def _overview() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {one.says}" for name, one in COMMANDS.items())
    parser = _OneLine(
        prog="depthbox",
        usage="depthbox COMMAND ...  (depthbox COMMAND --help tells more)",
        description="Segmentation from cheap labels, with depth as a free training signal.",
        epilog=f"commands\n{listed}\n\n{EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="one of those below")
    return parser


def _parser(name: str) -> argparse.ArgumentParser:
    one = COMMANDS[name]
    parser = _OneLine(
        prog=f"depthbox {name}",
        usage=f"depthbox {name} [options] WORD path=value ...",
        description=f"{one.says}\n\n{one.usage}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs="*", metavar="WORD path=value", help="the method or action, then settings")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    if one.answers:
        parser.add_argument("--json", action="store_true", help="end stdout with one JSON object of the results")
    for option, value in one.options.items():
        parser.add_argument(f"--{option}", metavar=value, help=f"the same as {option}={value}")
    for flag, means in one.flags.items():
        parser.add_argument(f"--{flag}", action="store_true", help=means)
    if one.plans:
        words = "print the resolved experiment and the resource plan, run nothing"
        parser.add_argument("--dry-run", action="store_true", help=words)
    return parser
