"""Words, protected words and masked language models, which attacks and defences use alike."""
