"""ART's image attacks on pairs: no row is ever evaluated with a text that is not its own."""

from __future__ import annotations

import contextlib
import copy

import numpy as np
import pytest
import torch
from art.attacks import evasion
from art.attacks.attack import EvasionAttack
from art.exceptions import EstimatorError
from attacks.art_attacks import (
    ATTACKS,
    IN_BATCHES,
    MODELS,
    MODULE,
    TEXTS,
    Factory,
    PatchedImages,
    Simple,
    Witness,
    make,
    make_pairs,
    one_hot,
)

from art_multimodal.attacks.evasion import ImageAttackOnPairs, for_each_pair
from art_multimodal.errors import InputError
from art_multimodal.estimators.text_bound import RowMismatch, TextBoundClassifier

# Some attacks leave the box on their way, and are warned.
pytestmark = pytest.mark.filterwarnings("ignore:The images lie in:UserWarning")


#: Every attack on one of the models, in turn; on the others they are slow.
IN_TURN = [
    pytest.param(attack, model, marks=[] if (number + place) % len(MODELS) == 0 else [pytest.mark.slow])
    for number, attack in enumerate(ATTACKS)
    for place, model in enumerate(MODELS)
]


@pytest.mark.parametrize(("attack", "model"), IN_TURN)
def test_no_row_is_evaluated_with_a_text_that_is_not_its_own(attack: str, model: str) -> None:
    classifier, pairs = make(MODELS[model]), make_pairs()
    y = one_hot(classifier, pairs, shift=1 if attack == "saliency_map" else 0)  # the labels it takes are targets
    before = copy.deepcopy(pairs)
    witness = Witness(classifier.model, pairs)
    np.random.seed(0)
    torch.manual_seed(0)
    adversarial = for_each_pair(witness.noting(ATTACKS[attack]), classifier, pairs, y)
    assert witness.rows >= len(pairs)
    assert witness.wrong == 0
    assert adversarial.dtype == pairs.dtype
    assert adversarial.shape == pairs.shape
    assert adversarial["text"].tolist() == TEXTS
    assert np.isfinite(adversarial["image"]).all()
    assert adversarial["image"].min() >= 0
    assert adversarial["image"].max() <= 1
    np.testing.assert_array_equal(pairs, before)


@pytest.mark.parametrize("model", MODELS)
def test_the_witness_counts(model: str) -> None:
    classifier, pairs = make(MODELS[model]), make_pairs()
    y = one_hot(classifier, pairs)
    witness = Witness(classifier.model, pairs)
    turned = classifier.image_view([*TEXTS[1:], TEXTS[0]])
    witness.noting(evasion.FastGradientMethod)(turned).generate(pairs["image"], y)
    assert (witness.wrong, witness.rows) == (6, 7)  # the last and the first have the same text
    witness.rows = witness.wrong = 0
    witness.noting(ATTACKS["square"])(classifier.image_view("red")).generate(pairs["image"], y)
    assert 0 < witness.wrong < witness.rows


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_view_on_several_texts_refuses_rows_rather_than_guess(attack: str) -> None:
    classifier, pairs = make(), make_pairs()
    y = one_hot(classifier, pairs, shift=1 if attack == "saliency_map" else 0)
    witness = Witness(classifier.model, pairs)
    np.random.seed(0)
    with contextlib.suppress(RowMismatch):
        bound = witness.noting(ATTACKS[attack])(classifier.image_view(TEXTS))
        for part in (bound, getattr(bound, "_attack", None)):  # PGD is a shell around another
            if isinstance(part, EvasionAttack):
                part.batch_size = len(pairs)  # or most would be refused at once
        bound.generate(pairs["image"], y)
    assert witness.wrong == 0


class Backwards(Simple):
    """Asks about rows in the wrong order: what must never be among the attacks that get whole batches."""

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs) -> np.ndarray:
        return np.where(self.estimator.predict(x[::-1].copy())[:, :1, None, None] > 0, x * 0.9, x)


