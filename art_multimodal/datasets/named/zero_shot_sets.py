"""Data sets that zero-shot classification is measured on, as the CLIP paper and those after it do."""

from __future__ import annotations

from art_multimodal.datasets.named import prompts
from art_multimodal.datasets.named.arrays import read_pcam, read_stl
from art_multimodal.datasets.named.entry import CLASSIFICATION, NamedData, Split
from art_multimodal.datasets.named.folders import read_caltech101, read_caltech256, read_country211, read_eurosat
from art_multimodal.datasets.named.lists import read_aircraft, read_food, read_pets, read_scenes, read_textures
from art_multimodal.datasets.named.matlab import read_cars, read_flowers
from art_multimodal.datasets.named.registry import NAMED_DATA

_NO_SPLIT = "it has no official split: all of its images are taken"


def _add(name: str, *facts: object, **more: object) -> None:
    """Register a data set of :data:`CLASSIFICATION`; the facts are those of :class:`NamedData`, in their order."""
    title, classes, *rest = facts
    NAMED_DATA.add(name, NamedData(title, CLASSIFICATION, classes, *rest, **more))  # type: ignore[arg-type]


_add(
    "stl10",
    "STL-10",
    10,
    {
        "test": Split(8_000, ("test_X.bin", "test_y.bin", "class_names.txt")),
        "train": Split(5_000, ("train_X.bin", "train_y.bin", "class_names.txt")),
    },
    ("stl10_binary",),
    read_stl,
    prompts.OBJECT,
    prompts.CLIP_PAPER,
    "Coates et al., An Analysis of Single-Layer Networks in Unsupervised Feature Learning, 2011",
    "https://cs.stanford.edu/~acoates/stl10",
    "STL10(root, split='test', download=True)",
    ("stl10_binary",),
)
_add(
    "caltech101",
    "Caltech-101",
    101,
    {"all": Split(8_677, ("101_ObjectCategories",))},
    ("caltech101", "caltech-101"),
    read_caltech101,
    prompts.CALTECH,
    prompts.CLIP_PAPER,
    "Fei-Fei et al., Learning Generative Visual Models from Few Training Examples, 2004",
    "https://data.caltech.edu/records/mzrjq-6wc02",
    "Caltech101(root, download=True)",
    note=f"{_NO_SPLIT}, but for the folder of backgrounds, as torchvision does",
)
_add(
    "caltech256",
    "Caltech-256",
    257,
    {"all": Split(30_607, ("256_ObjectCategories",))},
    ("caltech256", "caltech-256"),
    read_caltech256,
    prompts.PLAIN,
    "the usual one",
    "Griffin et al., Caltech-256 Object Category Dataset, 2007",
    "https://data.caltech.edu/records/nyy15-4j048",
    "Caltech256(root, download=True)",
    note=f"{_NO_SPLIT}, with those of clutter, as torchvision does",
)
_add(
    "oxford-pets",
    "Oxford-IIIT Pet",
    37,
    {
        "test": Split(3_669, ("annotations/test.txt", "images")),
        "trainval": Split(3_680, ("annotations/trainval.txt", "images")),
    },
    ("oxford-iiit-pet",),
    read_pets,
    prompts.PET,
    prompts.CLIP_PAPER,
    "Parkhi et al., Cats and Dogs, 2012",
    "https://www.robots.ox.ac.uk/~vgg/data/pets",
    "OxfordIIITPet(root, split='test', download=True)",
    ("oxford-iiit-pet", "oxford-pet", "pets", "OxfordIIITPet"),
)
_add(
    "flowers102",
    "Oxford 102 Flowers",
    102,
    {
        split: Split(size, ("imagelabels.mat", "setid.mat", "jpg"))
        for split, size in (("test", 6_149), ("train", 1_020), ("val", 1_020))
    },
    ("flowers-102",),
    read_flowers,
    prompts.FLOWER,
    prompts.CLIP_PAPER,
    "Nilsback and Zisserman, Automated Flower Classification over a Large Number of Classes, 2008",
    "https://www.robots.ox.ac.uk/~vgg/data/flowers/102",
    "Flowers102(root, split='test', download=True)",
    ("oxford-flowers", "oxford-flowers-102", "flowers", "VGG flowers"),
)
_add(
    "fgvc-aircraft",
    "FGVC-Aircraft",
    100,
    {
        split: Split(size, (f"data/images_variant_{split}.txt", "data/variants.txt", "data/images"))
        for split, size in (("test", 3_333), ("trainval", 6_667), ("train", 3_334), ("val", 3_333))
    },
    ("fgvc-aircraft-2013b",),
    read_aircraft,
    prompts.AIRCRAFT,
    prompts.CLIP_PAPER,
    "Maji et al., Fine-Grained Visual Classification of Aircraft, 2013",
    "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft",
    "FGVCAircraft(root, split='test', download=True)",
    ("aircraft", "fgvc-aircraft-2013b"),
    note="by variant",
)
_add(
    "stanford-cars",
    "Stanford Cars",
    196,
    {
        "test": Split(8_041, ("cars_test_annos_withlabels.mat", "cars_test", "devkit/cars_meta.mat")),
        "train": Split(8_144, ("devkit/cars_train_annos.mat", "cars_train", "devkit/cars_meta.mat")),
    },
    ("stanford_cars",),
    read_cars,
    prompts.CAR,
    prompts.CLIP_PAPER,
    "Krause et al., 3D Object Representations for Fine-Grained Categorization, 2013",
    "https://www.kaggle.com/datasets/rickyyyyyyy/torchvision-stanford-cars",
    aliases=("cars", "cars196"),
    note="the page of its authors is gone: the copy has the layout of torchvision",
)
_add(
    "sun397",
    "SUN397",
    397,
    {
        "all": Split(108_754, ("ClassName.txt",)),
        "test": Split(19_850, ("ClassName.txt", "Testing_01.txt")),
        "train": Split(19_850, ("ClassName.txt", "Training_01.txt")),
    },
    ("SUN397",),
    read_scenes,
    prompts.OBJECT,
    prompts.CLIP_PAPER,
    "Xiao et al., SUN Database: Large-scale Scene Recognition from Abbey to Zoo, 2010",
    "https://vision.princeton.edu/projects/2010/SUN",
    "SUN397(root, download=True)",
    note="all of its images are taken; test and train are the first of its ten partitions, whose lists torchvision "
    "does not download",
)
_add(
    "food101",
    "Food-101",
    101,
    {
        split: Split(size, (f"meta/{split}.txt", "meta/classes.txt", "images"))
        for split, size in (("test", 25_250), ("train", 75_750))
    },
    ("food-101",),
    read_food,
    prompts.FOOD,
    prompts.CLIP_PAPER,
    "Bossard et al., Food-101: Mining Discriminative Components with Random Forests, 2014",
    "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101",
    "Food101(root, split='test', download=True)",
    ("food",),
)
_add(
    "dtd",
    "Describable Textures",
    47,
    {split: Split(1_880, (f"labels/{split}1.txt", "images")) for split in ("test", "train", "val")},
    ("dtd/dtd", "dtd"),
    read_textures,
    prompts.TEXTURE,
    prompts.CLIP_PAPER,
    "Cimpoi et al., Describing Textures in the Wild, 2014",
    "https://www.robots.ox.ac.uk/~vgg/data/dtd",
    "DTD(root, split='test', download=True)",
    ("describable-textures", "textures", "DescribableTextures"),
    note="the first of its ten partitions",
)
_add(
    "eurosat",
    "EuroSAT",
    10,
    {"all": Split(27_000, ("2750",))},
    ("eurosat",),
    read_eurosat,
    prompts.SATELLITE,
    prompts.CLIP_PAPER,
    "Helber et al., EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use, 2019",
    "https://github.com/phelber/EuroSAT",
    "EuroSAT(root, download=True)",
    note=f"{_NO_SPLIT}, in colours",
)
_add(
    "country211",
    "Country211",
    211,
    {split: Split(size, (split,)) for split, size in (("test", 21_100), ("train", 31_650), ("valid", 10_550))},
    ("country211",),
    read_country211,
    prompts.COUNTRY,
    prompts.CLIP_PAPER,
    "Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021",
    "https://github.com/openai/CLIP/blob/main/data/country211.md",
    "Country211(root, split='test', download=True)",
    ("country",),
)
_add(
    "pcam",
    "PatchCamelyon",
    2,
    {
        split: Split(
            size,
            tuple(f"camelyonpatch_level_2_split_{file}_{kind}.h5" for kind in ("x", "y")),
        )
        for split, file, size in (("test", "test", 32_768), ("train", "train", 262_144), ("val", "valid", 32_768))
    },
    ("pcam",),
    read_pcam,
    prompts.TISSUE,
    prompts.CLIP_PAPER,
    "Veeling et al., Rotation Equivariant CNNs for Digital Pathology, 2018",
    "https://github.com/basveeling/pcam",
    "PCAM(root, split='test', download=True)",
    ("patch-camelyon", "patchcamelyon"),
    extra="datasets",
)
