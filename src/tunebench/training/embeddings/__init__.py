"""Linear classifiers on embeddings of a frozen encoder."""
