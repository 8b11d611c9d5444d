"""Data sets that models are trained on and measured on: CIFAR, Tiny ImageNet, ImageNet."""

from __future__ import annotations

from art_multimodal.datasets.named import prompts
from art_multimodal.datasets.named.arrays import read_cifar
from art_multimodal.datasets.named.entry import CLASSIFICATION, NamedData, Split
from art_multimodal.datasets.named.folders import read_imagenet, read_tiny_imagenet
from art_multimodal.datasets.named.imagenet import imagenet_templates
from art_multimodal.datasets.named.registry import NAMED_DATA

_CIFAR_PAPER = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
_CIFAR_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"

NAMED_DATA.add(
    "cifar10",
    NamedData(
        "CIFAR-10",
        CLASSIFICATION,
        10,
        {
            "test": Split(10_000, ("test_batch", "batches.meta")),
            "train": Split(50_000, (*(f"data_batch_{number}" for number in range(1, 6)), "batches.meta")),
        },
        ("cifar-10-batches-py",),
        read_cifar,
        prompts.CIFAR,
        prompts.CLIP_PAPER,
        _CIFAR_PAPER,
        _CIFAR_PAGE,
        "CIFAR10(root, download=True)",
        ("cifar-10-batches-py", "uoft-cs/cifar10"),
    ),
)
NAMED_DATA.add(
    "cifar100",
    NamedData(
        "CIFAR-100",
        CLASSIFICATION,
        100,
        {"test": Split(10_000, ("test", "meta")), "train": Split(50_000, ("train", "meta"))},
        ("cifar-100-python",),
        read_cifar,
        prompts.CIFAR,
        prompts.CLIP_PAPER,
        _CIFAR_PAPER,
        _CIFAR_PAGE,
        "CIFAR100(root, download=True)",
        ("cifar-100-python", "uoft-cs/cifar100"),
    ),
)
NAMED_DATA.add(
    "tiny-imagenet",
    NamedData(
        "Tiny ImageNet",
        CLASSIFICATION,
        200,
        {
            "val": Split(10_000, ("wnids.txt", "words.txt", "val")),
            "train": Split(100_000, ("wnids.txt", "words.txt", "train")),
        },
        ("tiny-imagenet-200", "tiny-imagenet"),
        read_tiny_imagenet,
        imagenet_templates,
        prompts.CLIP_PAPER,
        "Le and Yang, Tiny ImageNet Visual Recognition Challenge, 2015",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        aliases=("tiny-imagenet-200", "zh-plus/tiny-imagenet"),
        note="its test images have no labels, so val is what is measured on",
    ),
)
NAMED_DATA.add(
    "imagenet",
    NamedData(
        "ImageNet",
        CLASSIFICATION,
        1000,
        {"val": Split(50_000, ("val",)), "train": Split(1_281_167, ("train",))},
        ("imagenet", "ImageNet", "imagenet-1k", "ILSVRC2012", "."),
        read_imagenet,
        imagenet_templates,
        prompts.CLIP_PAPER,
        "Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, 2015",
        "https://image-net.org/download.php",
        aliases=("imagenet-1k", "imagenet1k", "ILSVRC2012", "ILSVRC/imagenet-1k"),
        note="a folder for each class, as torchvision's ImageNet(root, split='val') sorts the archives; its test "
        "images have no labels, so val is what is measured on",
    ),
)
