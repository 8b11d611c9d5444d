"""Class names inside longer runs of letters: scripts without spaces, particles, attached short words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models.language_models import save_bert
from tiny import TinyEncoder

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.evasion import BertAttack, CharacterAttack
from art_multimodal.language.masked_language_model import load_masked_language_model
from art_multimodal.language.words import ProtectedWords, words_of

CAT = "\u732b"  # Chinese
PANDA = "\u5927\u718a\u732b"  # ends in "cat"
#: Class names, and a text whose run of letters holds the first of them.
RUNS = {
    "chinese": ([CAT, "\u72d7"], f"\u4e00\u5f20{CAT}\u7684\u7167\u7247"),
    "chinese, two letters": (["\u5c0f\u72d7", "\u9a6c"], "\u4e00\u53ea\u5c0f\u72d7\u5728\u8349\u5730\u4e0a"),
    "japanese": (["\u30cd\u30b3", "\u30a4\u30cc"], "\u30cd\u30b3\u306e\u5199\u771f"),
    "japanese, half width": (["\u30ac\u30e0", "\u30a4\u30cc"], "\uff76\uff9e\uff91\u306e\u5199\u771f"),
    "thai": (
        ["\u0e41\u0e21\u0e27", "\u0e2a\u0e38\u0e19\u0e31\u0e02"],
        "\u0e20\u0e32\u0e1e\u0e41\u0e21\u0e27\u0e15\u0e31\u0e27",
    ),
    "lao": (["\u0ec1\u0ea1\u0ea7", "\u0edd\u0eb2"], "\u0eae\u0eb9\u0e9a\u0ec1\u0ea1\u0ea7\u0e99\u0ec9\u0ead\u0e8d"),
    "khmer": (["\u1786\u17d2\u1798\u17b6", "\u1786\u17d2\u1780\u17c2"], "\u179a\u17bc\u1794\u1786\u17d2\u1798\u17b6"),
    "burmese": (
        ["\u1000\u103c\u1031\u102c\u1004\u103a", "\u1001\u103d\u1031\u1038"],
        "\u1000\u103c\u1031\u102c\u1004\u103a\u1015\u102f\u1036",
    ),
    "tibetan": (["\u0f5e\u0f72", "\u0f41\u0fb1\u0f72"], "\u0f5e\u0f72\u0f61\u0f72"),
    "korean with a particle": (["\uace0\uc591\uc774", "\uac1c"], "\uace0\uc591\uc774\ub97c \ubcf8\ub2e4"),
    "arabic with the article": (
        ["\u0642\u0637", "\u0643\u0644\u0628"],
        "\u0648\u0628\u0627\u0644\u0642\u0637 \u0635\u0648\u0631\u0629",
    ),
    "arabic, assimilated": (
        ["\u0642\u0637", "\u0643\u0644\u0628"],
        "\u0644\u0644\u0642\u0637 \u0635\u0648\u0631\u0629",
    ),
    "hebrew with prefixes": (
        ["\u05d7\u05ea\u05d5\u05dc", "\u05db\u05dc\u05d1"],
        "\u05e9\u05d4\u05d7\u05ea\u05d5\u05dc \u05d9\u05e9\u05df",
    ),
    "latin name in a chinese run": (["cat", "dog"], "\u4e00\u5f20cat\u7684\u7167\u7247"),
    "full width latin": (["cat", "dog"], "\u4e00\u5f20\uff23\uff21\uff34\u7684\u7167\u7247"),
    "a digit": (["3", "4"], "\u6570\u5b573\u7684\u7167\u7247"),
    "mixed scripts": (["t\u6064", "\u88e4\u5b50"], "\u4e00\u4ef6T\u6064\u7684\u7167\u7247"),
    "names within names": ([PANDA, CAT], f"\u4e00\u53ea{PANDA}\u5750\u7740"),
    "two names in a run": ([CAT, "\u72d7"], f"{CAT}\u548c\u72d7"),
}


def plain(text: str) -> str:
    import unicodedata

    return unicodedata.normalize("NFKC", text).casefold()


@pytest.mark.parametrize("kind", RUNS)
def test_every_edit_keeps_the_names(kind) -> None:
    names, text = RUNS[kind]
    model = TinyEncoder(seed=3).eval()
    letters = f"ab{CAT}\u72d7"
    for prompt in (text, text.split()[0]):
        estimator = ZeroShotClassifier(model, names, prompts=[prompt, f"{names[1]} x"], device_type="cpu")
        attack = CharacterAttack(
            estimator, 1, letters, (), loss="margin", per_image=True, candidate_words=None, verbose=False
        )
        protected = attack._protection()
        plan, _ = attack._plan([prompt], [list(range(len(words_of(prompt))))], protected)
        run = words_of(prompt)[0]
        proposals = plan.propose(prompt, 0, run.text)
        # Letters beside the name may change, and do: it is a promise about the name, not about the whole run.
        assert proposals
        for edited in proposals:
            for name in names:
                assert plain(edited).count(plain(name)) == plain(run.text).count(plain(name)), (edited, name)
        x = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)
        changed = [entry[0][0] for entry in attack.generate(x, np.array([0, 1]))]
        assert all(plain(names[0]) in plain(result) for result in changed)


def test_the_longest_name_and_those_within_it_stay() -> None:
    protected = ProtectedWords([PANDA, CAT])
    run = f"\u4e00\u53ea{PANDA}"
    assert protected.allows(run, f"\u4e00{PANDA}")
    assert not protected.allows(run, run.replace("\u5927", ""))  # a cat of another kind
    assert not protected.allows(run, run + CAT)  # a name that comes in
    assert not ProtectedWords(["\u732b\u72d7", "\u72d7\u732b"]).allows("\u4e00\u732b\u72d7", "\u4e00\u72d7\u732b")


def test_names_of_scripts_with_spaces_are_whole_words() -> None:
    protected = ProtectedWords(["cat", "Stra\u00dfe", "\u0642\u0637"])
    for word, edited in (("category", "cotegory"), ("con\u00e7at", "conzat"), ("Hauptstra\u00dfe", "Hauptstrase")):
        assert protected.allows(word, edited)
    # No short word in front of it: another word that happens to end so.
    assert protected.allows("\u0646\u0642\u0637", "\u0646\u0642\u0628")
    assert not protected.allows("\u0627\u0644\u0642\u0637", "\u0627\u0644\u0642\u0628")


def test_a_language_model_leaves_names_in_runs_alone(tmp_path) -> None:
    text = f"a photo {CAT}\u7684\u7167\u7247"
    estimator = ZeroShotClassifier(
        TinyEncoder(seed=3).eval(), [CAT, "\u72d7"], prompts=[text, "\u72d7 dog"], device_type="cpu"
    )
    mlm = load_masked_language_model(save_bert(tmp_path))
    attack = BertAttack(estimator, mlm, top_k=None, candidate_words=None, verbose=False)
    assert all(CAT in entry[0] for entry in attack.generate()[:1])


def test_margins_of_a_double_model_are_double() -> None:
    from attacks.text_attacks import pairs
    from tiny import TinyFusion

    from art_multimodal import FusionClassifier
    from art_multimodal.attacks.evasion.text.objectives import AnswerMargin
    from art_multimodal.attacks.evasion.text.questions import TextQuestions
    from art_multimodal.estimators.asking import TextCost

    model = TinyFusion(seed=5).double().eval()
    estimator = FusionClassifier(model, device_type="cpu")
    x, y = pairs(), np.array([0, 1, 2, 0, 1])
    asking = estimator.asking(8)
    others = {"image": asking.see_field("image", x["image"])}
    objective = AnswerMargin(asking, "text", others, y, targeted=False)
    questions = TextQuestions(asking, x["text"].tolist(), objective, TextCost(), others=others)
    with torch.no_grad():
        tokens = model.tokenize(x["text"].tolist())
        images = torch.from_numpy(x["image"]).double()
        logits = model.predict(model.join(model.encode_image(images), model.encode_text(tokens)))
    logits = logits.numpy()
    own = logits[np.arange(5), y]
    logits[np.arange(5), y] = -np.inf
    np.testing.assert_allclose(questions.start(), logits.max(axis=1) - own, rtol=1e-12, atol=1e-12)
