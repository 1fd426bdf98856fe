"""COCO's text form of run lengths."""

import numpy as np

__all__ = ["compressed", "decompressed"]


def decompressed(counts: str) -> np.ndarray | None:
    """COCO's counts string -> runs, or None. Signed, 5 bits a letter, low first; from run 3 on minus run i - 2."""
    codes = np.frombuffer(counts.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return None
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    if place.max() > 6:  # 7 groups hold any 32-bit number
        return None
    runs = np.add.reduceat((codes & 31) << 5 * place, starts)
    runs -= ((codes[ends] & 16) > 0) * (1 << 5 * (place[ends] + 1))
    runs[1::2] = runs[1::2].cumsum()
    runs[2::2] = runs[2::2].cumsum()
    return runs


def compressed(runs: np.ndarray) -> str:
    """The inverse of `decompressed`."""
    relative = runs.copy()
    relative[3:] -= runs[1:-2]
    letters = []
    for value in relative.tolist():
        rest, more = value, True
        while more:
            group, rest = rest & 31, rest >> 5
            more = rest != (-1 if group & 16 else 0)
            letters.append(chr(48 + group + 32 * more))
    return "".join(letters)
