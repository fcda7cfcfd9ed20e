"""What may be wrong with a table: rules, drift, leaks, each as a sentence."""
