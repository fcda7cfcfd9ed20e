"""What `main.py` needs: overrides, settings, plan, environments, running and the screen."""
