from step_support import steps

__all__ = ["steps"]
