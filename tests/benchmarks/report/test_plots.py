import xml.etree.ElementTree as ET

from tests.sample_report import sample, timing

from hidemia.benchmarks.report import plots


def texts(svg):
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_every_plot_is_svg_and_the_same_twice():
    for draw in (
        lambda: plots.latency(sample(), "hide"), lambda: plots.stages(sample()),
        lambda: plots.throughput(sample(), "analyze"), lambda: plots.pareto(sample()),
        lambda: plots.histogram(sample()),
    ):  # fmt: skip
        assert draw() == draw()
        assert texts(draw())


def test_every_rival_that_was_measured_has_its_row():
    found = " ".join(texts(plots.latency(sample(), "hide")))
    assert "PyTorch eager" in found
    assert "hide.fp32" in found
    assert "openvino" in found
    assert "compiled" not in found


def test_what_cannot_be_drawn_is_not():
    empty = sample(timings=[timing(batch=8)], stages=[], models=sample().models[:1], visibility=[])
    assert plots.latency(empty, "hide") is None
    assert plots.throughput(empty, "hide") is None
    assert plots.stages(empty) is plots.pareto(empty) is plots.histogram(empty) is None
