"""What lies on disk: runs, their records, and the folder of a study."""
