"""The file of a run's scores: added to task by task, whole at every moment, and never shorter by another task."""

from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import pandas as pd
import pytest

from polymodal.evaluation.frame import COLUMNS, ORDER
from polymodal.evaluation.score_file import SCORED, read_scores, write_scores

TASKS = ("reconstruction", "one-to-one", "sampling", "probe")


def scores_of(task, value=0.1, metrics=("acc", "rmse"), modality='kind, or "sort"'):
    lines = [
        (task, modality, "others", metric, "higher", value + place / 3, 50, "") for place, metric in enumerate(metrics)
    ]
    return pd.DataFrame(lines, columns=COLUMNS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scores.csv"


@pytest.mark.parametrize("order", [*permutations(TASKS)], ids=" ".join)
def test_the_order_in_which_tasks_are_scored_does_not_matter(path, order):
    for number, task in enumerate(order):
        before = path.read_text().splitlines() if path.exists() else []
        write_scores(path, scores_of(task))
        assert {*before} <= {*path.read_text().splitlines()}
        assert len(read_scores(path)) == 2 * (number + 1)
    assert read_scores(path)["task"].tolist() == [task for task in TASKS for _ in range(2)]
    at_once = path.with_name("once.csv")
    write_scores(at_once, pd.concat([scores_of(task) for task in TASKS]))
    assert at_once.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("task", ORDER)
def test_a_task_that_is_scored_again_has_its_new_lines_alone(path, task):
    others = [other for other in ORDER if other != task and (task, other) != ("coherence", "calibration")]
    for other in [*others, task]:
        write_scores(path, scores_of(other, 1 / 3, metrics=("acc", "rmse", "ssim")))
    before = read_scores(path)
    write_scores(path, scores_of(task, 0.7))
    after = read_scores(path)
    assert after[after["task"] == task]["value"].tolist() == ["0.7", repr(0.7 + 1 / 3)]
    pd.testing.assert_frame_equal(
        after[after["task"].isin(others)].reset_index(drop=True),
        before[before["task"].isin(others)].reset_index(drop=True),
    )
    assert after["task"].tolist() == sorted(after["task"], key=ORDER.index)


def test_what_comes_with_a_task_goes_with_it_and_a_task_may_have_no_line(path):
    write_scores(path, pd.concat([scores_of("coherence"), scores_of("calibration"), scores_of("likelihood")]))
    write_scores(path, scores_of("coherence", 0.5))
    assert read_scores(path)["task"].tolist() == ["coherence"] * 2 + ["likelihood"] * 2
    write_scores(path, scores_of("coherence").iloc[:0], ["likelihood"])
    assert read_scores(path)["task"].tolist() == ["coherence"] * 2


def test_distances_between_features_of_further_weights_stay_without_these(path):
    write_scores(path, scores_of("generation", metrics=("frechet", "fid")))
    write_scores(path, scores_of("generation", 0.5, metrics=("frechet",)))
    assert read_scores(path)[["metric", "value"]].to_numpy().tolist() == [
        ["frechet", "0.5"],
        ["fid", repr(0.1 + 1 / 3)],
    ]
    write_scores(path, scores_of("generation", 0.9, metrics=("frechet", "fid")))
    assert read_scores(path)["value"].tolist() == ["0.9", repr(0.9 + 1 / 3)]


def test_lines_that_it_does_not_know_stay_as_they_are(path):
    path.write_text(
        "task,modality,given,metric,better,value,mine\nwalking,NA,,steps,higher,1e3,0.10\nprobe,kind,null,acc,higher,,x\n"
    )
    write_scores(path, scores_of("many-to-one"))
    frame = read_scores(path)
    assert frame["task"].tolist() == ["many-to-one", "many-to-one", "probe", "walking"]
    assert frame[frame["task"] == "walking"][["modality", "given", "value", "mine"]].to_numpy().tolist() == [
        ["NA", "", "1e3", "0.10"]
    ]
    assert frame["given"].tolist()[2] == "null"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "must be a CSV file"),
        (b"\xff\xfe\x00\x01", "must be a CSV file"),
        (b"a,b\n1,2\n", "must have the columns task, modality, given, metric, better, value; missing: task"),
        (b"task,modality,given,metric,better\n", "missing: value; restore it"),
        (b'task,modality,given,metric,better,value\n"', "must be a CSV file"),
        (b"task;modality;given;metric;better;value\n", "missing: task"),
    ],
)
def test_a_file_of_something_else_is_refused_and_stays(path, content, said):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        write_scores(path, scores_of("probe"))
    assert path.read_bytes() == content
    assert [one.name for one in path.parent.iterdir()] == ["scores.csv"]


def test_a_folder_in_its_place_is_named(path):
    path.mkdir()
    with pytest.raises(ValueError, match=r"scores.csv must be a CSV file"):
        write_scores(path, scores_of("probe"))


def test_several_at_once_lose_nothing(path):
    (path.parent / "model").mkdir()
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda task: write_scores(path, scores_of(task)), [task for task in ORDER if task != "coherence"])
        )
    assert {*read_scores(path)["task"]} == {*ORDER} - {"coherence"}
    assert {*SCORED} <= {*read_scores(path)}
