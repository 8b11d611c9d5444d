"""Other names of modules of :mod:`art_multimodal.demo`."""
