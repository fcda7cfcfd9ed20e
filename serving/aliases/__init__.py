"""Where `prod` points: moved in the store and in MLflow's registry together, with its history."""
