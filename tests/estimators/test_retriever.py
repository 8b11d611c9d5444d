"""ImageTextRetriever: recall against brute force, gradients against finite differences, training, and its contract."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from art.defences.preprocessor import JpegCompression, SpatialSmoothing
from estimators.captions import CAPTIONS, captioned, make
from functional.test_retrieval import slow_loss, slow_rank
from tiny import TinyEncoder

from art_multimodal import ImageTextRetriever, InputError, image_text_pairs, load_model
from art_multimodal.functional.statistics import proportion_ci95


@pytest.fixture
def pairs() -> np.ndarray:
    return captioned()


def cosines(retriever: ImageTextRetriever, images: np.ndarray, texts: list[str]) -> np.ndarray:
    """Of every image with every text, one at a time, in float64."""
    model = copy.deepcopy(retriever.dual_encoder).double()
    with torch.no_grad():
        rows = [model.encode_image(torch.from_numpy(image[None].copy()).double()) for image in images]
        columns = [model.encode_text(model.tokenize([text])) for text in texts]
        return (torch.cat(rows) @ torch.cat(columns).T).numpy()


def same_rows(images: np.ndarray) -> np.ndarray:
    flat = images.reshape(len(images), -1)
    return (flat[:, None] == flat).all(axis=2)


def slow_recall(retriever, pairs, truth, k):
    """By sets and sorting: the shares of images and of texts that are answered."""
    image_of = [int(row.argmax()) for row in same_rows(truth["image"])]
    images = sorted(set(image_of))
    texts = list(dict.fromkeys(zip(truth["text"], pairs["text"], strict=True)))
    belongs = {(image, text) for image, text in zip(image_of, truth["text"], strict=True)}
    scores = cosines(retriever, pairs["image"][images], [attacked for _, attacked in texts])
    relevant = np.array([[(image, clean) in belongs for clean, _ in texts] for image in images])
    found = []
    for table, wanted in ((scores, relevant), (scores.T, relevant.T)):
        found.append([slow_rank(row, mask) <= k for row, mask in zip(table.tolist(), wanted.tolist(), strict=True)])
    return found


# Predictions and features


def test_predict_is_every_image_against_every_text(pairs: np.ndarray) -> None:
    retriever = make()
    expected = 20 * cosines(retriever, pairs["image"], pairs["text"].tolist())
    for batch_size in (1, 3, 128):
        logits = retriever.predict(pairs, batch_size=batch_size)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert retriever.predict(pairs[:0]).shape == (0, 0)


def test_predict_adds_the_bias_of_models_that_have_one(pairs: np.ndarray) -> None:
    retriever = make()
    logits = retriever.predict(pairs)
    retriever.dual_encoder.logit_bias = torch.tensor(-3.0)
    np.testing.assert_allclose(retriever.predict(pairs), logits - 3, rtol=1e-5, atol=1e-5)


def test_each_distinct_image_and_text_is_encoded_once(pairs: np.ndarray) -> None:
    retriever = make()
    rows, texts = [], []
    encode_image, encode_text = retriever.dual_encoder.encode_image, retriever.dual_encoder.encode_text
    retriever.dual_encoder.encode_image = lambda x, **kw: (rows.append(len(x)), encode_image(x, **kw))[1]
    retriever.dual_encoder.encode_text = lambda x, **kw: (texts.append(len(x)), encode_text(x, **kw))[1]
    retriever.predict(pairs, batch_size=3)
    assert rows == [3, 1]
    assert texts == [3, 2]
    retriever.predict(pairs)
    assert texts == [3, 2], "the texts are those of the last call"
    retriever.text_features(["red", "green", "red"])
    assert texts == [3, 2, 2]


def test_features_are_those_of_the_towers(pairs: np.ndarray) -> None:
    retriever = make()
    model, texts = retriever.dual_encoder, pairs["text"].tolist()
    with torch.no_grad():
        images = model.encode_image(torch.from_numpy(pairs["image"].copy()), normalize=False)
        captions = model.encode_text(model.tokenize(texts), normalize=False)
    for batch_size in (1, 4, 100):
        torch.testing.assert_close(retriever.image_features(pairs["image"], batch_size), images)
        torch.testing.assert_close(retriever.text_features(texts, batch_size), captions)
    np.testing.assert_allclose(retriever.get_activations(pairs, "image"), images, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(retriever.get_activations(pairs, 1), retriever.get_activations(pairs, "text"))
    assert retriever.layer_names == ["image", "text"]
    assert retriever.image_features(pairs["image"][:0]).shape == (0, 6)
    assert retriever.text_features([]).shape == (0, 6)
    torch.testing.assert_close(retriever.text_features("a cat"), captions[:1])


@pytest.mark.parametrize("write", ["step", "data", "load"])
def test_remembered_texts_follow_the_weights(pairs: np.ndarray, write: str) -> None:
    retriever = make(lr=0.1)
    before = retriever.text_features(pairs["text"].tolist())
    if write == "step":
        retriever.fit(pairs, nb_epochs=1)
    elif write == "load":
        retriever.dual_encoder.load_state_dict(TinyEncoder(seed=4).state_dict())
    else:
        retriever.model.train()
        retriever.dual_encoder.text.weight.data += 1
    after = retriever.text_features(pairs["text"].tolist())
    assert not torch.allclose(before, after)
    with torch.no_grad():
        model = retriever.dual_encoder
        torch.testing.assert_close(after, model.encode_text(model.tokenize(pairs["text"].tolist()), normalize=False))


# Recall


@pytest.mark.parametrize("seed", range(4))
def test_recall_is_that_of_brute_force(seed: int) -> None:
    pairs, retriever = captioned(nb_images=12, nb_rows=40, nb_texts=15, seed=seed), make(seed=seed)
    recall = retriever.recall(pairs, ks=(1, 2, 5, 50), batch_size=5)
    for k in (1, 2, 5, 50):
        images, texts = slow_recall(retriever, pairs, pairs, k)
        assert (recall.nb_images, recall.nb_texts) == (len(images), len(texts))
        assert recall.image_to_text[k] == pytest.approx(np.mean(images))
        assert recall.text_to_image[k] == pytest.approx(np.mean(texts))
        assert recall.image_to_text_ci95[k] == proportion_ci95(sum(images), len(images))
        assert recall.text_to_image_ci95[k] == proportion_ci95(sum(texts), len(texts))
    assert 0 < recall.image_to_text[1] < 1 and recall.image_to_text[50] == recall.text_to_image[50] == 1


@pytest.mark.parametrize("seed", range(4))
def test_recall_of_attacked_pairs_is_that_of_brute_force(seed: int) -> None:
    truth, retriever = captioned(nb_images=12, nb_rows=40, nb_texts=15, seed=seed), make(seed=seed)
    rng = np.random.default_rng(seed)
    attacked = truth.copy()
    # Two clean images become one and the same, and so do two captions; the others get a word, not the same in all rows.
    attacked["image"] = 1 - truth["image"]
    attacked["image"][same_rows(truth["image"])[0] | same_rows(truth["image"])[-1]] = 0.5
    attacked["text"] = [f"{text} {rng.choice(['x', 'y'])}" for text in truth["text"]]
    attacked["text"][np.isin(truth["text"].astype(str), ["caption 1", "caption 2"])] = "lost"
    recall = retriever.recall(attacked, truth, ks=(1, 3))
    assert recall.nb_texts > retriever.recall(truth).nb_texts
    assert recall.nb_images == retriever.recall(truth).nb_images
    for k in (1, 3):
        images, texts = slow_recall(retriever, attacked, truth, k)
        assert recall.image_to_text[k] == pytest.approx(np.mean(images))
        assert recall.text_to_image[k] == pytest.approx(np.mean(texts))


def test_equal_captions_belong_to_all_their_images() -> None:
    images = np.random.default_rng(0).random((3, 3, 8, 8), dtype=np.float32)
    recall = make().recall(image_text_pairs(images, ["one", "one", "one"]), ks=(1,))
    assert (recall.nb_images, recall.nb_texts) == (3, 1)
    assert recall.image_to_text == recall.text_to_image == {1: 1.0}
    # Minus zero is zero.
    images[1:] = images[0] = 0
    images[1] = -0.0
    recall = make().recall(image_text_pairs(images, ["one", "two", "three"]), ks=(1,))
    assert (recall.nb_images, recall.nb_texts) == (1, 3)
    assert recall.image_to_text == recall.text_to_image == {1: 1.0}


@pytest.mark.parametrize("tower", ["visual", "text"])
def test_a_constant_model_finds_nothing_first(tower: str) -> None:
    images = np.random.default_rng(0).random((7, 3, 8, 8), dtype=np.float32)
    retriever = make()
    with torch.no_grad():
        if tower == "visual":
            retriever.dual_encoder.visual[-1].weight.zero_()
        else:
            retriever.dual_encoder.text.weight.fill_(0.5)
    recall = retriever.recall(image_text_pairs(images, [f"number {n}" for n in range(7)]), ks=(1, 6, 7), batch_size=3)
    # One tower alone is constant: for its own queries the order is arbitrary, for the others all is a tie.
    tied = recall.text_to_image if tower == "visual" else recall.image_to_text
    assert tied == {1: 0.0, 6: 0.0, 7: 1.0}
    other = recall.image_to_text if tower == "visual" else recall.text_to_image
    assert other[1] == pytest.approx(1 / 7)


def test_one_pair_is_found() -> None:
    recall = make().recall(captioned()[:1], ks=(1, 10))
    assert recall.image_to_text == recall.text_to_image == {1: 1.0, 10: 1.0}
    assert (recall.nb_images, recall.nb_texts) == (1, 1)


def test_recall_refuses_what_cannot_be_counted(pairs: np.ndarray) -> None:
    retriever = make()
    attacked = pairs.copy()
    attacked["image"][2, 0, 0, 0] = 0.5 + attacked["image"][2, 0, 0, 0] / 2
    with pytest.raises(InputError, match="Rows 0 and 2 hold one image in truth, but different ones in pairs"):
        retriever.recall(attacked, pairs)
    with pytest.raises(InputError, match="There are no pairs"):
        retriever.recall(pairs[:0])
    with pytest.raises(InputError, match="a row for each of the 7 pairs, not 6"):
        retriever.recall(pairs, pairs[:6])
    with pytest.raises(InputError, match="ks must be whole numbers"):
        retriever.recall(pairs, ks=(0,))
    with torch.no_grad():
        retriever.dual_encoder.visual[1].weight[0, 0] = torch.nan
    with pytest.raises(InputError, match="NaN"):
        retriever.recall(pairs)


def test_ranks_from_features_are_what_recall_counts() -> None:
    pairs, retriever = captioned(nb_images=12, nb_rows=12, nb_texts=12), make()
    relevant = same_rows(pairs["image"]) | (pairs["text"][:, None] == pairs["text"])
    images = retriever.image_features(pairs["image"])
    texts = retriever.text_features(pairs["text"].tolist())
    scores = cosines(retriever, pairs["image"], pairs["text"].tolist())
    for found, table in (
        (retriever.ranks(images, texts, relevant), scores),
        (retriever.ranks(texts, images, relevant), scores.T),
    ):
        assert found.tolist() == [slow_rank(*row) for row in zip(table.tolist(), relevant.tolist(), strict=True)]


def test_the_demo_finds_its_digits(digits, digits_images) -> None:
    images, labels = digits_images
    texts = [f"a photo of the digit {digits.class_names[label]}" for label in labels]
    retriever = ImageTextRetriever(load_model("demo:digits"), device_type="cpu")
    recall = retriever.recall(image_text_pairs(images, texts), ks=(1, 5))
    assert recall.nb_texts == 10 and recall.image_to_text[1] > 0.95 and recall.text_to_image[1] >= 0.9
    shuffled = np.roll(texts, 1).tolist()
    assert retriever.recall(image_text_pairs(images, shuffled), ks=(1,)).image_to_text[1] < 0.3


# Loss and gradients


def positives(pairs: np.ndarray) -> np.ndarray:
    return same_rows(pairs["image"]) | (pairs["text"][:, None] == pairs["text"])


def test_loss_is_the_one_written_down(pairs: np.ndarray) -> None:
    retriever = make()
    expected = slow_loss(20 * cosines(retriever, pairs["image"], pairs["text"].tolist()), positives(pairs))
    np.testing.assert_allclose(retriever.compute_loss(pairs), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(retriever.compute_loss(pairs, batch_size=2), expected, rtol=1e-4, atol=1e-5)
    assert retriever.compute_loss(pairs[:0]).shape == (0,)
    np.testing.assert_allclose(retriever.compute_loss(pairs[:1]), [0], atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (5, 11)])
@pytest.mark.parametrize("batch_size", [1, 3, 128])
def test_gradients_are_those_of_finite_differences(size: tuple[int, int], batch_size: int) -> None:
    pairs, retriever = captioned(size=size), make()
    gradient = retriever.loss_gradient(pairs, batch_size=batch_size)
    assert gradient.shape == pairs["image"].shape and gradient.dtype == np.float32
    model = copy.deepcopy(retriever.dual_encoder).double()
    wanted = positives(pairs)

    def loss(images: torch.Tensor) -> float:
        with torch.no_grad():
            logits = model(images, model.tokenize(pairs["text"].tolist()))
        return float(slow_loss(logits.numpy(), wanted).mean())

    images = torch.from_numpy(0.2 + 0.6 * pairs["image"]).double()
    pairs["image"] = images.float().numpy()
    gradient = retriever.loss_gradient(pairs, batch_size=batch_size)
    rng = np.random.default_rng(0)
    for _ in range(6):
        direction = torch.from_numpy(rng.normal(size=images.shape))
        slope = (loss(images + 1e-5 * direction) - loss(images - 1e-5 * direction)) / 2e-5
        assert slope == pytest.approx(float((gradient * direction.numpy()).sum()), rel=1e-3, abs=1e-5)
    assert retriever.loss_gradient(pairs[:0]).shape == (0, 3, *size)


@pytest.mark.parametrize("batch_size", [2, 128])
def test_gradients_go_through_arts_defences(pairs: np.ndarray, batch_size: int) -> None:
    smoothing = SpatialSmoothing(window_size=3, channels_first=True)
    defended = make(preprocessing_defences=smoothing)
    smoothed = pairs.copy()
    smoothed["image"] = smoothing(pairs["image"].copy())[0]
    np.testing.assert_allclose(defended.predict(pairs), make().predict(smoothed), rtol=1e-4, atol=1e-5)
    # Its own estimate of a gradient is that of the identity.
    np.testing.assert_allclose(
        defended.loss_gradient(pairs, batch_size=batch_size), make().loss_gradient(smoothed), rtol=1e-3, atol=1e-6
    )


def test_parameters_take_no_part_where_images_alone_want_a_gradient(pairs: np.ndarray) -> None:
    retriever = make()
    images = torch.from_numpy(pairs["image"].copy()).requires_grad_(True)
    features = retriever.model.image_features(images)
    assert retriever.loss_gradient(pairs).any()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in retriever.dual_encoder.parameters())
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(features.sum(), [images, retriever.dual_encoder.visual[1].weight])


# Training


@pytest.mark.parametrize("training_mode", [True, False])
def test_fit_moves_all_weights_and_lowers_the_loss(pairs: np.ndarray, training_mode: bool) -> None:
    retriever = make(lr=0.02)
    before = copy.deepcopy(retriever.dual_encoder.state_dict())
    loss = retriever.compute_loss(pairs).mean()
    torch.manual_seed(0)
    retriever.fit(pairs, nb_epochs=40, batch_size=4, training_mode=training_mode)
    assert retriever.compute_loss(pairs).mean() < 0.5 * loss
    for name, tensor in retriever.dual_encoder.state_dict().items():
        assert not torch.equal(tensor, before[name]), name


def test_fit_takes_the_steps_that_torch_would(pairs: np.ndarray) -> None:
    retriever, model = make(), TinyEncoder().eval()
    retriever.set_params(optimizer=torch.optim.SGD(retriever.dual_encoder.parameters(), lr=0.1))
    retriever.fit(pairs, batch_size=7, nb_epochs=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    target = torch.from_numpy(positives(pairs)).float()
    target /= target.sum(dim=1, keepdim=True)
    for _ in range(3):
        optimizer.zero_grad()
        logits = model(torch.from_numpy(pairs["image"].copy()), model.tokenize(pairs["text"].tolist()))
        # The positives are symmetric, so both directions have the same targets.
        cross_entropy = torch.nn.functional.cross_entropy
        ((cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2).backward()
        optimizer.step()
    for ours, theirs in zip(retriever.dual_encoder.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_clones_are_fresh_and_copies_are_whole(pairs: np.ndarray, tmp_path) -> None:
    retriever = make(lr=0.02, preprocessing_defences=JpegCompression((0, 1), channels_first=True))
    scores = retriever.predict(pairs)
    clone = retriever.clone_for_refitting()
    assert type(clone) is ImageTextRetriever and clone.optimizer.defaults["lr"] == 0.02
    assert not np.allclose(clone.predict(pairs), scores)
    clone.fit(pairs, nb_epochs=1)
    for twin in (copy.deepcopy(retriever), pickle.loads(pickle.dumps(retriever))):
        np.testing.assert_array_equal(twin.predict(pairs), scores)
        twin.fit(pairs, nb_epochs=2)
        assert not np.allclose(twin.predict(pairs), scores)
    np.testing.assert_array_equal(retriever.predict(pairs), scores)
    from safetensors.torch import load_model as load_weights

    retriever.save("weights", str(tmp_path / "new"))
    other = TinyEncoder(seed=5).eval()
    load_weights(other, tmp_path / "new" / "weights.safetensors")
    for ours, theirs in zip(retriever.dual_encoder.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_training_mode_is_that_of_the_call(pairs: np.ndarray) -> None:
    retriever = ImageTextRetriever(TinyEncoder(dropout=0.5).eval(), device_type="cpu")
    assert not retriever.model.training
    scores = retriever.predict(pairs)
    assert not np.allclose(retriever.predict(pairs, training_mode=True), scores)
    np.testing.assert_array_equal(retriever.predict(pairs), scores)
    retriever.model.train()
    retriever.recall(pairs)
    assert not retriever.dual_encoder.training


def test_bad_input(pairs: np.ndarray) -> None:
    retriever = make(lr=0.01)
    for call in (retriever.predict, retriever.fit, retriever.loss_gradient, retriever.compute_loss, retriever.recall):
        with pytest.raises(InputError, match="ImageTextRetriever takes pairs"):
            call(pairs["image"])
        with pytest.raises(InputError, match="takes pairs, .* not list"):
            call(CAPTIONS)
        no_text = pairs.copy()
        no_text["text"][1] = None
        with pytest.raises(InputError, match="Text 1 must be a string, not NoneType"):
            call(no_text)
    for call in (retriever.predict, retriever.loss_gradient, retriever.fit, retriever.recall):
        with pytest.raises(InputError, match="batch_size must be at least 1"):
            call(pairs, batch_size=0)
    with pytest.raises(InputError, match="no pairs to train on"):
        retriever.fit(pairs[:0])
    broken = pairs.copy()
    broken["image"][3, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        retriever.fit(broken)
    with pytest.raises(ValueError, match="optimizer"):
        make().fit(pairs)
    with pytest.raises(InputError, match="more than the 64 tokens"):
        retriever.text_features(["very " * 20])
    with pytest.raises(InputError, match="channels seem to come last"):
        retriever.image_features(pairs["image"].transpose(0, 2, 3, 1))
    with pytest.raises(ValueError, match="layer must be one of image, text"):
        retriever.get_activations(pairs, "head")
    with pytest.raises(ValueError, match="layer must be one of image, text"):
        retriever.get_activations(pairs, -1)
    with pytest.raises(InputError, match="returns arrays"):
        retriever.get_activations(pairs, "image", framework=True)
