"""What holds for every input within a budget of edits, from the votes of a classifier on ablated inputs.

A smoothed classifier hides elements of each modality at random and lets a base classifier vote on what is left. An
attacker who edits few elements is often not seen at all, and that alone bounds what the edits can change. The bounds of
MMCert (arXiv:2403.19080), of randomised ablation and of hybrid smoothing (arXiv:2605.12876) are one closed form.

- :mod:`~art_multimodal.functional.certificates.overlap`: how probably a draw shows nothing that was edited.
- :mod:`~art_multimodal.functional.certificates.bound`: what that leaves of the probabilities of classes; exact.
- :mod:`~art_multimodal.functional.certificates.frontier`: the largest budgets over several modalities.
- :mod:`~art_multimodal.functional.certificates.confidence`: what counts of random votes say about probabilities.
- :mod:`~art_multimodal.functional.certificates.locations`: the worst case over where edits are, for fixed votes.
- :mod:`~art_multimodal.functional.certificates.hybrid`: hidden elements beside Gaussian noise.
- :mod:`~art_multimodal.functional.certificates.embeddings`: embeddings averaged over Gaussian noise.
"""
