"""New data in, a better model out: one tick looks, runs the pipeline and asks the gate."""
