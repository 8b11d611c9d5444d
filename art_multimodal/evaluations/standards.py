"""What standards call a row of a report: ids that follow from what an attack changes and what its attacker knows.

One table of rules over the properties of an entry of the suite, so that an attack that another package registers has
ids, too. An id says which threat a row is evidence about; no row by itself fulfils a requirement.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from art_multimodal.evaluations.suite import RETRIEVAL, AttackEntry
from art_multimodal.evaluations.suite.entry import EACH
from art_multimodal.evaluations.suite.selection import SINGLE_SOURCE, TRANSFER

WHITE_BOX, BLACK_BOX, OUTAGE = "white box", "black box", "outage"
#: In the place of the name of an attack: the row before any.
BEFORE = "no attack"


@dataclass(frozen=True)
class Standard:
    """A document that has ids.

    :param name: What it is called, with the version that the ids were read in.
    :param url: Where it is.
    :param titles: What stands behind each id that is used here.
    """

    name: str
    url: str
    titles: Mapping[str, str]


STANDARDS: dict[str, Standard] = {
    "mitre_atlas": Standard(
        "MITRE ATLAS 5.6.1",
        "https://atlas.mitre.org",
        {
            "AML.T0005": "Create Proxy AI Model",
            "AML.T0015": "Evade AI Model",
            "AML.T0041": "Physical Environment Access",
            "AML.T0043.000": "Craft Adversarial Data: White-Box Optimization",
            "AML.T0043.001": "Craft Adversarial Data: Black-Box Optimization",
            "AML.T0043.002": "Craft Adversarial Data: Black-Box Transfer",
            "AML.T0043.003": "Craft Adversarial Data: Manual Modification",
            "AML.M0009": "Use Multi-Modal Sensors (a mitigation, which the row puts to the test)",
        },
    ),
    "nist_ai_100_2": Standard(
        "NIST AI 100-2e2025",
        "https://doi.org/10.6028/NIST.AI.100-2e2025",
        {"NISTAML.022": "Evasion", "NISTAML.025": "Black-box Evasion"},
    ),
    "owasp_aisvs": Standard(
        "OWASP AISVS 1.0",
        "https://github.com/OWASP/AISVS",
        {
            "2.2.4": "attacks across modalities",
            "11.1.3": "robustness of models, for each modality and family of attacks",
            "11.1.4": "robustness of models, for each modality and family of attacks",
        },
    ),
    "owasp_ai_testing_guide": Standard(
        "OWASP AI Testing Guide",
        "https://owasp.org/www-project-ai-testing-guide/",
        {
            "AITG-APP-08": "Testing for Embedding Manipulation",
            "AITG-MOD-01": "Testing for Evasion Attacks",
            "AITG-MOD-06": "Testing for Robustness to New Data",
        },
    ),
    "owasp_ml_top_10": Standard(
        "OWASP Machine Learning Security Top 10 2023",
        "https://owasp.org/www-project-machine-learning-security-top-10/",
        {"ML01:2023": "Input Manipulation Attack"},
    ),
    "owasp_llm_top_10": Standard(
        "OWASP Top 10 for LLM Applications 2025",
        "https://genai.owasp.org/llm-top-10/",
        {"LLM08:2025": "Vector and Embedding Weaknesses"},
    ),
    "eu_ai_act": Standard(
        "Regulation (EU) 2024/1689 (AI Act)",
        "https://eur-lex.europa.eu/eli/reg/2024/1689/oj",
        {
            "Art. 15(3)": "declared levels of accuracy and their metrics",
            "Art. 15(4)": "resilience to errors, faults and inconsistencies",
            "Art. 15(5)": "resilience to inputs that are made to mislead a model",
        },
    ),
}

#: What a table is evidence about that has each defence switched off once.
LEFT_OUT: dict[str, list[str]] = {"owasp_aisvs": ["11.1.3", "11.1.4"]}


def family_of(entry: AttackEntry) -> str:
    """What is attacked: the modality of an entry, and of one on a single modality of samples :data:`SINGLE_SOURCE`.

    >>> from art_multimodal.evaluations.suite.entry import entry_of
    >>> family_of(entry_of("pgd")), family_of(entry_of("bert_attack"))
    ('image', 'text')
    """
    at = entry.name.partition("@")[2]
    return SINGLE_SOURCE if at and entry.modality in (EACH, at) else entry.modality


@dataclass(frozen=True)
class Rule:
    """Ids, and the rows that they are of. What is not restricted holds for every row.

    >>> rule = Rule("mitre_atlas", ("AML.T0015",), families=("image",))
    >>> rule.holds("white-box", "image", None), rule.holds("white-box", "text", None)
    (True, False)

    :param standard: A name of :data:`STANDARDS`.
    :param ids: Of that standard.
    :param knowledge: What the attacker knows.
    :param families: As :func:`family_of`.
    :param but: Families that it does not hold for.
    :param task: What the model is asked to do.
    """

    standard: str
    ids: tuple[str, ...]
    knowledge: Collection[str] = ()
    families: Collection[str] = ()
    but: Collection[str] = ()
    task: str | None = None

    def holds(self, knowledge: str, family: str, task: str | None) -> bool:
        """Whether it is about such a row."""
        return (
            (not self.knowledge or knowledge in self.knowledge)
            and (not self.families or family in self.families)
            and family not in self.but
            and self.task in (None, task)
        )


_ATTACKS = (WHITE_BOX, BLACK_BOX)
#: Made by hand or by accident, or brought along from another sample: no search for the input itself.
_UNSEARCHED = ("modality_swap", "time_shift", "typographic", "noise")
#: An attacker of one of several sources, and what is left without one.
_ONE_OF_SEVERAL = (SINGLE_SOURCE, "modality_swap", "time_shift", "modality_missing", "modality_removed", "decoupling")

RULES: tuple[Rule, ...] = (
    Rule("mitre_atlas", ("AML.T0043.000",), (WHITE_BOX,)),
    Rule("mitre_atlas", ("AML.T0043.001",), (BLACK_BOX,), but=(*_UNSEARCHED, TRANSFER, "universal")),
    Rule("mitre_atlas", ("AML.T0043.002",), (BLACK_BOX,), ("universal",)),
    Rule("mitre_atlas", ("AML.T0043.002", "AML.T0005"), (BLACK_BOX,), (TRANSFER,)),
    Rule("mitre_atlas", ("AML.T0043.003",), (BLACK_BOX,), _UNSEARCHED, but=("noise",)),
    Rule("mitre_atlas", ("AML.T0041",), _ATTACKS, ("typographic",)),
    Rule("mitre_atlas", ("AML.T0015",), _ATTACKS, but=("noise",)),
    Rule("mitre_atlas", ("AML.M0009",), families=_ONE_OF_SEVERAL),
    Rule("nist_ai_100_2", ("NISTAML.022",), _ATTACKS, but=("noise",)),
    Rule("nist_ai_100_2", ("NISTAML.025",), (BLACK_BOX,), but=("noise",)),
    Rule("owasp_aisvs", ("2.2.4",), _ATTACKS, ("multimodal", *_ONE_OF_SEVERAL)),
    Rule("owasp_aisvs", ("11.1.3", "11.1.4"), _ATTACKS),
    Rule("owasp_ai_testing_guide", ("AITG-MOD-01",), _ATTACKS, but=("noise",)),
    Rule("owasp_ai_testing_guide", ("AITG-MOD-06",), (OUTAGE,)),
    Rule("owasp_ai_testing_guide", ("AITG-MOD-06",), families=("noise", "time_shift")),
    Rule("owasp_ai_testing_guide", ("AITG-APP-08",), _ATTACKS, task=RETRIEVAL),
    Rule("owasp_ml_top_10", ("ML01:2023",), _ATTACKS, but=("noise",)),
    Rule("owasp_llm_top_10", ("LLM08:2025",), _ATTACKS, task=RETRIEVAL),
    Rule("eu_ai_act", ("Art. 15(3)",), (BEFORE,)),
    Rule("eu_ai_act", ("Art. 15(4)",), (OUTAGE,)),
    Rule("eu_ai_act", ("Art. 15(4)",), families=("noise", "time_shift")),
    Rule("eu_ai_act", ("Art. 15(5)",), _ATTACKS, but=("noise",)),
)


def standards_of(entries: Iterable[AttackEntry], task: str | None = None) -> dict[str, list[str]]:
    """The ids of a row, by the names of :data:`STANDARDS`.

    >>> from art_multimodal.evaluations.suite.entry import entry_of
    >>> from art_multimodal.evaluations.standards import STANDARDS
    >>> found = standards_of([entry_of("pgd")])
    >>> set(found) <= set(STANDARDS), isinstance(STANDARDS["mitre_atlas"], Standard)
    (True, True)

    :param entries: The attacks that the row stands for, of the suite or registered by another package; none for the row
        before any attack.
    :param task: What the model is asked to do; without it what is only about retrieval is left out.
    """
    return ids_of([(entry.knowledge, family_of(entry)) for entry in entries], task)


def ids_of(kinds: Iterable[tuple[str, str]], task: str | None = None) -> dict[str, list[str]]:
    """The same, by what attackers know and what they attack: (knowledge, family)."""
    found: dict[str, set[str]] = {}
    for knowledge, family in [*kinds] or [(BEFORE, BEFORE)]:
        for rule in RULES:
            if rule.holds(knowledge, family, task):
                found.setdefault(rule.standard, set()).update(rule.ids)
    # In the order of the documents, and of their ids.
    return {name: [one for one in of.titles if one in found[name]] for name, of in STANDARDS.items() if name in found}


def in_words(ids: Mapping[str, Iterable[str]]) -> str:
    """Ids on one line: ``MITRE ATLAS 5.6.1: AML.T0015; NIST AI 100-2e2025: NISTAML.022``."""
    return "; ".join(f"{STANDARDS[name].name}: {', '.join(some)}" for name, some in ids.items())
