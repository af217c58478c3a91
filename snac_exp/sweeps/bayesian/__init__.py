"""Bayesian search: trials proposed by Optuna from the results of those before."""
