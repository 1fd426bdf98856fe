"""What goes with a model file: a page of Markdown that says what it is, of what data, how good, and under which licence."""

from dataclasses import asdict
from pathlib import Path

from depthbox.inference.export import Exported
from depthbox.inference.opened import TrainedModel
from depthbox.models.config import InferenceConfig

__all__ = ["write_card"]

TEMPLATE = Path(__file__).with_name("card.md.jinja")
GUESSED = " of some photos, with its own guesses at the others"
NOT_SAID = "not stated; those of the photos and of the starting weights apply as far as they do"


def write_card(
    trained: TrainedModel, exported: Exported, *, kind: str, inference: InferenceConfig, licence: str
) -> Path:
    """`FILE.md` beside the file."""
    import jinja2

    said = trained.said
    settings = said.get("settings") or {}
    assert isinstance(settings, dict)
    method = said.get("method", "depth_ssda" if trained.dense else "box_depth")
    mixed = settings.get("method.mixing", "depth") == "depth" or settings.get("method.cross_domain")
    depth = settings.get("depth.source", "none") if mixed or not trained.dense else "none"
    page = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True).from_string(
        TEMPLATE.read_text()
    )
    filled = page.render(
        title=exported.file.stem,
        classes=trained.classes,
        dense=trained.dense,
        named=list(zip(trained.category_ids, trained.classes, strict=True)),
        method=method,
        learned_from=_learned_from(str(method), settings),
        depth="" if depth == "none" else depth,
        file=exported.file.name,
        megabytes=f"{exported.file.stat().st_size / 1e6:.1f}",
        kind=kind,
        digest=trained.digest,
        model=trained.model,
        views=trained.views,
        inference=inference,
        licence=licence or NOT_SAID,
        least_side=exported.least_side,
        start=_start(trained),
        settings=settings,
        experiment=said.get("digest", ""),
        images=said.get("data_images", "?"),
        data_digest=said.get("data_digest", "unknown"),
        scores=said.get("scores") or {},
        agreement=exported.agreement.in_words() if exported.agreement else "",
    )
    file = exported.file.with_name(f"{exported.file.name}.md")
    file.write_text(filled)
    return file


def _learned_from(method: str, settings: dict) -> str:
    if method == "depth_ssda":
        known = float(settings.get("data.labelled_share", 1.0)) + float(settings.get("data.source_share", 0.0))
        return "label maps" + (GUESSED if known < 1 else "")
    boxed = float(settings.get("data.boxed_share", 0.0))
    masked = float(settings.get("data.labelled_share", 1.0)) if method != "box_depth" or boxed else 0.0
    kinds = [name for name, share in (("masks", masked), ("boxes", boxed or float(method == "box_depth"))) if share]
    guessed = method == "pl_dc" and masked + boxed < 1
    return " and ".join(kinds) + (GUESSED if guessed else "")


def _start(trained: TrainedModel) -> str:
    """Where the backbone came from, with its licence where timm knows it."""
    model = asdict(trained.model)
    if model["init"]:
        return f"the model `{Path(model['init']).name}`"
    if model["weights"] == "none":
        return "random weights"
    if model["weights"] == "builtin":
        return "the encoder of depthbox's built-in depth network (Apache-2.0, rendered scenes)"
    if model["weights"] in ("auto", "hub"):
        licence = _licence_of(model["backbone"])
        return f"timm's {model['backbone']}" + (f" ({licence})" if licence else "")
    return f"the weights `{Path(model['weights']).name}` of {model['backbone']}"


def _licence_of(backbone: str) -> str:
    import timm

    config = timm.get_pretrained_cfg(backbone)
    return str(getattr(config, "license", "") or "")
