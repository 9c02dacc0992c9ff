"""How a live model is edited: channels followed through its forward, a plan made on a copy, then carried out."""
