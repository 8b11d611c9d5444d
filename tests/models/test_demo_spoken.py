"""The embedded models that see and hear digits, and their data: pairs that leak nothing, speakers held out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open

from art_multimodal import FusionClassifier, InputError, ModularModel, load_model
from art_multimodal.datasets import open_captioned, open_data
from art_multimodal.demo import views
from art_multimodal.demo.spoken import (
    BANDS,
    DATA,
    FUSIONS,
    STEPS,
    TASKS,
    SpeechEncoder,
    label_of,
    load_spoken,
    new_spoken,
    weights_of,
)
from art_multimodal.demo.spoken_data import SpokenData
from art_multimodal.models.fusions import FUSIONS as REGISTRY
from art_multimodal.models.multimodal import Part
from art_multimodal.sample_arrays import samples, with_field
from tools.demo_models import cut_spoken, train_spoken

EVERY = [(task, fusion) for task in TASKS for fusion in FUSIONS]


@pytest.fixture(scope="module", params=list(TASKS))
def data(request) -> SpokenData:
    opened = open_data(f"demo:spoken/{request.param}")
    assert isinstance(opened, SpokenData)
    return opened


@pytest.fixture(scope="module")
def sums() -> SpokenData:
    return SpokenData("complementary")


def right(task: str, fusion: str, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    classifier = FusionClassifier(load_model(f"demo:spoken/{task}/{fusion}"), device_type="cpu")
    return classifier.predict_labels(x) == labels


def without(data: SpokenData, name: str) -> np.ndarray:
    x = data.samples()
    return with_field(x, name, data.modalities[name].left_out(x[name]))


def test_samples_are_images_and_spectrograms_of_their_own_length(data) -> None:
    x = data.samples()
    assert len(data) == 1000 and list(data.modalities) == ["digit", "speech"]
    for name, modality in data.modalities.items():
        modality.check(x[name])
        assert not modality.missing(x[name]).any()
    lengths = x["speech"]["length"]
    assert len(np.unique(lengths)) > 20 and lengths.max() <= STEPS
    # Each recording's loudest bin is 1.
    assert np.array_equal(x["speech"]["values"].max(axis=(1, 2)), np.ones(1000))
    few = data.samples(np.array([3, 1]))
    assert np.array_equal(few["speech"]["values"], x["speech"]["values"][[3, 1]])
    few["digit"] = 0
    assert data.samples(slice(4))["digit"].any(axis=(1, 2, 3)).all()


def test_each_written_digit_and_each_recording_stands_in_one_pair(data) -> None:
    x = data.samples()
    for name in ("digit", "speech"):
        values = data.modalities[name].values(x[name])
        assert len({one.tobytes() for one in values}) == 1000
        assert np.array_equal(np.bincount(data.digits[name]), np.full(10, 100))
    # Labels take turns, and both speakers have as many of each.
    assert np.array_equal(data.labels, np.tile(np.arange(10), 100))
    for speaker in cut_spoken.HELD_OUT:
        assert np.array_equal(np.bincount(data.labels[data.speakers == speaker]), np.full(10, 50))
    assert set(data.speakers) == set(cut_spoken.HELD_OUT)


def test_one_modality_says_nothing_about_the_sum(sums) -> None:
    for shown in sums.digits.values():
        counts = np.zeros((10, 10), dtype=int)
        np.add.at(counts, (shown, sums.labels), 1)
        assert np.array_equal(counts, np.full((10, 10), 10))
    assert np.array_equal(sums.labels, (sums.digits["digit"] + sums.digits["speech"]) % 10)


def test_redundant_pairs_show_one_digit_twice() -> None:
    data = SpokenData("redundant")
    assert np.array_equal(data.digits["digit"], data.labels) and np.array_equal(data.digits["speech"], data.labels)


def test_written_digits_are_those_that_no_model_was_trained_on(data) -> None:
    from art_multimodal.demo.views_data import ViewsData

    held_out = {one.tobytes() for one in ViewsData().samples()["pix"]}
    assert {one.tobytes() for one in data.samples()["digit"]} == held_out


def test_source_and_licence_stand_in_the_file_and_all_of_it_is_small() -> None:
    with safe_open(DATA, "numpy") as opened:
        about = opened.metadata()["about"]
    assert "Free Spoken Digit Dataset" in about and "CC BY-SA 4.0" in about and "Jakobovski" in about
    spoken = [DATA, *(weights_of(*one) for one in EVERY)]
    of_views = [views.DATA, *map(views.weights_of, views.FUSIONS)]
    assert sum(path.stat().st_size for path in spoken) <= 2_000_000
    assert sum(path.stat().st_size for path in (*spoken, *of_views)) <= 4_000_000


def test_names() -> None:
    for task, fusion in EVERY:
        model = load_model(f"demo:spoken/{task}/{fusion}")
        assert isinstance(model, ModularModel) and not model.training
        assert type(model.fusion) is REGISTRY[fusion] and model.class_names == TASKS[task]
    for name in ("demo:spoken", "demo:spoken/complementary"):
        model = load_model(name)
        assert type(model.fusion) is REGISTRY["concat"] and model.class_names == TASKS["complementary"]
    assert open_data("demo:spoken").class_names == TASKS["complementary"]
    # The tasks have other answers, so that data of one are not taken for those of the other.
    assert not set(TASKS["complementary"]) & set(TASKS["redundant"])
    with pytest.raises(InputError, match=r"spoken/redundent.*Did you mean spoken/redundant"):
        load_model("demo:spoken/redundent")
    with pytest.raises(InputError, match="fusion of demo:spoken"):
        new_spoken("redundant", "latte")
    for refused in (lambda: load_spoken("sums"), lambda: SpokenData("sums"), lambda: label_of("sums", 1, 2)):
        with pytest.raises(InputError, match="task of demo:spoken"):
            refused()
    with pytest.raises(InputError, match="demo:spoken/redundant has no captions"):
        open_captioned("demo:spoken/redundant")


@pytest.mark.parametrize(("task", "fusion"), EVERY)
def test_behind_the_length_nothing_counts(task: str, fusion: str) -> None:
    """Neither how much there is of it nor what it is; and an attack gets no gradient there."""
    data, model = SpokenData(task), load_spoken(task, fusion).double()
    x = data.samples(np.argsort(data.samples()["speech"]["length"], kind="stable")[:40])
    inputs = model.collate(x)
    scores = model(inputs)
    speech = inputs["speech"]
    longest = int(speech.lengths.max())
    assert longest < STEPS
    shorter = Part(speech.values[:, :longest], speech.present, speech.lengths)
    assert (model(inputs | {"speech": shorter}) - scores).abs().max() < 1e-9
    one = model(model.collate(samples(digit=x["digit"][:1], speech=[x["speech"]["values"][0, : speech.lengths[0]]])))
    assert (one - scores[:1]).abs().max() < 1e-9
    encoder = model.towers["speech"].module
    noisy = torch.where(speech.mask[:, :, None], speech.values, torch.rand_like(speech.values)).requires_grad_()
    embedded = encoder(noisy, speech.mask)
    assert (embedded - encoder(speech.values, speech.mask)).abs().max() < 1e-9
    (gradient,) = torch.autograd.grad(embedded.sum(), noisy)
    assert not gradient[~speech.mask].any() and gradient[speech.mask].any()


def test_words_of_any_length_are_embedded() -> None:
    torch.manual_seed(0)
    encoder, lengths = SpeechEncoder().double(), torch.tensor([0, 1, 2, 5, STEPS])
    values = torch.rand(5, STEPS, BANDS, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(STEPS) < lengths.clamp_min(1)[:, None]
    embedded = encoder(values, mask)
    (gradient,) = torch.autograd.grad(embedded.square().sum(), values)
    assert embedded.isfinite().all() and gradient.isfinite().all()
    # Order counts, as six and nine are other words backwards.
    assert (encoder(values.flip(1), mask)[-1] - embedded[-1]).abs().max() > 1e-3


@pytest.mark.parametrize("fusion", FUSIONS)
def test_written_digits_are_recognised_with_and_without_speech(fusion: str) -> None:
    data = SpokenData("redundant")
    assert right("redundant", fusion, data.samples(), data.labels).mean() >= 0.9
    assert right("redundant", fusion, without(data, "speech"), data.labels).mean() >= 0.9
    assert right("redundant", fusion, without(data, "digit"), data.labels).mean() >= 0.5


@pytest.mark.parametrize("fusion", ["concat", "gated"])
def test_a_sum_takes_both(sums, fusion: str) -> None:
    assert right("complementary", fusion, sums.samples(), sums.labels).mean() >= 0.6
    for name in sums.modalities:
        alone = right("complementary", fusion, without(sums, name), sums.labels).mean()
        # Whatever it says, one in ten is to be expected; the share of 1,000 answers lies within 4 standard errors.
        assert abs(alone - 0.1) < 4 * (0.1 * 0.9 / 1000) ** 0.5


def test_scores_that_are_added_cannot_tell_sums(sums) -> None:
    assert right("complementary", "late", sums.samples(), sums.labels).mean() < 0.2


@pytest.mark.parametrize("task", list(TASKS))
def test_no_modality_is_idle(task: str) -> None:
    data = SpokenData(task)
    classifier = FusionClassifier(load_model(f"demo:spoken/{task}"), device_type="cpu")
    x = data.samples(slice(50))
    for name in data.modalities:
        gradient = classifier.loss_gradient(x, data.labels[:50], modality=name)
        assert np.abs(gradient).reshape(50, -1).max(axis=1).min() > 0


# Made and trained.


@pytest.fixture(scope="module")
def recordings() -> dict[str, np.ndarray]:
    """Ten short recordings of each digit by six speakers: noise, each of its own length."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1200, 3000, size=600)
    digit, speaker = (grid.ravel() for grid in np.meshgrid(np.arange(10), np.arange(6), indexing="ij"))
    return {
        "samples": rng.integers(-3000, 3000, size=lengths.sum()).astype(np.int16),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]),
        "digit": np.repeat(digit, 10).astype(np.uint8),
        "speaker": np.repeat(speaker, 10).astype(np.uint8),
    }


