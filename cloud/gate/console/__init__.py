"""The operator console: static files only. What they show comes from `cloud/gate/screen.py`."""
