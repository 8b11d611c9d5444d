"""``python -m art_multimodal``."""

from art_multimodal.cli import entry_point

if __name__ == "__main__":
    entry_point()
