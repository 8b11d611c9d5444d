"""Spoofing: a sample gets the field of another one, as if its sensor were fed a recording."""

from __future__ import annotations

from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator
from tqdm.auto import tqdm

from art_multimodal.attacks.checks import check_whole_number
from art_multimodal.attacks.evasion.multimodal.judging import labels_for, margins
from art_multimodal.errors import InputError
from art_multimodal.estimators.fusion import FusionClassifier
from art_multimodal.sample_arrays import with_field


class ModalitySwapAttack(EvasionAttack):
    """Replace one modality of a sample by that of another sample; a black-box attack that needs scores only.

    What the sensor is shown is genuine, and so passes every check of a single modality; it belongs to another scene.
    Of the donors that are tried the one is kept that misleads the model most; a sample for which none helps keeps the
    most harmful one, which then does not change its answer.

    >>> attacked = ModalitySwapAttack(sensors, "pix", max_donors=4, verbose=False).generate(x, y)
    >>> bool((attacked["fou"] == x["fou"]).all())
    True
    >>> all(any((pixels == other).all() for other in x["pix"]) for pixels in attacked["pix"])
    True
    """

    attack_params = EvasionAttack.attack_params + [
        "modality",
        "max_donors",
        "targeted",
        "batch_size",
        "seed",
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, FusionClassifier)

    def __init__(
        self,
        estimator: FusionClassifier,
        modality: str,
        max_donors: int = 10,
        targeted: bool = False,
        batch_size: int = 128,
        seed: int = 0,
        verbose: bool = True,
    ) -> None:
        """
        :param estimator: The classifier to attack.
        :param modality: Name of the modality that is replaced, of any kind.
        :param max_donors: Donors that are tried for each sample; one forward pass each.
        :param targeted: Look for the given labels instead of away from them.
        :param batch_size: Samples per forward pass.
        :param seed: Of the choice of donors, which is the same for all samples.
        :param verbose: Show a progress bar.
        :raises InputError: For a modality that the model does not have.
        """
        super().__init__(estimator=estimator)
        self.modality = modality
        self.max_donors = max_donors
        self._targeted = targeted
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose
        #: For each sample of the last call the row of the donor, among the donors.
        self.donors: np.ndarray = np.zeros(0, dtype=np.int64)
        self._check_params()

    def generate(self, x: np.ndarray, y: np.ndarray | None = None, **kwargs: Any) -> np.ndarray:
        """Return samples ``(N,)`` with one field from elsewhere.

        :param x: Samples ``(N,)`` of the classifier.
        :param y: Labels: the true ones, or the wanted ones when targeted. Without them the model's own predictions.
        :param donors: (keyword) Samples to take the field from; default: ``x`` itself. A sample is no donor to itself.
        :raises InputError: For samples or labels that cannot be used, or if there is no donor.
        """
        x = self.estimator.checked(x)
        labels = labels_for(self, x, y)
        given = kwargs.get("donors")
        pool = x if given is None else self.estimator.checked(given)
        if len(pool) < (2 if given is None else 1):
            raise InputError("There is no sample to take the modality from: give donors=.")
        order = np.random.default_rng(self.seed).permutation(len(pool))
        best, self.donors = np.full(len(x), -np.inf), np.full(len(x), -1, dtype=np.int64)
        for number in tqdm(range(min(self.max_donors, len(order))), desc="Donors", disable=not self.verbose):
            donor = np.full(len(x), order[number])
            if given is None:
                # Everybody's donor but its own, which takes the next one.
                donor[order[number]] = order[(number + 1) % len(order)]
            harm = margins(self, self._swapped(x, pool, donor), labels)
            better = harm > best
            best, self.donors = np.where(better, harm, best), np.where(better, donor, self.donors)
        return self._swapped(x, pool, self.donors) if len(x) else x.copy()

    def _swapped(self, x: np.ndarray, pool: np.ndarray, donor: np.ndarray) -> np.ndarray:
        return with_field(x, self.modality, pool[self.modality][donor])

    def _check_params(self) -> None:
        if self.modality not in self.estimator.modalities:
            known = ", ".join(self.estimator.modalities)
            raise InputError(f"The model knows no modality {self.modality!r}; it takes {known}.")
        for name in ("max_donors", "batch_size"):
            check_whole_number(self, name, 1)
