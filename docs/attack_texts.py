"""What the cards of attacks say that no registry knows: what an attack shows, and where it was published."""

from __future__ import annotations

_PGD = ("Towards deep learning models resistant to adversarial attacks", "https://arxiv.org/abs/1706.06083")
_AUTO = ("Reliable evaluation with an ensemble of diverse attacks", "https://arxiv.org/abs/2003.01690")
_SQUARE = ("Square Attack", "https://arxiv.org/abs/1912.00049")
_BERT = ("BERT-Attack", "https://arxiv.org/abs/2004.09984")
_LEAF = ("LEAF", "https://arxiv.org/abs/2506.03355")
_MMCOA = ("MMCoA", "https://arxiv.org/abs/2404.19287")
_SGA = ("Set-level guidance attack", "https://arxiv.org/abs/2307.14061")
_MUROAN = ("MUROAN", "https://arxiv.org/abs/2112.12792")
_UNALIGNED = ("Unaligned streams: the claim that it puts to the test", "https://arxiv.org/abs/2206.07981")

#: By the name of an attack without its modality: what its row shows, and its papers; none of ours that are in none.
CARDS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "pgd": ("How far a plain gradient attack gets: a first look, and no bound.", (_PGD,)),
    "art_pgd": ("The same with ART's own code: a check of `pgd` by an implementation that shares none.", (_PGD,)),
    "apgd": ("A gradient attack that chooses its own steps; stands still where scores are very far apart.", (_AUTO,)),
    "apgd_dlr": ("The same on a loss that does not depend on the scale of the scores.", (_AUTO,)),
    "pgd_targeted": ("Whether one of the likely other classes is near: often the strongest single attack.", (_AUTO,)),
    "square": (
        "What scores alone give away. Where it beats attacks with gradients, gradients are hidden.",
        (_SQUARE,),
    ),
    "bpda": (
        "Whether gradients around a defence at test time find what those through its steps miss.",
        (("Obfuscated gradients", "https://arxiv.org/abs/1802.00420"),),
    ),
    "alarm": (
        "Whether a defence that looks for attacks can be misled without being woken.",
        (("Adaptive attacks", "https://arxiv.org/abs/2002.08347"),),
    ),
    "similarity_pgd": ("In retrieval: how far one image can be moved away from all of its captions.", (_SGA,)),
    "bert_attack": ("Whether one plausible word moves a text's embedding, for all images at once.", (_BERT, _MMCOA)),
    "bert_attack_margin": ("Whether one plausible word changes the answer about each sample.", (_BERT,)),
    "character_attack": ("Whether a typing error moves a text's embedding, for all images at once.", (_LEAF,)),
    "character_attack_margin": ("Whether a typing error changes the answer about each sample.", (_LEAF,)),
    "text_exhaustive": (
        "All of a text's budget, up to a number of texts: what is left is robust to every edit in it.",
        (),
    ),
    "pgd_multimodal": ("What all modalities together give away, each within its own ball.", (_PGD,)),
    "independent": ("What image and text give away when neither attacker knows of the other.", (_MMCOA,)),
    "co_attack": (
        "What both give away by their embeddings, text first.",
        (("Co-Attack", "https://arxiv.org/abs/2206.09391"),),
    ),
    "joint": ("What both give away when each is attacked against the other as it is attacked.", ()),
    "set_level_guidance": ("In retrieval: what an image and all of its captions give away together.", (_SGA,)),
    "typographic": (
        "Whether the model reads what stands in a picture instead of looking at it.",
        (("Multimodal neurons", "https://distill.pub/2021/multimodal-neurons/"),),
    ),
    "noise": ("The floor: an attack with gradients that does no better than this does not work.", ()),
    "transfer": (
        "What an attacker without the model gets from public models like it.",
        (
            ("Momentum", "https://arxiv.org/abs/1710.06081"),
            ("input diversity", "https://arxiv.org/abs/1803.06978"),
        ),
    ),
    "hop_skip_jump": (
        "What labels alone give away, at a number of questions that is kept exactly.",
        (("HopSkipJump", "https://arxiv.org/abs/1904.02144"),),
    ),
    "sign_opt": (
        "The same by another search, which looks for the nearest label in Euclidean length.",
        (("Sign-OPT", "https://arxiv.org/abs/1909.10773"),),
    ),
    "worst_image": (
        "The number to quote for images: the worst of several attacks that go on where others fail.",
        (_AUTO,),
    ),
    "worst_text": ("The number to quote for texts, with every word that the language model knows.", (_BERT, _LEAF)),
    "worst_multimodal": ("The number to quote for whoever hands in everything.", (_AUTO, _MMCOA)),
    "worst": ("The number to quote for whoever controls one modality of several.", (_AUTO,)),
    "decoupling_guided": ("How little of a sample an answer hangs on, and of which modality.", (_MUROAN,)),
    "decoupling_image": ("How few pixels an answer hangs on.", (_MUROAN,)),
    "decoupling_exhaustive": ("The same by the search that was published, which knows no gradients.", (_MUROAN,)),
    "universal": (
        "What one pattern does that was learned once and lies over everything.",
        (
            ("X-Transfer", "https://arxiv.org/abs/2505.05528"),
            ("Universal perturbations", "https://arxiv.org/abs/1610.08401"),
        ),
    ),
    "confidence": ("Whether a fusion that trusts confident modalities can be taken over by one of them.", ()),
    "agreement": ("Whether a fusion by consensus can be outvoted from one modality.", ()),
    "modality_swap": ("Whether a recording of something else, played to one source, changes the answer.", ()),
    "time_shift": ("Whether the model minds that a stream is late.", (_UNALIGNED,)),
    "modality_missing": ("What is left when a source fails and the model is told.", ()),
    "modality_removed": ("What is left when a source delivers nothing of use and nobody notices.", ()),
}

#: Which attack do I need? Questions in their order, each with its answer and the attacks of that answer.
QUESTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("A first look, in minutes?", "one gradient attack, and noise beside it", ("apgd", "noise")),
    ("A number to quote?", "the worst case of what is changed", ("worst_image", "worst_text", "worst_multimodal")),
    ("Only labels come back?", "searches along the boundary", ("hop_skip_jump", "sign_opt")),
    ("Only scores come back?", "random search", ("square",)),
    ("Cannot ask at all?", "models like it, or one pattern for all", ("transfer@SURROGATE", "universal")),
    ("Does somebody write texts?", "words, letters, or all of them", ("bert_attack_margin", "text_exhaustive")),
    ("Image and text together?", "both in turn", ("joint", "co_attack")),
    ("Several sensors?", "one at a time, then all at once", ("worst@MODALITY", "pgd_multimodal")),
    (
        "Can a source fail, or be faked?",
        "outages and spoofing",
        ("modality_missing@MODALITY", "modality_swap@MODALITY"),
    ),
    ("Signs and stickers in sight?", "a word on a label", ("typographic",)),
    ("Which part does it hang on?", "remove parts", ("decoupling_guided", "decoupling_image")),
)
