"""What makes training and evaluation fast, and what measures them."""
