"""`polymodal compare` on a study: what it prints, and how it ends."""

from commands import within

STUDY = """
datasets: {polydigits: {data.rows: 40, held_out_rows: 20, widths: [4]}}
models: {m-wae: null, mvae: {learning_rate: 1.0e+18}}
settings: {latent_dim: 4, epochs: 3, batch_size: 10}
seeds: 1
"""


def test_a_run_that_fails_is_told_and_the_rest_is_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(STUDY)
    done = within(monkeypatch, capsys, "compare", "mine.yaml", "--folder", "studies")
    assert done.returncode == 1
    assert "mvae on polydigits, seed 0 failed: " in done.stdout
    page = (tmp_path / "studies" / "mine" / "comparison.html").read_text()
    assert "1 of 2 runs are finished, 1 of them failed" in page
    planned = within(monkeypatch, capsys, "compare", "mine.yaml", "--folder", "studies", "--dry-run")
    rows = [line.split() for line in planned.stdout.splitlines() if line.startswith("polydigits")]
    assert [(row[1], row[-2:]) for row in rows] == [("m-wae", ["1", "1"]), ("mvae", ["1", "0"])]


def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(STUDY.replace("mvae", "mave"))
    for arguments, message in (
        (["mine.yaml"], "polymodal: unknown model 'mave'; known are mvae"),
        (["polydigits-bta"], "polymodal: unknown preset 'polydigits-bta'; known are polydigits-beta"),
        (["polydigits-beta", "--on", "slurm"], "polymodal: unknown executor 'slurm'; known are"),
        ([], "polymodal: either a study, such as polymnist-small, or --scores must be"),
        (
            ["polydigits-beta", "--scores", "a.csv"],
            "polymodal: either a study, such as polymnist-small, or --scores must be",
        ),
    ):
        done = within(monkeypatch, capsys, "compare", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith(message)
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()
