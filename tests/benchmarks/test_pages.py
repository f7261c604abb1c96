import pytest

from hidemia.benchmarks.pages import END, begin, renewed


def test_only_what_lies_between_the_marks_is_replaced():
    page = f"before\n{begin('card')}\nold\n{END}\nafter\n"
    assert renewed(page, "card", ["new"]) == f"before\n{begin('card')}\n\nnew\n\n{END}\nafter\n"
    assert renewed(renewed(page, "card", ["old"]), "card", ["new"]) == renewed(page, "card", ["new"])


@pytest.mark.parametrize("page", ["", begin("card"), f"{END} {begin('card')}", f"{begin('other')} {END}"])
def test_a_page_without_the_marks(page):
    with pytest.raises(ValueError, match=r"expected a page with .*card"):
        renewed(page, "card", ["new"])
