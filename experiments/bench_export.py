"""Is the exported ONNX at least as fast on a CPU as the eager model?

python experiments/bench_export.py MODEL.onnx RUN [images=DIR] [rounds=20] [precision=float32]

Both see the same photos at the model's size, one at a time, in turn; the ratio is that of each pair, so that what else the machine does meets both.
Preprocessing and pasting are the same for both and left out.
"""

import statistics
import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F

from depthbox.core.config import parse_overrides
from depthbox.inference.check_photos import check_photos
from depthbox.inference.export import exported_inference, onnx_runner
from depthbox.inference.opened import open_model
from depthbox.inference.predictor import predictor_of
from depthbox.models.dense_head import DenseNetwork
from depthbox.models.predict import predict


def main(file: Path, run: str, words: list[str]) -> None:
    asked = {"images": "", "rounds": "20", "precision": "float32"} | parse_overrides(words)
    trained = open_model(run)
    inference = exported_inference(trained.inference)
    model = predictor_of(trained, device="cpu", precision=asked["precision"], inference=inference).model
    dense = isinstance(model, DenseNetwork)
    eager = torch.no_grad()(model.class_logits) if dense else partial(predict, model, config=inference)
    graph = onnx_runner(file)
    photos = [
        F.pad(p, (0, -p.shape[2] % 32, 0, -p.shape[1] % 32))[None] for p in check_photos(trained, asked["images"])
    ]
    last = [photo.contiguous(memory_format=torch.channels_last) for photo in photos]
    pairs = []
    for number in range(int(asked["rounds"]) + 2):
        for photo, fast in zip(photos, last, strict=True):
            one, other = _seconds(partial(eager, fast)), _seconds(partial(graph, photo))
            if number >= 2:
                pairs.append((one, other))
    ratios = sorted(one / other for one, other in pairs)
    low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
    print(
        f"eager {asked['precision']} {statistics.median(p[0] for p in pairs) * 1e3:.1f} ms, onnxruntime {statistics.median(p[1] for p in pairs) * 1e3:.1f} ms a photo"
    )
    print(
        f"eager / onnxruntime: median {statistics.median(ratios):.2f} (10 % {low:.2f}, 90 % {high:.2f}), {len(pairs)} pairs, {torch.get_num_threads()} threads"
    )


def _seconds(call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
