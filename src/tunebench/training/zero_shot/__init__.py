"""Labels as sentences that a text entails or not, without training."""
