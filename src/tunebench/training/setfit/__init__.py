"""SetFit: sentence encoders tuned on pairs of texts, trained by the setfit library."""
