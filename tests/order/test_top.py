import pytest

from shortlist.order.top import Top
from shortlist.state.state import State
from tests.order.checks import rule_rows
from tests.state.toys import toy_batch, toy_catalogue


@pytest.mark.parametrize("k", [1, 3, 100])
def test_first_k_of_every_request(k: int) -> None:
    batch = toy_batch([5, 0, 2, 12])
    shown = rule_rows(Top(k), batch, State(toy_catalogue()))
    assert shown == [batch.request(i).item[:k].tolist() for i in range(batch.n)]


def test_nothing_in_nothing_out() -> None:
    assert rule_rows(Top(3), toy_batch([]), State(toy_catalogue())) == []
