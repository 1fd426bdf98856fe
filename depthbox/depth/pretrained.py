"""Frozen depth networks of transformers (DPT, Depth Anything, ZoeDepth, GLPN, Depth Pro), by hub name or local folder.

Only safetensors are read and no code of a model folder is run: a pickle (pytorch_model.bin) is never opened.
"""

import functools
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from depthbox.core.errors import InputError
from depthbox.depth.estimator import normalised

__all__ = ["PretrainedDepth"]

Quantity = Literal["inverse depth", "metres"]

_CONVERSION = "depthbox-hf-1"
"""Part of the digest: change it whenever the way from network output to disparity changes."""

_QUANTITY: dict[str, Quantity] = {
    "dpt": "inverse depth",
    "depth_anything": "inverse depth",
    "zoedepth": "metres",
    "glpn": "metres",
    "depth_pro": "metres",
}
"""What the post-processed output of a `model_type` means; the sign of any other type is unknown, so it is refused."""

_NEAREST = 1e-3
"""A predicted distance below this fraction of the mean counts as this: 1/z of a stray zero would flatten the rest."""

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5")

_UNUSED = "neck.fusion_stage.layers.0.residual_layer1."
"""DPT's first fusion layer has no skip input; published checkpoints leave its weights out."""


class PretrainedDepth:
    """A `DepthEstimator`; maps come at the size of their image. The network is loaded at the first image."""

    cached = True

    def __init__(self, name_or_folder: str, *, device: str = "cpu") -> None:
        self.name = f"hf:{name_or_folder}"
        self.device = device
        self.folder = _local_folder(name_or_folder)
        self.quantity = _quantity(self.folder)
        self.digest = _digest(self.folder, weight_files(self.folder))

    def disparity(self, images: list[np.ndarray], paths: list[str]) -> list[np.ndarray]:
        # One at a time: processors keep the aspect, so sizes differ, and a map's bits do not depend on its neighbours.
        return [self._one(image) for image in images]

    def _one(self, image: np.ndarray) -> np.ndarray:
        import torch

        processor, network = self._loaded
        inputs = processor(images=[image], return_tensors="pt", input_data_format="channels_last").to(self.device)
        with torch.inference_mode():
            output = network(**inputs)
        sizes: dict[str, Any] = {"target_sizes": [image.shape[:2]]}
        if network.config.model_type == "zoedepth":
            sizes["source_sizes"] = sizes["target_sizes"]
        resized = processor.post_process_depth_estimation(output, **sizes)[0]["predicted_depth"]
        values = resized.float().reshape(image.shape[:2])
        if (
            network.config.model_type != "depth_pro"
        ):  # the bicubic resize overshoots; Depth Pro's is bilinear, and inverts
            values = values.clamp(output.predicted_depth.min().float(), output.predicted_depth.max().float())
        if self.quantity == "metres":
            values = 1 / values.clamp(min=max(_NEAREST * values.mean().item(), 1e-6))
        return normalised(values.cpu().numpy())

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModelForDepthEstimation
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # a bar for every actor of a pool would hide the run's own
        options = {
            "use_safetensors": True,
            "trust_remote_code": False,
            "local_files_only": True,
            "dtype": torch.float32,
        }
        try:
            network, info = AutoModelForDepthEstimation.from_pretrained(
                self.folder, output_loading_info=True, **options
            )
            processor = _processor(self.folder, network.config)
        # The libraries below raise whatever their parsers meet (KeyError, SafetensorError, RuntimeError, ...).
        except Exception as error:
            cause = f"the network cannot be loaded: {' '.join(str(error).split())[:300]}"
            raise InputError(self.folder, "", cause, "save it again with save_pretrained") from error
        _refuse_random_weights(self.folder, list(info["missing_keys"]), len(network.state_dict()))
        return processor, network.to(self.device).eval()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a model folder, sorted, headers checked. Pickles alone are refused, and never read."""
    found = sorted(folder.glob("model*.safetensors"))
    if not found:
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if pickles:
            cause = f"its weights are a pickle ({pickles[0]}), which can run code; refused, nothing was executed"
            raise InputError(folder, "", cause, "convert them where you trust them: model.save_pretrained(FOLDER)")
        raise InputError(folder, "", "no model.safetensors in it", "save the network with save_pretrained")
    _check_index(folder)
    for path in found:
        _check_header(path)
    return found


def _check_index(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return
    names = set(_json(index).get("weight_map", {}).values())
    odd = sorted(
        str(name) for name in names if not str(name).endswith(".safetensors") or Path(str(name)).name != str(name)
    )
    if odd:
        raise InputError(
            index, "", f"it points to {odd[0]!r}; allowed are .safetensors beside it", "save the network again"
        )
    missing = sorted(name for name in names if not (folder / name).exists())
    if missing:
        raise InputError(folder, "", f"{missing[0]} is missing", "download or copy the whole folder again")


def _check_header(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise InputError(
            path, "", f"no safetensors file, or a truncated one ({error})", "download or copy it again"
        ) from None


def _local_folder(name_or_folder: str) -> Path:
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise InputError(folder, "", "no config.json in it", "give the folder that save_pretrained wrote")
        return folder
    if (
        folder.exists()
        or folder.is_absolute()
        or name_or_folder.startswith((".", "~"))
        or name_or_folder.count("/") > 1
    ):
        raise InputError(
            name_or_folder,
            "",
            "this folder does not exist",
            "depth.source=hf:NAME_OR_FOLDER takes a model folder or a hub name",
        )
    return _hub_folder(name_or_folder)


def _hub_folder(name: str) -> Path:
    """The folder of a hub model: the local cache first, then a download of configuration and safetensors alone."""
    reason = ""
    for offline in (True, False):
        try:
            folder = _snapshot(name, offline=offline)
        # No connection, no such model, a gated one, a bad name: the hub client has a dozen exception types for it.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            continue
        if not offline or ((folder / "config.json").exists() and any(folder.glob("model*.safetensors"))):
            return folder
    next_step = f"with a connection run `hf download {name}`, or use depth.source=hf:FOLDER or depth.source=builtin"
    raise InputError(f"hf:{name}", "", f"the weights are neither on this machine nor to be had ({reason})", next_step)


def _snapshot(name: str, *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    wanted = ["config.json", "preprocessor_config.json", "model*.safetensors", "model.safetensors.index.json"]
    return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=offline))


def _json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, "", f"cannot be read as JSON ({error})", "download or copy it again") from None
    if not isinstance(value, dict):
        raise InputError(path, "", "holds no JSON object", "download or copy it again")
    return value


def _quantity(folder: Path) -> Quantity:
    config = _json(folder / "config.json")
    model_type = config.get("model_type")
    if model_type not in _QUANTITY:
        cause = f"model_type is {model_type!r}; whether its larger values are nearer is not known here"
        raise InputError(folder / "config.json", "", cause, f"allowed: {', '.join(sorted(_QUANTITY))}")
    backbone = config.get("backbone_config") or {}
    # The DINOv2 + DPT checkpoints (NYU, KITTI) predict metres; they alone have DPT's `add_projection`.
    dinov2_dpt = model_type == "dpt" and backbone.get("model_type") == "dinov2" and config.get("add_projection")
    return "metres" if dinov2_dpt or config.get("depth_estimation_type") == "metric" else _QUANTITY[model_type]


def _digest(folder: Path, weights: list[Path]) -> str:
    """SHA-256 over configuration, preprocessing (it holds the input size) and every byte of the weights."""
    total = hashlib.sha256(_CONVERSION.encode())
    for path in [folder / "config.json", folder / "preprocessor_config.json", *weights]:
        total.update(b"\0" + path.name.encode() + b"\0")
        if path.exists():
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _processor(folder: Path, config: Any) -> Any:
    from transformers import AutoImageProcessor, DPTImageProcessor

    if (folder / "preprocessor_config.json").exists():
        return AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if config.model_type not in ("dpt", "depth_anything"):
        raise ValueError(f"no preprocessor_config.json, and no default is known for {config.model_type}")
    backbone = getattr(config, "backbone_config", None)
    sizes = [getattr(part, "image_size", None) for part in (backbone, config)]
    side = next((size for size in sizes if isinstance(size, int)), 384)
    logging.getLogger(__name__).warning(
        "%s: no preprocessor_config.json; photos are resized to %dx%d", folder, side, side
    )
    size = {"height": side, "width": side}
    if config.model_type == "dpt":
        return DPTImageProcessor(size=size)
    mean, std, step = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], config.patch_size
    return DPTImageProcessor(size=size, ensure_multiple_of=step, keep_aspect_ratio=True, image_mean=mean, image_std=std)


def _refuse_random_weights(folder: Path, missing: list[str], total: int) -> None:
    """transformers fills absent weights with random ones and only logs it: a random head would pass for depth."""
    gone = sorted(key for key in missing if not key.startswith(_UNUSED))
    if not gone:
        return
    if any(key.startswith("head.") for key in gone) or len(gone) > 0.05 * total:
        cause = f"the weights lack {len(gone)} of {total} tensors, e.g. {gone[0]}"
        raise InputError(folder, "", cause, "config.json and model.safetensors must come from the same network")
    logging.getLogger(__name__).warning(
        "%s: %d tensors are not in the weights and stay random: %s", folder, len(gone), ", ".join(_some(gone))
    )


def _some(names: list[str], count: int = 5) -> Iterator[str]:
    yield from names[:count]
    if len(names) > count:
        yield "..."
