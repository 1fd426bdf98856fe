"""One of the processes that share a cache: `cache_process.py FOLDER LOG SEED`; seed -1 takes a lock and never ends."""

import sys
import time
from pathlib import Path

import numpy as np
from bright_photos import Brightness, photos_of

from depthbox.depth.cache import DisparityCache


class Holder(Brightness):
    """Says that it works (so its lock is held) and never ends."""

    def disparity(self, images, paths):
        print("holding", flush=True)
        time.sleep(60)
        return super().disparity(images, paths)


def main(folder: str, log: str, seed: str) -> None:
    cache = DisparityCache(folder)
    if seed == "-1":
        cache.get_or_infer(*photos_of([1]), Holder(Path(log)))
    estimator = Brightness(Path(log), pause_s=0.01)
    print("ready", flush=True)
    sys.stdin.readline()
    order = np.random.default_rng(int(seed)).permutation(40)
    total = np.zeros(2, int)
    for batch in order.reshape(10, 4):
        total += cache.get_or_infer(*photos_of(batch), estimator)[1:]
    print(*total)


if __name__ == "__main__":
    main(*sys.argv[1:])
