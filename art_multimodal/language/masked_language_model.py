"""Masked language models of transformers: what could stand in a text in place of one of its words."""

from __future__ import annotations

import heapq
import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from art_multimodal.demo.loading import MLM_FOLDER
from art_multimodal.errors import InputError
from art_multimodal.models.families.hugging_face.encoder import context_length
from art_multimodal.models.families.hugging_face.loading import checkpoint_folder, load_tokenizer, load_weights
from art_multimodal.models.trial import refusing

#: Marks of pieces: WordPiece marks what continues a word, the others what begins one.
_CONTINUES, _BEGINS = "##", ("\u0120", "\u2581")
#: A place is a text with the start and end, in characters, of one of its words.
Place = tuple[str, int, int]
_CACHED_PLACES = 100_000
#: Most logits of one forward pass: a quarter of a gigabyte.
_LOGITS = 2**26


@dataclass(frozen=True)
class Candidate:
    """A word that could stand in the place of another.

    :param word: As the model writes it; an uncased model writes lower case.
    :param probability: Product of the probabilities of its pieces, in (0, 1].
    """

    word: str
    probability: float


@dataclass
class ModelCost:
    """What has been asked of a language model; does not depend on the machine.

    :param forwards: Texts that went through the model.
    :param positions: Their tokens, special tokens included, padding not.
    """

    forwards: int = 0
    positions: int = 0