def test_an_attack_that_mixes_rows_is_caught_by_the_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, pairs = make(), make_pairs()
    witness = Witness(classifier.model, pairs)
    for_each_pair(witness.noting(Backwards), classifier, pairs)
    assert witness.wrong == 0
    monkeypatch.setattr(MODULE, "ALIGNED", (Backwards,))
    for_each_pair(witness.noting(Backwards), classifier, pairs)
    assert witness.wrong > 0


DETERMINISTIC = {
    "fgm": IN_BATCHES["fgm"],
    "fgm_l2": IN_BATCHES["fgm_l2"],
    "fgm_minimal": IN_BATCHES["fgm_minimal"],
    "pgd": IN_BATCHES["pgd"],
    "pgd_l2": lambda view: evasion.ProjectedGradientDescent(
        view, norm=2, eps=0.5, eps_step=0.2, max_iter=3, batch_size=4, verbose=False
    ),
    "mim": IN_BATCHES["mim"],
    "deepfool": IN_BATCHES["deepfool"],
    "bim": ATTACKS["bim"],
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("attack", DETERMINISTIC)
@pytest.mark.parametrize("labels", ["given", "predicted"])
def test_each_row_is_what_attacking_that_pair_alone_gives(attack: str, model: str, labels: str) -> None:
    classifier, pairs = make(MODELS[model]), make_pairs()
    # DeepFool divides by differences of gradients, and the others step by signs: in double precision they are clear.
    classifier.model.double()
    y = one_hot(classifier, pairs).argmax(axis=1) if labels == "given" else None
    together = for_each_pair(DETERMINISTIC[attack], classifier, pairs, y)
    for row, pair in enumerate(pairs):
        view = classifier.image_view(pair["text"])
        alone = DETERMINISTIC[attack](view).generate(
            pair["image"][None].copy(), None if y is None else y[row : row + 1]
        )
        np.testing.assert_allclose(together["image"][row], alone[0], atol=1e-5)
        assert np.abs(alone[0] - pair["image"]).max() > 1e-3


def counting(factory: Factory, texts: list[tuple[str, ...]]) -> Factory:
    def make(view: TextBoundClassifier) -> EvasionAttack:
        texts.append(view.texts)
        return factory(view)

    return make


def test_attacks_that_keep_rows_get_whole_batches_and_others_a_text_at_a_time() -> None:
    classifier, pairs = make(), make_pairs()
    for name in IN_BATCHES:
        texts: list[tuple[str, ...]] = []
        for_each_pair(counting(IN_BATCHES[name], texts), classifier, pairs)
        # The first call only looks at what the factory makes.
        assert texts[1:] == [tuple(TEXTS[:4]), tuple(TEXTS[4:])], name
    for name in ("bim", "spatial", "square"):
        texts = []
        for_each_pair(counting(ATTACKS[name], texts), classifier, pairs)
        assert texts[1:] == [(text,) for text in dict.fromkeys(TEXTS)], name
    texts = []
    for_each_pair(counting(lambda view: evasion.DeepFool(view, max_iter=2, verbose=False), texts), classifier, pairs)
    assert len(texts[1:]) == len(set(TEXTS))  # its default is one image at a time


class OnlySome(Simple):
    """Asks about a part of its rows, as a subclass of an aligned attack might."""

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs) -> np.ndarray:
        positive = np.concatenate([self.estimator.predict(x[row : row + 1])[:, 0] > 0 for row in range(len(x))])
        return np.where(positive[:, None, None, None], x * 0.5, x)


