import json

import msgspec
from tests.benchmarks.report.test_plots import texts
from tests.sample_report import attacks, sample

from hidemia.benchmarks.report import attacked, document, markdown, page, plots
from hidemia.benchmarks.report.sections import facts, sections


def named(table):
    return [dict(zip(table.head, row, strict=True)) for row in table.rows]


def section(report):
    return next(part for part in sections(report) if part.id == "attacks")


def test_detectors_are_means_with_their_spread_and_controls_come_last():
    first, second, last = named(attacked.detections(attacks()))
    assert (first["target"], first["attacker knows"]) == ("stego", "the exact weights")
    assert (first["error %"], first["AUC"], first["found % at 1 % false alarms"]) == ("2.0", "0.850", "50.0")
    assert (first["spread"], first["pairs"]) == ("2.0", "2,048")
    assert (second["target"], second["trained on"]) == ("reply", "LSB matching 0.4")
    assert last["attacker knows"] == "control"


def test_the_first_screen_says_what_a_detector_finds_if_its_controls_held():
    held = attacks(controls=[msgspec.structs.replace(control, held=True) for control in attacks().controls])
    (fact,) = [fact for fact in facts(sample(attacks=held)) if "detector" in fact.what]
    assert fact.value == "50 % found"  # the mean of 0.25 and 0.75
    assert "trained on 2,048 pairs" in fact.what
    assert not any("detector" in fact.what for fact in facts(sample(attacks=attacks())) + facts(sample()))


def test_one_control_that_did_not_hold_is_said_of_all():
    rows = attacked.controls(attacks()).rows
    assert [row[-1] for row in rows] == ["held", "DID NOT HOLD", "did not hold"]
    held = attacks(controls=attacks().controls[:1])
    assert attacked.controls(held).rows[-1][-1] == "held"


def test_the_learning_curve_has_a_row_a_hider_and_gaps_where_nothing_was_measured():
    table = attacked.learned(attacks())
    assert table.head == ["hider", "photo", "10 pairs", "100 pairs"]
    assert table.rows == [["sample", "stego", "25.0", "12.5"], ["small", "stego", "50.0", ""]]


def test_what_is_taken_out_stands_beside_what_needs_no_photo():
    assert attacked.exposures(attacks()).rows == [["theft", "secret", "PSNR dB", "24.2", "15.5"]]
    assert attacked.absent(attacks()).rows == [["learning curve of hinet", "no | weights"]]


def test_a_report_shows_attacks_in_markdown_and_on_its_page():
    report = sample(attacks=attacks(), absent={})
    text = markdown.render(report)
    assert "| stego | the exact weights | stego | classical | 2,048 | 2.0 |" in text
    assert "did not hold" in text
    assert "no \\| weights" in text
    assert "the exact weights" in page.render(report)
    assert "Not here" not in markdown.render(report).split("## What an attacker finds")[1].split("##")[0]


def test_a_report_without_attacks_says_so():
    assert section(sample()).reason == "no attacks yet"
    assert plots.attacks(sample()) is None


def test_a_report_from_before_attacks_is_still_read(tmp_path):
    old = json.loads(document.encode(sample()))
    assert old.pop("attacks") is None
    (tmp_path / "report.json").write_text(json.dumps(old))
    assert document.read(tmp_path / "report.json").attacks is None


def test_attacks_come_back_from_their_json():
    report = sample(attacks=attacks())
    assert msgspec.json.decode(document.encode(report), type=document.Report) == report


def test_the_plot_has_a_line_a_row_and_a_hider_and_is_the_same_twice():
    report = sample(attacks=attacks())
    assert plots.attacks(report) == plots.attacks(report)
    found = texts(plots.attacks(report))
    assert "stego, knows the exact weights" in found
    assert "reply, trained on LSB matching 0.4" in found
    assert {"control: LSB matching 0.4", "sample, stego", "small, stego"} <= set(found)
