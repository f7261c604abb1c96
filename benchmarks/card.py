"""Renders what people quote from what was measured: the model card, and the table in the README.

``python -m hidemia.benchmarks.card`` reads ``weights/*/figures*.json``, which `hidemia evaluate --json` wrote, and
writes a ``MODEL_CARD.md`` beside each and the tables between the marks in ``README.md``. A test compares.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hidemia.benchmarks.cells import cost
from hidemia.benchmarks.overview import MARK, overview
from hidemia.benchmarks.pages import between, opened, opened_at, renewed
from hidemia.benchmarks.shipped import RESULTS, Figures, lowered, result, shipped
from hidemia.benchmarks.stories import STORIES, Story
from hidemia.runtime import defaults
from hidemia.runtime.errors import DataError
from hidemia.training.errors import one_line
from hidemia.training.index import group_of
from hidemia.training.invertible import HiderConfig
from hidemia.training.objective import StageConfig
from hidemia.training.recipe import Recipe
from hidemia.training.recipes import RECIPES

PROG = "python -m hidemia.benchmarks.card"
BASELINES = {
    "location_prior": "location prior",
    "nearest_thumbnail": "nearest thumbnail",
    "nearest_thumbnail_balanced": "nearest thumbnail",
    "majority": "most frequent class",
}
"""What needs no network, by its key in the figures."""


def table(figures: Figures) -> str:
    """The figures of a model as a Markdown table."""

    def share(name: str) -> str:
        return f"{figures[name]:.3f}"

    def beside(name: str, *others: str) -> str:
        words = {other: BASELINES[other] for other in others} | {f"plain_{name}": "plain network"}
        return ", ".join(f"{word} {share(key)}" for key, word in words.items() if key in figures)

    if figures["task"] == "segmentation":
        task = [
            (
                "Dice of the recovered mask",
                result(figures),
                beside("dsc", "location_prior", "nearest_thumbnail"),
            ),
            ("average surface distance", f"{figures['asd_px']:.1f} px", f"{figures['empty_masks']} empty masks"),
        ]
        control = "Dice; no better than the prior"
        told = f"correlation with the mask or its inverse; with another image's {share('subtraction_other')}"
    else:
        task = [
            (
                "balanced accuracy",
                result(figures),
                beside("balanced_accuracy", "nearest_thumbnail_balanced"),
            ),
            (
                "accuracy",
                share("accuracy"),
                beside("accuracy", "majority", "nearest_thumbnail"),
            ),
            ("AUC", share("auc"), beside("auc")),
        ]
        control = "balanced accuracy; no better than chance"
        told = "balanced accuracy of the tile that changed most, or least; compare the controls"
    brightness = []
    if "reply_luma_psnr_db" in figures:
        photos = (f"{photo} {figures[f'{photo}_luma_psnr_db']:.1f} dB" for photo in ("stego", "reply"))
        brightness = [("the same in brightness alone (luma, BT.601)", *photos)]
    rows = [
        ("stego against cover", f"{figures['stego_psnr_db']:.1f} dB / {share('stego_ssim')}",
         f"worst image {figures['stego_psnr_min_db']:.1f} dB"),
        ("reply against cover", f"{figures['reply_psnr_db']:.1f} dB / {share('reply_ssim')}",
         f"worst image {figures['reply_psnr_min_db']:.1f} dB"),
        *brightness,
        *task,
        ("control: the server sends the stego back", share("control_identity"), control),
        ("control: another image's secret", share("control_other"), control),
    ]  # fmt: skip
    if "subtraction" in figures:
        rows.append(("what the strength of reply - stego tells", share("subtraction"), told))
    lines = ["| after the 8-bit PNG, 224x224 | figure | beside it |", "|---|---|---|"]
    return "\n".join(lines + [f"| {name} | {value} | {note} |" for name, value, note in rows])


def precisions(found: Mapping[str, Figures]) -> str:
    """The same figures in other precisions, by name, as a table; empty without any."""
    if not found:
        return ""
    task, word = RESULTS[next(iter(found.values()))["task"]]
    lines = [f"| precision | stego | reply | {word} | covers an image |", "|---|---|---|---|---|"]
    for name, figures in found.items():
        stego, reply = (
            f"{figures[f'{photo}_psnr_db']:.2f} dB / {figures[f'{photo}_ssim']:.3f}" for photo in ("stego", "reply")
        )
        lines.append(f"| {name} | {stego} | {reply} | {figures[task]:.3f} | {figures['covers_per_image']} |")
    return "\n".join(["", "In other precisions (`--precision`):", "", *lines, ""])


def costs_of(name: str) -> dict[str, float]:
    """What one pass of a shipped model costs at 224x224, see `hidemia.benchmarks.cells.cost`."""
    model = RECIPES[name].model
    return cost(model.build().eval(), model)


def card(
    recipe: Recipe, story: Story, figures: Figures, others: Mapping[str, Figures], costs: Mapping[str, float]
) -> str:
    """The model card of a shipped model; ``others`` are its figures in other precisions, ``costs`` its `costs_of`."""
    model = recipe.model
    stages = "\n".join(
        f"| {number} | `{stage.objective}` | {stage.steps} | {stage.batch} | {stage.size_px} | "
        f"{stage.hider_rate:g} | {stage.analyzer_rate:g} |"
        for number, stage in enumerate(recipe.stages, start=1)
    )
    outlines = model.task == "segmentation"
    own = "The mask's threshold" if outlines else "What is added to the logit of each class (`training/offsets.py`)"
    together = _chosen(recipe, lambda stage: bool(stage.hider_rate and stage.analyzer_rate))
    taught = "This training had no teacher and no distillation."
    followed = _chosen(recipe, lambda stage: stage.objective == "follow")
    if followed:
        taught = f"In {followed} plain networks that see the bare scan show the analyzer what there is to see."
    if model.veil_reach is None:
        veiled = ", and travels as it is"
    else:
        colours = "blue" if model.veil_colours == "blue" else "all colours"
        veiled = f", and travels under a veil of {model.veil_reach} level in {colours} (`runtime/veil.py`)"
    if recipe.pupil_of is not None:
        taught = f"The hider of {recipe.pupil_of} was its teacher."
    convolutions = "`project` diagonals" if model.analyzer.k else "the analyzer's convolutions are plain ones (`k` = 0)"
    judged = "" if outlines else "the class is judged by pooled features and written in tiles (`training/verdict.py`); "
    moved = _chosen(recipe, lambda stage: stage.exchanged)
    exchanged = f"in {moved} what hiding changed is put on other photos (`training/pool.py`); " if moved else ""
    halves = _chosen(recipe, lambda stage: stage.joined)
    joined = f"in {halves} half of what is hidden is two scans side by side; " if halves else ""
    hider = "LightIH" if model.hider.growth == HiderConfig().growth else "LightIH-S"
    beside = f"plain_{RESULTS[figures['task']][0]}" in figures
    plain = "" if beside else "No plain network was trained beside it yet."
    compared = f" \\\n        --plain weights/{model.name}/plain.json" if beside else ""
    return f"""# Model card: {model.name}