@pytest.mark.parametrize("model", MODELS)
def test_an_aligned_attack_that_sends_other_rows_is_run_text_by_text(
    monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setattr(MODULE, "ALIGNED", (OnlySome,))
    classifier, pairs = make(MODELS[model]), make_pairs()
    expected = np.where(classifier.predict(pairs)[:, 0] > 0, 0.5, 1.0)
    assert len(set(expected)) == 2
    witness = Witness(classifier.model, pairs)
    texts: list[tuple[str, ...]] = []
    adversarial = for_each_pair(counting(witness.noting(OnlySome), texts), classifier, pairs)
    np.testing.assert_allclose(adversarial["image"], pairs["image"] * expected[:, None, None, None], rtol=1e-6)
    assert witness.wrong == 0
    assert tuple(TEXTS[:4]) in texts
    assert ("red",) in texts


@pytest.mark.parametrize("attack", ["fgm", "pgd", "mim", "bim", "pgd_restarts"])
def test_masks(attack: str) -> None:
    classifier, pairs = make(), make_pairs()
    each = np.zeros((len(pairs), 3, 8, 8), dtype=np.float32)
    for row in range(len(pairs)):
        each[row, :, row] = 1  # another line of pixels for every pair
    moved = for_each_pair(ATTACKS[attack], classifier, pairs, mask=each)["image"] != pairs["image"]
    assert not moved[each == 0].any()
    assert moved[each == 1].mean() > 0.9
    for all_alike in (each[2], each[2, 0], each[2:3]):  # (C, H, W), (H, W) and (1, C, H, W) are for all
        moved = for_each_pair(ATTACKS[attack], classifier, pairs, mask=all_alike)["image"] != pairs["image"]
        assert not moved[np.broadcast_to(each[2], moved.shape) == 0].any()
        assert moved[:, :, 2].mean() > 0.9


def test_as_many_pairs_as_channels_do_not_split_a_mask_for_all() -> None:
    classifier, pairs = make(), make_pairs(TEXTS[:3])
    mask = np.zeros((3, 8, 8), dtype=np.float32)
    mask[1] = 1
    moved = for_each_pair(IN_BATCHES["fgm"], classifier, pairs, mask=mask)["image"] != pairs["image"]
    assert moved[:, 1].all()
    assert not moved[:, [0, 2]].any()


def test_starting_images_go_with_their_pairs() -> None:
    classifier, pairs = make(), make_pairs()
    starts = np.random.default_rng(9).random(pairs["image"].shape, dtype=np.float32)
    seen = {}

    def factory(view: TextBoundClassifier) -> EvasionAttack:
        attack = ATTACKS["hop_skip_jump"](view)

        def note(x: np.ndarray, y: np.ndarray | None = None, x_adv_init: np.ndarray | None = None) -> np.ndarray:
            seen.update({row.tobytes(): start for row, start in zip(x, x_adv_init, strict=True)})
            return x

        attack.generate = note
        return attack

    for_each_pair(factory, classifier, pairs, x_adv_init=starts)
    for image, start in zip(pairs["image"], starts, strict=True):
        np.testing.assert_array_equal(seen[image.tobytes()], start)


@pytest.mark.parametrize("attack", ["batches", "texts"])
@pytest.mark.parametrize("form", ["indices", "column", "one-hot"])
def test_targets_go_with_their_pairs(attack: str, form: str) -> None:
    classifier, pairs = make(), make_pairs()
    target = (classifier.predict_labels(pairs) + 1) % 3
    y = {"indices": target, "column": target[:, None], "one-hot": np.eye(3)[target]}[form]
    kind = evasion.ProjectedGradientDescent if attack == "batches" else evasion.BasicIterativeMethod
    adversarial = for_each_pair(
        lambda view: kind(view, eps=0.5, eps_step=0.1, max_iter=15, targeted=True, batch_size=4, verbose=False),
        classifier,
        pairs,
        y,
    )
    np.testing.assert_array_equal(classifier.predict_labels(adversarial), target)


@pytest.mark.parametrize("attack", ["apgd", "square", "zoo", "hop_skip_jump", "pgd"])
def test_images_larger_than_the_models_are_attacked_all_over(attack: str) -> None:
    classifier, pairs = make(), make_pairs(size=(12, 12))
    adversarial = for_each_pair(ATTACKS[attack], classifier, pairs, one_hot(classifier, pairs))
    assert adversarial["image"].shape == (len(pairs), 3, 12, 12)
    if attack != "zoo":  # which finds nothing in so few steps
        assert (adversarial["image"] != pairs["image"])[..., 8:, 8:].any()


def test_images_that_are_not_square() -> None:
    classifier, pairs = make(), make_pairs(size=(6, 11))
    for name in ("fgm", "pgd", "apgd", "spatial"):
        adversarial = for_each_pair(ATTACKS[name], classifier, pairs)
        assert adversarial.dtype == pairs.dtype
        assert (adversarial["image"] != pairs["image"]).any(axis=(1, 2, 3)).mean() > 0.5, name


def test_no_pairs_and_one_pair() -> None:
    classifier, pairs = make(), make_pairs()
    for name in ("fgm", "square"):
        empty = for_each_pair(ATTACKS[name], classifier, pairs[:0], np.zeros(0, dtype=int))
        assert empty.shape == (0,)
        assert empty.dtype == pairs.dtype
        assert len(for_each_pair(ATTACKS[name], classifier, pairs[:1])) == 1


def test_rows_of_a_larger_array_can_be_attacked() -> None:
    classifier, pairs = make(), make_pairs()
    every_other = pairs[::-2]
    np.testing.assert_allclose(
        for_each_pair(IN_BATCHES["fgm"], classifier, every_other)["image"],
        for_each_pair(IN_BATCHES["fgm"], classifier, pairs)["image"][::-2],
        atol=1e-6,
    )


def test_as_an_attack_object() -> None:
    classifier, pairs = make(), make_pairs()
    attack = ImageAttackOnPairs(classifier, IN_BATCHES["pgd"])
    np.testing.assert_array_equal(attack.generate(pairs), for_each_pair(IN_BATCHES["pgd"], classifier, pairs))
    with pytest.raises(EstimatorError, match="FusionClassifier"):
        ImageAttackOnPairs(classifier.image_view("red"), IN_BATCHES["pgd"])


def test_a_probabilities_view_serves_what_wants_one() -> None:
    classifier, pairs = make(), make_pairs()
    y = one_hot(classifier, pairs)
    with pytest.raises(ValueError, match="probabilities"):
        for_each_pair(lambda view: evasion.SimBA(view, max_iter=2, verbose=False), classifier, pairs, y)
    adversarial = for_each_pair(ATTACKS["simba"], classifier, pairs, y)
    loss = classifier.compute_loss(adversarial, y)
    assert (loss >= classifier.compute_loss(pairs, y) - 1e-5).all()
    assert loss.mean() > classifier.compute_loss(pairs, y).mean()


def test_bad_input() -> None:
    classifier, pairs = make(), make_pairs()
    with pytest.raises(InputError, match="takes pairs"):
        for_each_pair(IN_BATCHES["fgm"], classifier, pairs["image"])
    for y, message in (
        (np.zeros(3, dtype=int), "shape"),
        (np.full(len(pairs), 3), "Label 3"),
        (np.full(len(pairs), -1), "Label -1"),
    ):
        with pytest.raises(InputError, match=message):
            for_each_pair(IN_BATCHES["fgm"], classifier, pairs, y)
    with pytest.raises(ValueError, match="[Tt]arget"):
        for_each_pair(lambda view: evasion.FastGradientMethod(view, targeted=True), classifier, pairs)
    no_text = pairs.copy()
    no_text["text"][2] = None
    with pytest.raises(InputError, match="Text 2 must be a string, not NoneType"):
        for_each_pair(IN_BATCHES["fgm"], classifier, no_text)


@pytest.mark.parametrize("attack", ["pgd", "apgd", "square", "simba"])
def test_an_attack_made_for_another_text_is_refused(attack: str) -> None:
    classifier, pairs = make(), make_pairs()
    made_before = ATTACKS[attack](classifier.image_view("a cat"))
    with pytest.raises(InputError, match="bound to other texts"):
        for_each_pair(lambda view: made_before, classifier, pairs, one_hot(classifier, pairs))


class OneImage(Simple):
    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs) -> np.ndarray:
        return x[0]


def test_what_does_not_return_an_image_per_image_is_refused() -> None:
    classifier, pairs = make(), make_pairs()
    y = one_hot(classifier, pairs)
    with pytest.raises(InputError, match="OneImage does not return one image per image"):
        for_each_pair(OneImage, classifier, pairs, y)
    with pytest.raises(InputError, match="AdversarialPatchPyTorch does not return one image per image"):
        for_each_pair(lambda view: PatchedImages(view).attack, classifier, pairs, y)
