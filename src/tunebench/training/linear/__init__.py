"""Linear classifiers on whole texts, without an encoder."""
