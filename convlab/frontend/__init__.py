"""The few widgets that need JavaScript of their own, with their sources beside them."""
