"""ART's attacks on views of any modality: what they run on, and a witness of what each row is evaluated with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from art.attacks import evasion
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from attacks.art_attacks import ATTACKS as OF_IMAGES
from attacks.art_attacks import quiet, text_of
from several import COLUMNS, make, make_samples, separate

from art_multimodal import FusionClassifier
from art_multimodal.modalities import Modality, table
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.models.multimodal import MultimodalModel, Part
from art_multimodal.sample_arrays import samples, with_field

INF = float("inf")
#: The modality and the number of channels of the images.
VIEWS: dict[str, tuple[str, int]] = {
    "image-1": ("rgb", 1),
    "image-3": ("rgb", 3),
    "image-4": ("rgb", 4),
    "sequence": ("audio", 3),
    "table": ("lab", 3),
    "table-arrays": ("lab", 3),  # its clip_values are arrays
}
IMAGES = ("image-1", "image-3", "image-4")
#: Whether the bounds are arrays, or one pair of numbers and the box is inside.
PACKED = ("packed", "packed-inside")
#: Which samples have the same others.
GROUPS = np.array([0, 1, 0, 2, 3, 1, 0])

Factory = Callable[[PyTorchClassifier], EvasionAttack]


optimiser = {"max_iter": 10, "learning_rate": 0.1, **quiet}

#: Those of pairs, some with more steps, and those that images of pairs are not for.
ATTACKS: dict[str, Factory] = {
    **{name: factory for name, factory in OF_IMAGES.items() if name != "patch"},
    "pgd_l2": lambda view: evasion.ProjectedGradientDescent(
        view, norm=2, eps=0.5, eps_step=0.2, max_iter=3, batch_size=4, **quiet
    ),
    "carlini_l0": lambda view: evasion.CarliniL0Method(view, binary_search_steps=1, initial_const=10, **optimiser),
    "carlini_l2": lambda view: evasion.CarliniL2Method(
        view, binary_search_steps=1, initial_const=10, batch_size=4, **optimiser
    ),
    "carlini_linf": lambda view: evasion.CarliniLInfMethod(
        view, initial_const=10, decrease_factor=0.5, batch_size=4, **{**optimiser, "max_iter": 5}
    ),
    "elastic_net": lambda view: evasion.ElasticNet(
        view, binary_search_steps=1, initial_const=10, batch_size=4, **optimiser
    ),
    # Not as many at once as a table has columns: the bounds of each would seem to fit.
    "zoo": lambda view: evasion.ZooAttack(
        view,
        max_iter=20,
        learning_rate=0.3,
        initial_const=100.0,
        use_resize=False,
        use_importance=False,
        nb_parallel=3,
        binary_search_steps=1,
        **quiet,
    ),
    "targeted_universal": lambda view: evasion.TargetedUniversalPerturbation(
        view, attacker="fgsm", attacker_params={"eps": 0.2, "targeted": True}, max_iter=2, eps=0.2
    ),
    "wasserstein": lambda view: evasion.Wasserstein(
        view,
        regularization=100,
        norm="inf",
        eps=2.0,
        eps_step=0.5,
        eps_factor=1.3,
        eps_iter=2,
        max_iter=8,
        kernel_size=3,
        conjugate_sinkhorn_max_iter=20,
        projected_sinkhorn_max_iter=20,
        batch_size=4,
        **quiet,
    ),
    "low_pro_fool": lambda view: evasion.LowProFool(
        view, n_steps=10, eta=0.2, lambd=0.1, importance=np.full(view.input_shape[0], 0.5), **quiet
    ),
    "over_the_air": lambda view: evasion.OverTheAirFlickeringPyTorch(view, max_iter=2, verbose=False),
}
#: Attacks with a budget: its norm, and the most.
BUDGETS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("fgm", "fgm_minimal", "fgm_restarts", "pgd", "pgd_restarts", "pgd_random_eps"), (INF, 0.1)),
    **dict.fromkeys(("pgd_pytorch", "pgd_numpy", "mim", "bim", "apgd", "apgd_dlr", "acg", "reacg"), (INF, 0.1)),
    **dict.fromkeys(("square", "frame_saliency"), (INF, 0.1)),
    **dict.fromkeys(("fgm_l2", "pgd_l2"), (2, 0.5)),
    **dict.fromkeys(("universal", "targeted_universal"), (INF, 0.2)),
    "virtual_adversarial": (2, 0.1),
}
#: Their labels are targets.
TARGETED = ("saliency_map", "low_pro_fool", "targeted_universal")
#: From one start, along the gradient: the right answers lose.
RISING = ("fgm", "fgm_l2", "fgm_minimal", "pgd", "pgd_l2", "pgd_pytorch", "mim", "bim", "deepfool")
#: They move every sample, whether they succeed or not.
MOVING = (*RISING, "apgd", "apgd_dlr", "acg", "reacg", "newton_fool", "simba", "simba_dct", "square", "frame_saliency")
#: They find what is answered otherwise, of most samples.
FINDING = ("carlini_l0", "carlini_l2", "carlini_linf", "boundary", "hop_skip_jump", "wasserstein")

VECTORS = ("table", "table-arrays", *PACKED)
NOT_IMAGES = ("sequence", *VECTORS)
#: What cannot work, on which views, and where in ART 1.20.1.
BROKEN: dict[str, tuple[tuple[str, ...], tuple[type[Exception], ...], str]] = {
    "square": (NOT_IMAGES, (ValueError,), "square_attack.py:151 takes arrays of four axes only"),
    "autoattack": (NOT_IMAGES, (ValueError,), "square_attack.py:151, one of its attacks, takes four axes only"),
    "simba": (VECTORS, (IndexError,), "simba.py:129 reads the height of an image"),
    "simba_dct": (NOT_IMAGES, (IndexError, ValueError), "simba.py:129 and :377 read height and width of an image"),
    "carlini_l0": (NOT_IMAGES, (np.exceptions.AxisError,), "carlini.py:1056 sums over the three axes of an image"),
    "spatial": (NOT_IMAGES, (ValueError, RuntimeError), "spatial_transformation.py:104 and :212 turn and shift images"),
    "pixel": (NOT_IMAGES, (IndexError,), "pixel_threshold.py:111 reads rows, columns and channels of an image"),
    "threshold": (NOT_IMAGES, (IndexError,), "pixel_threshold.py:111 reads rows, columns and channels of an image"),
    "wasserstein": (NOT_IMAGES, (ValueError,), "wasserstein.py:253 projects height and width of an image"),
    "frame_saliency": (VECTORS, (ValueError,), "frame_saliency.py:105 wants frames"),
    "saliency_map": (("table-arrays", "packed"), (ValueError,), "saliency_map.py:156 takes bounds that are numbers"),
    "zoo": (("table-arrays", "packed"), (ValueError,), "zoo.py:566 takes bounds that are numbers"),
    "low_pro_fool": (
        (*IMAGES[1:], "sequence"),
        (ValueError,),
        "lowprofool.py:161: a weight for each column of a table",
    ),
    "over_the_air": ((*VIEWS, *PACKED), (IndexError,), "over_the_air_flickering_pytorch.py:255 wants videos"),
}


def cases(views: Iterable[str], turns: int) -> list:
    """Every attack on each of these views; what cannot work is expected to fail.

    :param turns: One in so many of an attack's views is run at once, for each attack other ones; the rest is slow.
    """
    found = []
    for (place, view), (number, attack) in itertools.product(enumerate(views), enumerate(ATTACKS)):
        if (attack, view) == ("low_pro_fool", "image-1"):
            continue  # its one weight broadcasts to all pixels, by chance
        marks = [] if (number + place) % turns == 0 else [pytest.mark.slow]
        if attack in BROKEN and view in BROKEN[attack][0]:
            marks.append(pytest.mark.xfail(strict=True, raises=BROKEN[attack][1], reason=BROKEN[attack][2]))
        found.append(pytest.param(attack, view, marks=marks, id=f"{attack}-{view}"))
    return found


def subject(view: str, kind: str) -> tuple[FusionClassifier, np.ndarray, str]:
    """A classifier, samples of which some have the same others, and the name of the modality."""
    name, channels = VIEWS[view]
    model = make(kind, channels)
    if view == "table":
        model.modalities["lab"] = table("lab", COLUMNS, clip_values=(-1.0, 2.0))
    own = make_samples(channels, lengths=(5, 2, 5, 3, 4, 2, 5), notes=["a"] * 7, seed=5)
    others = make_samples(channels, lengths=(5, 2, 3, 4), notes=["a cat", "red", "", "a cat"], seed=6)[GROUPS]
    x = with_field(others, name, own[name])
    return FusionClassifier(model, device_type="cpu"), x, name


def packed_subject(view: str) -> tuple[PyTorchClassifier, np.ndarray, FusionClassifier]:
    """A view of three modalities in which nothing is bound, and samples."""
    whole = separate("concat")
    towers = [tower for name, tower in whole.towers.items() if name != "note"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ModularModel(towers, "concat", whole.class_names).eval()
    found = FusionClassifier(model, device_type="cpu")
    x = make_samples(lengths=[5] * 7, notes=["a"] * 7, seed=5)[["rgb", "audio", "lab"]]
    x = samples(**{name: x[name] for name in x.dtype.names})
    eps = {"rgb": 0.5, "audio": 2.0, "lab": 1.0}
    return found.packed_view(list(eps), eps, box="inside" if view == "packed-inside" else "clip_values"), x, found


class Witness:
    """Counts the rows that a model evaluates with others that are not theirs, from what reaches the model itself.

    A row's own others are known in two ways, and both are asked: an attack was given these samples, so either they all
    have the same or rows must come as the samples do; and values close to one of the originals are those, perturbed.
    """

    def __init__(self, model: MultimodalModel, x: np.ndarray, name: str) -> None:
        self.model, self.name, self.kind = model, name, model.modalities[name]
        self.rows = self.wrong = 0
        self.under_attack: list[int] = []
        x = model_samples(model, x)
        self._values = np.ascontiguousarray(self.kind.values(x[name]))
        self._originals = torch.from_numpy(self._values.reshape(len(x), -1).copy())
        # Of few numbers what an attack draws may be close to another sample by chance: there only equal ones count.
        self._near = torch.pdist(self._originals).min() / 2 if self.kind.kind == "image" else 1e-6
        # What goes with the values: the others, and the length.
        self._first = np.unique(self._keys(x), return_index=True)[1]
        self.own = np.array([self._keys(x)[self._first].tolist().index(key) for key in self._keys(x)])
        inputs = model.collate(x[self._first])
        if model.separate_towers:
            with torch.no_grad():
                self._others = {o: model.encode(o, part) for o, part in inputs.items() if o != name}
            self._watch("encode", self._note_own)
            self._watch("combine", lambda features, present: self._see(self._part, features))
        else:
            self._others = {o: legible(part) for o, part in inputs.items() if o != name}
            self._watch("fuse", lambda given: self._see(given[name], {o: legible(p) for o, p in given.items()}))
        self._lengths = inputs[name].lengths

    def noting(self, factory: Factory) -> Factory:
        """Let the attacks of a factory say which samples they were given."""

        def made(view: PyTorchClassifier) -> EvasionAttack:
            attack = factory(view)
            generate = attack.generate

            def note(values: np.ndarray, *args, **kwargs) -> np.ndarray:
                flat = self._values.reshape(len(self._values), -1)
                self.under_attack = [int(np.flatnonzero((flat == row.ravel()).all(axis=1))[0]) for row in values]
                try:
                    return generate(values, *args, **kwargs)
                finally:
                    self.under_attack = []

            attack.generate = note
            return attack

        return made

    def _keys(self, x: np.ndarray) -> np.ndarray:
        lengths = self.kind.lengths(x[self.name])
        others = [self.model.modalities[o].values(x[o]) for o in x.dtype.names or () if o != self.name]
        keys = [
            f"{length} " + " ".join(str(np.asarray(o[row]).tolist()) for o in others)
            for row, length in enumerate(lengths)
        ]
        return np.array(keys)

    def _watch(self, method: str, look: Callable[..., None]) -> None:
        called = getattr(self.model, method)

        def watched(*inputs):
            look(*inputs)
            return called(*inputs)

        setattr(self.model, method, watched)

    def _note_own(self, name: str, part: Part) -> None:
        if name == self.name:
            self._part = part

    def _groups_of(self, part: Part, seen: dict) -> list[int]:
        """For each row, which of the known others it is evaluated with; -1 where none."""
        match = torch.ones(len(part), len(self._first), dtype=torch.bool)
        for name, known in self._others.items():
            if isinstance(known, list):
                match &= torch.tensor([[one == other for other in known] for one in seen[name]])
            else:
                rows, known = seen[name].detach().flatten(1).float(), known.flatten(1).float()
                match &= (rows[:, None] - known[None]).abs().amax(dim=2) < 1e-6
        if part.lengths is not None:
            match &= part.lengths[:, None] == self._lengths[None]
        return [int(row.nonzero()[0]) if row.any() else -1 for row in match]

    def _see(self, part: Part, seen: dict) -> None:
        assert isinstance(part.values, torch.Tensor)
        distances, nearest = torch.cdist(part.values.detach().flatten(1).float(), self._originals).min(dim=1)
        given = [int(self.own[sample]) for sample in self.under_attack]
        for row, group in enumerate(self._groups_of(part, seen)):
            wanted = {int(self.own[int(nearest[row])])} if distances[row] < self._near else set()
            if given:
                wanted.add(given[0] if len(set(given)) == 1 else given[row] if len(given) == len(part) else -2)
            self.rows += 1
            self.wrong += wanted not in (set(), {group}) or group == -1


def legible(part: Part) -> torch.Tensor | list[str]:
    """Numbers as they are, and tokens as the texts that they stand for, whatever they are padded to."""
    assert isinstance(part.values, torch.Tensor)
    return part.values if part.values.is_floating_point() else [text_of(ids) for ids in part.values]


def model_samples(model: MultimodalModel, x: np.ndarray) -> np.ndarray:
    """Samples with every field as the model has it."""
    return samples(**{name: modality.laid_out(x[name]) for name, modality in model.modalities.items()})


def checks_values(
    modality: Modality, before: np.ndarray, after: np.ndarray, budget: tuple[float, float] | None
) -> None:
    """Assert that a field is in the clip values, and close enough to what it was."""
    old, new = modality.values(before), modality.values(after)
    low, high = (np.asarray(bound, dtype=np.float32) for bound in modality.clip_values)
    there = np.broadcast_to(new == new, new.shape)
    if modality.variable:
        there = np.arange(new.shape[1])[:, None] < after["length"][:, None, None]
        there = np.broadcast_to(there, new.shape)
        assert not new[~there].any(), "values behind the length"
    assert np.isfinite(new).all()
    assert ((new >= low - 1e-5) & (new <= high + 1e-5))[there].all(), "outside of the clip values"
    if budget is not None:
        size = np.linalg.norm((new - old).reshape(len(old), -1), budget[0], axis=1).max()
        assert size <= budget[1] + 1e-5, f"the perturbation is {size:.3g}"
