"""Inception-v3 for FID: its tensors are those of the published file, and its features those of plain functions."""

import importlib
import re
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from polymodal import datasets, evaluation
from polymodal.evaluation import evaluate, frechet_distance, load_inception, train_classifiers
from polymodal.evaluation.frechet import Moments
from polymodal.modalities import Image, Label
from polymodal.models import build
from polymodal.networks import Inception
from polymodal.networks.inception import BLOCKS
from polymodal.runtime.seeding import seed_streams
from polymodal.schema import Schema
from polymodal.studies import plan, study_comparison, study_run
from polymodal.table.table import Table

pytestmark = pytest.mark.slow

PUBLISHED = """
Conv2d_1a_3x3 32,3,3,3  Conv2d_2a_3x3 32,32,3,3  Conv2d_2b_3x3 64,32,3,3  Conv2d_3b_1x1 80,64,1,1
Conv2d_4a_3x3 192,80,3,3
Mixed_5b branch1x1 64,192,1,1  branch5x5_1 48,192,1,1  branch5x5_2 64,48,5,5  branch3x3dbl_1 64,192,1,1
Mixed_5b branch3x3dbl_2 96,64,3,3  branch3x3dbl_3 96,96,3,3  branch_pool 32,192,1,1
Mixed_5c branch1x1 64,256,1,1  branch5x5_1 48,256,1,1  branch5x5_2 64,48,5,5  branch3x3dbl_1 64,256,1,1
Mixed_5c branch3x3dbl_2 96,64,3,3  branch3x3dbl_3 96,96,3,3  branch_pool 64,256,1,1
Mixed_5d branch1x1 64,288,1,1  branch5x5_1 48,288,1,1  branch5x5_2 64,48,5,5  branch3x3dbl_1 64,288,1,1
Mixed_5d branch3x3dbl_2 96,64,3,3  branch3x3dbl_3 96,96,3,3  branch_pool 64,288,1,1
Mixed_6a branch3x3 384,288,3,3  branch3x3dbl_1 64,288,1,1  branch3x3dbl_2 96,64,3,3  branch3x3dbl_3 96,96,3,3
Mixed_6b branch1x1 192,768,1,1  branch7x7_1 128,768,1,1  branch7x7_2 128,128,1,7  branch7x7_3 192,128,7,1
Mixed_6b branch7x7dbl_1 128,768,1,1  branch7x7dbl_2 128,128,7,1  branch7x7dbl_3 128,128,1,7
Mixed_6b branch7x7dbl_4 128,128,7,1  branch7x7dbl_5 192,128,1,7  branch_pool 192,768,1,1
Mixed_6c branch1x1 192,768,1,1  branch7x7_1 160,768,1,1  branch7x7_2 160,160,1,7  branch7x7_3 192,160,7,1
Mixed_6c branch7x7dbl_1 160,768,1,1  branch7x7dbl_2 160,160,7,1  branch7x7dbl_3 160,160,1,7
Mixed_6c branch7x7dbl_4 160,160,7,1  branch7x7dbl_5 192,160,1,7  branch_pool 192,768,1,1
Mixed_6d branch1x1 192,768,1,1  branch7x7_1 160,768,1,1  branch7x7_2 160,160,1,7  branch7x7_3 192,160,7,1
Mixed_6d branch7x7dbl_1 160,768,1,1  branch7x7dbl_2 160,160,7,1  branch7x7dbl_3 160,160,1,7
Mixed_6d branch7x7dbl_4 160,160,7,1  branch7x7dbl_5 192,160,1,7  branch_pool 192,768,1,1
Mixed_6e branch1x1 192,768,1,1  branch7x7_1 192,768,1,1  branch7x7_2 192,192,1,7  branch7x7_3 192,192,7,1
Mixed_6e branch7x7dbl_1 192,768,1,1  branch7x7dbl_2 192,192,7,1  branch7x7dbl_3 192,192,1,7
Mixed_6e branch7x7dbl_4 192,192,7,1  branch7x7dbl_5 192,192,1,7  branch_pool 192,768,1,1
Mixed_7a branch3x3_1 192,768,1,1  branch3x3_2 320,192,3,3  branch7x7x3_1 192,768,1,1  branch7x7x3_2 192,192,1,7
Mixed_7a branch7x7x3_3 192,192,7,1  branch7x7x3_4 192,192,3,3
Mixed_7b branch1x1 320,1280,1,1  branch3x3_1 384,1280,1,1  branch3x3_2a 384,384,1,3  branch3x3_2b 384,384,3,1
Mixed_7b branch3x3dbl_1 448,1280,1,1  branch3x3dbl_2 384,448,3,3  branch3x3dbl_3a 384,384,1,3
Mixed_7b branch3x3dbl_3b 384,384,3,1  branch_pool 192,1280,1,1
Mixed_7c branch1x1 320,2048,1,1  branch3x3_1 384,2048,1,1  branch3x3_2a 384,384,1,3  branch3x3_2b 384,384,3,1
Mixed_7c branch3x3dbl_1 448,2048,1,1  branch3x3dbl_2 384,448,3,3  branch3x3dbl_3a 384,384,1,3
Mixed_7c branch3x3dbl_3b 384,384,3,1  branch_pool 192,2048,1,1
"""
"""The convolutions of torchvision's Inception v3 as lists of its weights have them, but those of the auxiliary head."""

