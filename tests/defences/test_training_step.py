"""One step of training: what is attacked, what is encoded, and that the update is the gradient of the loss alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from art_multimodal.attacks.evasion import BertAttack, CharacterAttack
from art_multimodal.defences.trainer import (
    AdversarialTrainerMMCoA,
    AdversarialTrainerTeCoA,
    DualEncoderTrainer,
)
from art_multimodal.defences.trainer.embeddings import Embedder
from art_multimodal.functional import objectives

from .training import (
    OF_DUAL_ENCODERS,
    PLAIN,
    STRONG,
    NormedEncoder,
    assert_equal_weights,
    classifier,
    images,
    labels,
    pairs,
    retriever,
    settings,
    watch_attacks,
    weights,
)


def loss_by_hand(name: str, model, original, batch, adversarial_images, adversarial_texts) -> torch.Tensor:
    """The loss on fixed inputs, everything encoded one by one."""

    def texts(of, sentences):
        return torch.cat([of.encode_text(of.tokenize([text]), normalize=False) for text in sentences])

    def pictures(of, batch_images):
        return torch.cat([of.encode_image(image[None], normalize=False) for image in batch_images])

    def classes(of):
        return torch.stack([F.normalize(texts(of, entry), dim=-1).mean(dim=0) for entry in batch.classes])

    scale = model.logit_scale.detach().exp()
    if name == "mmcoa":
        return objectives.mmcoa(
            pictures(model, batch.images),
            pictures(model, adversarial_images),
            texts(model, batch.texts),
            texts(model, adversarial_texts),
            batch.positives,
            scale,
        )
    if name == "text-contrastive":
        return objectives.text_contrastive(
            pictures(model, batch.images), texts(model, adversarial_texts), batch.positives, scale
        )
    if name == "clean":
        return objectives.clean_cross_entropy(pictures(model, batch.images), classes(model), batch.targets, scale)
    if name == "tecoa":
        return objectives.tecoa(pictures(model, adversarial_images), classes(model), batch.targets, scale)
    if name == "fare":
        return objectives.fare(pictures(model, adversarial_images), pictures(original, batch.images))
    if name == "leaf":
        return objectives.leaf(texts(model, adversarial_texts), texts(original, batch.texts))
    if name == "joint-anchored":
        assert len(batch.references) == len(batch.texts)
        return objectives.joint_anchored(
            pictures(model, batch.images),
            pictures(model, adversarial_images),
            pictures(original, batch.images),
            texts(model, adversarial_texts),
            texts(original, batch.texts),
            texts(model, batch.references),
            texts(original, batch.references),
            classes(model),
            batch.targets,
            batch.positives,
            scale,
        )
    return objectives.pmg_aft(
        pictures(model, batch.images),
        pictures(model, adversarial_images),
        classes(model),
        pictures(original, adversarial_images),
        classes(original),
        batch.targets,
        scale,
        scale,
    )


@pytest.mark.parametrize("data", ["labels", "captions"])
@pytest.mark.parametrize("name", OF_DUAL_ENCODERS)
def test_the_update_is_the_gradient_of_the_loss_alone(name, data, monkeypatch):
    estimator = classifier() if data == "labels" else retriever()
    model = estimator.dual_encoder
    original = copy.deepcopy(model)
    trainer = DualEncoderTrainer(estimator, name, settings(**PLAIN))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        # As if training had begun: the original is another model.
        for key, parameter in model.named_parameters():
            if key != "logit_scale":
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
            parameter.grad = torch.full_like(parameter, 1e6)
    before = copy.deepcopy(model)
    seen = watch_attacks(monkeypatch)
    x, y = (images(), labels()) if data == "labels" else (pairs(), None)
    trainer.fit(x, y, batch_size=6, nb_epochs=1)

    [(batch, adversarial_images, adversarial_texts)] = seen
    loss = loss_by_hand(name, before, original, batch, adversarial_images, adversarial_texts)
    assert trainer.losses == [pytest.approx(loss.item(), rel=1e-5)]
    trained = {key: p for key, p in before.named_parameters() if key != "logit_scale"}
    gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    after = weights(model)
    moved = 0.0
    for (key, parameter), gradient in zip(trained.items(), gradients, strict=True):
        expected = parameter if gradient is None else parameter - gradient
        torch.testing.assert_close(after[key], expected.detach(), rtol=1e-4, atol=1e-5)
        moved += 0.0 if gradient is None else float(gradient.abs().sum())
    assert moved > 0.01
    assert torch.equal(after["logit_scale"], before.logit_scale)
    # What stood there before is still there, and was not stepped along.
    assert all(float(p.grad.min()) == 1e6 for p in model.parameters())


@pytest.mark.parametrize("method", ["mmcoa", "tecoa"])
def test_gradients_that_an_attack_leaves_behind_do_not_count(method, monkeypatch):
    results = []
    for leaks in (False, True):
        estimator = classifier()
        if leaks:
            attacked = Embedder.attacked

            def leaking(self, batch, generator, attacked=attacked):
                adversarial = attacked(self, batch, generator)
                with torch.enable_grad():
                    loss = (
                        self.model.encode_image(batch.images).sum()
                        + self.model.encode_text(self.model.tokenize(list(batch.texts))).sum()
                    )
                    loss.backward()
                assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in self.model.parameters())
                return adversarial

            monkeypatch.setattr(Embedder, "attacked", leaking)
        DualEncoderTrainer(estimator, method, settings(seed=2)).fit(images(), labels(), batch_size=3, nb_epochs=2)
        results.append(weights(estimator.dual_encoder))
    assert_equal_weights(*results)


def test_images_are_attacked_within_the_budget_and_towards_a_higher_loss(monkeypatch):
    seen = watch_attacks(monkeypatch)
    estimator = classifier()
    AdversarialTrainerTeCoA(estimator, settings(learning_rate=1e-12)).fit(images(), labels(), batch_size=6, nb_epochs=1)
    [(batch, adversarial, _)] = seen
    moved = (adversarial - batch.images).abs().max()
    assert 0.9 * STRONG["eps"] < moved <= STRONG["eps"] + 1e-6
    assert not adversarial.requires_grad
    found = [
        F.cross_entropy(torch.from_numpy(estimator.predict(part.numpy())), batch.targets)
        for part in (batch.images, adversarial)
    ]
    assert found[1] > found[0] + 0.1


def test_the_distance_to_the_original_is_what_fare_attacks(monkeypatch):
    seen = watch_attacks(monkeypatch)
    estimator = classifier()
    trainer = DualEncoderTrainer(estimator, "fare", settings(learning_rate=1e-12, max_iter=20))
    trainer.fit(images(), None, batch_size=6, nb_epochs=1)
    [(batch, adversarial, _)] = seen
    model, generator = estimator.dual_encoder, torch.Generator().manual_seed(0)
    with torch.no_grad():
        clean = model.encode_image(batch.images, normalize=False)

        def distance(delta):
            moved = model.encode_image((batch.images + delta).clamp(0, 1), normalize=False)
            return float((moved - clean).square().sum(dim=1).mean())

        signs = [torch.randint(0, 2, adversarial.shape, generator=generator) * 2 - 1 for _ in range(20)]
        assert distance(adversarial - batch.images) > 5 * max(distance(STRONG["eps"] * sign) for sign in signs)


def test_texts_are_attacked_once_and_class_names_stay(monkeypatch):
    seen = watch_attacks(monkeypatch)
    asked = []
    perturb = BertAttack.perturb
    monkeypatch.setattr(BertAttack, "perturb", lambda self, texts: asked.append(list(texts)) or perturb(self, texts))
    AdversarialTrainerMMCoA(classifier(), settings()).fit(images(30), labels(30), batch_size=30, nb_epochs=1)
    [(batch, _, adversarial)] = seen
    assert len(set(batch.texts)) == 6, "of two prompts for each of three classes both are drawn"
    assert asked == [list(dict.fromkeys(batch.texts))]
    of_text = dict(zip(batch.texts, adversarial, strict=True))
    assert tuple(of_text[text] for text in batch.texts) == adversarial
    assert sum(text != other for text, other in of_text.items()) >= 3
    for text, other in of_text.items():
        [name] = [name for name in ("zero", "one", "two") if name in text]
        assert name in other


def test_leaf_makes_single_typing_errors(monkeypatch):
    seen = watch_attacks(monkeypatch)
    trainer = DualEncoderTrainer(retriever(), "leaf", settings())
    assert isinstance(trainer.text_attack, CharacterAttack)
    trainer.fit(pairs(), None, batch_size=6, nb_epochs=1)
    [(batch, _, adversarial)] = seen
    assert all(
        text != other and abs(len(text) - len(other)) <= 1 for text, other in zip(batch.texts, adversarial, strict=True)
    )


def test_each_tower_reads_everything_in_one_pass(monkeypatch):
    estimator = classifier()
    model, calls = estimator.dual_encoder, []
    trainer = AdversarialTrainerMMCoA(estimator, settings())
    quantities = Embedder.quantities

    def watched(self, *args):
        calls.clear()
        hooks = [
            model.visual.register_forward_hook(lambda part, given, out: calls.append(("image", len(out)))),
            model.text.register_forward_hook(lambda part, given, out: calls.append(("text", len(out)))),
        ]
        try:
            return quantities(self, *args)
        finally:
            for hook in hooks:
                hook.remove()

    monkeypatch.setattr(Embedder, "quantities", watched)
    seen = watch_attacks(monkeypatch)
    trainer.fit(images(30), labels(30), batch_size=30, nb_epochs=1)
    [(batch, _, adversarial)] = seen
    assert calls == [("image", 60), ("text", len({*batch.texts, *adversarial}))]


@pytest.mark.parametrize(
    ("towers", "prefix"), [("image", ("visual",)), ("text", ("text",)), ("both", ("visual", "text"))]
)
def test_only_the_chosen_towers_move(towers, prefix):
    estimator = classifier()
    before = weights(estimator.dual_encoder)
    flags = [p.requires_grad for p in estimator.dual_encoder.parameters()]
    AdversarialTrainerMMCoA(estimator, settings(towers=towers)).fit(images(), labels(), batch_size=6, nb_epochs=1)
    after = weights(estimator.dual_encoder)
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == set(prefix)
    assert flags == [p.requires_grad for p in estimator.dual_encoder.parameters()]


def test_what_a_user_has_frozen_stays():
    estimator = classifier()
    estimator.dual_encoder.visual[1].requires_grad_(False)
    before = weights(estimator.dual_encoder)
    AdversarialTrainerMMCoA(estimator, settings()).fit(images(), labels(), batch_size=6, nb_epochs=1)
    after = weights(estimator.dual_encoder)
    assert torch.equal(before["visual.1.weight"], after["visual.1.weight"])
    assert not torch.equal(before["visual.4.weight"], after["visual.4.weight"])
    assert not estimator.dual_encoder.visual[1].weight.requires_grad


def test_the_logit_scale_is_trained_on_request():
    estimator = classifier()
    before = weights(estimator.dual_encoder)
    AdversarialTrainerTeCoA(estimator, settings(train_logit_scale=True)).fit(images(), labels(), 6, 1)
    assert not torch.equal(before["logit_scale"], estimator.dual_encoder.logit_scale)


def test_statistics_of_batch_normalisation_are_frozen():
    estimator = classifier(NormedEncoder())
    before = weights(estimator.dual_encoder)
    AdversarialTrainerTeCoA(estimator, settings()).fit(images(), labels(), batch_size=6, nb_epochs=1)
    after = weights(estimator.dual_encoder)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(before[f"visual.1.{name}"], after[f"visual.1.{name}"])
    assert not torch.equal(before["visual.1.weight"], after["visual.1.weight"])
    AdversarialTrainerTeCoA(estimator, settings(update_batch_norm=True)).fit(images(), labels(), 6, 1)
    assert not torch.equal(before["visual.1.running_var"], weights(estimator.dual_encoder)["visual.1.running_var"])


def test_dropout_is_active_in_the_step_alone_and_leaves_torch_s_generator_alone():
    modes = []
    model = NormedEncoder(dropout=0.5)
    estimator = classifier(model)
    [dropout] = [part for part in model.modules() if isinstance(part, nn.Dropout)]
    dropout.register_forward_hook(lambda part, given, out: modes.append(part.training))
    state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()
    AdversarialTrainerTeCoA(estimator, settings(max_iter=2)).fit(images(), labels(), batch_size=6, nb_epochs=1)
    assert modes.count(True) == 1
    assert modes.index(True) >= 2, "the attack came before, without dropout"
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])
    assert not model.training and not estimator.model.training


@pytest.mark.parametrize("positives", ["multi", "index"])
def test_positives_of_labels(positives, monkeypatch):
    seen = watch_attacks(monkeypatch)
    DualEncoderTrainer(classifier(), "text-contrastive", settings(positives=positives)).fit(images(), labels(), 6, 1)
    [(batch, _, _)] = seen
    own = batch.targets.argmax(dim=1)
    wanted = torch.eye(6, dtype=torch.bool) if positives == "index" else own[:, None] == own
    assert torch.equal(batch.positives, wanted)


def test_positives_of_pairs(monkeypatch):
    x = pairs()
    x["image"][5] = x["image"][0]
    seen = watch_attacks(monkeypatch)
    DualEncoderTrainer(retriever(), "text-contrastive", settings()).fit(x, None, batch_size=6, nb_epochs=1)
    [(batch, _, _)] = seen
    # Rows 1 and 3 have one text, rows 0 and 5 one image.
    rows = [x["text"].tolist().index(text) for text in batch.texts]
    kind = torch.tensor([{3: 1, 5: 0}.get(row, row) for row in rows])
    assert torch.equal(batch.positives, kind[:, None] == kind)
    for row, target in enumerate(batch.targets):
        own = {text for text, other in zip(batch.texts, kind, strict=True) if other == kind[row]}
        assert {batch.classes[k][0] for k in target.nonzero().flatten().tolist()} == own
        assert target.sum() == pytest.approx(1)


def test_labels_of_pairs_make_positives(monkeypatch):
    seen = watch_attacks(monkeypatch)
    DualEncoderTrainer(retriever(), "text-contrastive", settings()).fit(pairs(), np.array([0, 1, 2, 1, 2, 0]), 6, 1)
    assert int(seen[0][0].positives.sum()) == 12


def test_lower_precision_comes_near():
    results = {}
    for precision in ("float32", "bf16-attack", "bf16"):
        estimator = classifier()
        trainer = AdversarialTrainerMMCoA(estimator, settings(precision=precision))
        trainer.fit(images(), labels(), batch_size=6, nb_epochs=1)
        results[precision] = trainer.losses[0]
        assert estimator.dual_encoder.dtype == torch.float32
    assert results["bf16-attack"] == pytest.approx(results["float32"], rel=0.05)
    assert results["bf16"] == pytest.approx(results["float32"], rel=0.05)
    assert results["bf16"] != results["float32"]