class MaskedLanguageModel:
    """Replacement words for the words of a text, predicted at each word's own position.

    The model reads the whole text with its special tokens, the word itself unmasked (BERT-Attack), so predictions fit
    the word as well as what surrounds it. All words of a text share one forward pass; predictions are kept per text
    and word, for as long as this object lives: its weights must not change.

    | Paper link: https://arxiv.org/abs/2004.09984 (BERT-Attack)

    >>> from art_multimodal.language.masked_language_model import load_masked_language_model
    >>> language_model = load_masked_language_model("demo:mlm")
    >>> isinstance(language_model, MaskedLanguageModel), language_model.mask_token
    (True, '[MASK]')
    >>> "circle" in language_model.whole_words()
    True
    """

    #: What a reader of results must know about how it was loaded.
    notes: tuple[str, ...] = ()

    def __init__(self, model: nn.Module, tokenizer: Any, batch_size: int = 64) -> None:
        """
        :param model: A masked language model of transformers (``...ForMaskedLM``).
        :param tokenizer: Its tokenizer, of the fast kind, which knows where in the text each token stands: WordPiece
            (BERT), byte-level BPE (RoBERTa), SentencePiece (XLM-R, ALBERT) or whole words.
        :param batch_size: Texts per forward pass.
        :raises InputError: If the tokenizer is of the slow kind or has no mask token.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise InputError(
                f"{type(tokenizer).__name__} does not tell where in a text its tokens stand. Use a model with a fast "
                "tokenizer (tokenizer.json)."
            )
        if tokenizer.mask_token is None:
            raise InputError(f"{type(tokenizer).__name__} has no mask token, so this is no masked language model.")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"batch_size must be a whole number of at least 1, not {batch_size!r}.")
        config: Any = model.config
        if len(tokenizer) > config.vocab_size:
            raise InputError(
                f"The tokenizer has {len(tokenizer)} tokens, the language model knows {config.vocab_size} only."
            )
        self.model: Any = model.eval()
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.context_length = context_length(model, tokenizer)
        self.cost = ModelCost()
        # Vocabularies may have gaps.
        self._tokens: list[str] = [token or "" for token in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))]
        self._vocabulary = set(self._tokens)
        self._special = set(tokenizer.all_special_ids)
        self._marker = self._find_marker()
        self._inputs = set(tokenizer.model_input_names) & set(inspect.signature(model.forward).parameters)
        self._known: dict[tuple[Place, int, float], tuple[Candidate, ...]] = {}

    @property
    def mask_token(self) -> str:
        """The text that hides a word."""
        return self.tokenizer.mask_token

    def check(self) -> None:
        """Read one text, as a trial.

        :raises InputError: If that cannot be done, or its probabilities are no numbers.
        """
        encoded = self.tokenizer(["a"], truncation=False)
        ids = [token for token in encoded["input_ids"][0] if isinstance(token, int)][: self.context_length]
        if not ids or not 0 <= min(ids) <= max(ids) < self.model.config.vocab_size:
            raise InputError("The tokenizer of the language model gives ids that it does not know.")
        row = {name: encoded[name][0][: len(ids)] for name in self._inputs}
        if not self._logits([row]).isfinite().all():
            raise InputError("The language model gives probabilities that are no numbers.")
        self.cost = ModelCost()

    @property
    def vocabulary_size(self) -> int:
        """Entries of the vocabulary, pieces of words and special tokens included."""
        return len(self._tokens)

    def whole_words(self) -> frozenset[str]:
        """Every entry of the vocabulary that begins a word, in lower case; some of them only begin longer words."""
        words = (
            self._spelled([token])
            for number, token in enumerate(self._tokens)
            if number not in self._special and self._begins(token)
        )
        return frozenset(word.lower() for word in words if word and word.isalpha())

    def candidates(
        self,
        places: Sequence[Place],
        top_k: int | None = 10,
        threshold: float = 0.0,
        stop_words: Iterable[str] = (),
    ) -> list[list[Candidate]]:
        """Return for each place the words that could stand there, most probable first.

        At each piece of the word the ``top_k`` most probable tokens of at least ``threshold`` are looked at. Of these,
        tokens count that begin a word at its first piece and that continue one at the others; what a tokenizer cuts off
        without marking it ("'" and "s" of "child's") stays. The ``top_k`` most probable combinations are spelled out,
        best first, without listing all of them. Stop words and the unchanged word are left out, whatever the case; so
        fewer than ``top_k``, or none, may be left. Punctuation may be among them.

        A place gets no candidates where its text is longer than the model reads or holds half a character, where a
        token reaches beyond the word, and where the word has the model's unknown token.

        :param places: Texts with the start and end of one of their words, in characters.
        :param top_k: At least 1; ``None`` for as many as the vocabulary has entries, :attr:`vocabulary_size`.
        :param threshold: Least probability (softmax over the vocabulary) of a piece, in [0, 1].
        :param stop_words: What is never proposed.
        :raises InputError: For other values of ``top_k`` or ``threshold``, or a place that is empty or off its text.
        """
        # One name for one question, so that its answer is kept once.
        top_k = self.vocabulary_size if top_k is None else top_k
        if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
            raise InputError(f"top_k must be a whole number of at least 1, not {top_k!r}.")
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold is a probability, in [0, 1], not {threshold!r}.")
        for text, start, end in places:
            if not 0 <= start < end <= len(text):
                raise InputError(f"There is no word from {start} to {end} in a text of {len(text)} characters.")
        if len(self._known) + len(places) > _CACHED_PLACES:
            self._known.clear()
        new: dict[str, list[Place]] = {}
        for place in dict.fromkeys(places):
            if (place, top_k, threshold) not in self._known:
                new.setdefault(place[0], []).append(place)
        self._predict(new, top_k, threshold)
        stopped = {word.casefold() for word in stop_words}
        found = []
        for place in places:
            text, start, end = place
            unchanged = text[start:end].casefold()
            known = [(entry.word.casefold(), entry) for entry in self._known[place, top_k, threshold]]
            found.append([entry for word, entry in known if word != unchanged and word not in stopped])
        return found

    def _predict(self, new: dict[str, list[Place]], top_k: int, threshold: float) -> None:
        texts = [text for text in new if _is_encodable(text)]
        # Not verbose: the tokenizer would warn of long texts, which are sorted out here.
        options = {"return_offsets_mapping": True, "truncation": False, "verbose": False}
        encoded = self.tokenizer(texts, **options) if texts else {"input_ids": []}
        readable = [row for row, ids in enumerate(encoded["input_ids"]) if len(ids) <= self.context_length]
        # Texts of like length share a batch: less padding.
        readable.sort(key=lambda row: len(encoded["input_ids"][row]))
        for places in new.values():
            self._known.update({(place, top_k, threshold): () for place in places})
        while readable:
            longest = len(encoded["input_ids"][readable[-1]])
            at_once = max(1, min(self.batch_size, _LOGITS // (longest * len(self._tokens))))
            rows, readable = readable[-at_once:], readable[:-at_once]
            logits = self._logits([{name: encoded[name][row] for name in self._inputs} for row in rows])
            for index, row in enumerate(rows):
                for place in new[texts[row]]:
                    pieces = self._pieces(place, encoded["input_ids"][row], encoded["offset_mapping"][row])
                    if pieces:
                        found = self._words(logits[index, pieces], encoded["input_ids"][row], pieces, top_k, threshold)
                        self._known[place, top_k, threshold] = tuple(found)

    def _logits(self, rows: list[dict[str, list[int]]]) -> Tensor:
        batch = self.tokenizer.pad(rows, padding_side="right", return_attention_mask=True, return_tensors="pt")
        self.cost.forwards += len(rows)
        self.cost.positions += sum(len(row["input_ids"]) for row in rows)
        device = next(self.model.parameters()).device
        inputs = {name: part.to(device) for name, part in batch.items() if name in self._inputs | {"attention_mask"}}
        with torch.no_grad():
            return self.model(**inputs).logits.float().cpu()

    def _pieces(self, place: Place, ids: list[int], offsets: list[tuple[int, int]]) -> list[int]:
        """Positions of the tokens that spell a word; none where they do not spell exactly that word."""
        text, start, end = place
        pieces = [row for row, (first, last) in enumerate(offsets) if first < end and last > start and first < last]
        for row in pieces:
            first, last = offsets[row]
            # A token may take the space in front of its word along, but nothing else.
            if text[first:start].strip() or text[end:last].strip() or ids[row] in self._special:
                return []
        return pieces

    def _words(
        self, logits: Tensor, ids: list[int], pieces: list[int], top_k: int, threshold: float
    ) -> Iterator[Candidate]:
        probabilities = logits.softmax(dim=1)
        # Without a mark on the original (at the start of a text, after a bracket) the model predicts without it too.
        unmarked = self._marker in _BEGINS and not self._tokens[ids[pieces[0]]].startswith(self._marker)
        choices = []
        for number, row in enumerate(probabilities):
            own = ids[pieces[number]]
            if number and self._begins(self._tokens[own]):
                choices.append([(1.0, own)])
                continue
            best = row.topk(min(top_k, len(row)))
            choices.append(
                [
                    (value, token)
                    for value, token in zip(best.values.tolist(), best.indices.tolist(), strict=True)
                    if value >= threshold and self._fits(token, first=number == 0, unmarked=unmarked)
                ]
            )
        seen = set()
        for number, (probability, tokens) in enumerate(best_combinations(choices)):
            if number == top_k:
                return
            word = self._spelled([self._tokens[token] for token in tokens])
            if word and not any(letter.isspace() for letter in word) and word not in seen:
                seen.add(word)
                yield Candidate(word, probability)

    def _fits(self, token: int, first: bool, unmarked: bool) -> bool:
        if token in self._special or token >= len(self._tokens):
            return False
        name = self._tokens[token]
        if not first:
            return not self._begins(name)
        return self._begins(name) or (unmarked and f"{self._marker}{name}" in self._vocabulary)

    def _begins(self, token: str) -> bool:
        if self._marker == _CONTINUES:
            return not token.startswith(_CONTINUES)
        return self._marker is None or (token.startswith(self._marker) and token != self._marker)

    def _spelled(self, tokens: list[str]) -> str:
        if self._marker not in _BEGINS:
            return "".join(token.removeprefix(_CONTINUES) for token in tokens)
        # Bytes that are no character come out as the replacement character.
        word = self.tokenizer.convert_tokens_to_string(tokens).strip()
        return "" if "\ufffd" in word else word

    def _find_marker(self) -> str | None:
        """The mark that most entries of the vocabulary bear; ``None`` where entries are whole words."""
        count = {mark: sum(token.startswith(mark) for token in self._tokens) for mark in (_CONTINUES, *_BEGINS)}
        mark = max(count, key=lambda name: count[name])
        return mark if count[mark] else None


def best_combinations(
    choices: Sequence[Sequence[tuple[float, int]]],
) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Take one entry of each list, the largest product first, working out no more combinations than are asked for.

    :param choices: For each place ``(probability, token)``, sorted by probability, descending.
    :return: Products with the tokens. Equal products come in the order of the lists.
    """
    if not choices or not all(choices):
        return

    def entry(ranks: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
        product = 1.0
        for options, rank in zip(choices, ranks, strict=True):
            product *= options[rank][0]
        return -product, ranks

    heap = [entry((0,) * len(choices))]
    while heap:
        product, ranks = heapq.heappop(heap)
        yield -product, tuple(options[rank][1] for options, rank in zip(choices, ranks, strict=True))
        # Only the last place that has moved, and those behind it, move on: every combination has one way to it.
        moved = max((place for place, rank in enumerate(ranks) if rank), default=0)
        for place in range(moved, len(choices)):
            if ranks[place] + 1 < len(choices[place]):
                heapq.heappush(heap, entry((*ranks[:place], ranks[place] + 1, *ranks[place + 1 :])))


def load_masked_language_model(name: str, batch_size: int = 64) -> MaskedLanguageModel:
    """Load a masked language model, in evaluation mode, on the CPU.

    >>> load_masked_language_model("demo:mlm").mask_token
    '[MASK]'

    :param name: ``"demo:mlm"`` (embedded in the package), a hub name ("bert-base-uncased", downloaded) or a folder
        made by ``save_pretrained`` of model and tokenizer; both with or without ``hf:`` in front. Code in a repository
        is never run.
    :param batch_size: Texts per forward pass.
    :return: Its ``notes`` say which weights of the files have no place in it.
    :raises InputError: If it cannot be used: no such model, weights missing, no mask token, or a slow tokenizer.
    """
    import transformers

    if name.startswith("demo:") and name != "demo:mlm":
        raise InputError(f"There is no demo language model {name!r}. There is one: demo:mlm.")
    with refusing(name):
        folder = checkpoint_folder(str(MLM_FOLDER) if name == "demo:mlm" else name.removeprefix("hf:"))
        model, unused = load_weights(transformers.AutoModelForMaskedLM, folder)
        language_model = MaskedLanguageModel(model, load_tokenizer(folder), batch_size)
        language_model.check()
    language_model.notes += unused
    return language_model


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
