"""Pieces of work in threads: in order, without gradients, and leaving PyTorch as it was."""

import threading

import pytest
import torch

from polymodal.runtime.threads import map_in_threads

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def number_in_a_new_thread():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return seen[0]


def test_results_come_in_order_from_one_core_each_without_gradients():
    seen = map_in_threads(lambda i: (i, torch.get_num_threads(), torch.is_grad_enabled()), range(20), CPU)
    assert seen == [(i, 1, False) for i in range(20)]


def test_threads_that_come_later_have_as_many_cores_as_before():
    before = number_in_a_new_thread()
    map_in_threads(lambda i: i, range(4), CPU)
    assert (torch.get_num_threads(), number_in_a_new_thread()) == (2, before)


def test_an_error_is_raised_and_leaves_the_number_alone():
    with pytest.raises(ZeroDivisionError):
        map_in_threads(lambda i: 1 / i, range(4), CPU)
    assert number_in_a_new_thread() == 2


def test_one_piece_runs_where_it_is():
    assert map_in_threads(lambda i: threading.current_thread() is threading.main_thread(), range(1), CPU) == [True]
