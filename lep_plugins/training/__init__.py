"""Training as adaptation steps: continued pre-training, instruction tuning, calibration. Nothing heavy is imported."""