{
        paragraph(
            f"{story.what} through a photo: {hider} ({model.hider.blocks} invertible blocks of growth "
            f"{model.hider.growth}) on the device, the HideMIA analyzer (width {model.analyzer.width}, "
            f"{model.analyzer.levels} levels) on the server. This page is generated by "
            "`python -m hidemia.benchmarks.card`."
        )
    }

## Figures

{
        paragraph(
            f"Test split of {story.data}: {figures['n_images']} {story.images}, {figures['covers_per_image']} of the "
            f"test covers for each, through the exported bundles and real PNG bytes. {own} and the reply's limits were "
            "set on `val`. The split is that of the `index.csv` that the images came with: "
            f"{story.splits} for train, val and test{story.split}."
        )
    }

{table(figures)}
{sureness(figures)}{by_class(figures)}
{paragraph(price(costs))}

{plain_training(story, model.name) if beside else ""}{export(story, model.name)}    hidemia evaluate --client {
        story.bundles
    }/client --server {story.bundles}/server \\
        --data {story.data} --covers COVERS --split test --covers-per-image {figures["covers_per_image"]}{compared} \\
        --json weights/{model.name}/figures.json
{precisions(others)}
{paragraph(f"One training, seed {recipe.seed}; no spread over seeds was measured. {plain}")}

## Training

{paragraph(story.trained)}

    {story.command}

| stage | objective | steps | batch | px | hider's rate | analyzer's rate |
|---|---|---|---|---|---|---|
{stages}

{
        paragraph(
            "The objectives are described in `training/stages.py`. Other than in the paper, because it served better "
            f"here: hider and analyzer learn together in {together}; {exchanged}{joined}the "
            f"{'mask' if outlines else 'class'} is read from the difference between what R finds in reply and stego; "
            f"every band is residual; {convolutions}; "
            f"width {model.analyzer.width} with {model.analyzer.levels} levels; {judged}the reply carries a seal "
            f"(`training/seal.py`){veiled}. "
            f"{taught} {story.history}"
        )
    }

