import dataclasses
import json
from pathlib import Path

import pytest

from hidemia.benchmarks.card import by_class, card, costs_of, precisions, price, sureness, table
from hidemia.benchmarks.compare import confidence
from hidemia.benchmarks.overview import MARK, overview
from hidemia.benchmarks.pages import between, renewed
from hidemia.benchmarks.shipped import lowered, shipped
from hidemia.benchmarks.stories import STORIES
from hidemia.runtime import defaults
from hidemia.training.recipes import RECIPES

ROOT = Path(__file__).parents[2]
FIGURES = json.loads((ROOT / "weights" / "busi" / "figures.json").read_text())


def test_every_shipped_model_has_its_card():
    found = shipped(ROOT / "weights")
    assert set(found) == {folder.parent.name for folder in (ROOT / "weights").glob("*/config.json")}
    for name, figures in found.items():
        written = (ROOT / "weights" / name / "MODEL_CARD.md").read_text()
        assert written == card(RECIPES[name], STORIES[name], figures, lowered(ROOT / "weights" / name), costs_of(name))


def test_intervals_are_those_of_the_scores():
    for name, figures in shipped(ROOT / "weights").items():
        found = confidence(figures["per_image"])
        assert {key: figures[key] for key in found} == pytest.approx(found), name


def test_readme_says_what_was_measured():
    readme = (ROOT / "README.md").read_text()
    packaged = json.loads((ROOT / "weights" / defaults.MODEL / "figures.json").read_text())
    assert renewed(readme, "card", [table(packaged)]) == readme


def test_readme_names_every_model():
    readme = (ROOT / "README.md").read_text()
    found = shipped(ROOT / "weights")
    assert between(readme, MARK, [overview(found, {name: costs_of(name) for name in found})]) == readme


def test_a_model_in_the_table_of_all():
    *_, row = overview({"skin": CLASSES}, {"skin": costs_of("skin")}).splitlines()
    assert row == (
        "| [skin](weights/skin/MODEL_CARD.md) | Pigmented skin lesions, told apart by seven kinds | "
        "balanced accuracy 0.512 | - | 0.213 | 45.0 dB | 41.0 dB | 2.4, 0.6, 2.7 |"
    )
    *_, row = overview({"skin": CLASSES | {"plain_balanced_accuracy": 0.7}}, {"skin": costs_of("skin")}).splitlines()
    assert "| balanced accuracy 0.512 | 0.700 | 0.213 |" in row


def test_the_table_follows_the_figures():
    changed = FIGURES | {"dsc": 0.123}
    assert "| Dice of the recovered mask | 0.123 (0.64 to 0.76) |" in table(changed)
    assert table(changed) != table(FIGURES)
    assert "nearest thumbnail 0.263, plain network 0.700 |" in table(FIGURES | {"plain_dsc": 0.7})


CLASSES = {
    "task": "classification", "n_images": 10, "covers_per_image": 1, "stego_psnr_db": 45.0, "stego_ssim": 0.99,
    "stego_psnr_min_db": 43.0, "reply_psnr_db": 41.0, "reply_ssim": 0.97, "reply_psnr_min_db": 40.0,
    "accuracy": 0.712, "balanced_accuracy": 0.512, "auc": 0.888, "control_identity": 0.143, "control_other": 0.15,
    "subtraction": 0.2,
    "nearest_thumbnail": 0.662, "nearest_thumbnail_balanced": 0.213, "majority": 0.67,
}  # fmt: skip


def test_a_model_that_tells_classes_has_rows_of_its_own():
    bright = {"stego_luma_psnr_db": 52.1, "reply_luma_psnr_db": 49.3}
    assert "| the same in brightness alone (luma, BT.601) | stego 52.1 dB | reply 49.3 dB |" in table(CLASSES | bright)
    assert "brightness" not in table(CLASSES)
    rows = table(CLASSES | {"plain_auc": 0.9}).splitlines()
    assert "| balanced accuracy | 0.512 | nearest thumbnail 0.213 |" in rows
    assert "| accuracy | 0.712 | most frequent class 0.670, nearest thumbnail 0.662 |" in rows
    assert "| AUC | 0.888 | plain network 0.900 |" in rows
    assert not any("Dice" in row for row in rows)
    assert (
        len(table({name: value for name, value in CLASSES.items() if name != "subtraction"}).splitlines())
        == len(rows) - 1
    )
    assert "| int8 | 45.00 dB / 0.990 | 41.00 dB / 0.970 | 0.512 | 1 |" in precisions({"int8": CLASSES})


COSTS = {
    "gmacs_hide": 2.0, "gmacs_recover": 3.0, "gmacs_analyze": 1.9, "parameters_hider": 234_000,
    "parameters_analyzer": 2_325_168,
}  # fmt: skip


