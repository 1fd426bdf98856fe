"""Classes after the second opinion: which they are, that nothing else changes, and what the opinion learns from."""

import torch
from small_batches import OBJECTS, small_batch

from depthbox.supervision.parts.category import Shown, fused
from depthbox.supervision.parts.correction import Looked, corrected
from depthbox.supervision.parts.pseudo_labels import PseudoLabels

OWN = torch.tensor([[0.55, 0.35, 0.10], [0.2, 0.7, 0.1]])
OTHER = torch.tensor([[0.0, 0.9, 0.1], [0.3, 0.6, 0.1]])


class Said:
    """A teacher's look: only its class probabilities are asked for."""

    def probabilities(self, at: int, queries: torch.Tensor) -> torch.Tensor:
        return OWN[queries]


class Opinion:
    """Writes down what it is asked and told, in order."""

    of_kept, of_features, width = True, False, 2

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows, self.heard = rows, []

    def described(self, shown: Shown, *, labelled: bool = False) -> torch.Tensor:
        self.heard.append("labelled" if labelled else "kept")
        return torch.ones(len(shown.masks), 2) if labelled else self.rows

    def probabilities(self, rows: torch.Tensor) -> torch.Tensor:
        self.heard.append("asked")
        return OTHER

    def learn(self, rows: torch.Tensor, labels: torch.Tensor) -> None:
        self.heard.append((rows.tolist(), labels.tolist()))


def looked() -> Looked:
    """Of a batch of two the second image has labels, one of whose two objects has no pixel in view."""
    batch = small_batch([(), OBJECTS[0][:1] * 2], masks=True, depth=False)
    batch.instances[1].masks[1] = False
    return Looked(batch=batch, said=Said(), images=torch.tensor([0, 1]), features=False, mixed=False)


def kept() -> PseudoLabels:
    logits = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0))
    return PseudoLabels(
        query=torch.tensor([0, 1]),
        labels=torch.tensor([0, 1]),
        class_quality=torch.tensor([0.9, 0.8]),
        mask_quality=torch.tensor([0.95, 0.9]),
        logits=logits,
    )


def test_a_class_is_the_likeliest_to_both_and_nothing_else_changes():
    before = kept()
    for share, expected in ((0.0, [0, 1]), (0.1, [0, 1]), (0.5, [1, 1])):
        (after,) = corrected(Opinion(torch.zeros(2, 2)), looked(), [before], share=share)
        assert after.labels.tolist() == expected == fused(OWN, OTHER, share).argmax(1).tolist()
        assert after.logits is before.logits and after.query is before.query
        assert torch.equal(after.class_quality, before.class_quality) and torch.equal(
            after.mask_quality, before.mask_quality
        )
        torch.testing.assert_close(after.class_share, fused(OWN, OTHER, share).max(1).values)


def test_it_learns_the_corrected_labels_and_the_labelled_objects_in_view_after_it_was_asked():
    opinion, looks = Opinion(torch.zeros(2, 2)), looked()
    corrected(opinion, looks, [kept()], share=0.5)
    true = int(looks.batch.instances[1].labels[0])
    assert opinion.heard == ["kept", "labelled", "asked", ([[0.0, 0.0]] * 2 + [[1.0, 1.0]], [1, 1, true])]


def test_what_is_no_number_is_not_learnt():
    """It would stay in a bank for good."""
    opinion = Opinion(torch.tensor([[torch.nan, 0.0], [0.5, 0.5]]))
    corrected(opinion, looked(), [kept()], share=0.5)
    assert opinion.heard[-1][0] == [[0.5, 0.5], [1.0, 1.0]]
