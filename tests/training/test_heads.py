import pytest
import torch

from hidemia.training.heads import FORMS, ClassificationHead, SegmentationHead, logits


def colour(*values: float) -> torch.Tensor:
    """A 6x6 image of one colour."""
    return torch.tensor(values).view(1, 3, 1, 1).expand(1, 3, 6, 6)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("printed", 0.7),  # the mean of 0.6, 0.7, 0.8
        ("centred", 10 * (0.7 - 0.5)),
        ("differential", 20 * (0.7 - 0.6) - 1),  # against a mean of 0.5, 0.6, 0.7
    ],
)
def test_forms_by_hand(form: str, expected: float) -> None:
    recovered, reference = colour(0.6, 0.7, 0.8), colour(0.5, 0.6, 0.7)
    answer = logits(recovered, reference, form)
    assert answer.shape == (1, 1, 6, 6)
    torch.testing.assert_close(answer, torch.full((1, 1, 6, 6), expected))
    assert torch.equal(SegmentationHead(form)(recovered, reference), answer)


def test_only_the_differential_form_reads_the_stego() -> None:
    recovered = torch.rand(1, 3, 6, 6)
    a, b = torch.rand(2, 1, 3, 6, 6)
    for form in FORMS:
        same = torch.equal(logits(recovered, a, form), logits(recovered, b, form))
        assert same == (form != "differential")


def test_printed_form_cannot_say_no() -> None:
    assert SegmentationHead("printed").probabilities(torch.zeros(1, 3, 4, 4), colour(0, 0, 0)).min() == 0.5


def test_unchanged_reply_means_no_lesion() -> None:
    recovered = torch.rand(2, 3, 8, 8)
    probabilities = SegmentationHead().probabilities(recovered, recovered)
    assert probabilities.shape == (2, 8, 8)
    torch.testing.assert_close(probabilities, torch.full((2, 8, 8), 0.2689414))  # sigmoid(-1)


@pytest.mark.parametrize("classes", [2, 7, 9])
def test_tiles_are_read_row_by_row(classes: int) -> None:
    head = ClassificationHead(classes)
    reference = torch.zeros(1, 3, 12, 12)
    for k in range(classes):
        recovered = torch.zeros(1, 3, 12, 12)
        row, column = divmod(k, 3)
        recovered[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0.3
        answer = head(recovered, reference)
        expected = torch.full((1, classes), -1.0)
        expected[0, k] = 20 * 0.3 - 1
        torch.testing.assert_close(answer, expected)
        probabilities = head.probabilities(recovered, reference)
        assert probabilities.argmax() == k
        assert probabilities.sum().item() == pytest.approx(1)


def test_tiles_have_no_parameters() -> None:
    assert list(ClassificationHead(9).parameters()) == []


def test_pooled_by_hand() -> None:
    head = ClassificationHead(5, kind="pooled")
    recovered = torch.rand(2, 3, 28, 28)
    pooled = recovered.view(2, 3, 14, 2, 14, 2).mean(dim=(3, 5)).flatten(1)
    expected = pooled @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(head(recovered, torch.rand(2, 3, 28, 28)), expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: SegmentationHead("mean"),
            "form: expected one of printed, centred, differential, got 'mean'",
        ),
        (lambda: ClassificationHead(3, form="mean"), "form: expected one of .*, got 'mean'"),
        (lambda: ClassificationHead(3, kind="grid"), "kind: expected 'tiles' or 'pooled', got 'grid'"),
        (lambda: ClassificationHead(10), "classes: expected 1 to 9 for a 3x3 grid, got 10"),
        (lambda: ClassificationHead(0), "classes: expected 1 to 9"),
    ],
)
def test_refuses(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_pooled_takes_more_than_nine() -> None:
    assert ClassificationHead(12, kind="pooled")(*torch.rand(2, 1, 3, 28, 28)).shape == (1, 12)