def test_a_card_says_how_its_model_learned():
    story = dataclasses.replace(STORIES["kvasir"], split="; no lesion is on both sides")
    text = " ".join(card(RECIPES["busi-s"], STORIES["busi-s"], FIGURES, {}, COSTS).split())
    for sentence in (
        "hider and analyzer learn together in stages 5, 7, 8, 9, 10, 11; in stages 1, 2, 6 what hiding changed",
        "(`training/seal.py`), and travels under a veil of 1 level in blue (`runtime/veil.py`).",
    ):
        assert sentence in text
    assert "This training had no teacher and no distillation." in text
    text = " ".join(card(RECIPES["skin"], story, CLASSES, {}, COSTS).split())
    assert "What is added to the logit of each class (`training/offsets.py`) and the reply's limits were set on" in text
    assert "for train, val and test; no lesion is on both sides." in text
    assert "width 8 with 5 levels; the class is judged by pooled features and written in tiles" in text
    text = " ".join(card(RECIPES["chestct"], story, CLASSES, {}, COSTS).split())
    assert "in stages 2, 3, 7 what hiding changed is put on other photos" in text
    assert "; in stage 7 half of what is hidden is two scans side by side; the class is read" in text
    assert "In stages 2, 3, 7 plain networks that see the bare scan show the analyzer what there is to see." in text
    text = " ".join(card(RECIPES["kvasir"], STORIES["kvasir"], FIGURES, {}, COSTS).split())
    assert "hider and analyzer learn together in stages 2, 3, 4, 10, 12, 15, 16, 17, 18; in stages 1, 5" in text
    assert "and travels as it is." in " ".join(card(RECIPES["busi"], story, FIGURES, {}, COSTS).split())
    assert "side by side" not in " ".join(card(RECIPES["busi"], story, FIGURES, {}, COSTS).split())
    assert "other photos" not in " ".join(card(RECIPES["busi"], story, FIGURES, {}, COSTS).split())


def test_a_card_says_how_its_plain_network_was_measured():
    without = {name: value for name, value in FIGURES.items() if not name.startswith("plain_")}
    alone = card(RECIPES["busi"], STORIES["busi"], without, {}, COSTS)
    assert "plain-busi" not in alone
    assert "No plain network was trained beside it yet." in alone
    beside = card(RECIPES["busi"], STORIES["busi"], FIGURES | {"plain_dsc": 0.7}, {}, COSTS)
    assert "    hidemia train plain-busi --data BUSI --rate 1e-3\n" in beside
    whole = card(RECIPES["chestct"], STORIES["chestct"], CLASSES | {"plain_balanced_accuracy": 0.9}, {}, COSTS)
    assert "    hidemia train plain-chestct --data ChestCT --rate 3e-4\n" in whole
    other = card(RECIPES["busi-s"], STORIES["busi-s"], FIGURES | {"plain_dsc": 0.7}, {}, COSTS)
    assert "    hidemia train plain-busi-s --data BUSI --rate 1e-3\n" in other  # not as the model was trained
    assert (
        "--weights runs/plain-busi/weights --data BUSI \\\n        --split test --json weights/busi/plain.json\n"
        in beside
    )
    assert "--covers-per-image 5 \\\n        --plain weights/busi/plain.json \\\n        --json" in beside
    assert "No plain network" not in beside


def test_a_card_says_how_sure_its_result_is():
    asked = CLASSES | {"n_groups": 9, "lower_95": 0.4, "upper_95": 0.625}
    assert "| balanced accuracy | 0.512 (0.40 to 0.62) | nearest thumbnail 0.213 |" in table(asked).splitlines()
    assert "balanced accuracy 0.512 (0.40 to 0.62) |" in overview({"skin": asked}, {"skin": COSTS})
    assert "by drawing 9 groups of images, such as near-copies, anew" in " ".join(sureness(asked).split())
    assert "by drawing images anew" in " ".join(sureness(asked | {"n_groups": 10}).split())
    assert not sureness(CLASSES)


def test_a_card_says_what_of_each_class_is_told_right():
    rows = [("b_c", 1.0, "p"), ("b_c", 0.2, "p"), ("a", 0.5, "q"), ("b_c", 0.3, "r")]
    asked = CLASSES | {"per_image": [{"label": label, "score": score, "group": g} for label, score, g in rows]}
    assert by_class(asked).splitlines()[3:] == ["| a | 0.50 | 1 | 1 |", "| b_c | 0.50 | 3 | 2 |"]
    assert not by_class(CLASSES)
    assert not by_class(FIGURES)  # masks have no classes
    assert by_class(asked) in card(RECIPES["skin"], STORIES["skin"], asked, {}, COSTS)


def test_other_precisions_stand_in_a_table_of_their_own():
    row = "| int8 | 44.54 dB / 0.986 | 41.30 dB / 0.972 | 0.700 | 5 |"
    assert row in precisions({"int8": FIGURES}).splitlines()
    assert not precisions({})


def test_the_price_of_a_trip_reads_two_photos() -> None:
    text = price(COSTS)
    assert "2.0 GMACs to hide and 6.0 to read the answer" in text
    assert "0.23 million parameters, the server's 2.33 million." in text