def test_a_tone_stands_in_its_band_and_silence_is_cut_off() -> None:
    time = np.arange(cut_spoken.RATE) / cut_spoken.RATE
    during = (time >= 0.3) & (time < 0.6)
    found = {}
    for frequency in (200, 1000, 3500):
        tone = (8000 * np.sin(2 * np.pi * frequency * time) * during).astype(np.int16)
        made = cut_spoken.log_mel(tone)
        # 0.3 seconds, the frames that overlap their ends, and one more on either side.
        assert 18 <= len(made) <= 24 and made.dtype == np.uint8
        # However loud it is, but for the rounding of soft samples to whole numbers.
        assert np.abs(made.astype(int) - cut_spoken.log_mel(tone * 2)).max() <= 1
        found[frequency] = int(made[len(made) // 2].argmax())
        edges = cut_spoken.mel_matrix()[:, found[frequency]]
        assert edges[round(frequency * cut_spoken.FRAME / cut_spoken.RATE)] > 0.3
    assert found[200] < found[1000] < found[3500]


def test_of_what_is_too_long_the_loudest_part_stays() -> None:
    rng = np.random.default_rng(0)
    long = rng.normal(size=3 * cut_spoken.RATE) * np.linspace(100, 4000, 3 * cut_spoken.RATE)
    made = cut_spoken.log_mel(long.astype(np.int16))
    assert made.shape == (STEPS, BANDS)
    assert np.abs(made[-6:].astype(int).mean() - cut_spoken.log_mel(long.astype(np.int16)[-8000:])[-6:].mean()) < 3


def test_every_band_hears_something() -> None:
    assert cut_spoken.mel_matrix().sum(dim=0).min() > 0.5


def test_only_speakers_who_are_held_out_are_shipped(recordings) -> None:
    seen = np.tile(np.arange(10), 20)
    before = cut_spoken.cut(recordings, seen)
    rows = np.flatnonzero(recordings["speaker"] >= 4)
    assert np.array_equal(before["digits"], recordings["digit"][rows])
    assert before["lengths"].sum() == len(before["frames"])
    changed = recordings | {"samples": recordings["samples"].copy()}
    for row in np.flatnonzero(recordings["speaker"] < 4):
        changed["samples"][recordings["offsets"][row] : recordings["offsets"][row + 1]] = 0
    after = cut_spoken.cut(changed, seen)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    heard = train_spoken.recordings_of(changed)
    assert set(heard.speakers) == {0, 1, 2, 3} and len(heard.digits) == 400


@pytest.mark.parametrize("task", list(TASKS))
def test_pairs_depend_on_the_seed_alone(recordings, task: str) -> None:
    seen, rows = np.tile(np.arange(10), 20), np.flatnonzero(recordings["speaker"] >= 4)
    heard, speakers = recordings["digit"][rows], recordings["speaker"][rows]
    pairs = cut_spoken.paired(task, seen, heard, speakers, seed=0)
    assert np.array_equal(pairs, cut_spoken.paired(task, seen, heard, speakers, seed=0))
    assert not np.array_equal(pairs, cut_spoken.paired(task, seen, heard, speakers, seed=1))
    assert np.array_equal(np.sort(pairs, axis=0), np.stack([np.arange(200)] * 2, axis=1))
    assert np.array_equal(label_of(task, seen[pairs[:, 0]], heard[pairs[:, 1]]), np.tile(np.arange(10), 20))


def test_varied_recordings_stay_spectrograms(recordings) -> None:
    heard = train_spoken.recordings_of(recordings)
    frames, lengths = train_spoken.varied(heard.frames, heard.lengths, torch.Generator().manual_seed(0))
    assert frames.min() >= 0 and frames.max() <= 1 and lengths.max() <= STEPS
    behind = torch.arange(STEPS) >= lengths[:, None]
    assert not frames[behind].any() and not torch.equal(lengths, heard.lengths)


@pytest.mark.parametrize("task", list(TASKS))
def test_training_script_runs_and_repeats(tmp_path, monkeypatch, capsys, recordings, task: str) -> None:
    out, file = tmp_path / "weights.safetensors", tmp_path / "recordings.npz"
    np.savez(file, **recordings)
    arguments = ["train", str(file), "--task", task, "--fusion", "gated", "--steps", "3", "--out", str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    train_spoken.main()
    size = sum(p.numel() for p in new_spoken(task, "gated").parameters())
    assert f"wrote {size} parameters" in capsys.readouterr().out
    first = out.read_bytes()
    # Whatever the process has drawn meanwhile.
    torch.rand(7)
    train_spoken.main()
    assert out.read_bytes() == first
    monkeypatch.setattr("sys.argv", [*arguments, "--seed", "1"])
    train_spoken.main()
    assert out.read_bytes() != first


def test_training_never_overwrites_by_mistake(monkeypatch, tmp_path) -> None:
    for chosen in (["--task", "redundant"], ["--fusion", "late"], []):
        monkeypatch.setattr("sys.argv", ["train", "recordings.npz", *chosen, "--out", str(tmp_path / "x")])
        with pytest.raises(SystemExit):
            train_spoken.main()
