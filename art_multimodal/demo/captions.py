"""What captions of the digits demo say: names of digits, colours, and templates that are kept for testing."""

from __future__ import annotations

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

#: RGB in [0, 1]. Inks are dark and papers light enough for every pair to be readable.
INKS = {
    "black": (0.05, 0.05, 0.05),
    "red": (0.75, 0.10, 0.10),
    "green": (0.05, 0.45, 0.10),
    "blue": (0.10, 0.20, 0.75),
    "purple": (0.45, 0.10, 0.55),
    "brown": (0.40, 0.22, 0.08),
}
PAPERS = {
    "white": (0.97, 0.97, 0.97),
    "yellow": (0.97, 0.93, 0.55),
    "pink": (0.98, 0.78, 0.84),
    "grey": (0.78, 0.78, 0.78),
}

#: Never used in training; several words ("scan", "sketch", "wrote", ...) occur in none of the training captions.
HELD_OUT_TEMPLATES = (
    "a scan of the number {}",
    "a sketch of a {}.",
    "somebody wrote a {} here",
    "look, it is the figure {}!",
    "this shows {}",
    "an example of {} from a school notebook",
    "the answer on the sheet reads {}",
    "a child's {}",
    "a blurry shot of the handwritten figure {}.",
    "mail sorting sample: {}",
)