ELSEWHERE = importlib.import_module("polymodal.evaluation.inception_features")
"""The file, whose name in its package is the function's."""


def published():
    """The shapes of the published file's tensors, by name."""
    shapes = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}
    for line in PUBLISHED.strip().splitlines():
        block = re.match(r"Mixed_\d\w ", line)
        for name, shape in re.findall(r"(\w+) ([\d,]+)", line[block.end() if block else 0 :]):
            whole, sides = f"{block[0].strip()}.{name}" if block else name, tuple(map(int, shape.split(",")))
            shapes[f"{whole}.conv.weight"] = sides
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{whole}.bn.{part}"] = sides[:1]
            shapes[f"{whole}.bn.num_batches_tracked"] = ()
    return shapes


@pytest.fixture(scope="module")
def network():
    """Random, of a scale at which something is left at the end, with statistics that all differ."""
    made = Inception().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for part in made.modules():
        if isinstance(part, torch.nn.Conv2d):
            spread = (2 / part.weight[0].numel()) ** 0.5
            part.weight.normal_(0, spread, generator=generator)
        if isinstance(part, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (part.weight, 0.7, 1.3),
                (part.bias, -0.2, 0.3),
                (part.running_mean, -0.2, 0.2),
                (part.running_var, 0.5, 1.5),
            ):
                tensor.uniform_(low, high, generator=generator)
    return made


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as root:
        yield Path(root)


@pytest.fixture(scope="module")
def weights(network, folder):
    save_file(network.state_dict(), folder / "inception.safetensors")
    return folder / "inception.safetensors"


@pytest.fixture
def small(monkeypatch):
    """Pictures of 75 pixels are the smallest that the network can see, and cost a sixteenth."""
    monkeypatch.setattr("polymodal.networks.inception.SIDE", 75)


def pictures(n, side=16, seed=0):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


class TestTensors:
    def test_they_are_those_of_the_published_file(self):
        with torch.device("meta"):
            made = Inception()
        assert {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()} == published()
        assert len(made.state_dict()) == 94 * 6 + 2
        assert {part.eps for part in made.modules() if isinstance(part, torch.nn.BatchNorm2d)} == {0.001}

    def test_there_are_as_many_numbers(self):
        """torchvision's Inception v3 has 23,834,568 without its auxiliary head, and eight classes fewer."""
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in Inception().parameters())
        assert count == 23_850_960 == 23_834_568 + 8 * 2049


