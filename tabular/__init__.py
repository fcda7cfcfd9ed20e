"""The command `tabular`: what the entry points of a checkout's MLprojects do, in one word each."""
