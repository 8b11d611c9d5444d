"""Word substitution by a masked language model (BERT-Attack) on embeddings or on the model's answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.text.search import Plan
from art_multimodal.attacks.evasion.text.text_attack import TextAttack
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.language.masked_language_model import MaskedLanguageModel, load_masked_language_model
from art_multimodal.language.words import (
    LONGEST_WORD,
    STOP_WORDS,
    ProtectedWords,
    in_case_of,
    is_word,
    words_of,
)


class BertAttack(TextAttack):
    """Replace words of a text by words that a masked language model deems likely, to move the text's embedding.

    A word is the more important the further the text moves when the word is replaced by the mask token; distance is
    KL(softmax(e) || softmax(e')) of unit embeddings, or what ``loss`` says. Words are taken in that order. Of a word's
    candidates, the language model's predictions at that word's own position in the full text, and the text as it is,
    the one with the largest distance wins; after ``max_words`` changes the attack stops. Predictions are made once,
    for the original text.

    The class names are protected by default: with another class name in a prompt the question would be another one,
    which is no failure of the model. ``protect_class_names=False`` is the unconstrained attack of the paper.

    On a :class:`ZeroShotClassifier` the prompts are attacked, on a :class:`FusionClassifier` or an
    :class:`ImageTextRetriever` the texts of pairs; any texts with :meth:`perturb`. See :meth:`generate` for what comes
    back. :attr:`records` says what was done to each text; :attr:`cost` counts what the model was asked over all calls,
    ``language_model.cost`` the same for the language model. The embedding of a text is kept for later calls and other
    attacks until the model's weights change.

    Guarantees: at most ``max_words`` words of a text differ, each is one word in place of one word, and everything
    between words is as it was; protected words stay and none comes in; a text without an admissible candidate, or
    where none scores higher, comes back unchanged; a change that the model would refuse (a text too long) is not
    admissible; equal calls give equal results, and no random numbers are drawn.

    | Paper link: https://arxiv.org/abs/2004.09984 (BERT-Attack)
    | Paper link: https://arxiv.org/abs/2404.19287 (MMCoA, the text attack)

    >>> attack = BertAttack(retriever, "demo:mlm", max_words=1, verbose=False)
    >>> attacked = attack.generate(captioned[:2])
    >>> record = attack.records[0]
    >>> record.text == captioned["text"][0], len(record.changes) <= 1, record.score >= record.score_before
    (True, True, True)
    """

    attack_params = TextAttack.attack_params + ["language_model", "max_words", "top_k", "threshold", "stop_words"]

    def __init__(
        self,
        estimator: FusionClassifier | ImageTextRetriever | ZeroShotClassifier,
        language_model: MaskedLanguageModel | str = "demo:mlm",
        max_words: int = 1,
        top_k: int | None = 10,
        threshold: float = 0.0,
        loss: str = "embedding_kl",
        targeted: bool = False,
        per_image: bool = False,
        candidate_words: int | None = 1,
        protect_class_names: bool = True,
        protected_words: Sequence[str] = (),
        stop_words: Iterable[str] | None = None,
        batch_size: int = 128,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: The classifier, or the retriever, to attack.
        :param language_model: A model, or what :func:`load_masked_language_model` takes: a hub name
            ("bert-base-uncased"), a folder, or ``"demo:mlm"``, which knows the words of the demos alone. Its
            predictions are kept with it: share one between attacks.
        :param max_words: Most words of a text that are changed.
        :param top_k: Predictions that are looked at, for each piece of a word; ``None`` for the whole vocabulary.
        :param threshold: Least probability of a prediction, in [0, 1].
        :param loss: What is raised: ``"embedding_kl"`` (labels are not used); on a classifier ``"margin"``, the best
            other score minus the label's, on a zero-shot one its mean over the images given; on a retriever
            ``"similarity"``, minus the cosine of the text and its own image.
        :param targeted: Lower the margin of the given labels instead; with ``"margin"`` only.
        :param per_image: Choose the prompts of a zero-shot classifier for each image alone; with ``"margin"`` only.
            Each prompt is attacked by itself, with the others as they are. With one prompt per class, no two alike,
            ``candidate_words=None`` and ``max_words=1`` the prompts that come back are the worst of all combinations of
            admissible changes for that image, to a millionth of the logits' scale. With several prompts per class, or
            one for several classes, there may be worse combinations.
        :param candidate_words: So many words, the most important first, compete for each change: 1 as published,
            ``None`` for all, which is the stronger and the dearer.
        :param protect_class_names: Whether the words of all class names are left as they are, and kept from coming in;
            see :class:`ProtectedWords`. In pairs, what a question is about may well be other words.
        :param protected_words: Further words or names to protect.
        :param stop_words: Words that are never proposed, in any case; default: English function words.
        :param batch_size: Texts or images per forward pass of the model under attack. A text tower that computes what
            texts begin with once has its own measure.
        :param verbose: Show a progress bar.
        """
        super().__init__(
            estimator,
            loss,
            targeted,
            per_image,
            candidate_words,
            protect_class_names,
            protected_words,
            batch_size,
            verbose,
        )
        self.language_model: MaskedLanguageModel | str = language_model
        self.max_words = max_words
        self.top_k = top_k
        self.threshold = threshold
        self.stop_words = stop_words
        self._check_params()

    def _plan(self, texts: list[str], free: list[list[int]], protected: ProtectedWords) -> tuple[Plan, list[list[int]]]:
        model = self.language_model
        assert isinstance(model, MaskedLanguageModel)
        words = {text: words_of(text) for text in texts}
        places = {
            (text, index): (text, words[text][index].start, words[text][index].end)
            for text, indices in zip(texts, free, strict=True)
            for index in indices
            if self.max_words and len(words[text][index].text) <= LONGEST_WORD
        }
        stop_words = STOP_WORDS if self.stop_words is None else self.stop_words
        top_k = None if self.top_k is None else int(self.top_k)
        found = model.candidates(list(places.values()), top_k, self.threshold, stop_words)
        proposals = {}
        for place, entries in zip(places, found, strict=True):
            word = words[place[0]][place[1]].text
            proposals[place] = [
                in_case_of(entry.word, word)
                for entry in entries
                if is_word(entry.word) and not _is_piece(entry.word) and protected.allows(word, entry.word)
            ]
        plan = Plan(
            propose=lambda text, index, word: proposals.get((text, index), ()),
            mask=model.mask_token,
            max_changes=self.max_words,
            candidate_words=self.candidate_words,
            once=True,
            ranked=True,
        )
        changeable = [
            [index for index in indices if proposals.get((text, index))]
            for text, indices in zip(texts, free, strict=True)
        ]
        return plan, changeable

    def _check_params(self) -> None:
        super()._check_params()
        check_whole_number(self, "max_words", 0)
        if self.top_k is not None:
            check_whole_number(self, "top_k", 1)
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is a probability, in [0, 1], not {self.threshold!r}.")
        if isinstance(self.stop_words, str):
            raise ValueError(f"stop_words must be a list of words, not {self.stop_words!r:.80}.")
        if self.stop_words is not None:
            self.stop_words = frozenset(self.stop_words)
        if isinstance(self.language_model, str):
            self.language_model = load_masked_language_model(self.language_model)
        elif not isinstance(self.language_model, MaskedLanguageModel):
            raise ValueError(
                "language_model must be a MaskedLanguageModel or the name of one, not "
                f"{type(self.language_model).__name__}."
            )


def _is_piece(word: str) -> bool:
    """Whether a word is a single Latin letter: vocabularies have all of them, to spell unknown words with."""
    return len(word) == 1 and word.isascii() and word.isalpha()
