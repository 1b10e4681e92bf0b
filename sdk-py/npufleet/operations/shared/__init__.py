"""What several operations of the Python engine share."""