def convolved(tensors, name, x, padding=(0, 0), stride=1):
    """A convolution of the reference."""
    mean, var, scale, shift = (
        tensors[f"{name}.bn.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    x = F.conv2d(x, tensors[f"{name}.conv.weight"], stride=stride, padding=padding)
    return ((x - mean) / (var + 0.001).sqrt() * scale + shift).clamp(min=0)


def averaged(x):
    """The mean of the up to nine pixels that are there."""
    kernel = torch.ones(x.shape[1], 1, 3, 3, dtype=x.dtype)
    sums, counts = (F.conv2d(one, kernel, padding=1, groups=x.shape[1]) for one in (x, torch.ones_like(x)))
    return sums / counts


def largest(x, stride=1, padding=1):
    """The largest of the nine pixels, by comparing nine shifted pictures."""
    x = F.pad(x, [padding] * 4, value=-torch.inf)
    height, width = x.shape[-2] - 2, x.shape[-1] - 2
    shifted = [x[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return torch.stack(shifted).amax(0)[..., ::stride, ::stride]


def chained(c, x, *steps):
    for name, *options in steps:
        x = c(name, x, *options)
    return x


ACROSS, DOWN = (0, 3), (3, 0)


def block_a(c, x):
    five = chained(c, x, ["branch5x5_1"], ["branch5x5_2", 2])
    double = chained(c, x, ["branch3x3dbl_1"], ["branch3x3dbl_2", 1], ["branch3x3dbl_3", 1])
    return torch.cat([c("branch1x1", x), five, double, c("branch_pool", averaged(x))], 1)


def block_b(c, x):
    double = chained(c, x, ["branch3x3dbl_1"], ["branch3x3dbl_2", 1], ["branch3x3dbl_3", 0, 2])
    return torch.cat([c("branch3x3", x, 0, 2), double, largest(x, 2, 0)], 1)


def block_c(c, x):
    seven = chained(c, x, ["branch7x7_1"], ["branch7x7_2", ACROSS], ["branch7x7_3", DOWN])
    ways = [[f"branch7x7dbl_{n}", DOWN if n % 2 == 0 else ACROSS] for n in (2, 3, 4, 5)]
    double = chained(c, x, ["branch7x7dbl_1"], *ways)
    return torch.cat([c("branch1x1", x), seven, double, c("branch_pool", averaged(x))], 1)


def block_d(c, x):
    three = chained(c, x, ["branch3x3_1"], ["branch3x3_2", 0, 2])
    ways = [["branch7x7x3_2", ACROSS], ["branch7x7x3_3", DOWN], ["branch7x7x3_4", 0, 2]]
    return torch.cat([three, chained(c, x, ["branch7x7x3_1"], *ways), largest(x, 2, 0)], 1)


def block_e(c, x, pool):
    y = c("branch3x3_1", x)
    three = [c("branch3x3_2a", y, (0, 1)), c("branch3x3_2b", y, (1, 0))]
    z = chained(c, x, ["branch3x3dbl_1"], ["branch3x3dbl_2", 1])
    double = [c("branch3x3dbl_3a", z, (0, 1)), c("branch3x3dbl_3b", z, (1, 0))]
    return torch.cat([c("branch1x1", x), *three, *double, c("branch_pool", pool(x))], 1)


REFERENCE = {
    **dict.fromkeys(["Mixed_5b", "Mixed_5c", "Mixed_5d"], block_a),
    "Mixed_6a": block_b,
    **dict.fromkeys(["Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"], block_c),
    "Mixed_7a": block_d,
    "Mixed_7b": partial(block_e, pool=averaged),
    "Mixed_7c": partial(block_e, pool=largest),
}


def plain(tensors, x):
    """Pictures in [-1, 1] to features."""
    c = partial(convolved, tensors)
    x = chained(c, x, ["Conv2d_1a_3x3", 0, 2], ["Conv2d_2a_3x3"], ["Conv2d_2b_3x3", 1])
    x = chained(c, largest(x, 2, 0), ["Conv2d_3b_1x1"], ["Conv2d_4a_3x3"])
    x = largest(x, 2, 0)
    for name, block in REFERENCE.items():
        x = block(lambda part, *rest, name=name: c(f"{name}.{part}", *rest), x)
    return x.mean((2, 3))


@contextmanager
def doubled(network):
    """In 64 bits for a while."""
    network.double()
    try:
        yield
    finally:
        network.float()


class TestNetwork:
    @pytest.mark.parametrize("name", BLOCKS)
    def test_a_block_is_what_plain_functions_make(self, network, name):
        tensors = {key: tensor.double() for key, tensor in network.state_dict().items()}
        block = network.get_submodule(name)
        channels, generator = next(block.children()).conv.in_channels, torch.Generator().manual_seed(0)
        x = torch.randn(2, channels, 7, 5, dtype=torch.float64, generator=generator)  # of both signs, unlike a padding
        with doubled(block):
            made = block(x)
        expected = REFERENCE[name](lambda part, *rest: convolved(tensors, f"{name}.{part}", *rest), x)
        torch.testing.assert_close(made, expected, rtol=1e-12, atol=1e-12)

    def test_the_whole_is_too(self, network, monkeypatch):
        monkeypatch.setattr("polymodal.networks.inception.SIDE", 123)
        x, tensors = pictures(1, 123).double(), {key: tensor.double() for key, tensor in network.state_dict().items()}
        with doubled(network):
            made = network(x)
        torch.testing.assert_close(made, plain(tensors, 2 * x - 1), rtol=1e-10, atol=1e-10)
        assert made.std() > 0.01  # something is left to compare

    @pytest.mark.parametrize(("height", "width"), [(12, 9), (400, 330)])
    def test_pictures_are_seen_at_299_between_minus_one_and_one(self, network, height, width):
        """Bilinear, pixels being areas: a new pixel's middle lies somewhere between the middles of two old ones."""
        x, seen = pictures(1, 400)[..., :height, :width], []
        hook = network.Conv2d_1a_3x3.register_forward_pre_hook(lambda part, inputs: seen.append(inputs[0]))
        with doubled(network):
            assert network(x.double()).shape == (1, 2048)
        hook.remove()
        rows, columns = (np.interp((np.arange(299) + 0.5) * n / 299 - 0.5, range(n), range(n)) for n in x.shape[2:])
        planes = [np.apply_along_axis(partial(np.interp, rows, range(height)), 0, one) for one in x[0].double().numpy()]
        planes = [np.apply_along_axis(partial(np.interp, columns, range(width)), 1, one) for one in planes]
        np.testing.assert_allclose(seen[0][0], 2 * np.stack(planes) - 1, atol=1e-12)


@pytest.mark.usefixtures("small")
class TestFeatures:
    def test_they_are_the_network_s(self, network, weights):
        x = pictures(3)
        torch.testing.assert_close(load_inception(weights)(x), network(x), rtol=1e-4, atol=1e-5)

    def test_the_same_pictures_give_the_same_bits(self, weights):
        x, state = pictures(3), torch.get_rng_state()
        first, second = load_inception(weights)(x), load_inception(str(weights))(x)
        assert first.equal(second)
        assert torch.get_rng_state().equal(state)
        assert not first.requires_grad

    def test_rows_do_not_see_each_other(self, weights, monkeypatch):
        features, x = load_inception(weights), pictures(5)
        whole = features(x)
        x[2] = torch.nan
        assert whole[[0, 1, 3, 4]].equal(features(x)[[0, 1, 3, 4]])
        monkeypatch.setattr(ELSEWHERE, "AT_ONCE", 2)
        x = pictures(5)
        torch.testing.assert_close(features(x), whole, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(features(x.flip(0)), whole.flip(0), rtol=1e-4, atol=1e-5)
        assert features(x[:0]).shape == (0, 2048)

    def test_files_without_counters_and_of_16_bits_are_read(self, network, folder, weights):
        kept = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("tracked")}
        save_file({name: tensor.half() for name, tensor in kept.items()}, folder / "half.safetensors")
        rounded = {name: tensor.half().float() for name, tensor in kept.items()}
        other = Inception().eval()
        assert not other.load_state_dict(rounded, strict=False).unexpected_keys
        x = pictures(2)
        torch.testing.assert_close(
            load_inception(folder / "half.safetensors")(x), other(x).detach(), rtol=1e-4, atol=1e-5
        )

    @pytest.mark.parametrize(
        ("x", "got"),
        [
            (torch.zeros(2, 1, 8, 8), r"torch.float32 \(2, 1, 8, 8\)"),
            (torch.zeros(3, 8, 8), r"torch.float32 \(3, 8, 8\)"),
            (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"torch.uint8 \(2, 3, 8, 8\)"),
        ],
    )
    def test_other_things_than_pictures_are_refused(self, weights, x, got):
        with pytest.raises(ValueError, match=rf"images must be floats in \[0, 1\], \(N, 3, H, W\); got {got}"):
            load_inception(weights)(x)


class TestFiles:
    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("name", ["weights.pth", "weights"])
    def test_a_pickle_is_refused_with_what_converts_it(self, tmp_path, zipped, name, monkeypatch):
        tensors = {"a": torch.rand(3, 2).T, "b": torch.tensor(3)}
        torch.save(tensors, tmp_path / name, _use_new_zipfile_serialization=zipped)
        monkeypatch.setattr(torch, "load", lambda *rest, **options: pytest.fail("it is read"))
        with pytest.raises(ValueError, match=r"must be a .safetensors file.* pickle") as refused:
            load_inception(tmp_path / name)
        monkeypatch.undo()
        exec(str(refused.value).partition("in Python: ")[2], {})
        made = load_file(tmp_path / "weights.safetensors")
        assert all(made[key].equal(tensor) for key, tensor in tensors.items())

    def test_torchvision_s_own_weights_are_refused(self, network, tmp_path):
        own = {"fc.weight": torch.zeros(1000, 2048), "AuxLogits.fc.bias": torch.zeros(1000)}
        save_file(own, tmp_path / "own.safetensors")
        with pytest.raises(
            ValueError, match=r"not that of torchvision; it does not fit the model: it has no Conv2d_1a"
        ) as told:
            load_inception(tmp_path / "own.safetensors")
        assert "it has AuxLogits.fc.bias, which the model does not have" in str(told.value)
        assert "fc.weight must be float32 (1008, 2048), is float32 (1000, 2048)" in str(told.value)

    def test_numbers_that_are_not_finite_are_refused(self, network, folder):
        odd = {name: tensor.bfloat16() for name, tensor in network.state_dict().items() if not name.endswith("tracked")}
        odd["Mixed_7a.branch3x3_1.bn.bias"] = odd["Mixed_7a.branch3x3_1.bn.bias"].index_fill(
            0, torch.tensor(7), torch.nan
        )
        save_file(odd, folder / "odd.safetensors")
        with pytest.raises(ValueError, match=r"finite numbers.*; Mixed_7a.branch3x3_1.bn.bias has others"):
            load_inception(folder / "odd.safetensors")

    def test_what_is_no_such_file_is_refused(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no.pth must exist, and does not"):
            load_inception(tmp_path / "no.pth")
        with pytest.raises(ValueError, match="must be a file; it is a folder"):
            load_inception(tmp_path)
        torch.save({}, tmp_path / "pickle.safetensors")
        with pytest.raises(ValueError, match=r"pickle.safetensors must be a safetensors file"):
            load_inception(tmp_path / "pickle.safetensors")


def moments(features, x, batch_size):
    made = Moments()
    for part in x.split(batch_size):
        made.add(features(part))
    return made.mean, made.covariance


@pytest.mark.usefixtures("small")
class TestFID:
    def test_of_a_table_with_itself_it_is_nothing(self, weights):
        looked = load_inception(weights)
        x = pictures(12)
        mean, cov = moments(lambda part: looked(part)[:, :256], x, 12)
        again = moments(lambda part: looked(part)[:, :256], x.flip(0), 5)
        assert frechet_distance(mean, cov, *again) < 1e-6 * np.trace(cov)
        darker = moments(lambda part: looked(part)[:, :256], 0.5 * x, 12)
        assert frechet_distance(mean, cov, *darker) > 0.1 * np.trace(cov)

    def test_evaluate_says_that_of_the_features(self, weights):
        """From means, covariances and eigenvalues of numpy, of what the table holds and what the seed draws."""
        data = datasets.load("polydigits", rows=100, held_out_rows=20)
        model = build("m-wae", data.schema, latent_dim=4)
        looked = load_inception(weights)
        ready = train_classifiers(data.train, epochs=1)
        scores = evaluate(
            model,
            data.test,
            tasks="generation",
            classifiers=ready,
            features=lambda x: looked(x)[:, :6],
            batch_size=7,
            seed=3,
        )
        fid = scores[scores["metric"] == "fid"].set_index("modality")
        assert list(fid.index) == ["m0", "m1", "m2", "m3", "m4"]
        assert set(fid["better"]) == {"lower"}
        assert set(fid["rows"]) == {20}
        with seed_streams(3, torch.device("cpu")):
            drawn = model.sample(20)
        for name in ("m0", "m3"):
            true, made = (looked(x)[:, :6].double().numpy() for x in (data.test.values[name] / 255, drawn[name]))
            covs = [np.cov(x, rowvar=False) for x in (true, made)]
            roots = np.sqrt(np.linalg.eigvals(covs[0] @ covs[1]).astype(complex)).real.sum()
            expected = np.square(true.mean(0) - made.mean(0)).sum() + sum(map(np.trace, covs)) - 2 * roots
            assert fid.loc[name, "value"] == pytest.approx(expected, rel=1e-5)

    def test_grey_pictures_are_looked_at_in_three_channels(self):
        schema = Schema({"photo": Image(1, 8, 8), "planes": Image(2, 8, 8), "kind": Label(2)})
        values = {"photo": torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8), "kind": torch.arange(40) % 2}
        values["planes"] = torch.randint(256, (40, 2, 8, 8), dtype=torch.uint8)
        table, seen = Table(values, schema=schema), []

        def look(x):
            seen.append(x)
            return x.flatten(1)[:, :4]

        model = build("m-wae", schema, latent_dim=2)
        scores = evaluate(model, table, tasks="generation", train=table, features=look)
        assert list(scores.loc[scores["metric"] == "fid", "modality"]) == ["photo"]
        assert seen[0].equal((values["photo"] / 255).expand(-1, 3, -1, -1))
        assert all(x.shape[1] == 3 and x.min() >= 0 and x.max() <= 1 for x in seen)


TINY = {"data.rows": 40, "held_out_rows": 20, "widths": [4], "latent_dim": 4, "epochs": 1}
STUDY = {"datasets": "polydigits", "models": ["m-wae", "mvae"], "settings": TINY, "seeds": 1, "tasks": ["generation"]}


class TestStudies:
    @pytest.fixture
    def cheap(self, monkeypatch):
        """Features that cost nothing."""
        study_run._load_features.cache_clear()
        monkeypatch.setattr(evaluation, "load_inception", lambda *where: lambda x: x.flatten(1)[:, :4])
        yield
        study_run._load_features.cache_clear()

    def test_weights_do_not_make_another_run(self, weights):
        with_them = plan(STUDY, inception=str(weights)).cells()
        assert [cell.name for cell in with_them] == [cell.name for cell in plan(STUDY).cells()]

    def test_what_cannot_be_is_refused_before_anything_runs(self, tmp_path, weights):
        with pytest.raises(ValueError, match=r"inception.* generation.* not among the tasks"):
            plan({**STUDY, "tasks": ["many-to-one"]}, inception=str(weights))
        with pytest.raises(FileNotFoundError, match=r"inception must be a file .*no.safetensors"):
            plan(STUDY, inception=str(tmp_path / "no.safetensors"))
        torch.save({}, tmp_path / "weights.pth")
        with pytest.raises(ValueError, match="a pickle can run any code"):
            study_comparison.compare(
                STUDY, inception=str(tmp_path / "weights.pth"), folder=tmp_path / "all", progress=False
            )
        assert not (tmp_path / "all").exists()

    @pytest.mark.usefixtures("cheap")
    def test_finished_runs_are_looked_at_and_not_trained(self, tmp_path, weights, monkeypatch):
        before = study_comparison.compare(STUDY, folder=tmp_path, progress=False)
        assert "fid" not in set(before.scores["metric"])
        monkeypatch.setattr(study_run, "fit", lambda *rest, **options: pytest.fail("it trains"))
        made = study_comparison.compare(STUDY, inception=str(weights), folder=tmp_path, progress=False)
        assert not made.failures
        own = made.scores[made.scores["metric"] == "fid"]
        assert own["value"].notna().all()
        assert len(own) == 2 * 5
        assert made.page is not None
        monkeypatch.setattr(study_run, "evaluate", lambda *rest, **options: pytest.fail("it scores"))
        again = study_comparison.compare(STUDY, inception=str(weights), folder=tmp_path, progress=False)
        pd.testing.assert_frame_equal(again.scores, made.scores)

    @pytest.mark.usefixtures("cheap")
    def test_they_stay_beside_scores_on_other_tasks(self, tmp_path, weights):
        made = study_comparison.compare(STUDY, inception=str(weights), folder=tmp_path, progress=False)
        study_comparison.compare({**STUDY, "tasks": ["many-to-one"]}, folder=tmp_path, progress=False)
        again = study_comparison.compare(STUDY, folder=tmp_path, progress=False)
        pd.testing.assert_frame_equal(again.scores, made.scores)
