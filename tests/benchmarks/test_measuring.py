from tests.sample_report import timing

from hidemia.benchmarks.latency.worker import COPY_BYTES
from hidemia.benchmarks.measuring import limits
from hidemia.benchmarks.timing import PRODUCT_SIDE


def test_the_machines_limits_are_the_best_of_all_groups():
    product = [timing("limit", times, rival="matrix product", graph="") for times in ((20.0, 30.0), (10.0, 30.0, 40.0))]
    copy = [timing("limit", (50.0, 40.0), rival="copy", graph="")]
    (found,) = limits([timing(), *product, *copy])
    assert found.threads == 2
    assert found.product_gflops == round(2 * PRODUCT_SIDE**3 / 0.010 / 1e9, 1)
    assert found.copy_gb_s == round(2 * COPY_BYTES / 0.040 / 1e9, 2)
    assert found.unsteadiness == 3.0  # the median of five is 30, the best 10
