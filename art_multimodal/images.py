"""Images as users give them: any array of numbers, which becomes the one kind that everything here works on."""

from __future__ import annotations

from typing import Any

import numpy as np

from art_multimodal.errors import InputError


def image_array(images: Any) -> np.ndarray:
    """Return images as an array of native ``float32`` that is contiguous and may be written to.

    Values and shapes are not checked here. What is such an array already comes back as it is; of others a copy is made:
    views with negative strides, Fortran order, the other byte order, read-only or memory-mapped arrays, float16 and
    float64, lists, tensors of torch on any device.

    :raises InputError: For what is no array of numbers of one shape, masked arrays with holes, and whole numbers that
        leave [0, 1]: images of 0 to 255.
    """
    if callable(detach := getattr(images, "detach", None)):
        # Of bfloat16 numpy knows nothing.
        tensor = detach().cpu()
        images = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if isinstance(images, np.ma.MaskedArray):
        if np.ma.getmaskarray(images).any():
            raise InputError("The images are a masked array with masked pixels. Fill them: images.filled(0.5).")
        images = images.data
    try:
        images = np.asarray(images)
    except ValueError:
        raise InputError("The images have different shapes. Give those of one shape at a time.") from None
    if images.dtype.kind not in "fiub":
        hint = " If it holds an array for each image, use np.stack(images)." if images.dtype == object else ""
        raise InputError(f"Images must be an array of numbers of one shape, not of dtype {images.dtype}.{hint}")
    if images.dtype.kind in "iu" and images.size and not 0 <= images.min() <= images.max() <= 1:
        raise InputError(
            f"Images must lie in [0, 1], but these are whole numbers in [{images.min()}, {images.max()}]. "
            "Divide them by 255."
        )
    with np.errstate(over="ignore"):
        return np.require(images, dtype=np.float32, requirements=["C", "W", "E"])
