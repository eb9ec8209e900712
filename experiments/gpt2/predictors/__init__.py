"""What every predictor of the ladder says of a finished study's interventions, from batches of its own.

``python -m experiments.gpt2.predictors`` makes the predictions; ``table`` holds them against what the study
observed.
"""
