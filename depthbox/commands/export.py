"""`depthbox export MODEL --format {onnx|pt2|safetensors}`: the model as a file for elsewhere, with a card."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from depthbox.commands.answer import end_with_json, for_people
from depthbox.commands.chosen import Store, chosen_model, given, refuse_unused
from depthbox.core.config import vary
from depthbox.core.errors import UsageError
from depthbox.models.config import InferenceConfig

__all__ = ["Export", "command"]

ENDINGS = {"onnx": ".onnx", "pt2": ".pt2", "safetensors": ".safetensors"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """`images` are photos to check the file on; without them the run's own validation photos, or rendered scenes."""

    format: str = ""
    out: str = ""
    images: str = ""
    licence: str = ""
    inference: InferenceConfig = InferenceConfig()
    tracking: Store = Store()


def command(arguments: argparse.Namespace) -> int:
    words, overrides = given(arguments, "format", "out", "images")
    asked = vary(Export(), overrides)
    if asked.format not in ENDINGS:
        said = f"--format {asked.format}: no such format" if asked.format else "which format?"
        raise UsageError(f"{said} depthbox export MODEL --format {{{'|'.join(ENDINGS)}}}")
    if len(words) != 1:
        raise UsageError(f"which model? depthbox export MODEL --format {asked.format}")
    if asked.out and not asked.out.endswith(ENDINGS[asked.format]):
        raise UsageError(f"--out {asked.out}: the file ends in {ENDINGS[asked.format]}")
    result = _exported(words[0], overrides)
    people = for_people(as_json=arguments.json)
    if result["agreement"]:
        print(f"checked against the eager model: {result['agreement']}", file=people)
    print(f"{result['out']} ({result['megabytes']:.1f} MB), card {result['card']}", file=people)
    if arguments.json:
        end_with_json(result)
    return 0


def _exported(place: str, overrides: dict[str, str]) -> dict:
    from depthbox.inference.card import write_card
    from depthbox.inference.check_photos import check_photos
    from depthbox.inference.export import exported_inference, write_export

    trained = chosen_model(place, vary(Export(), overrides).tracking)
    refuse_unused(trained, overrides)
    asked = vary(Export(inference=exported_inference(trained.inference)), overrides)
    kind = asked.format
    out = Path(asked.out or _default(place, ENDINGS[kind])).expanduser().absolute()
    images = [] if kind == "safetensors" else check_photos(trained, asked.images)
    exported = write_export(trained, out, kind=kind, inference=asked.inference, images=images)
    card = write_card(trained, exported, kind=kind, inference=asked.inference, licence=asked.licence)
    return {
        "model": place,
        "format": kind,
        "out": str(out),
        "megabytes": out.stat().st_size / 1e6,
        "card": str(card),
        "agreement": exported.agreement.in_words() if exported.agreement else None,
        "mask_iou": exported.agreement.mask_iou if exported.agreement else None,
    }


def _default(place: str, ending: str) -> str:
    """In the run folder; of a model from elsewhere, in the current one."""
    folder = Path(place).expanduser()
    return str((folder / "export" if folder.is_dir() else Path.cwd()) / f"model{ending}")
