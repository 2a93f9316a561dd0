"""``tunebench labels``: what more labels would bring, which labels are likely wrong, which texts to label next."""
