"""Data sets of captions, which retrieval is measured on."""

from __future__ import annotations

from art_multimodal.datasets.named.captions import read_coco, read_flickr
from art_multimodal.datasets.named.entry import RETRIEVAL, NamedData, Split
from art_multimodal.datasets.named.registry import NAMED_DATA

_KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent"

NAMED_DATA.add(
    "coco",
    NamedData(
        "COCO captions",
        RETRIEVAL,
        0,
        {
            "val2017": Split(5_000, ("annotations/captions_val2017.json", "val2017")),
            "train2017": Split(118_287, ("annotations/captions_train2017.json", "train2017")),
            "test": Split(5_000, ("dataset_coco.json", "val2014")),
            "val": Split(5_000, ("dataset_coco.json", "val2014")),
            "train": Split(113_287, ("dataset_coco.json", "train2014", "val2014")),
        },
        ("coco", "COCO", "mscoco", "coco2017"),
        read_coco,
        (),
        "",
        "Chen et al., Microsoft COCO Captions, 2015",
        "https://cocodataset.org/#download",
        aliases=("mscoco", "coco-captions", "CocoCaptions", "coco2017"),
        note=f"test, val and train are those of Karpathy and Fei-Fei, 2015, with dataset_coco.json of {_KARPATHY}",
    ),
)
NAMED_DATA.add(
    "flickr30k",
    NamedData(
        "Flickr30k",
        RETRIEVAL,
        0,
        {
            "test": Split(1_000, ("dataset_flickr30k.json", "flickr30k-images")),
            "val": Split(1_014, ("dataset_flickr30k.json", "flickr30k-images")),
            "train": Split(29_000, ("dataset_flickr30k.json", "flickr30k-images")),
            "all": Split(31_783, ("results_20130124.token", "flickr30k-images")),
        },
        ("flickr30k", "flickr30k_images"),
        read_flickr,
        (),
        "",
        "Young et al., From Image Descriptions to Visual Denotations, 2014",
        "https://shannon.cs.illinois.edu/DenotationGraph",
        aliases=("flickr", "flickr30"),
        note=f"test, val and train are those of Karpathy and Fei-Fei, 2015, with dataset_flickr30k.json of {_KARPATHY}",
    ),
)
