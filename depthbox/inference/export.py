"""A trained model as a file for elsewhere: ONNX, torch's pt2 or safetensors, checked against the eager model before it gets its name."""

import json
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from depthbox.core.config import flatten
from depthbox.core.errors import InputError
from depthbox.inference.check import Agreement, Runner, compared
from depthbox.inference.check_pixels import PixelAgreement
from depthbox.inference.opened import TrainedModel
from depthbox.inference.predictor import network_of
from depthbox.models.config import DenseModelConfig, InferenceConfig, ModelConfig
from depthbox.models.dense_head import DenseNetwork
from depthbox.models.query_start import PICKED_STRIDE
from depthbox.models.segmenter import Model
from depthbox.models.traceable import outputs_of, traceable

__all__ = ["FORMATS", "Exported", "exported_inference", "onnx_runner", "write_export"]

OPSET = 18
CANDIDATES = 300
"""Before suppression: a graph compares all with all, and a thousand would take longer than the network."""

LEAST_SIDE = {"onnx": 64, "pt2": 160}
"""Of an image in pixels. A program of torch.export takes an axis for more than one cell, or for one, once and for all: at 160 every level has two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    file: Path
    agreement: Agreement | PixelAgreement | None
    """With the eager model; None for safetensors, whose tensors are equal to the last bit."""
    least_side: int | None
    """Of an image, in pixels; None for safetensors."""


def exported_inference(inference: InferenceConfig) -> InferenceConfig:
    """As in training, with at most 300 candidates before suppression."""
    return replace(inference, before_nms=min(inference.before_nms, CANDIDATES))


def write_export(
    trained: TrainedModel, file: Path, *, kind: str, inference: InferenceConfig, images: Sequence[Tensor]
) -> Exported:
    """Write `file`, or nothing: it is made beside its place, compared with the eager model on `images` ("3 H W" each), then moved there.

    Raises `InputError` where the masks do not agree (IoU below 0.999), nothing is found in the images, or a library is missing.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=file.parent, prefix=f".{file.stem}-") as folder:
        part = Path(folder) / file.name
        model = network_of(trained)
        agreement, side = None, None
        if kind == "safetensors":
            _safetensors(trained, part)
        else:
            side = least_side(kind, trained.model)
            # First in torch alone: photos in which nothing is found must not cost the minute that an exporter takes.
            images = [_at_least(image, side) for image in images]
            compared(traceable(model, inference), model, inference, images)
            runner = FORMATS[kind](model, inference, part, _said(trained, inference))
            agreement = compared(runner, model, inference, images)
            if not agreement.holds:
                cause = f"the exported masks differ from the model's: {agreement.in_words()}"
                raise InputError(file, "", cause, "nothing was written; another torch or onnx version may do better")
        os.replace(part, file)
    return Exported(file=file, agreement=agreement, least_side=side)


def least_side(kind: str, model: ModelConfig | DenseModelConfig) -> int:
    """Of an image of a graph: with queries picked from the photo it has a cell for each."""
    cells = 0
    if isinstance(model, ModelConfig) and (model.head, model.query.start) == ("query", "picked"):
        cells = math.ceil(math.sqrt(model.query.queries))
    return max(LEAST_SIDE[kind], math.ceil(cells * PICKED_STRIDE / 32) * 32)


def onnx_runner(file: Path) -> Runner:
    """The file in onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> list[Tensor]:
        return [torch.from_numpy(out) for out in session.run(None, {"images": images.contiguous().numpy()})]

    return run


def _onnx(model: Model | DenseNetwork, inference: InferenceConfig, file: Path, said: dict[str, str]) -> Runner:
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError("onnx", "", f"{error.name} is not installed", "pip install 'depthbox[export]'") from None
    side = least_side("onnx", model.config)
    with _quiet():
        program = torch.onnx.export(
            traceable(model, inference),
            (_example(side),),
            dynamo=True,
            dynamic_shapes=_dynamic(side),
            input_names=["images"],
            output_names=list(outputs_of(model)),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, said)
    onnx.save(proto, file)
    return onnx_runner(file)


def _pt2(model: Model | DenseNetwork, inference: InferenceConfig, file: Path, said: dict[str, str]) -> Runner:
    """What is compared is the program in memory: reading a .pt2 back may run code, and is left to its user."""
    side = least_side("pt2", model.config)
    with _quiet(), torch.no_grad():
        program = torch.export.export(traceable(model, inference), (_example(side),), dynamic_shapes=_dynamic(side))
        torch.export.save(program, file, extra_files={"depthbox.json": json.dumps(said)})
    return program.module()


def _safetensors(trained: TrainedModel, file: Path) -> None:
    """Everything `depthbox predict` needs of it stands in its header."""
    known = {"classes": trained.classes, "category_ids": trained.category_ids, "model": flatten(trained.model)}
    own: dict[str, object] = (
        {"colours": trained.colours} if trained.dense else {"inference": flatten(trained.inference)}
    )
    own["views"] = flatten(trained.views)
    metadata = {name: json.dumps(value) for name, value in {**trained.said, **known, **own}.items()}
    save_file({name: tensor.contiguous() for name, tensor in trained.state.items()}, file, metadata=metadata)
    written = load_file(file)
    assert written.keys() == trained.state.keys()
    assert all(torch.equal(tensor, trained.state[name]) for name, tensor in written.items())


FORMATS: dict[str, Callable[[Model | DenseNetwork, InferenceConfig, Path, dict[str, str]], Runner]] = {
    "onnx": _onnx,
    "pt2": _pt2,
}


def _example(least_side: int) -> Tensor:
    """Two of a size that no other dimension has, so that nothing is taken for constant."""
    return torch.rand(2, 3, least_side + 96, least_side + 192, generator=torch.Generator().manual_seed(0))


def _at_least(image: Tensor, side: int) -> Tensor:
    return F.pad(image, (0, max(0, side - image.shape[2]), 0, max(0, side - image.shape[1])))


def _dynamic(least_side: int) -> dict:
    height, width = (torch.export.Dim(name, min=least_side // 32, max=128) for name in ("h32", "w32"))
    return {"images": {0: torch.export.Dim("batch", min=1, max=256), 2: 32 * height, 3: 32 * width}}


def _said(trained: TrainedModel, inference: InferenceConfig) -> dict[str, str]:
    """In the file itself: what its numbers mean, and what it wants."""
    views = {"short_side": trained.views.short_side, "max_side": trained.views.max_side}
    facts: dict[str, object] = {"classes": trained.classes, "category_ids": trained.category_ids, "views": views}
    facts |= {"colours": trained.colours} if trained.dense else {"inference": flatten(inference)}
    outputs = "logits of every pixel: the largest is its class" if trained.dense else "masks at stride 4"
    return {
        "depthbox": f"images float32 RGB in 0..1, padded right and below to multiples of 32; {outputs}",
        **{name: json.dumps(value) for name, value in facts.items()},
        "weights_sha256": trained.digest,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters talk about their own insides."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
