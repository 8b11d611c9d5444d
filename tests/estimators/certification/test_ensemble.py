"""What an ensemble asks of its base classifier, and what it refuses."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, set_model_preprocess_cfg
from several import classifier, make_samples
from tiny import TinyEncoder, TinyFusion
from torch import nn

from art_multimodal import FusionClassifier, ZeroShotClassifier, image_text_pairs
from art_multimodal.ablation import Blocks, Elements, Points, Steps, Words
from art_multimodal.errors import InputError
from art_multimodal.estimators.certification import (
    ABSTAINED,
    AblatedEnsemble,
    AllSubsets,
    Design,
    Independent,
    Masks,
    Partition,
    masks_of,
)
from art_multimodal.modalities import table
from art_multimodal.models.families.open_clip.encoder import OpenCLIPEncoder
from art_multimodal.sample_arrays import samples, with_field

KEEP = {"rgb": 3, "audio": 1, "lab": 2, "note": 1}


def elements_of_all(one: FusionClassifier) -> dict[str, Elements]:
    kinds = {"rgb": lambda m: Blocks(m, 2), "audio": Steps, "lab": Points, "note": Words}
    return {name: kinds[name](modality) for name, modality in one.modalities.items()}


def some(names: tuple[str, ...], one: FusionClassifier) -> dict[str, Elements]:
    return {name: elements_of_all(one)[name] for name in names}


@pytest.mark.parametrize("kind", ["late", "joint"])
@pytest.mark.parametrize("names", [("rgb", "lab"), ("audio", "note"), ("rgb", "audio", "lab", "note")])
def test_votes_are_the_classifiers_answers_about_what_is_left(kind: str, names: tuple[str, ...]) -> None:
    one, x = classifier(kind), make_samples(notes=("a cat", "red", "what is this?", "a cat", "blue", "big cat"))
    elements = some(names, one)
    masks = Partition({name: KEEP[name] for name in names})
    ensemble = AblatedEnsemble(one, elements, masks, batch_size=7)
    for row, certificate in enumerate(ensemble.certify(x)):
        votes = np.zeros(one.nb_classes, dtype=int)
        ballot = masks.ballot(certificate.counts)
        for seen in ballot.seen:
            shown = x[row : row + 1]
            for name, view in zip(names, seen, strict=True):
                kept = ballot.kept[name][view : view + 1]
                shown = with_field(shown, name, elements[name].keep(shown[name], kept))
            votes[one.predict(shown)[0].argmax()] += 1
        assert certificate.votes.tolist() == votes.tolist()
        assert certificate.prediction == votes.argmax()
        assert ensemble.predict(x[row : row + 1])[0].tolist() == pytest.approx((votes / votes.sum()).tolist())


def test_towers_are_asked_once_for_each_view_and_not_for_each_vote() -> None:
    one, x = classifier("late"), make_samples(lengths=(5,), notes=("a big red cat",))
    ensemble = AblatedEnsemble(one, some(("rgb", "note"), one), Partition({"rgb": 3, "note": 1}))
    asked = dict.fromkeys(one.modalities, 0)

    def count(name: str):
        def hook(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            asked[name] += len(output)

        return hook

    for name in asked:
        one.multimodal.tower(name).register_forward_hook(count(name))
    ensemble.predict(x)
    # 9 blocks in 3 groups, 4 words in 4: 12 votes of 3 + 4 passes; the others are seen whole, once.
    assert asked == {"rgb": 3, "audio": 1, "lab": 1, "note": 4}
    assert ensemble.passes == {**asked, "votes": 12}


def test_a_zero_shot_classifier_votes_about_images() -> None:
    one = ZeroShotClassifier(TinyEncoder(), ["cat", "dog", "owl"], device_type="cpu")
    x = np.random.default_rng(0).random((3, 3, 9, 9), dtype=np.float32)
    elements = {"image": Blocks(one.modalities["image"], 3)}
    ensemble = AblatedEnsemble(one, elements, Design({"image": 3}))
    certificates = ensemble.certify(x)
    assert [certificate.votes.sum() for certificate in certificates] == [12, 12, 12]
    predictions, radii = certificates.as_art("image")
    assert predictions.tolist() == ensemble.predict(x).argmax(axis=1).tolist()
    assert radii.tolist() == [certificate.radius["image"] for certificate in certificates]
    with pytest.raises(InputError, match="no modality 'text' to hide a part of; it has image"):
        AblatedEnsemble(one, {"text": Words(one.modalities["text"])}, AllSubsets({"text": 1}))


def test_a_fusion_model_votes_about_pairs() -> None:
    one = FusionClassifier(TinyFusion(), device_type="cpu")
    pairs = image_text_pairs(
        np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32), ["is this a cat", "what big ears it has"]
    )
    elements = {"image": Blocks(one.modalities["image"], 4), "text": Words(one.modalities["text"])}
    certificates = AblatedEnsemble(one, elements, Partition({"image": 1, "text": 1})).certify(pairs)
    assert [certificate.votes.sum() for certificate in certificates] == [16, 20]
    assert [certificate.counts["text"] for certificate in certificates] == [4, 5]


ROW = table("row", 5, fill=0.5)


def of_function(function, masks: Masks, **settings) -> AblatedEnsemble:
    return AblatedEnsemble(function, {"row": Points(ROW)}, masks, modalities={"row": ROW}, nb_classes=2, **settings)


def rows(count: int = 2) -> np.ndarray:
    return samples(row=np.random.default_rng(0).random((count, 5)))


def test_scores_that_are_no_numbers_vote_for_nobody() -> None:
    def scores(x: np.ndarray) -> np.ndarray:
        found = np.tile([1.0, 0.0], (len(x), 1))
        # Two of five votes, each of which sees one column.
        found[(x["row"][:, :2] != 0.5).any(axis=1)] = np.nan
        return found

    (certificate,) = of_function(scores, Partition({"row": 1})).certify(rows(1))
    assert certificate.votes.tolist() == [3, 0] and certificate.without_class == 2
    # 3 of 5: one column turned leaves 2 against 1, two turned 1 against 2.
    assert certificate.radius == {"row": 1}
    (nothing,) = of_function(lambda x: np.full((len(x), 2), np.nan), Partition({"row": 1})).certify(rows(1))
    assert nothing.prediction == ABSTAINED and nothing.abstained and nothing.radius == {"row": -1}
    assert not nothing.covers({})


def test_equal_votes_go_to_the_class_that_comes_first() -> None:
    """Three votes each see one half: what is exactly as many is decided as the smoothed classifier decides."""
    keep_one = Partition({"row": 1})
    says = lambda x: np.where((x["row"][:, :4] != 0.5).any(axis=1), 0, 1)  # noqa: E731
    (ahead,) = of_function(says, keep_one).certify(rows(1))
    # 4 to 1; one turned leaves 3 to 2.
    assert ahead.prediction == 0 and ahead.radius["row"] == 1
    (tie,) = of_function(lambda x: np.where((x["row"][:, :4] != 0.5).any(axis=1), 0, -1), keep_one).certify(rows(1))
    # 4 of 5; two turned leave 2 to 2, which is class 0; of class 1 it would not be.
    assert tie.radius["row"] == 2
    (behind,) = of_function(lambda x: np.where((x["row"][:, :4] != 0.5).any(axis=1), 1, -1), keep_one).certify(rows(1))
    assert behind.prediction == 1 and behind.radius["row"] == 1


def test_random_votes_that_do_not_decide_abstain() -> None:
    # Of the ten pairs of columns six have numbers of which one is odd: too close for 50 votes.
    odd = np.arange(5) % 2
    (certificate,) = of_function(lambda x: ((x["row"] != 0.5) @ odd) % 2, Independent({"row": 2}, samples=50)).certify(
        rows(1)
    )
    assert certificate.votes.sum() == 50
    assert certificate.prediction == ABSTAINED and not certificate.covers({"row": 0})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: masks_of("partion", {"row": 1}), "Unknown kind of masks 'partion'. Did you mean partition"),
        (lambda: Partition({"row": 0}), "keep is 0 for every modality"),
        (lambda: Partition({"row": -1}), "keep of row must be at least 0, not -1"),
        (lambda: Partition({"row": 1}, layout="random"), "Unknown layout"),
        (
            lambda: of_function(len, Partition({"line": 1})),
            "masks keep elements of line, and elements are given of row",
        ),
        (lambda: of_function(len, Partition({"row": 1}), edits="any"), "certify modifications only"),
        (
            lambda: of_function(len, AllSubsets({"row": 1}), edits="any"),
            "Elements of row (column) stay where they are, so none is added or deleted",
        ),
        (lambda: of_function(len, Partition({"row": 1}), rule="best"), "Unknown rule 'best'"),
        (lambda: of_function(len, Partition({"row": 1}), alpha=0.0), "alpha is a chance between 0 and 1"),
        (lambda: of_function(3, Partition({"row": 1})), "not int"),
        (
            lambda: of_function(np.zeros, AllSubsets({"row": 6})).certify(rows()),
            "keep is 6 for row, and a sample has 5 there",
        ),
        (
            lambda: of_function(lambda x: np.full(len(x), 7), Partition({"row": 1})).certify(rows()),
            "said class 7; classes are 0 to 1",
        ),
        (
            lambda: of_function(lambda x: np.zeros(3), Partition({"row": 1})).certify(rows()),
            "about 5 inputs: a class index, or a row of scores, is needed",
        ),
        (
            lambda: of_function(
                lambda x: x["row"][:, :2] - x["row"][:, :2].mean(axis=0), Partition({"row": 1}), batch_size=4
            ).certify(rows()),
            "answers differently about the same input in another batch",
        ),
        (lambda: of_function(len, Partition({"row": 1})).certify(np.zeros(3)), "Samples are needed"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(wrong, said: str) -> None:
    with pytest.raises(InputError) as error:
        wrong()
    assert said in str(error.value) and "\n" not in str(error.value)


def test_budgets_name_modalities() -> None:
    (certificate,) = of_function(lambda x: np.zeros(len(x), dtype=int), Partition({"row": 1})).certify(rows(1))
    assert certificate.radius["row"] == 2
    with pytest.raises(InputError, match="'line'"):
        certificate.covers({"line": 1})
    assert not certificate.covers({"row": 6})


def tiny_vit() -> OpenCLIPEncoder:
    """A vision transformer on 3 x 3 patches of 4 x 4 pixels."""
    vision = CLIPVisionCfg(layers=2, width=16, head_width=8, patch_size=4, image_size=12)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIP(8, vision, CLIPTextCfg(context_length=16, width=16, heads=2, layers=1))
    set_model_preprocess_cfg(model, {"size": 12, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)})
    return OpenCLIPEncoder(model, open_clip.SimpleTokenizer(context_length=16)).eval()


def test_a_transformer_may_leave_hidden_patches_out() -> None:
    one = ZeroShotClassifier(tiny_vit(), ["cat", "dog", "owl"], device_type="cpu")
    x = np.random.default_rng(0).random((3, 3, 12, 12), dtype=np.float32)
    elements = {"image": Blocks(one.modalities["image"], 4)}
    masks = Partition({"image": 2})
    ensemble = AblatedEnsemble(one, elements, masks, drop_tokens=True, batch_size=3)
    for row, certificate in enumerate(ensemble.certify(x)):
        votes = np.zeros(3, dtype=int)
        for kept in masks.ballot(certificate.counts).kept["image"]:
            tokens = torch.from_numpy(np.flatnonzero(kept))[None]
            with torch.no_grad():
                features = one.dual_encoder.encode_visible(torch.from_numpy(x[row : row + 1]), tokens, normalize=False)
                votes[int(one.model.head.similarity(features, one.prompt_features(one.prompts)).argmax())] += 1
        assert certificate.votes.tolist() == votes.tolist()
    assert ensemble.passes["image"] == 3 * 4
    with pytest.raises(InputError, match="images have the model's size, 12 x 12, not 13 x 13"):
        ensemble.certify(np.zeros((1, 3, 13, 13), dtype=np.float32))
    with pytest.raises(InputError, match="Blocks of 4 x 4 pixels"):
        AblatedEnsemble(one, {"image": Blocks(one.modalities["image"], 3)}, masks, drop_tokens=True)
    flat = ZeroShotClassifier(TinyEncoder(), ["cat", "dog"], device_type="cpu")
    with pytest.raises(InputError, match="drop_tokens needs"):
        AblatedEnsemble(flat, {"image": Blocks(flat.modalities["image"], 4)}, masks, drop_tokens=True)
