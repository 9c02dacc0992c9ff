"""Sweeps over a space of settings: a study of Optuna whose trials are trainings, on as many processes as there are."""
