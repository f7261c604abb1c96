import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hidemia.benchmarks import cells, paper, tables
from hidemia.benchmarks.cells import Bench, Budget, Cell, TorchPair
from hidemia.benchmarks.panel import figure
from hidemia.benchmarks.table_command import model_of, table
from hidemia.benchmarks.tables import TABLES, markdown, printed
from hidemia.runtime import similarity
from hidemia.runtime.demo.landscape import photo
from hidemia.runtime.demo.scan import write_dataset
from hidemia.runtime.errors import DataError
from hidemia.training import run as runs
from hidemia.training.algorithm1 import stages as four_stages
from hidemia.training.errors import TrainingError
from hidemia.training.invertible import HiderConfig
from hidemia.training.model import ModelConfig
from hidemia.training.recipes import BUSI
from hidemia.training.system import System
from hidemia.training.weights import save_weights

MODEL = ModelConfig("busi")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("tables")
    write_dataset(root / "busi", 6, seed=3)
    index = root / "busi" / "index.csv"
    head, *rows = index.read_text().splitlines()
    moved = [row.replace(",train,", ",val,") if i > 3 else row for i, row in enumerate(rows)]
    index.write_text("\n".join([head, *moved]) + "\n")
    (root / "covers").mkdir()
    lines = ["image,split"]
    for i in range(4):
        cv2.imwrite(str(root / "covers" / f"{i}.png"), photo(i, 64)[:, :, ::-1])
        lines.append(f"{i}.png,{'val' if i > 1 else 'train'}")
    (root / "covers" / "index.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look at the validation split between stages: nothing is chosen by it."""
    monkeypatch.setattr(runs, "validate", lambda *arguments, **options: {})


def call(data: Path, number: int, out: Path, *more: str) -> list[str]:
    return [
        str(number), "--data", str(data / "busi"), "--covers", str(data / "covers"), "--out", str(out), "--budget", "4",
        "--size-px", "32", "--covers-per-image", "1", "--device", "cpu", *more,
    ]  # fmt: skip


@pytest.mark.parametrize("number", TABLES)
def test_every_row_of_the_paper_has_a_cell(number: int) -> None:
    rows = TABLES[number][0](MODEL, Budget())
    stated = printed(number, "busi", "segmentation")
    assert set(stated) - {"plain"} <= set(rows)
    assert set(rows) - set(stated) == {3: {"residual-all"}, 7: {"hidemia"}}.get(number, set())  # what is ours
    assert any(stated.values())
    for cell in rows.values():
        assert cell.recipe.model.form == "differential"
        if cell.recipe.teacher is not None:
            assert len(four_stages(cell.recipe.teacher.build())) == 4


def test_names_of_cells_are_their_own() -> None:
    """Cells of one name lie in one folder: they must be the same system."""
    found: dict[str, Cell] = {}
    for make, _ in TABLES.values():
        for cell in make(MODEL, Budget()).values():
            assert found.setdefault(cell.name, cell) == cell


def test_a_budget_is_shared_out() -> None:
    recipe = Budget(steps=100, size_px=96).spent_on(BUSI)
    assert sum(stage.steps for stage in recipe.stages) == pytest.approx(100, abs=len(recipe.stages))
    whole = sum(stage.steps for stage in BUSI.stages)
    for stage, full in zip(recipe.stages, BUSI.stages, strict=True):
        assert stage.steps == pytest.approx(100 * full.steps / whole, abs=1)
        assert stage.size_px == min(96, full.size_px)
    assert recipe.model.image_size_px == 96
    assert Budget().spent_on(BUSI) == BUSI


def test_trained_once(data: Path, tmp_path: Path, quick: None, capsys, monkeypatch) -> None:
    assert table(call(data, 3, tmp_path, "--rows", "residual-none")) == 0
    text = capsys.readouterr().out
    folder = tmp_path / "busi"
    assert text == (folder / "table3.md").read_text()
    assert "4 steps a cell" in text
    assert "The paper's figures: BUSI, its test split." in text
    assert " / 17.41 |" in text
    found = json.loads((folder / "table3.json").read_text())["residual-none"]
    assert found["covers_per_image"] == 1
    assert found["parameters_hider"] == 1_012_560
    assert found["stego_psnr_float_db"] == pytest.approx(found["stego_psnr_db"], abs=3)
    assert found["gmacs_hide"] == pytest.approx(12.680 * 10 / 12, rel=0.01)  # at 224 px, without the dead subnets

    monkeypatch.setattr(cells, "run", lambda *arguments: pytest.fail("trained again"))
    page = tmp_path / "page.md"
    page.write_text("Before.\n\n<!-- figures: hidemia table 3 -->\n<!-- end of figures -->\n\nAfter.\n")
    assert table([*call(data, 3, tmp_path, "--rows", "residual-none"), "--page", str(page)]) == 0
    assert capsys.readouterr().out == text
    head, body = text.split("\n\n", 1)
    asked = "    hidemia table 3 --budget 4 --size-px 32 --covers-per-image 1 --rows residual-none"
    asked += " --data busi --covers covers"
    assert head == "## Table 3"
    assert page.read_text() == (
        f"Before.\n\n<!-- figures: hidemia table 3 -->\n\n{asked}\n\n{body}\n<!-- end of figures -->\n\nAfter.\n"
    )
    with pytest.raises(DataError, match="expected a page with marks"):
        table([*call(data, 4, tmp_path), "--page", str(page)])
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        table([*call(data, 3, tmp_path, "--rows", "residual-none"), "--budget", "5"])


def test_pairs_share_a_hider(data: Path, tmp_path: Path, quick: None, monkeypatch) -> None:
    more = ("--rival-width", "4", "--rows", "unet-hidden")
    assert table(call(data, 1, tmp_path, *more)) == 0
    assert {path.name for path in (tmp_path / "busi").iterdir()} == {
        "hider-hidden", "unet-hidden", "table1.md", "table1.json",
    }  # fmt: skip
    weights = [
        (tmp_path / "busi" / name / "weights" / "hider.safetensors").read_bytes()
        for name in ("hider-hidden", "unet-hidden")
    ]
    assert weights[0] == weights[1]
    monkeypatch.setattr(cells, "run", lambda *arguments: pytest.fail("trained again"))
    assert figure([*call(data, 4, tmp_path, *more), "--images", "2"]) == 0
    image = cv2.imread(str(tmp_path / "busi" / "figure4.png"))
    assert image.shape == (2 * 34, 5 * 34, 3)  # cover, secret, truth, mask, reply
    cover, reply = image[:32, :32].astype(int), image[:32, 4 * 34 : 4 * 34 + 32].astype(int)
    assert set(np.unique(image[:32, 68:100])) == {0, 255}
    assert cover.std() > 1
    assert reply.shape == cover.shape


def test_distillations_share_a_teacher(data: Path, tmp_path: Path, quick: None, monkeypatch) -> None:
    monkeypatch.setitem(tables.HIDERS, "hinet", HiderConfig(blocks=4, growth=4))
    trained: list[str] = []
    bench = Bench(data / "busi", data / "covers", tmp_path, Budget(4, 32), "cpu", covers_per_image=1)
    real = cells.run

    def run(recipe, data, simulated, covers, out, *rest):
        trained.extend(path.name for path in sorted(out.glob("*.pt")))
        return real(recipe, data, simulated, covers, out, *rest)

    monkeypatch.setattr(cells, "run", run)
    rows = TABLES[7][0](MODEL, bench.budget)
    features = bench.fill(rows["lightih-features"])
    assert trained == []
    functions = bench.fill(rows["lightih-functions"])
    assert trained == ["1-hide.pt", "2-analyze_frozen.pt"]
    assert features["parameters_hider"] == functions["parameters_hider"] == 1_012_560


def test_task_of_a_data_set(data: Path, tmp_path: Path) -> None:
    assert model_of(data / "busi").task == "segmentation"
    (tmp_path / "index.csv").write_text("image,mask,label,split\n0.png,,b,train\n1.png,,a,train\n")
    model = model_of(tmp_path)
    assert (model.task, model.classes) == ("classification", ("a", "b"))


def test_the_paper_beside_ours() -> None:
    text = markdown(1, {"hidemia": {"dsc": 0.5, "asd_px": 7.0}}, paper.table1("busi"), "a note")
    assert "| hidemia | 50 / 74.11 | 7 / 6.76 |" in text
    assert "| plain | - / 72.85 | - / 6.58 |" in text
    assert "| cmunext-hidden | - / 63.29 | - / 12.95 |" in text
    assert "accuracy" not in text
    ours = tables.shown({"dsc": 0.25, "parameters_hider": 4_050_240, "gmacs_hide": 1.0, "gmacs_recover": 2.0})
    assert (ours["dsc"], ours["parameters"], ours["gmacs"]) == (25, 4.05024, 3)


def test_what_rounding_costs() -> None:
    """A change of 0.3 grey levels is gone after the channel, and one of 0.7 has become 1."""
    system = MODEL.build()
    for levels, expected in ((0.3, 100.0), (0.7, 20 * math.log10(255))):
        system.hider.hide = lambda secret, cover, levels=levels: cover + levels / 255
        system.analyzer.forward = lambda stego: stego
        pair = TorchPair(system, MODEL)
        secret = cover = np.full((224, 224, 3), 100, np.uint8)
        assert min(similarity.psnr(pair.hide(secret, cover), cover), 100.0) == pytest.approx(expected)
        assert pair.unrounded_psnr_db(secret, cover) == pytest.approx([20 * math.log10(255 / levels)] * 2, abs=0.01)


@pytest.mark.parametrize("wrong", [["--size-px", "50"], ["--budget", "0"], ["--rows", "nonsense"]])
def test_wrong_call(data: Path, tmp_path: Path, wrong: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        table([*call(data, 3, tmp_path), *wrong])
    assert caught.value.code == 2
    assert "expected" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        figure([*call(data, 4, tmp_path), *wrong])


def drawn(seed: int) -> System:
    """Networks of which the hider changes its cover, as a fresh one does not."""
    torch.manual_seed(seed)
    system = MODEL.build()
    with torch.no_grad():
        for parameter in system.hider.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return system


def test_analyzers_alone_on_a_finished_hider(data: Path, tmp_path: Path, quick: None, capsys, monkeypatch) -> None:
    """The hider of the weights is in the cell as it was, and other weights are another cell."""
    weights = tmp_path / "given"
    save_weights(drawn(5), MODEL, weights, bits=8)
    asked = [*call(data, 4, tmp_path, "--rows", "k-0", "k-2"), "--hider", str(weights)]
    assert table(asked) == 0
    assert "the analyzer alone, on the finished hider of `given`" in capsys.readouterr().out
    cell = tmp_path / "busi" / "k-0-on-given"
    assert sorted(path.name for path in cell.glob("*.pt")) == ["1-look.pt", "2-answer.pt"]
    assert (tmp_path / "busi" / "hidemia-on-given").is_dir()  # two active ones are the default
    given, trained = (load_file(folder / "hider.safetensors") for folder in (weights, cell / "weights"))
    assert all(torch.equal(given[name], trained[name]) for name in given)

    save_weights(drawn(6), MODEL, weights, bits=8)
    monkeypatch.setattr(cells, "run", lambda *arguments: pytest.fail("trained again"))
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        table(asked)


def test_only_ablations_take_a_hider(data: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        table([*call(data, 7, tmp_path), "--hider", str(tmp_path)])
    assert "--hider: expected one of tables 3 to 6, got table 7" in capsys.readouterr().err
    with pytest.raises(TrainingError, match="expected a trained model"):
        table([*call(data, 4, tmp_path), "--hider", str(tmp_path / "nowhere")])
