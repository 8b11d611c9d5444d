"""Train ``demo:digits/robust`` and write its weights; about four minutes on one core.

The exact command, from the root of the repository::

    python -m tools.demo_models.train_robust_digits --steps 200 --seed 0

``demo:digits`` goes on with MMCoA (arXiv:2404.19287), by the trainer that is there for all. Every batch is new: digits
of the training part, drawn and painted anew, with a new caption for each digit. All images are attacked, within twice
the budget of ``make audit``; of the captions half get another word and half a typing error.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from art.data_generators import DataGenerator

from art_multimodal.attacks.evasion import BertAttack, CharacterAttack
from art_multimodal.defences.trainer import AdversarialTrainerMMCoA, Mixture, StepRecord, TrainingSettings
from art_multimodal.demo.captions import DIGIT_NAMES, HELD_OUT_TEMPLATES, INKS, PAPERS
from art_multimodal.demo.digits import ROBUST_WEIGHTS, DigitsEncoder, load_digits
from art_multimodal.demo.digits_data import ink_on_paper, load_strokes
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.pairs import image_text_pairs
from tools.demo_models.digit_captions import random_caption
from tools.demo_models.train_digits import accuracy, augment
from tools.demo_models.training import training_options, write_weights

#: Replacing these would make a caption false.
PROTECTED = (*DIGIT_NAMES, *"0123456789", *INKS, *PAPERS)
#: Letters that typing errors are made of in one step.
ALPHABET = 8


class DigitBatches(DataGenerator):
    """Batches of the training digits with captions, each of them new.

    A batch has one ink, one paper and one caption for each digit: what has the same caption belongs together. So few
    texts can be attacked thoroughly in every step.

    :param steps: Batches in an epoch.
    :param batch_size: Images in a batch.
    :param seed: Of all that is drawn.
    """

    def __init__(self, steps: int, batch_size: int, seed: int) -> None:
        super().__init__(size=steps * batch_size, batch_size=batch_size)
        self.strokes, self.labels = load_strokes("train")
        self.rng = np.random.default_rng(seed)
        self.torch_rng = torch.Generator().manual_seed(seed)

    def get_batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Pairs ``(N,)`` and labels ``(N,)``."""
        rng = self.rng
        # What an audit looks at is black on white.
        plain = rng.random() < 0.5
        ink = "black" if plain else str(rng.choice([*INKS]))
        paper = "white" if plain else str(rng.choice([*PAPERS]))
        rows = rng.integers(len(self.labels), size=self.batch_size)
        captions = [random_caption(digit, ink, paper, rng).text for digit in range(len(DIGIT_NAMES))]
        drawn = augment(torch.from_numpy(self.strokes[rows]), self.torch_rng).numpy()
        painted = ink_on_paper(drawn, np.array(INKS[ink]), np.array(PAPERS[paper]))
        noise = 0.03 * torch.randn(painted.shape, generator=self.torch_rng).numpy()
        labels = self.labels[rows]
        return image_text_pairs((painted + noise).clip(0, 1), [captions[label] for label in labels]), labels


def train(steps: int, batch_size: int, seed: int, settings: TrainingSettings) -> DigitsEncoder:
    """Return a trained model; equal arguments give equal weights on one kind of machine."""
    model = load_digits()
    retriever = ImageTextRetriever(model, device_type="cpu")
    words = BertAttack(retriever, top_k=30, candidate_words=None, protected_words=PROTECTED, verbose=False)
    typos = CharacterAttack(retriever, candidate_words=3, protected_words=PROTECTED, verbose=False)
    # A few letters in each step, all in the end: a third of the cost.
    texts = Mixture([typos, words], settings.seed, letters=ALPHABET)
    trainer = AdversarialTrainerMMCoA(retriever, settings, texts)
    strokes, labels = load_strokes("test")
    images = torch.from_numpy(ink_on_paper(strokes, np.array(INKS["black"]), np.array(PAPERS["white"])))
    truth = torch.from_numpy(labels)
    started = time.perf_counter()

    def report(record: StepRecord) -> None:
        step = record.place.step
        if step % 50 != 49 and step != steps - 1:
            return
        model.eval()
        clean = accuracy(model, images, truth, "a photo of the handwritten digit {}.")
        unseen = np.mean([accuracy(model, images, truth, template) for template in HELD_OUT_TEMPLATES])
        print(
            f"step {step + 1}: loss {record.loss:.3f}, held-out digits {clean:.3f}, unseen templates {unseen:.3f}, "
            f"{time.perf_counter() - started:.0f} s",
            flush=True,
        )

    trainer.fit_generator(DigitBatches(steps, batch_size, seed), nb_epochs=1, callback=report)
    return model.eval()


def main() -> None:
    parser = training_options(__doc__, steps=200, learning_rate=1e-3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--eps", type=float, default=8 / 255)
    parser.add_argument("--out", default=str(ROBUST_WEIGHTS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = TrainingSettings(
        learning_rate=arguments.learning_rate,
        warmup_steps=50,
        max_grad_norm=1.0,
        eps=arguments.eps,
        eps_step=arguments.eps / 3,
        max_iter=5,
        seed=arguments.seed,
    )
    write_weights(train(arguments.steps, arguments.batch_size, arguments.seed, settings), arguments.out)


if __name__ == "__main__":
    main()
