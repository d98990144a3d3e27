"""What is read beside the load."""