## Use and limits

{
        paragraph(
            f"{model.intended_use} {story.limits} Licence of the weights: {model.licence}; the images they were "
            "trained on have terms of their own."
        )
    }

**These weights are public: whoever has them can recover what they hide.** They are for demonstration; a site trains
its own pair and keeps it private.
"""


def _chosen(recipe: Recipe, chosen: Callable[[StageConfig], bool]) -> str:
    """Which stages are chosen, counted from 1, in words: `stage 4`, `stages 2, 3`, or nothing."""
    numbers = [str(number) for number, stage in enumerate(recipe.stages, start=1) if chosen(stage)]
    return f"stage{'s' * (len(numbers) > 1)} {', '.join(numbers)}" if numbers else ""


def price(found: Mapping[str, float]) -> str:
    """What a trip costs, of `costs_of`."""
    return (
        f"A trip costs the device {found['gmacs_hide']:.1f} GMACs to hide and {2 * found['gmacs_recover']:.1f} to read "
        f"the answer, for reply and stego are both revealed, and the server {found['gmacs_analyze']:.1f}: convolutions "
        f"and matrix products of the networks as they were trained. The device's network has "
        f"{found['parameters_hider'] / 1e6:.2f} million parameters, the server's "
        f"{found['parameters_analyzer'] / 1e6:.2f} million."
    )


def sureness(figures: Figures) -> str:
    """What the brackets in `table` mean, where there are any; a paragraph."""
    if "n_groups" not in figures:
        return ""
    alone = figures["n_groups"] == figures["n_images"]
    drawn = "images" if alone else f"{figures['n_groups']} groups of images, such as near-copies,"
    text = (
        f"In brackets: the 95 % confidence interval of the mean over such images, by drawing {drawn} anew "
        "(`benchmarks/bootstrap.py`). It is too narrow where groups are few, or where several images are of one "
        "patient and nobody knows."
    )
    return f"\n{paragraph(text)}\n"


def by_class(figures: Figures) -> str:
    """Which share of each class is told right, and of how few images that is known, as a table; empty for masks."""
    images: list[dict[str, Any]] = figures.get("per_image", [])  # type: ignore[assignment]
    found: dict[str, list[dict[str, Any]]] = {}
    for row in images:
        if "label" in row:
            found.setdefault(row["label"], []).append(row)
    if not found:
        return ""
    lines = ["| class | told right | images | groups |", "|---|---|---|---|"]
    for name, rows in sorted(found.items()):
        right, groups = sum(row["score"] for row in rows) / len(rows), {group_of(row) for row in rows}
        lines.append(f"| {name} | {right:.2f} | {len(rows)} | {len(groups)} |")
    return "\n".join(["", *lines, ""])


def export(story: Story, name: str) -> str:
    """The command that makes the bundles, where they are not packaged."""
    if not story.bundles.startswith("build/"):
        return ""
    return f"    hidemia export --weights weights/{name} --out {story.bundles} --data {story.data} --covers COVERS\n"


def plain_training(story: Story, name: str) -> str:
    """The commands that trained and measured the plain network."""
    options = f" {story.plain}" if story.plain else ""
    return (
        f"    hidemia train plain-{name} --data {story.data}{options}\n"
        f"    python -m hidemia.benchmarks.plain_network --weights runs/plain-{name}/weights --data {story.data} \\\n"
        f"        --split test --json weights/{name}/plain.json\n"
    )


def paragraph(text: str) -> str:
    """A sentence after the other in lines of at most 120 characters."""
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


@one_line(PROG)
def main(arguments: list[str]) -> int:
    """Write every card, and the README's tables, of the packaged model and of all; in the root of a clone."""
    argparse.ArgumentParser(prog=PROG, description=main.__doc__).parse_args(arguments)
    weights, readme = Path("weights"), Path("README.md")
    opened(readme, "card")
    page, found = opened_at(readme, MARK), shipped(weights)
    if defaults.MODEL not in found:
        raise DataError(f"{weights}: expected figures of {defaults.MODEL}, got none; run it in the root of a clone")
    costs = {name: costs_of(name) for name in found}
    for name, figures in found.items():
        text = card(RECIPES[name], STORIES[name], figures, lowered(weights / name), costs[name])
        (weights / name / "MODEL_CARD.md").write_text(text)
    page = between(page, MARK, [overview(found, costs)])
    readme.write_text(renewed(page, "card", [table(found[defaults.MODEL])]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
