"""Analysis: what the runs of a study say."""
