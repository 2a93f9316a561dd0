"""HTTP: serving models, and watching a study."""
