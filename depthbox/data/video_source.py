"""The stages of `data.source` for video: a row is three frames of one size, a pack is their views. No torch until a pack is made."""

from dataclasses import dataclass

import numpy as np

from depthbox.core.rng import generator
from depthbox.data.config import VideoViewsConfig
from depthbox.data.decode import BadImage, Decoded, read_image
from depthbox.data.source import Packed, PackedFrames, Rows, Source
from depthbox.data.video import FrameRecord, VideoData
from depthbox.data.video_windows import random_window

__all__ = ["VideoSource"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSource(Source):
    """`Source` over the frames of videos; `size_hw` is what the networks see. Intrinsics are normalised, so frames of another aspect are stretched."""

    data: VideoData  # type: ignore[assignment]
    views: VideoViewsConfig  # type: ignore[assignment]
    size_hw: tuple[int, int]

    def pack(self, rows: Rows) -> Packed:
        """The views of one step's rows (same step throughout)."""
        from depthbox.data.pack import outcome_of

        step, seed = int(rows["step"][0]), self.plan.seed
        slots = [int(slot) for slot in rows["slot"]]
        windows = [random_window(self.views.scale, seed=seed, step=step, slot=slot) for slot in slots]
        flips = [bool(generator("flip", seed, step, slot).random() < self.views.flip) for slot in slots]
        cut = [window.cut(image, self.size_hw) for window, image in zip(windows, rows["image"], strict=True)]
        turned = [image[:, :, ::-1] if flip else image for image, flip in zip(cut, flips, strict=True)]
        plain = np.ascontiguousarray(np.stack(turned).transpose(0, 1, 4, 2, 3))
        cameras = [self.data.records[int(i)].intrinsics for i in rows["index"]]
        intrinsics = np.array([w.seen_by(camera) for w, camera in zip(windows, cameras, strict=True)], np.float32)
        intrinsics[flips, 2] = 1 - intrinsics[flips, 2]
        strong = self._strong(plain, step, slots) if self.views.jitter else None
        return Packed(
            step=step,
            weak=plain[:, 0],
            strong=None,
            teacher=None,
            disparity=None,
            sizes_hw=(self.size_hw,) * len(slots),
            teacher_sizes_hw=(),
            boxes=tuple(np.zeros((0, 4), np.float32) for _ in slots),
            labels=tuple(np.zeros(0, np.int64) for _ in slots),
            masks=None,
            image_ids=tuple(int(i) for i in rows["index"]),
            outcome=outcome_of(rows),
            frames=PackedFrames(plain=plain, strong=strong, intrinsics=intrinsics),
        )

    def _strong(self, plain: np.ndarray, step: int, slots: list[int]) -> np.ndarray:
        """One draw of colours for the three frames of a slot."""
        import torch

        from depthbox.data.config import ViewsConfig
        from depthbox.data.views import strong_view

        config = ViewsConfig(jitter=self.views.jitter, grey=0.0, blur=0.0)
        changed = [
            [strong_view(torch.from_numpy(f), config, seed=self.plan.seed, step=step, slot=slot) for f in frames]
            for frames, slot in zip(plain, slots, strict=True)
        ]
        return np.stack([np.stack([frame.numpy() for frame in frames]) for frames in changed])

    def _read(self, record: FrameRecord) -> Decoded:  # type: ignore[override]
        """Target, before, after: "3 h w 3"."""
        frames = [self._frame(path, record.size_hw) for path in (record.path, record.before, record.after)]
        return Decoded(image=np.stack([f.image for f in frames]), digest=frames[0].digest, size_hw=record.size_hw)

    def _frame(self, path: str, size_hw: tuple[int, int]) -> Decoded:
        from PIL import Image

        height, width = largest_hw = tuple(round(side * self.views.scale[1]) for side in self.size_hw)
        short = max(round(min(size_hw) * max(height / size_hw[0], width / size_hw[1])), 1)
        found = read_image(path, short_side=short, max_side=None)
        if found.size_hw != size_hw:
            raise BadImage(path, f"has become {found.size_hw}, its sequence is {size_hw} (height, width)")
        if found.image.shape[:2] == largest_hw:
            return found
        resized = Image.fromarray(found.image).resize((width, height), Image.Resampling.BILINEAR)
        return Decoded(image=np.array(resized), digest=found.digest, size_hw=found.size_hw)
