import json
from pathlib import Path

from hidemia.benchmarks.card import card, lowered, precisions, shipped, table
from hidemia.benchmarks.pages import renewed
from hidemia.benchmarks.stories import STORIES
from hidemia.training.recipes import RECIPES

ROOT = Path(__file__).parents[2]
FIGURES = json.loads((ROOT / "weights" / "busi" / "figures.json").read_text())


def test_every_shipped_model_has_its_card():
    found = shipped(ROOT / "weights")
    assert set(found) == {folder.parent.name for folder in (ROOT / "weights").glob("*/config.json")}
    for name, figures in found.items():
        written = (ROOT / "weights" / name / "MODEL_CARD.md").read_text()
        assert written == card(RECIPES[name], STORIES[name], figures, lowered(ROOT / "weights" / name))


def test_readme_says_what_was_measured():
    readme = (ROOT / "README.md").read_text()
    assert renewed(readme, "card", [table(FIGURES)]) == readme


def test_the_table_follows_the_figures():
    changed = FIGURES | {"dsc": 0.123}
    assert "| Dice of the recovered mask | 0.123 |" in table(changed)
    assert table(changed) != table(FIGURES)
    assert "nearest thumbnail 0.263, plain network 0.700 |" in table(FIGURES | {"plain_dsc": 0.7})


def test_other_precisions_stand_in_a_table_of_their_own():
    row = "| int8 | 44.54 dB / 0.986 | 41.30 dB / 0.972 | 0.700 | 5 |"
    assert row in precisions({"int8": FIGURES}).splitlines()
    assert not precisions({})
