"""What a card says of the labels a model was trained from."""

import pytest

from depthbox.inference.card import _learned_from


@pytest.mark.parametrize(
    ("method", "shares", "said"),
    [
        ("full", (1.0, 0.0), "masks"),
        ("box_depth", (1.0, 0.0), "boxes"),
        ("box_depth", (0.5, 0.5), "masks and boxes"),
        ("pl_dc", (1.0, 0.0), "masks"),
        ("pl_dc", (0.0, 1.0), "boxes"),
        ("pl_dc", (0.25, 0.25), "masks and boxes of some photos, with its own guesses at the others"),
        ("full", None, "masks"),
    ],
)
def test_labels_are_named(method: str, shares: tuple[float, float] | None, said: str) -> None:
    settings = {} if shares is None else {"data.labelled_share": shares[0], "data.boxed_share": shares[1]}
    assert _learned_from(method, settings) == said
