"""``tunebench choose``: from labelled texts to the method that suits them, trained and exported."""
