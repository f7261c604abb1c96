import json
from pathlib import Path

from hidemia.benchmarks.card import card, table
from hidemia.benchmarks.pages import renewed
from hidemia.training.recipes import RECIPES

ROOT = Path(__file__).parents[2]
FIGURES = json.loads((ROOT / "weights" / "busi" / "figures.json").read_text())


def test_card_and_readme_say_what_was_measured():
    assert (ROOT / "weights" / "busi" / "MODEL_CARD.md").read_text() == card(RECIPES["busi"], FIGURES)
    readme = (ROOT / "README.md").read_text()
    assert renewed(readme, "card", [table(FIGURES)]) == readme


def test_the_table_follows_the_figures():
    changed = FIGURES | {"dsc": 0.123}
    assert "| Dice of the recovered mask | 0.123 |" in table(changed)
    assert table(changed) != table(FIGURES)
