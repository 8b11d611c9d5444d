"""How embedded weights are kept: every bit comes back, and what is the same in all numbers takes no room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from art_multimodal.demo.packed import load_packed, save_packed
from art_multimodal.demo.views import WEIGHTS
from tools.demo_models.training import rounded, write_weights

SHAPES = ((), (0,), (1,), (7,), (3, 0, 2), (2, 3), (2, 3, 2, 2))
_SPECIAL = (0x00000000, 0x80000000, 0x00000001, 0x7F800000, 0xFF800000, 0x7FC00001, 0x7F800001, 0xFFFFFFFF, 0x3F800000)
BITS = st.one_of(st.sampled_from(_SPECIAL), st.integers(0, 2**32 - 1))


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    alike = one.dtype == other.dtype == torch.float32 and one.shape == other.shape
    return alike and one.numpy().tobytes() == other.numpy().tobytes()


@given(st.sampled_from(SHAPES), st.data())
def test_every_bit_comes_back(tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], data) -> None:
    """Also of zeros with a sign, infinities, numbers below the normal ones, and what is no number."""
    size = int(np.prod(shape))
    bits = np.array(data.draw(st.lists(BITS, min_size=size, max_size=size)), np.uint32).reshape(shape)
    given_ = torch.from_numpy(bits.view(np.float32))
    path = tmp_path_factory.mktemp("packed") / "weights.safetensors"
    save_packed({"some": given_, "turned": given_.T if given_.ndim == 2 else given_}, path)
    found = load_packed(path)
    assert found.keys() == {"some", "turned"} and same_bits(found["some"], given_)
    assert same_bits(found["turned"], (given_.T if given_.ndim == 2 else given_).contiguous())


def test_bytes_that_are_zero_in_all_numbers_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    values = torch.linspace(-1, 1, 50)
    save_packed({"as it is": values, "rounded": rounded(values), "halves": values.bfloat16().float()}, path)
    assert {name: len(kept) for name, kept in load_file(path).items()} == {"as it is": 4, "rounded": 3, "halves": 2}


def test_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="only float32 is packed, and this is float64"):
        save_packed({"some": torch.zeros(2, dtype=torch.float64)}, tmp_path / "weights.safetensors")
    assert not list(tmp_path.iterdir())


def test_what_the_training_scripts_write_is_what_the_demos_read(tmp_path: Path) -> None:
    layer = torch.nn.Linear(5, 3)
    write_weights(layer, tmp_path / "weights.safetensors")
    found = load_packed(tmp_path / "weights.safetensors")
    assert all(same_bits(found[name], rounded(tensor)) for name, tensor in layer.state_dict().items())


def test_all_embedded_weights_are_packed() -> None:
    files = sorted(WEIGHTS.glob("*.safetensors"))
    assert len(files) == 21
    for path in files:
        assert all(kept.dtype == np.uint8 and 1 <= len(kept) <= 4 for kept in load_file(path).values()), path
    # Those that were rounded are smaller by a quarter; those of demo:digits never were.
    assert max(len(kept) for kept in load_file(WEIGHTS / "shapes_late.safetensors").values()) == 3
