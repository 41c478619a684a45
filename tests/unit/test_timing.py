"""How functions are timed in turn."""

import torch

from benchmarks.timing import interleave


def test_they_take_turns_draw_the_same_and_one_pair_is_not_counted():
    calls, shares = [], []
    pairs = interleave(
        lambda i: calls.append(("first", i, float(torch.rand(())))),
        lambda i: calls.append(("second", i, float(torch.rand(())))),
        budget=1e-9,
        fewest=4,
        report=shares.append,
    )
    assert len(pairs) == 4
    assert [call[:2] for call in calls] == [(name, i) for i in range(5) for name in ("first", "second")]
    assert all(first[2] == second[2] for first, second in zip(calls[::2], calls[1::2], strict=True))
    assert len({draw for _, _, draw in calls}) == 5
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_a_pair_that_would_not_fit_is_not_begun(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def lasting(seconds):
        return lambda i: now.__setitem__(0, now[0] + seconds)

    assert interleave(lasting(1.0), lasting(3.0), budget=25.0) == [(1.0, 3.0)] * 5
    assert interleave(lasting(1.0), lasting(3.0), budget=2.0) == [(1.0, 3.0)] * 3
    assert interleave(lasting(1.0), lasting(2.0), lasting(3.0), budget=31.0) == [(1.0, 2.0, 3.0)] * 4
